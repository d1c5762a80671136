//! The second law: what we write, we read back.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http1::{BodyEncoder, Framing, encode_request_head, encode_response_head};
use proptest::{collection::vec, prelude::*};

use crate::read::{Seen, listed, read, requests, responses};

fn fields() -> impl Strategy<Value = HeaderMap> {
    vec(("x-[a-z0-9]{1,12}", "[!-~\u{e9}]{0,20}|[!-~][ -~]{0,20}[!-~]"), 0..8).prop_map(|fields| {
        fields
            .into_iter()
            .map(|(name, value)| {
                (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect()
    })
}

fn body() -> impl Strategy<Value = (bool, Vec<Vec<u8>>)> {
    (any::<bool>(), vec(vec(any::<u8>(), 0..50), 0..5))
}

fn framing(chunked: bool, pieces: &[Vec<u8>]) -> Framing {
    if chunked {
        Framing::Chunked
    } else {
        Framing::Length(pieces.iter().map(|piece| piece.len() as u64).sum())
    }
}

fn write_body(framing: Framing, pieces: &[Vec<u8>], trailers: &HeaderMap, out: &mut BytesMut) {
    let mut encoder = BodyEncoder::new(framing);
    for piece in pieces {
        encoder.data(&Bytes::copy_from_slice(piece), out).unwrap();
    }
    encoder.end(Some(trailers), out).unwrap();
}

/// What follows the head must be this.
fn expected(chunked: bool, pieces: &[Vec<u8>], trailers: &HeaderMap) -> Vec<Seen> {
    let data = pieces.concat();
    let mut seen = Vec::new();
    if !data.is_empty() {
        seen.push(Seen::Data(data));
    }
    if chunked && !trailers.is_empty() {
        seen.push(Seen::Trailers(listed(trailers)));
    }
    seen.push(Seen::End);
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_written_request_is_read_back(
        method in "[A-Z]{1,10}".prop_filter("has its own target", |method| method != "CONNECT"),
        path in "/[a-zA-Z0-9/._~%|-]{0,30}(\\?[a-z=&{}]{0,20})?",
        headers in fields(),
        (chunked, pieces) in body(),
        trailers in fields(),
    ) {
        let framing = framing(chunked, &pieces);
        let (mut parts, ()) = Request::builder().method(method.as_str()).uri(path.as_str()).body(()).unwrap().into_parts();
        parts.headers = headers.clone();
        parts.headers.insert("host", HeaderValue::from_static("example.org"));
        let mut out = BytesMut::new();
        encode_request_head(&parts, framing, &mut out).unwrap();
        write_body(framing, &pieces, &trailers, &mut out);
        let mut seen = read(requests(), &[&out]);
        let Seen::Request { line, headers: read_headers, framing: read_framing, .. } = seen.remove(0) else {
            panic!("no request in {}", out.escape_ascii());
        };
        prop_assert_eq!(line, format!("{method} {path} HTTP/1.1"));
        prop_assert_eq!(read_framing, framing);
        for (name, value) in &headers {
            prop_assert!(read_headers.contains(&(name.to_string(), value.as_bytes().to_vec())));
        }
        prop_assert_eq!(seen, expected(chunked, &pieces, &trailers));
    }

    #[test]
    fn a_written_response_is_read_back(
        status in 200u16..600,
        headers in fields(),
        (chunked, pieces) in body(),
        trailers in fields(),
        keep_alive in any::<bool>(),
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        prop_assume!(status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED);
        let framing = framing(chunked, &pieces);
        let (mut parts, ()) = Response::builder().status(status).body(()).unwrap().into_parts();
        parts.headers = headers.clone();
        let mut out = BytesMut::new();
        encode_response_head(&parts, framing, &Method::GET, keep_alive, Version::HTTP_11, &mut out).unwrap();
        write_body(framing, &pieces, &trailers, &mut out);
        let mut seen = read(responses(Method::GET), &[&out]);
        let Seen::Response { status: read_status, headers: read_headers, framing: read_framing, keep_alive: kept } =
            seen.remove(0)
        else {
            panic!("no response in {}", out.escape_ascii());
        };
        prop_assert_eq!((read_status, read_framing, kept), (status, framing, keep_alive));
        for (name, value) in &headers {
            prop_assert!(read_headers.contains(&(name.to_string(), value.as_bytes().to_vec())));
        }
        prop_assert_eq!(seen, expected(chunked, &pieces, &trailers));
    }
}
