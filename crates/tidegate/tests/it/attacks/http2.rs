//! Requests that HTTP/2 can say and nobody may: pseudo-headers, connection headers, lengths, downgrades.

use super::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GONE, HEADERS, PADDED, PRIORITY, PUSH_PROMISE, RESET,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, ask, field, fields, frame,
    },
    row::{PATH, Reaches, Row, play, row},
};

/// Refused with a status, on its stream, or with the connection: in no case is it a request.
const REFUSED: &[u16] = &[400, RESET, GONE];
const ENDED: &[u16] = &[GONE];

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "a.test");
const TARGET: (&str, &str) = (":path", PATH);

fn asked(list: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(list))
}

/// A whole GET with more fields.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    asked(&[&[METHOD, SCHEME, AUTHORITY, TARGET], more].concat())
}

/// A whole GET with one pseudo-header changed.
fn but(name: &str, value: &str) -> Vec<u8> {
    let all = [METHOD, SCHEME, AUTHORITY, TARGET]
        .map(|(known, old)| (known, if known == name { value } else { old }));
    asked(&all)
}

fn pseudo_headers() -> Vec<Row> {
    const SOURCE: &str = "RFC 9113 §8.3";
    let row_of = |name: &str, list: &[(&str, &str)]| row(name, SOURCE, asked(list), REFUSED);
    vec![
        row_of("h2 no method", &[SCHEME, AUTHORITY, TARGET]),
        row_of("h2 no path", &[METHOD, SCHEME, AUTHORITY]),
        row_of("h2 no scheme", &[METHOD, AUTHORITY, TARGET]),
        row_of("h2 no authority", &[METHOD, SCHEME, TARGET]),
        row_of("h2 two methods", &[METHOD, METHOD, SCHEME, AUTHORITY, TARGET]),
        row_of("h2 two paths", &[METHOD, SCHEME, AUTHORITY, TARGET, (":path", "/admin")]),
        row_of("h2 two authorities", &[METHOD, SCHEME, AUTHORITY, (":authority", "b.test"), TARGET]),
        row_of("h2 two schemes", &[METHOD, SCHEME, (":scheme", "https"), AUTHORITY, TARGET]),
        row_of("h2 pseudo after regular", &[METHOD, SCHEME, AUTHORITY, ("x", "y"), TARGET]),
        row_of("h2 unknown pseudo", &[METHOD, SCHEME, AUTHORITY, TARGET, (":x", "y")]),
        row_of("h2 :status in a request", &[METHOD, SCHEME, AUTHORITY, TARGET, (":status", "200")]),
        row_of(
            "h2 :protocol without CONNECT",
            &[METHOD, SCHEME, AUTHORITY, TARGET, (":protocol", "websocket")],
        ),
        row_of("h2 pseudo with capitals", &[(":Method", "GET"), SCHEME, AUTHORITY, TARGET]),
        row_of("h2 empty method", &[(":method", ""), SCHEME, AUTHORITY, TARGET]),
        row_of("h2 empty path", &[METHOD, SCHEME, AUTHORITY, (":path", "")]),
        row_of("h2 Host differs", &[METHOD, SCHEME, AUTHORITY, TARGET, ("host", "b.test")]),
        row_of("h2 two Hosts", &[METHOD, SCHEME, TARGET, ("host", "a.test"), ("host", "b.test")]),
        row(
            "h2 CONNECT",
            "RFC 9113 §8.5",
            asked(&[(":method", "CONNECT"), (":authority", "127.0.0.1:22")]),
            &[501, 400, RESET],
        ),
        row(
            "h2 CONNECT with a path",
            "RFC 9113 §8.5",
            asked(&[(":method", "CONNECT"), SCHEME, AUTHORITY, TARGET]),
            &[501, 400, RESET, GONE],
        ),
        row(
            "h2 extended CONNECT to what nobody speaks",
            "RFC 8441 §4",
            asked(&[(":method", "CONNECT"), (":protocol", "connect-udp"), SCHEME, AUTHORITY, TARGET]),
            &[501],
        ),
    ]
}

