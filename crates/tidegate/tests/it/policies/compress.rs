//! `compress`.

use std::io::{Read, Write};

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, pause},
    refused, with_policies,
};

fn gateway(upstream: &Upstream, policy: &str) -> Gateway {
    Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{compress: {policy}}}], backends: [{{upstream: u}}]}}]\n",
        upstream.address
    ))
}

/// An upstream whose answer is described by the target: `/<bytes>?<header lines, %0a between>`.
fn upstream() -> Upstream {
    Upstream::scripted(|seen| {
        let (path, headers) = seen.target().split_once('?').unwrap_or((seen.target(), ""));
        let size: usize = path[1..].parse().unwrap_or(0);
        let body = "the same words again and again ".repeat(size / 31 + 1);
        let headers = headers.replace("%20", " ").replace("%22", "\"").replace("%0a", "\r\n");
        let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\ncontent-length: {size}\r\n\r\n");
        Some([head.as_bytes(), &body.as_bytes()[..size]].concat())
    })
}

fn get(gateway: &Gateway, target: &str, accepts: &str) -> Answer {
    gateway.send(&format!("GET {target} HTTP/1.1\nhost: a\naccept-encoding: {accepts}"), b"")
}

fn plain(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match coding {
        "gzip" => drop(flate2::read::MultiGzDecoder::new(body).read_to_end(&mut out).expect("gzip")),
        "br" => drop(brotli::Decompressor::new(body, 4096).read_to_end(&mut out).expect("brotli")),
        "zstd" => out = zstd::decode_all(body).expect("zstd"),
        other => panic!("{other}"),
    }
    out
}

#[test]
fn each_coding_is_sent_to_who_likes_it_best_and_unfolds_to_the_same() {
    let upstream = upstream();
    let gateway = gateway(&upstream, "{}");
    for (accepts, want) in [
        ("gzip", "gzip"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, br, zstd", "zstd"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("*", "zstd"),
    ] {
        let answer = get(&gateway, "/20000?content-type:%20application/json%0aetag:%20%22a%22", accepts);
        assert_eq!(answer.header("content-encoding"), Some(want), "{accepts}");
        assert!(answer.body.len() < 2_000, "{} bytes", answer.body.len());
        assert_eq!(plain(want, &answer.body).len(), 20_000);
        assert_eq!(answer.header("etag"), Some("W/\"a\""), "other bytes are another tag");
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    }
    let none = get(&gateway, "/20000?content-type:%20text/plain", "identity");
    assert_eq!((none.header("content-encoding"), none.body.len()), (None, 20_000));
    assert_eq!(none.header("vary"), Some("Accept-Encoding"), "a cache must not give it to everybody");
}

#[test]
fn what_should_not_be_compressed_is_left_as_it_is() {
    let upstream = upstream();
    let gateway = gateway(&upstream, "{minSize: 500B, contentTypes: ['text/*', application/json]}");
    for target in [
        "/499?content-type:%20text/plain",
        "/5000?content-type:%20image/png",
        "/5000?content-type:%20application/xml",
        "/5000?x-no-type:%201",
        "/5000?content-type:%20text/plain%0acache-control:%20public,%20no-transform",
        "/5000?content-type:%20text/plain%0acontent-encoding:%20br",
    ] {
        let answer = get(&gateway, target, "gzip");
        assert_ne!(answer.header("content-encoding"), Some("gzip"), "{target}");
        assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()), "{target}");
    }
    for target in ["/500?content-type:%20text/css", "/500?content-type:%20Application/JSON;charset=utf-8"] {
        assert_eq!(get(&gateway, target, "gzip").header("content-encoding"), Some("gzip"), "{target}");
    }
}

#[test]
fn algorithms_and_level_are_those_that_are_set() {
    let upstream = upstream();
    let gateway = gateway(&upstream, "{algorithms: [gzip], level: 9}");
    let target = "/50000?content-type:%20text/plain";
    assert_eq!(get(&gateway, target, "br, zstd").header("content-encoding"), None);
    let small = get(&gateway, target, "br, gzip").body.len();
    let fast = get(&self::gateway(&upstream, "{algorithms: [gzip], level: 1}"), target, "gzip").body.len();
    assert!(small < fast, "level 9: {small} bytes, level 1: {fast} bytes");
}

#[test]
fn an_event_leaves_at_once() {
    let upstream = Upstream::raw(|mut reader, _| {
        let _ = super::super::harness::read_request(&mut reader);
        let stream = reader.get_mut();
        let event = "data: one\n\n";
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = write!(stream, "{head}{:x}\r\n{event}\r\n", event.len());
        pause(3_000);
        let _ = write!(stream, "0\r\n\r\n");
    });
    let gateway = gateway(&upstream, "{}");
    let mut client = Client::connect(gateway.address);
    client.write("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n");
    let start = std::time::Instant::now();
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| !line.trim().is_empty()) {
        head.push(client.read_line());
    }
    assert!(head.iter().any(|line| line.eq_ignore_ascii_case("content-encoding: gzip\r\n")), "{head:?}");
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    while decoder.get_ref() != b"data: one\n\n" {
        let size = usize::from_str_radix(client.read_line().trim(), 16).expect("a chunk");
        decoder.write_all(&client.read_bytes(size)).expect("gzip");
        decoder.flush().expect("gzip");
        client.read_line();
    }
    assert!(start.elapsed().as_millis() < 2_500, "the event waited for the stream's end");
}

#[test]
fn a_kind_of_answer_that_is_none_is_refused() {
    refused(
        &with_policies("[{compress: {contentTypes: [json]}}]"),
        &["contentTypes[0]", "expected a media type"],
    );
    refused(&with_policies("[{compress: {level: 10}}]"), &["compress.level", "from 1 to 9"]);
    refused(&with_policies("[{compress: {algorithms: []}}]"), &["compress.algorithms"]);
    refused(&with_policies("[{compress: {algorithms: [deflate]}}]"), &["compress.algorithms[0]", "`zstd`"]);
}
