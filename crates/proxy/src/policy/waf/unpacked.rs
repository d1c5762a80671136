//! Bodies that clients compress, as whoever unpacks them behind this reads them: rules judge what is in them.
//!
//! What goes on are the bytes as they came. Codings that nobody here knows, and several on top of each other, are
//! nothing that the gateway unpacks anywhere; such bodies are judged as they are.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;

use crate::{
    body::Body,
    failure::{Failure, Problem, Stage},
    policy::coding::{Caps, Coding, Decoded, content_codings},
};

/// To how many times its size a body may unfold.
const RATIO_MAX: u64 = 400;

/// The first `limit` bytes of what a body unfolds to, and whether that is all; nothing where it is not compressed.
pub(super) async fn unpacked(
    headers: &HeaderMap,
    (coded, is_whole): (Bytes, bool),
    limit: usize,
) -> Result<Option<(Bytes, bool)>, Failure> {
    let [name] = *content_codings(headers) else { return Ok(None) };
    let Some(coding) = Coding::named(name) else { return Ok(None) };
    let caps = Caps { size: u64::MAX, ratio: RATIO_MAX };
    let decoded = Decoded::new(Body::Full(coded), coding, caps)
        .map_err(|error| Failure::gateway(Stage::Policy, Problem::Internal).with_detail(error.to_string()))?;
    let (mut plain, mut decoded) = (BytesMut::new(), Body::boxed(decoded));
    while let Some(frame) = decoded.frame().await {
        match frame {
            Ok(frame) => plain.extend(frame.into_data()),
            // Of a body that is not all there the end cannot be read.
            Err(_) if !is_whole => break,
            Err(failure) => return Err(failure),
        }
        if plain.len() > limit {
            plain.truncate(limit);
            return Ok(Some((plain.freeze(), false)));
        }
    }
    Ok(Some((plain.freeze(), is_whole)))
}
