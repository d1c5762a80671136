//! Bodies gathered whole, within a bound.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::{body::Body, failure::Failure};

/// Why a body could not be gathered.
pub(crate) enum Ungathered {
    /// It is larger than the bound.
    TooLarge,
    /// It broke off.
    Failed(Failure),
}

/// Reads a body to its end.
pub(crate) async fn gather(mut body: Body, bytes_max: usize) -> Result<Bytes, Ungathered> {
    if body.length().is_some_and(|length| length > bytes_max as u64) {
        return Err(Ungathered::TooLarge);
    }
    if let Body::Full(bytes) = body {
        return Ok(bytes);
    }
    let mut first: Option<Bytes> = None;
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Ungathered::Failed)?.into_data() else { continue };
        if more.len() + first.as_ref().map_or(0, Bytes::len) + data.len() > bytes_max {
            return Err(Ungathered::TooLarge);
        }
        // Most bodies come in one piece, which is kept as it is.
        match first.take() {
            None if more.is_empty() => first = Some(data),
            None => more.extend_from_slice(&data),
            Some(begin) => {
                more.reserve(begin.len() + data.len());
                more.extend_from_slice(&begin);
                more.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| more.freeze()))
}
