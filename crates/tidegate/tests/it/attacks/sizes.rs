//! Everything that can be too large: refused at its bound, with the status that says what it was.

use super::row::{PATH, Reaches, Row, head, play, post, row, status, target};

fn long() -> String {
    "x".repeat(70_000)
}

pub(super) fn rows() -> Vec<Row> {
    let long = long();
    let get = |headers: &str| head(&format!("GET {PATH} HTTP/1.1"), &format!("Host: a.test\r\n{headers}"));
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let body = |name: &str, source, bytes, answers| row(name, source, bytes, answers).reaching(Reaches::Head);
    vec![
        row("long value", "RFC 6585 §5", get(&format!("X: {long}\r\n")), &[431]),
        row("long name", "RFC 6585 §5", get(&format!("{long}: x\r\n")), &[431]),
        row("long cookie", "RFC 6585 §5", get(&format!("Cookie: a={long}\r\n")), &[431]),
        row("many fields", "RFC 6585 §5", get(&"X: y\r\n".repeat(200)), &[431]),
        row(
            "many names",
            "CVE-2011-4885",
            get(&(0..200).map(|n| format!("X-{n}: y\r\n")).collect::<String>()),
            &[431],
        ),
        row("many empty values", "RFC 6585 §5", get(&"X:\r\n".repeat(20_000)), &[431]),
        row("long target", "RFC 9110 §15.5.15", target(&format!("/api/{long}")), &[414, 431]),
        row("long query", "RFC 9110 §15.5.15", target(&format!("{PATH}?{long}")), &[414, 431]),
        row("deep path", "RFC 9110 §15.5.15", target(&"/a".repeat(20_000)), &[414, 431]),
        row("many dots", "RFC 9110 §15.5.15", target(&format!("/api{}", "/..".repeat(10_000))), &[414, 431]),
        row(
            "long host",
            "RFC 1035 §2.3.4",
            head(&format!("GET {PATH} HTTP/1.1"), &format!("Host: {long}\r\n")),
            &[400, 431],
        ),
        row(
            "long method",
            "RFC 9110 §15.6.2",
            head(&format!("{long} {PATH} HTTP/1.1"), "Host: a.test\r\n"),
            &[400, 414, 431, 501],
        ),
        row("endless line", "RFC 9112 §3", long.clone(), &[400, 414, 431]),
        row(
            "endless head",
            "RFC 6585 §5",
            format!("GET {PATH} HTTP/1.1\r\nHost: a.test\r\nX: {}", long.repeat(4)),
            &[431],
        ),
        row("empty lines", "RFC 9112 §2.2", "\r\n".repeat(50_000), &[400]),
        body(
            "long trailers",
            "RFC 9112 §7.1.2",
            chunked(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(70_000))),
            &[400, 413, 431],
        ),
        body(
            "many trailers",
            "RFC 9112 §7.1.2",
            chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(5_000))),
            &[400, 413, 431],
        ),
        body(
            "long chunk extension",
            "CVE-2023-39326",
            chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "y".repeat(70_000))),
            &[400, 413, 431],
        ),
        body(
            "many chunk extensions",
            "CVE-2023-39326",
            chunked(&format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "y".repeat(900)).repeat(20))),
            &[400, 413, 431],
        ),
        body("large body", "RFC 9110 §15.5.14", post("Content-Length: 2000\r\n", &"x".repeat(2000)), &[413]),
        body(
            "announced body",
            "RFC 9110 §15.5.14",
            post("Content-Length: 9223372036854775807\r\n", "x"),
            &[413],
        ),
        body(
            "large chunks",
            "RFC 9110 §15.5.14",
            chunked(&format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000))),
            &[413],
        ),
        body(
            "announced chunk",
            "RFC 9112 §7.1",
            chunked(&format!("7fffffffffffffff\r\n{}", "x".repeat(2000))),
            &[413],
        ),
        body(
            "many small chunks",
            "RFC 9110 §15.5.14",
            chunked(&format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(2000))),
            &[413],
        ),
    ]
}

#[test]
fn what_is_too_large_is_refused_at_its_bound() {
    play(rows(), status);
}
