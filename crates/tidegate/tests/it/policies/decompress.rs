//! `decompress`.

use std::io::Write;

use super::{
    super::harness::{Answer, Gateway},
    guarded, last, refused, with_policies,
};

pub(super) fn packed(coding: &str, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::best());
            encoder.write_all(plain).expect("gzip");
            encoder.finish().expect("gzip");
        }
        "br" => {
            let mut encoder = brotli::CompressorWriter::new(&mut out, 4096, 9, 22);
            encoder.write_all(plain).expect("brotli");
            drop(encoder);
        }
        _ => out = zstd::encode_all(plain, 9).expect("zstd"),
    }
    out
}

fn post(gateway: &Gateway, coding: &str, body: &[u8]) -> Answer {
    let head =
        format!("POST /x HTTP/1.1\nhost: a\ncontent-encoding: {coding}\ncontent-length: {}", body.len());
    gateway.send(&head, body)
}

#[test]
fn an_upstream_gets_what_was_packed() {
    let (gateway, upstream) = guarded("[{decompress: {}}]", "");
    let plain = "words ".repeat(200).into_bytes();
    for coding in ["gzip", "br", "zstd"] {
        assert_eq!(post(&gateway, coding, &packed(coding, &plain)).status, 200, "{coding}");
        let seen = last(&upstream);
        assert_eq!(seen.body, plain, "{coding}");
        assert_eq!((seen.header("content-encoding"), seen.header("content-length")), (None, None));
    }
    assert_eq!(gateway.send("POST /x HTTP/1.1\nhost: a\ncontent-length: 2", b"ok").status, 200);
    assert_eq!(last(&upstream).body, b"ok");
}

#[test]
fn other_codings_are_415_and_broken_ones_400() {
    let (gateway, upstream) = guarded("[{decompress: {algorithms: [gzip]}}]", "");
    for (coding, body, status) in [
        ("br", packed("br", b"x"), 415),
        ("deflate", b"x".to_vec(), 415),
        ("gzip", b"not gzip at all".to_vec(), 400),
        ("gzip", packed("gzip", &[b'x'; 5_000])[..20].to_vec(), 400),
    ] {
        assert_eq!(post(&gateway, coding, &body).status, status, "{coding} {body:?}");
    }
    assert!(upstream.seen().is_empty(), "no upstream saw a whole request of these");
    let record = gateway.record("another coding", |record| record["status"] == 415);
    assert_eq!(record["stopped_by"], "decompress", "{record}");
    let count = |outcome: &str| {
        let of = format!("policy=\"routes/r/decompress\",outcome=\"{outcome}\"");
        gateway.metric(&format!("tidegate_decompress_requests_total{{{of}}}"))
    };
    // What is broken is found out on the way.
    assert_eq!((count("refused"), count("unpacked")), (Some(2.0), Some(2.0)));
}

#[test]
fn a_bomb_is_413_and_unfolds_no_further_than_its_bound() {
    let (gateway, upstream) = guarded("[{decompress: {maxSize: 1MiB}}]", "");
    let zeros = vec![0; 64 << 20];
    let before = gateway.rss();
    for coding in ["gzip", "br", "zstd"] {
        let answer = post(&gateway, coding, &packed(coding, &zeros));
        assert_eq!((answer.status, answer.problem().as_deref()), (413, Some("body-too-large")), "{coding}");
    }
    let grown = gateway.rss().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes more");
    assert!(upstream.seen().is_empty());
    let (gateway, _upstream) = guarded("[{decompress: {maxSize: 1GiB, maxRatio: 20}}]", "");
    assert_eq!(
        post(&gateway, "gzip", &packed("gzip", &zeros[..1 << 20])).status,
        413,
        "a ratio of about 1,000"
    );
}

#[test]
fn bounds_that_let_nothing_through_are_refused() {
    refused(&with_policies("[{decompress: {maxSize: 0B}}]"), &["decompress.maxSize"]);
    refused(&with_policies("[{decompress: {algorithms: []}}]"), &["decompress.algorithms"]);
    refused(&with_policies("[{decompress: {maxRatio: 0}}]"), &["decompress.maxRatio"]);
}