fn values() -> Vec<Row> {
    const DESYNC: &str = "Kettle, HTTP/2: The Sequel Is Always Worse (2021)";
    let r = |name: &str, bytes| row(name, DESYNC, bytes, REFUSED);
    vec![
        r("h2 CR LF in a value", with(&[("x", "y\r\nTransfer-Encoding: chunked")])),
        r("h2 LF in a value", with(&[("x", "y\nTransfer-Encoding: chunked")])),
        r("h2 CR in a value", with(&[("x", "y\rz")])),
        r("h2 NUL in a value", with(&[("x", "y\0z")])),
        r("h2 CR LF in a name", with(&[("x\r\nhost: b.test\r\ny", "z")])),
        r("h2 colon in a name", with(&[("transfer-encoding: chunked", "z")])),
        r("h2 space in a name", with(&[("x y", "z")])),
        r("h2 capitals in a name", with(&[("X-Capital", "z")])),
        r("h2 capitals of framing", with(&[("Transfer-Encoding", "chunked")])),
        r("h2 empty name", with(&[("", "z")])),
        r("h2 non-ASCII name", with(&[("xé", "z")])),
        r("h2 CR LF in the method", but(":method", "GET /admin HTTP/1.1\r\nx: y\r\n\r\nGET")),
        r("h2 space in the method", but(":method", "GET /admin")),
        r("h2 CR LF in the path", but(":path", "/api/y HTTP/1.1\r\nx: y\r\n\r\nGET /admin")),
        r("h2 space in the path", but(":path", "/api/y HTTP/1.1")),
        r("h2 tab in the path", but(":path", "/api/y\tz")),
        // The `http` crate cuts a fragment off before anyone can see it: what is left is one path to everyone.
        row(
            "h2 fragment in the path",
            "CVE-2021-32779",
            but(":path", &format!("{PATH}#/../../admin")),
            &[200],
        )
        .reaching(Reaches::Whole),
        r("h2 path without a slash", but(":path", "api/y")),
        r("h2 absolute path", but(":path", "http://b.test/api/y")),
        r("h2 asterisk with GET", but(":path", "*")),
        r("h2 raw UTF-8 in the path", but(":path", "/api/é")),
        r("h2 raw UTF-8 in the query", but(":path", "/api/y?é")),
        r("h2 quote in the query", but(":path", "/api/y?\"")),
        r("h2 dots above the root", but(":path", "/../admin")),
        r("h2 encoded slash", but(":path", "/api/..%2fadmin")),
        r("h2 backslash", but(":path", "/api\\admin")),
        row("h2 dots", "CVE-2021-41773", but(":path", "/api/%2e%2e/admin"), &[401]),
        r("h2 path in the authority", but(":authority", "a.test/admin")),
        r("h2 userinfo", but(":authority", "u@a.test")),
        r("h2 port of letters", but(":authority", "a.test:port")),
        r("h2 large port", but(":authority", "a.test:65536")),
        r("h2 comma in the authority", but(":authority", "a.test,b.test")),
        r("h2 escape in the authority", but(":authority", "a%2etest")),
        r("h2 two last dots", but(":authority", "a.test..")),
        r("h2 empty authority", but(":authority", "")),
        r("h2 CR LF in the authority", but(":authority", "a.test\r\nx: y")),
        r("h2 malformed Host alone", asked(&[METHOD, SCHEME, TARGET, ("host", "a.test/admin")])),
        r("h2 scheme with a path", but(":scheme", "http://b.test/admin?")),
        r("h2 scheme of another kind", but(":scheme", "file")),
    ]
}

fn framing() -> Vec<Row> {
    const SOURCE: &str = "RFC 9113 §8.2.2";
    let connection = |name: &str, value: &str| {
        row(&format!("h2 {name}: {value}"), SOURCE, with(&[(name, value)]), REFUSED)
    };
    let post = |more: &[(&str, &str)], data: &[&[u8]]| {
        let head = fields(&[&[(":method", "POST"), SCHEME, AUTHORITY, TARGET], more].concat());
        let mut bytes = frame(HEADERS, END_HEADERS, 1, &head);
        for (at, part) in data.iter().enumerate() {
            bytes.extend(frame(DATA, u8::from(at + 1 == data.len()), 1, part));
        }
        bytes
    };
    let length = |name: &str, value: &str, data: &[&[u8]]| {
        row(name, "RFC 9113 §8.1.1", post(&[("content-length", value)], data), REFUSED)
            .reaching(Reaches::Head)
    };
    vec![
        connection("connection", "close"),
        connection("connection", "x-forwarded-for"),
        connection("proxy-connection", "keep-alive"),
        connection("keep-alive", "timeout=5"),
        connection("transfer-encoding", "chunked"),
        connection("upgrade", "h2c"),
        connection("te", "gzip"),
        length("h2 CL too small", "1", &[b"hello"]),
        length("h2 CL too large", "9", &[b"hello"]),
        length("h2 CL of nothing", "0", &[b"hello"]),
        length("h2 CL in parts", "6", &[b"hello", b" world"]),
        length("h2 CL twice", "5, 5", &[b"hello"]),
        length("h2 CL plus", "+5", &[b"hello"]),
        row(
            "h2 two CLs",
            "RFC 9110 §8.6",
            post(&[("content-length", "5"), ("content-length", "6")], &[b"hello"]),
            REFUSED,
        )
        .reaching(Reaches::Head),
        row(
            "h2 CL without a body",
            "RFC 9113 §8.1.1",
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &fields(&[(":method", "POST"), SCHEME, AUTHORITY, TARGET, ("content-length", "5")]),
            ),
            REFUSED,
        ),
        row(
            "h2 a request in the body",
            "CVE-2021-33193",
            post(&[], &[b"GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n"]),
            &[200],
        )
        .reaching(Reaches::Whole),
        row("h2 te: trailers", SOURCE, with(&[("te", "trailers")]), &[200]).reaching(Reaches::Whole),
        row("h2 split cookies", "RFC 9113 §8.2.3", with(&[("cookie", "a=1"), ("cookie", "b=2")]), &[200])
            .reaching(Reaches::Whole),
    ]
}

