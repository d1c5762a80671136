//! The codec's laws on any bytes: what the fuzz targets run, and a short run of each.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http1::{BodyEncoder, Framing};

use crate::{
    compare::{
        compare_request_with_httparse, compare_request_with_hyper, compare_response_with_httparse,
        compare_response_with_hyper,
    },
    read::{Reader, Seen, read, requests, responses},
};

/// Requests: no panic, the split law, and what is accepted httparse reads alike.
pub fn request_head(bytes: &[u8]) {
    assert_split_law(requests, bytes, bytes.len() / 3);
    agreed(compare_request_with_httparse(bytes));
}

/// Responses: no panic, the split law, and what is accepted httparse reads alike.
pub fn response_head(bytes: &[u8]) {
    for method in [Method::GET, Method::HEAD, Method::CONNECT] {
        assert_split_law(|| responses(method.clone()), bytes, bytes.len() / 3);
    }
    agreed(compare_response_with_httparse(bytes));
}

/// Chunked bodies: no panic, the split law, and what ended well is written and read back the same.
pub fn body(bytes: &[u8]) {
    assert_split_law(|| Reader::Body, bytes, bytes.len() / 3);
    let seen = read(Reader::Body, &[bytes]);
    if seen.last() == Some(&Seen::End) {
        assert_eq!(read(Reader::Body, &[&write(&seen)]), seen);
    }
}

/// A whole message that we accept, hyper accepts and reads the same: start line, fields, body and trailers.
pub fn differential_hyper(bytes: &[u8]) {
    agreed(compare_request_with_hyper(bytes));
    agreed(compare_response_with_hyper(bytes));
}

fn agreed(compared: Result<bool, String>) {
    if let Err(difference) = compared {
        panic!("{difference}");
    }
}

/// Panics unless the bytes read the same whole, in two pieces and byte by byte.
fn assert_split_law(reader: impl Fn() -> Reader, bytes: &[u8], at: usize) {
    let whole = read(reader(), &[bytes]);
    let (left, right) = bytes.split_at(at.min(bytes.len()));
    assert_eq!(read(reader(), &[left, right]), whole, "split at {at}");
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(reader(), &singles), whole, "byte by byte");
}

fn write(seen: &[Seen]) -> BytesMut {
    let mut out = BytesMut::new();
    let mut encoder = BodyEncoder::new(Framing::Chunked);
    let mut trailers = HeaderMap::new();
    for event in seen {
        match event {
            Seen::Data(data) => {
                encoder.data(&Bytes::copy_from_slice(data), &mut out).expect("chunks have no sum");
            }
            Seen::Trailers(listed) => trailers.extend(listed.iter().map(|(name, value)| {
                let name: HeaderName = name.parse().expect("it was a name");
                (name, HeaderValue::from_bytes(value).expect("it was a value"))
            })),
            _ => {}
        }
    }
    encoder.end(Some(&trailers), &mut out).expect("chunks end anywhere");
    out
}

#[cfg(test)]
mod short {
    macro_rules! short {
        ($($name:ident),+) => { $(
            #[test]
            fn $name() {
                mutate::fuzz(stringify!($name), super::$name);
            }
        )+ };
    }
    short!(request_head, response_head, body, differential_hyper);
}
