//! Chunked bodies of any bytes: no panic, the split law, and what ended well is written and read back the same.
#![no_main]

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http1::{BodyEncoder, Framing};
use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{
    assert_split_law,
    read::{Reader, Seen, read},
};

fuzz_target!(|bytes: &[u8]| {
    assert_split_law(|| Reader::Body, bytes, bytes.len() / 3);
    let seen = read(Reader::Body, &[bytes]);
    if seen.last() == Some(&Seen::End) {
        assert_eq!(read(Reader::Body, &[&write(&seen)]), seen);
    }
});

fn write(seen: &[Seen]) -> BytesMut {
    let mut out = BytesMut::new();
    let mut encoder = BodyEncoder::new(Framing::Chunked);
    let mut trailers = HeaderMap::new();
    for event in seen {
        match event {
            Seen::Data(data) => {
                encoder.data(&Bytes::copy_from_slice(data), &mut out).expect("chunks have no sum")
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
