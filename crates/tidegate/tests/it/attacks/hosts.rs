//! Hosts of two meanings, and cookies: what names the addressee and what names the session.

use super::row::{BAD, PATH, Reaches, Row, head, play, row, status};

fn hosts() -> Vec<Row> {
    let get = format!("GET {PATH} HTTP/1.1");
    let host = "Host: a.test\r\n";
    let hosted =
        |name: &str, source, value: &str| row(name, source, head(&get, &format!("Host: {value}\r\n")), BAD);
    let absolute = |name: &str, source, target: &str| {
        row(name, source, head(&format!("GET {target} HTTP/1.1"), host), BAD)
    };
    vec![
        row("no Host", "RFC 9112 §3.2", head(&get, "X: y\r\n"), BAD),
        row("two Hosts", "RFC 9112 §3.2", head(&get, "Host: a.test\r\nHost: b.test\r\n"), BAD),
        row("two Hosts alike", "RFC 9112 §3.2", head(&get, "Host: a.test\r\nHost: a.test\r\n"), BAD),
        row(
            "two Hosts on HTTP/1.0",
            "RFC 9112 §3.2",
            head(&format!("GET {PATH} HTTP/1.0"), "Host: a.test\r\nhost: b.test\r\n"),
            BAD,
        ),
        row("Host folded", "RFC 9112 §5.2", head(&get, "Host:\r\n a.test\r\n"), BAD),
        row("Host behind a space", "Kettle, Cracking the Lens (2017)", head(&get, " Host: a.test\r\n"), BAD),
        hosted("Host empty", "RFC 9112 §3.2", ""),
        hosted("Host list", "RFC 9110 §7.2", "a.test, b.test"),
        hosted("Host space", "RFC 9110 §7.2", "a.test b.test"),
        hosted("Host path", "RFC 9110 §7.2", "a.test/admin"),
        hosted("Host query", "RFC 9110 §7.2", "a.test?x"),
        hosted("Host userinfo", "RFC 9110 §4.2.4", "user@a.test"),
        hosted("Host userinfo behind a port", "RFC 9110 §4.2.4", "a.test:80@b.test"),
        hosted("Host port", "RFC 9110 §7.2", "a.test:port"),
        hosted("Host two ports", "RFC 9110 §7.2", "a.test:80:443"),
        hosted("Host large port", "RFC 9110 §7.2", "a.test:65536"),
        hosted("Host port empty", "RFC 9110 §7.2", "a.test:"),
        hosted("Host negative port", "RFC 9110 §7.2", "a.test:-80"),
        hosted("Host fragment", "RFC 9110 §7.2", "a.test#x"),
        hosted("Host backslash", "RFC 3986 §3.2.2", "a.test\\b.test"),
        hosted("Host escape", "RFC 3986 §3.2.2", "a%2etest"),
        hosted("Host scheme", "RFC 9110 §7.2", "http://a.test"),
        hosted("Host wildcard", "RFC 3986 §3.2.2", "*.test"),
        hosted("Host two last dots", "RFC 1034 §3.1", "a.test.."),
        hosted("Host empty label", "RFC 1034 §3.1", "a..test"),
        hosted("Host open bracket", "RFC 3986 §3.2.2", "[::1"),
        hosted("Host bare IPv6", "RFC 3986 §3.2.2", "::1"),
        hosted("Host zone", "RFC 3986 §3.2.2", "[fe80::1%25eth0]"),
        hosted("Host non-ASCII", "RFC 3986 §3.2.2", "é.test"),
        absolute("absolute, other host", "RFC 9112 §3.2.2", "http://b.test/api/y"),
        absolute("absolute, other port", "RFC 9112 §3.2.2", "http://a.test:81/api/y"),
        absolute("absolute, userinfo", "RFC 9110 §4.2.4", "http://u@a.test/api/y"),
        absolute("absolute, userinfo is the host", "RFC 9110 §4.2.4", "http://a.test@b.test/api/y"),
        absolute("absolute, ftp", "RFC 9112 §3.2.2", "ftp://a.test/api/y"),
        absolute("absolute, file", "RFC 9112 §3.2.2", "file:///etc/passwd"),
        absolute("absolute, no host", "RFC 9112 §3.2.2", "http:///api/y"),
        absolute("absolute, one slash", "RFC 9112 §3.2.2", "http:/a.test/api/y"),
        absolute("absolute, backslashes", "RFC 3986 §3", "http:\\\\a.test\\api\\y"),
        row(
            "absolute, no Host",
            "RFC 9112 §3.2",
            head(&format!("GET http://a.test{PATH} HTTP/1.1"), "X: y\r\n"),
            BAD,
        ),
        row(
            "absolute, same host in capitals",
            "RFC 9112 §3.2.2",
            head(&format!("GET HTTP://A.test{PATH} HTTP/1.1"), "Host: a.TEST\r\nConnection: close\r\n"),
            &[200],
        )
        .reaching(Reaches::Whole),
    ]
}

/// Cookies are the upstream's own matter: they pass whole, in one line, and none of their forms moves a border.
fn cookies() -> Vec<Row> {
    let get = format!("GET {PATH} HTTP/1.1");
    let cookie = |name: &str, source, lines: &str| {
        row(name, source, head(&get, &format!("Host: a.test\r\nConnection: close\r\n{lines}\r\n")), &[200])
            .reaching(Reaches::Whole)
    };
    vec![
        cookie("two Cookie lines", "RFC 6265 §5.4", "Cookie: a=1\r\nCookie: b=2"),
        cookie("quoted semicolon", "RFC 6265 §4.1.1", "Cookie: a=\"1; b=2\""),
        cookie("$Version", "RFC 2965 §3.3.4", "Cookie: $Version=1; a=1; $Path=/admin"),
        cookie("nameless", "RFC 6265 §5.2", "Cookie: =a=1; b"),
        row("CR in a cookie", "RFC 9110 §5.5", head(&get, "Host: a.test\r\nCookie: a=1\rb=2\r\n"), BAD),
        row("NUL in a cookie", "RFC 9110 §5.5", head(&get, "Host: a.test\r\nCookie: a=1\0\r\n"), BAD),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    [hosts(), cookies()].concat()
}

#[test]
fn a_host_of_two_meanings_is_refused() {
    play(rows(), status);
}