fn frames() -> Vec<Row> {
    const SOURCE: &str = "RFC 9113 §5.1";
    let head = fields(&[METHOD, SCHEME, AUTHORITY, TARGET]);
    let of = |name: &str, source, bytes: Vec<u8>| row(name, source, bytes, ENDED);
    let open = frame(HEADERS, END_HEADERS, 1, &head);
    vec![
        of("h2 DATA on stream 0", "RFC 9113 §6.1", frame(DATA, 0, 0, b"x")),
        of("h2 DATA on an idle stream", SOURCE, frame(DATA, 0, 1, b"x")),
        of("h2 even stream", "RFC 9113 §5.1.1", frame(HEADERS, END_HEADERS | END_STREAM, 2, &head)),
        of("h2 HEADERS on stream 0", "RFC 9113 §6.2", frame(HEADERS, END_HEADERS | END_STREAM, 0, &head)),
        of("h2 CONTINUATION alone", "RFC 9113 §6.10", frame(CONTINUATION, END_HEADERS, 1, &head)),
        of(
            "h2 frame inside of a head",
            "RFC 9113 §6.10",
            [frame(HEADERS, 0, 1, &head), frame(DATA, 0, 1, b"x")].concat(),
        ),
        of(
            "h2 CONTINUATION of another stream",
            "RFC 9113 §6.10",
            [frame(HEADERS, 0, 1, &head), frame(CONTINUATION, END_HEADERS, 3, b"")].concat(),
        ),
        of(
            "h2 PUSH_PROMISE of a client",
            "RFC 9113 §8.4",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
        ),
        of("h2 SETTINGS of a half size", "RFC 9113 §6.5", frame(SETTINGS, 0, 0, &[0, 4, 0])),
        of("h2 SETTINGS on a stream", "RFC 9113 §6.5", frame(SETTINGS, 0, 1, &[])),
        of(
            "h2 large initial window",
            "RFC 9113 §6.5.2",
            frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
        ),
        of("h2 small frame size", "RFC 9113 §6.5.2", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        of("h2 frame too large", "RFC 9113 §4.2", frame(DATA, 0, 1, &[0; 17_000])),
        of("h2 RST_STREAM of an idle stream", "RFC 9113 §6.4", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        of("h2 WINDOW_UPDATE of nothing", "RFC 9113 §6.9", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        of(
            "h2 window beyond its bound",
            "RFC 9113 §6.9.1",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        of(
            "h2 padding longer than the frame",
            "RFC 9113 §6.1",
            [open.clone(), frame(DATA, PADDED, 1, &[9, 1])].concat(),
        )
        .reaching(Reaches::Head),
        of(
            "h2 HPACK index of nothing",
            "RFC 7541 §2.3.3",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f]),
        ),
        of("h2 HPACK index zero", "RFC 7541 §6.1", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])),
        of(
            "h2 HPACK integer without an end",
            "RFC 7541 §5.1",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&[0xff][..], &[0xff; 20]].concat()),
        ),
        of(
            "h2 HPACK text cut off",
            "RFC 7541 §5.2",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 50, b'x']),
        ),
        of(
            "h2 HPACK padding of a Huffman text",
            "RFC 7541 §5.2",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0, 0x81, 0x00, 0]),
        ),
        row(
            "h2 stream depends on itself",
            "RFC 9113 §5.3.1",
            [frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 16]), with(&[])].concat(),
            &[200, RESET, GONE],
        )
        .reaching(Reaches::Whole),
        row(
            "h2 trailers without an end",
            "RFC 9113 §8.1",
            [open.clone(), frame(HEADERS, END_HEADERS, 1, &field("x", "y"))].concat(),
            REFUSED,
        )
        .reaching(Reaches::Head),
        // The `h2` crate drops it, as if it had not been there: the request is the one of its head.
        row(
            "h2 trailers with a pseudo-header",
            "RFC 9113 §8.1",
            [open, frame(HEADERS, END_HEADERS | END_STREAM, 1, &field(":path", "/admin"))].concat(),
            &[200],
        )
        .reaching(Reaches::Whole),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    [pseudo_headers(), values(), framing(), frames()].concat()
}

#[test]
fn what_http2_can_say_and_nobody_may_is_refused() {
    play(rows(), ask);
}
