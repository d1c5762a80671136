//! What is written, to the byte; and what is not written.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http1::{BodyEncoder, EncodeError, Framing, encode_continue, encode_request_head, encode_response_head};

fn request(
    method: &str,
    uri: &str,
    fields: &[(&'static str, &'static str)],
    framing: Framing,
) -> Result<String, EncodeError> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let mut out = BytesMut::new();
    let written = encode_request_head(&parts, framing, &mut out);
    assert!(written.is_ok() || out.is_empty(), "what cannot be said leaves nothing behind");
    written.map(|()| String::from_utf8(out.to_vec()).unwrap())
}

#[test]
fn request_heads_are_written_as_a_server_expects_them() {
    let rows = [
        (
            request("GET", "/a?b", &[("host", "h"), ("x", "1")], Framing::None),
            "GET /a?b HTTP/1.1\r\nhost: h\r\nx: 1\r\n\r\n",
        ),
        (
            request("GET", "/a", &[("x", "1"), ("host", "h")], Framing::None),
            "GET /a HTTP/1.1\r\nhost: h\r\nx: 1\r\n\r\n",
        ),
        (request("GET", "http://h:8/a?b", &[], Framing::None), "GET /a?b HTTP/1.1\r\nhost: h:8\r\n\r\n"),
        (
            request("GET", "http://h", &[("host", "other")], Framing::None),
            "GET / HTTP/1.1\r\nhost: other\r\n\r\n",
        ),
        (request("GET", "http://h?q", &[], Framing::None), "GET /?q HTTP/1.1\r\nhost: h\r\n\r\n"),
        (request("OPTIONS", "*", &[("host", "h")], Framing::None), "OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n"),
        (
            request("CONNECT", "h:443", &[("host", "h:443")], Framing::None),
            "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n",
        ),
        (
            request(
                "POST",
                "/",
                &[("host", "h"), ("content-length", "9"), ("transfer-encoding", "x")],
                Framing::Length(5),
            ),
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n",
        ),
        (
            request("POST", "/", &[("host", "h"), ("content-length", "9")], Framing::Chunked),
            "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (
            request("POST", "/", &[("host", "h"), ("content-length", "9")], Framing::None),
            "POST / HTTP/1.1\r\nhost: h\r\n\r\n",
        ),
        (
            request("POST", "/", &[("host", "h")], Framing::Length(u64::MAX)),
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 18446744073709551615\r\n\r\n",
        ),
    ];
    for (written, want) in rows {
        assert_eq!(written.as_deref(), Ok(want));
    }
}

#[test]
fn a_request_that_no_head_can_say_is_not_written() {
    assert_eq!(
        request("GET", "/", &[("host", "h")], Framing::UntilClose),
        Err(EncodeError::RequestUntilClose)
    );
    assert_eq!(request("GET", "/", &[], Framing::None), Err(EncodeError::Host));
    assert_eq!(request("GET", "/", &[("host", "a b")], Framing::None), Err(EncodeError::Host));
    assert_eq!(request("GET", "*", &[("host", "h")], Framing::None), Err(EncodeError::Target));
    assert_eq!(request("GET", "/\u{e9}", &[("host", "h")], Framing::None), Err(EncodeError::Target));
    assert_eq!(request("CONNECT", "/", &[("host", "h")], Framing::None), Err(EncodeError::Target));
}

fn response(
    status: u16,
    fields: &[(&'static str, &'static str)],
    framing: Framing,
    (method, keep_alive, version): (Method, bool, Version),
) -> Result<String, EncodeError> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    let (parts, ()) = response.body(()).unwrap().into_parts();
    let mut out = BytesMut::new();
    let written = encode_response_head(&parts, framing, &method, keep_alive, version, &mut out);
    assert!(written.is_ok() || out.is_empty(), "what cannot be said leaves nothing behind");
    written.map(|()| String::from_utf8(out.to_vec()).unwrap())
}

const GET: (Method, bool, Version) = (Method::GET, true, Version::HTTP_11);
const HEAD: (Method, bool, Version) = (Method::HEAD, true, Version::HTTP_11);

