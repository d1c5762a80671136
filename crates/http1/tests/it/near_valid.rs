//! Messages that are valid, or nearly so: a valid one with a few bytes put in, taken out or changed.

use proptest::{collection::vec, prelude::*, sample::select};

const REQUEST_LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "POST /a/b?c=d HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "GET http://a/x HTTP/1.1",
    "DELETE /%2f;x?[0]=|{y} HTTP/1.1",
    "PUT /y HTTP/1.0",
];
const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK",
    "HTTP/1.1 404 ",
    "HTTP/1.1 200",
    "HTTP/1.0 200 OK",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified",
];
const FIELDS: &[&str] = &[
    "Accept: */*",
    "Connection: keep-alive",
    "Connection: close",
    "X-Empty:",
    "X-Space: \t a \t b \t",
    "X-Text: \u{e9}",
    "Cookie: a=b; c=d",
    "Expect: 100-continue",
    "X-Twice: 1",
    "X-Twice: 2",
];
const BODIES: &[(&str, &str)] = &[
    ("", ""),
    ("Content-Length: 0\r\n", ""),
    ("Content-Length: 5\r\n", "hello"),
    ("content-length: 07\r\n", "hello, "),
    ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("transfer-encoding: Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    (
        "Transfer-Encoding: chunked\r\n",
        "5;a=b;c=\"d\"\r\nhello\r\nA\r\n0123456789\r\n00\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n",
    ),
];
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    "\0",
    ":",
    ";",
    ",",
    "0",
    "5",
    "a",
    "f",
    "x",
    "-",
    "+",
    "\"",
    "\\",
    "#",
    "*",
    "/",
    "?",
    "@",
    "[",
    "]",
    "%",
    "=",
    "HTTP/1.1",
    "chunked",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\u{e9}",
    "\x7f",
    " \r\n",
    ", 5",
];

fn assemble(start: &str, host: bool, fields: &[&str], (framing, body): (&str, &str)) -> Vec<u8> {
    let host = if host { "Host: a\r\n" } else { "" };
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{start}\r\n{host}{fields}{framing}\r\n{body}").into_bytes()
}

pub fn valid_request() -> impl Strategy<Value = Vec<u8>> {
    (select(REQUEST_LINES), vec(select(FIELDS), 0..4), select(BODIES)).prop_map(|(start, fields, body)| {
        // HTTP/1.0 knows no chunks.
        let body = if start.ends_with("1.0") { BODIES[2] } else { body };
        assemble(start, true, &fields, body)
    })
}

pub fn valid_response() -> impl Strategy<Value = Vec<u8>> {
    (select(STATUS_LINES), vec(select(FIELDS), 0..4), select(BODIES)).prop_map(|(start, fields, body)| {
        let body = if start.contains("1.0") || start.contains(" 204") || start.contains(" 304") {
            BODIES[0]
        } else {
            body
        };
        assemble(start, false, &fields, body)
    })
}

/// A change at a place that is a share of the length.
#[derive(Debug, Clone)]
enum Change {
    Insert(usize, &'static str),
    Remove(usize),
    Replace(usize, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let place = 0usize..10_000;
    prop_oneof![
        (place.clone(), select(PIECES)).prop_map(|(at, piece)| Change::Insert(at, piece)),
        place.clone().prop_map(Change::Remove),
        (place, select(PIECES)).prop_map(|(at, piece)| Change::Replace(at, piece)),
    ]
}

/// The same message with up to three changes.
pub fn nearly(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (valid, vec(change(), 0..=3)).prop_map(|(mut bytes, changes)| {
        for change in changes {
            match change {
                Change::Insert(at, piece) => {
                    let at = at % (bytes.len() + 1);
                    bytes.splice(at..at, piece.bytes());
                }
                Change::Remove(at) if !bytes.is_empty() => drop(bytes.remove(at % bytes.len())),
                Change::Replace(at, piece) if !bytes.is_empty() => {
                    let at = at % bytes.len();
                    bytes.splice(at..=at, piece.bytes());
                }
                Change::Remove(_) | Change::Replace(..) => {}
            }
        }
        bytes
    })
}
