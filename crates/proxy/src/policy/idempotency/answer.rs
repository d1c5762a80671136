//! A kept answer as bytes: status, header fields and body, or only that there was one.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::body::Body;

/// What stands for an answer that was not of a kind that is kept.
pub(super) const UNKEPT: &[u8] = &[0, 0];

/// Header fields that are about the moment and the connection of the first answer, or that every answer gets anew.
const LEFT_OUT: [HeaderName; 3] = [header::CONNECTION, header::TRANSFER_ENCODING, header::TRAILER];

/// Writes a head; the body follows.
pub(super) fn head(status: StatusCode, headers: &HeaderMap) -> BytesMut {
    let fields = || headers.iter().filter(|(name, _)| !LEFT_OUT.contains(name));
    let mut out = BytesMut::with_capacity(256);
    out.put_u16(status.as_u16());
    out.put_u32(u32::try_from(fields().count()).unwrap_or(0));
    for (name, value) in fields() {
        out.put_u32(u32::try_from(name.as_str().len()).unwrap_or(0));
        out.put_u32(u32::try_from(value.len()).unwrap_or(0));
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(value.as_bytes());
    }
    out
}

/// Reads an answer; none where there is none in it.
pub(super) fn read(kept: &Bytes) -> Option<Response<Body>> {
    let mut rest = kept.clone();
    let status = StatusCode::from_u16(rest.try_get_u16().ok()?).ok()?;
    let count = rest.try_get_u32().ok()?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    let take = |length: usize, rest: &mut Bytes| (length <= rest.len()).then(|| rest.split_to(length));
    for _ in 0..count {
        let (name, value) = (rest.try_get_u32().ok()? as usize, rest.try_get_u32().ok()? as usize);
        let name = HeaderName::from_bytes(&take(name, &mut rest)?).ok()?;
        let value = HeaderValue::from_maybe_shared(take(value, &mut rest)?).ok()?;
        response.headers_mut().append(name, value);
    }
    if !rest.is_empty() {
        *response.body_mut() = Body::Full(rest);
    }
    Some(response)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_none_is_not() {
        let mut headers = HeaderMap::new();
        headers.append("set-cookie", HeaderValue::from_static("a=1"));
        headers.append("set-cookie", HeaderValue::from_bytes(b"b=\xe4").expect("a value"));
        headers.insert("connection", HeaderValue::from_static("close"));
        let mut out = head(StatusCode::CREATED, &headers);
        out.extend_from_slice(b"body");
        let answer = read(&out.freeze()).expect("an answer");
        assert_eq!(answer.status(), 201);
        let cookies: Vec<_> =
            answer.headers().get_all("set-cookie").iter().map(|value| value.as_bytes()).collect();
        assert_eq!(cookies, [&b"a=1"[..], b"b=\xe4"]);
        assert_eq!((answer.headers().len(), answer.body().length()), (2, Some(4)));
        assert!(read(&Bytes::from_static(UNKEPT)).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes.into());
        }
    }
}