#[test]
fn response_heads_are_written_as_their_client_expects_them() {
    let length = [("content-length", "9")];
    let rows = [
        (
            response(200, &[("x", "1")], Framing::Length(5), GET),
            "HTTP/1.1 200 OK\r\nx: 1\r\ncontent-length: 5\r\n\r\n",
        ),
        (
            response(200, &length, Framing::Chunked, GET),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (response(404, &[], Framing::Length(0), GET), "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        (response(299, &[], Framing::Length(0), GET), "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"),
        (response(200, &[], Framing::UntilClose, GET), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"),
        (
            response(
                200,
                &[("connection", "keep-alive")],
                Framing::Length(1),
                (Method::GET, false, Version::HTTP_11),
            ),
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n",
        ),
        (
            response(200, &[], Framing::Length(1), (Method::GET, true, Version::HTTP_10)),
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n",
        ),
        (
            response(200, &[], Framing::UntilClose, (Method::GET, true, Version::HTTP_10)),
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        ),
        (response(200, &length, Framing::None, HEAD), "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
        (response(200, &[("content-length", "9, 9")], Framing::None, HEAD), "HTTP/1.1 200 OK\r\n\r\n"),
        (response(200, &[("transfer-encoding", "x")], Framing::None, HEAD), "HTTP/1.1 200 OK\r\n\r\n"),
        (response(204, &length, Framing::None, GET), "HTTP/1.1 204 No Content\r\n\r\n"),
        (response(204, &[], Framing::Length(0), GET), "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            response(304, &length, Framing::None, GET),
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n",
        ),
        (
            response(103, &[("link", "</a>")], Framing::None, GET),
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        ),
        (
            response(101, &[("upgrade", "x"), ("connection", "upgrade")], Framing::None, GET),
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        ),
        (
            response(200, &length, Framing::None, (Method::CONNECT, true, Version::HTTP_11)),
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
    ];
    for (written, want) in rows {
        assert_eq!(written.as_deref(), Ok(want));
    }
}

#[test]
fn a_response_that_no_head_can_say_is_not_written() {
    let old = (Method::GET, true, Version::HTTP_10);
    assert_eq!(response(200, &[], Framing::Chunked, old), Err(EncodeError::ChunkedOnHttp10));
    assert_eq!(response(204, &[], Framing::Length(1), GET), Err(EncodeError::BodyNotAllowed));
    assert_eq!(response(304, &[], Framing::Chunked, GET), Err(EncodeError::BodyNotAllowed));
    assert_eq!(response(100, &[], Framing::UntilClose, GET), Err(EncodeError::BodyNotAllowed));
    assert_eq!(response(200, &[], Framing::None, GET), Err(EncodeError::FramingNeeded));
}

#[test]
fn bodies_are_framed_and_lengths_are_kept() {
    let mut out = BytesMut::new();
    let mut chunked = BodyEncoder::new(Framing::Chunked);
    chunked.data(&Bytes::from_static(b"hello"), &mut out).unwrap();
    chunked.data(&Bytes::new(), &mut out).unwrap();
    chunked.data_framing(0x1a2b, &mut out).unwrap();
    out.extend_from_slice(b"...");
    chunked.data_end(&mut out);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    trailers.insert("content-length", HeaderValue::from_static("1"));
    trailers.insert("set-cookie", HeaderValue::from_static("a"));
    chunked.end(Some(&trailers), &mut out).unwrap();
    assert_eq!(&out[..], b"5\r\nhello\r\n1a2b\r\n...\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!(chunked.end(None, &mut out), Err(EncodeError::Ended));
    assert_eq!(chunked.data(&Bytes::from_static(b"more"), &mut out), Err(EncodeError::Ended));

    let mut out = BytesMut::new();
    let mut length = BodyEncoder::new(Framing::Length(5));
    length.data(&Bytes::from_static(b"hel"), &mut out).unwrap();
    assert_eq!(length.end(None, &mut out), Err(EncodeError::BodyTooShort));
    assert_eq!(length.data(&Bytes::from_static(b"lo!"), &mut out), Err(EncodeError::BodyTooLong));
    length.data(&Bytes::from_static(b"lo"), &mut out).unwrap();
    length.end(Some(&trailers), &mut out).unwrap();
    assert_eq!(&out[..], b"hello");

    let mut until_close = BodyEncoder::new(Framing::UntilClose);
    let mut out = BytesMut::new();
    until_close.data(&Bytes::from_static(b"hello"), &mut out).unwrap();
    until_close.end(None, &mut out).unwrap();
    assert_eq!(&out[..], b"hello");
}

#[test]
fn continue_is_a_head_of_its_own() {
    let mut out = BytesMut::new();
    encode_continue(&mut out);
    assert_eq!(&out[..], b"HTTP/1.1 100 Continue\r\n\r\n");
}
