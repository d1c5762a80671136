//! Response heads, accepted and refused, and how their bodies are framed.

use bytes::BytesMut;
use http::Method;
use http1::{Framing, Limits, ResponseDecoder};

use crate::read::{check, response_verdict};

#[test]
fn response_heads_are_judged() {
    check(
        &[
            (b"HTTP/1.1 200 OK\r\n\r\n", "ok"),
            (b"HTTP/1.1 200 \r\n\r\n", "ok"),
            (b"HTTP/1.1 200\r\n\r\n", "ok"),
            (b"HTTP/1.0 200 OK\r\n\r\n", "ok"),
            (b"HTTP/1.1 404 Not\tFound \xff\r\n\r\n", "ok"),
            (b"HTTP/1.1 100 Continue\r\n\r\n", "ok"),
            (b"HTTP/1.1 599 Odd\r\n\r\n", "ok"),
            (b"HTTP/1.1 099 Odd\r\n\r\n", "malformed-status"),
            (b"HTTP/1.1 600 Odd\r\n\r\n", "malformed-status"),
            (b"HTTP/1.1 2x0 OK\r\n\r\n", "malformed-status"),
            (b"HTTP/1.1 +20 OK\r\n\r\n", "malformed-status"),
            (b"HTTP/1.1 20 OK\r\n\r\n", "malformed-status-line"),
            (b"HTTP/1.1 2000 OK\r\n\r\n", "malformed-status-line"),
            (b"HTTP/1.1  200 OK\r\n\r\n", "malformed-status-line"),
            (b"HTTP/1.1\t200 OK\r\n\r\n", "malformed-status-line"),
            (b"HTTP/1.1 200\tOK\r\n\r\n", "malformed-status-line"),
            (b"HTTP/1.1\r\n\r\n", "malformed-status-line"),
            (b"HTTP/2.0 200 OK\r\n\r\n", "unsupported-version"),
            (b"HTTP/1.2 200 OK\r\n\r\n", "unsupported-version"),
            (b"HTTP/x.1 200 OK\r\n\r\n", "malformed-version"),
            (b"http/1.1 200 OK\r\n\r\n", "malformed-status-line"),
            (b"ICY 200 OK\r\n\r\n", "malformed-status-line"),
            (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "malformed-status-line"),
            (b"<html>", "malformed-status-line"),
            (b"HTTP/1.1 200 O\x00K\r\n\r\n", "control-in-reason"),
            (b"HTTP/1.1 200 O\rK\r\n\r\n", "bare-cr"),
            (b"HTTP/1.1 200 OK\n\r\n", "bare-lf"),
            (b"HTTP/1.1 200 OK\r\nX: y\n\r\n", "bare-lf"),
            (b"HTTP/1.1 200 OK\r\n X: y\r\n\r\n", "space-before-first-header"),
            (b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", "obsolete-fold"),
            (b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "space-before-colon"),
            (b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\n\r\n", "ok"),
            (b"HTTP/1.1 200 OK\r\nX: a\x00\r\n\r\n", "control-in-value"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "both-length-and-chunked",
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "repeated-content-length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", "malformed-content-length"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "unknown-transfer-coding"),
            (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked-on-http10"),
            (b"HTTP/1.1 200 OK\r\nHost: a\r\nHost: b\r\n\r\n", "repeated-host"),
            (b"HTTP/1.1 200 OK\r\n", "partial"),
        ],
        response_verdict,
    );
}

fn framed(request: &str, head: &str) -> (Framing, bool) {
    let method = Method::from_bytes(request.as_bytes()).unwrap();
    let mut input = BytesMut::from(head);
    let head = ResponseDecoder::new(Limits::default()).decode(&mut input, &method).unwrap().unwrap();
    (head.framing, head.keep_alive)
}

#[test]
fn request_and_status_decide_the_framing_of_an_answer() {
    let rows = [
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Framing::Length(3), true),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Framing::Length(0), true),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Framing::Chunked, true),
        ("GET", "HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose, false),
        ("GET", "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n", Framing::Length(3), false),
        (
            "GET",
            "HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 3\r\n\r\n",
            Framing::Length(3),
            true,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nconnection: Close\r\ncontent-length: 3\r\n\r\n",
            Framing::Length(3),
            false,
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nconnection: keep-alive, close\r\ncontent-length: 3\r\n\r\n",
            Framing::Length(3),
            false,
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Framing::None, true),
        ("HEAD", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Framing::None, true),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n", Framing::None, true),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", Framing::None, true),
        // Whoever promises a body with a 204 may send one: the connection is not used again.
        ("GET", "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\n", Framing::None, false),
        ("GET", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", Framing::None, false),
        ("GET", "HTTP/1.1 100 Continue\r\n\r\n", Framing::None, true),
        ("GET", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", Framing::None, true),
        (
            "GET",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            Framing::None,
            true,
        ),
        ("CONNECT", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", Framing::None, true),
        ("CONNECT", "HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\n", Framing::Length(3), true),
    ];
    for (request, head, framing, keep_alive) in rows {
        assert_eq!(framed(request, head), (framing, keep_alive), "{request}: {head}");
    }
}

#[test]
fn interim_heads_come_before_the_final_one() {
    let mut input = BytesMut::from(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    );
    let mut decoder = ResponseDecoder::new(Limits::default());
    let mut statuses = Vec::new();
    while let Some(head) = decoder.decode(&mut input, &Method::GET).unwrap() {
        statuses.push(head.parts.status.as_u16());
    }
    assert_eq!(statuses, [100, 103, 204]);
}
