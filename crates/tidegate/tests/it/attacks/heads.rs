//! Heads that are no heads: line ends, names, values, request lines, versions, upgrades.

use super::row::{BAD, HIDDEN, PATH, Reaches, Row, head, play, post, row, status, target};

fn lines() -> Vec<Row> {
    let get = format!("GET {PATH} HTTP/1.1");
    let host = "Host: a.test\r\n";
    let with = |line: &str| head(&get, &format!("{host}{line}\r\n"));
    vec![
        row("bare LF", "RFC 9112 §2.2", format!("{get}\nHost: a.test\n\n"), BAD),
        row("LF in the head", "RFC 9112 §2.2", format!("{get}\r\nHost: a.test\nX: y\r\n\r\n"), BAD),
        row("LF CR", "RFC 9112 §2.2", format!("{get}\n\rHost: a.test\n\r\n\r"), BAD),
        row("LF before", "RFC 9112 §2.2", format!("\n{get}\r\n{host}\r\n"), BAD),
        row("CR CR LF", "RFC 9112 §2.2", format!("{get}\r\r\n{host}\r\n"), BAD),
        row("bare CR", "RFC 9112 §2.2", with("X: a\rTransfer-Encoding: chunked"), BAD),
        row("bare CR at the end", "RFC 9112 §2.2", with("X: a\r"), BAD),
        row("folded", "RFC 9112 §5.2", with("X: a\r\n b"), BAD),
        row("space before the first field", "RFC 9112 §2.2", head(&get, &format!(" X: y\r\n{host}")), BAD),
        row("NUL in a value", "RFC 9110 §5.5", with("X: a\0b"), BAD),
        row("control in a value", "RFC 9110 §5.5", with("X: a\u{1}b"), BAD),
        row("DEL in a value", "RFC 9110 §5.5", with("X: a\u{7f}b"), BAD),
        row("space in a name", "RFC 9110 §5.1", with("X y: z"), BAD),
        row("space before the colon", "CVE-2019-16869", with("X : z"), BAD),
        row("NUL in a name", "RFC 9110 §5.1", with("X\0: z"), BAD),
        row("empty name", "CVE-2023-25725", with(": z"), BAD),
        row("no colon", "RFC 9112 §5", with("X"), BAD),
        row("non-ASCII name", "RFC 9110 §5.1", with("Xé: z"), BAD),
        row("brackets in a name", "RFC 9110 §5.1", with("X[]: z"), BAD),
        row("Connection is no list", "RFC 9110 §7.6.1", with("Connection: a b"), BAD),
    ]
}

fn request_lines() -> Vec<Row> {
    let host = "Host: a.test\r\n";
    let line = |name: &str, source, line: &str| row(name, source, head(&line.replace("$", PATH), host), BAD);
    vec![
        line("two spaces", "RFC 9112 §3", "GET  $ HTTP/1.1"),
        line("two spaces behind", "RFC 9112 §3", "GET $  HTTP/1.1"),
        line("tab", "RFC 9112 §3", "GET\t$ HTTP/1.1"),
        line("vertical tab", "RFC 9112 §3", "GET\u{b}$ HTTP/1.1"),
        line("leading space", "RFC 9112 §3", " GET $ HTTP/1.1"),
        line("trailing word", "RFC 9112 §3", "GET $ HTTP/1.1 X"),
        line("trailing space", "RFC 9112 §3", "GET $ HTTP/1.1 "),
        line("no version", "RFC 9112 §3", "GET $"),
        line("no target", "RFC 9112 §3", "GET HTTP/1.1"),
        line("small version", "RFC 9112 §2.3", "GET $ http/1.1"),
        line("version 1.11", "RFC 9112 §2.3", "GET $ HTTP/1.11"),
        line("version 01.1", "RFC 9112 §2.3", "GET $ HTTP/01.1"),
        line("bad method", "RFC 9110 §9.1", "GE(T $ HTTP/1.1"),
        line("method with a colon", "RFC 9110 §9.1", "GET: $ HTTP/1.1"),
        line("NUL before", "RFC 9112 §3", "\0GET $ HTTP/1.1"),
        line("byte order mark", "RFC 9112 §3", "\u{feff}GET $ HTTP/1.1"),
        row("HTTP/0.9", "RFC 9112 Appendix C.1", format!("GET {PATH}\r\n\r\n"), &[400, 505]),
        row(
            "HTTP/0.9 with a version",
            "RFC 9110 §2.5",
            head(&format!("GET {PATH} HTTP/0.9"), host),
            &[400, 505],
        ),
        row("version 2.0", "RFC 9110 §15.6.6", head(&format!("GET {PATH} HTTP/2.0"), host), &[400, 505]),
        row("version 1.2", "RFC 9110 §2.5", head(&format!("GET {PATH} HTTP/1.2"), host), &[400, 505]),
        row(
            "TLS on a plain port",
            "RFC 9112 §3",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
            BAD,
        ),
        row("target without a slash", "RFC 9112 §3.2", target("admin"), BAD),
        row("target is a host", "RFC 9112 §3.2.3", target("a.test:80"), BAD),
        row("asterisk with GET", "RFC 9112 §3.2.4", target("*"), BAD),
        row("fragment", "CVE-2021-32779", target(&format!("{PATH}#y")), BAD),
        row("fragment in the query", "CVE-2021-32779", target(&format!("{PATH}?a#y")), BAD),
        row("raw UTF-8", "RFC 9112 §3.2", target("/api/é"), BAD),
        row("quote in the target", "RFC 3986 §2", target("/api/\"x"), BAD),
        row("space in the target", "RFC 9112 §3.2", target(&format!("{PATH} y")), BAD),
        row("CR in the target", "CVE-2019-9740", target(&format!("{PATH}\rX:y")), BAD),
    ]
}

fn upgrades() -> Vec<Row> {
    let get = format!("GET {PATH} HTTP/1.1");
    let whole =
        |name: &str, source, bytes: Vec<u8>| row(name, source, bytes, &[200]).reaching(Reaches::Whole);
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    vec![
        row(
            "CONNECT",
            "RFC 9110 §9.3.6",
            head("CONNECT a.test:443 HTTP/1.1", "Host: a.test:443\r\n"),
            &[501],
        ),
        row(
            "CONNECT to the inside",
            "RFC 9110 §9.3.6",
            head("CONNECT 127.0.0.1:22 HTTP/1.1", "Host: 127.0.0.1:22\r\n"),
            &[501],
        ),
        row(
            "CONNECT to a path",
            "RFC 9112 §3.2.3",
            head(&format!("CONNECT {PATH} HTTP/1.1"), "Host: a.test\r\n"),
            BAD,
        ),
        row("Expect", "RFC 9110 §10.1.1", post("Expect: 200-ok\r\nContent-Length: 0\r\n", ""), &[417]),
        row(
            "Expect twice",
            "RFC 9110 §10.1.1",
            post("Expect: 100-continue, x\r\nContent-Length: 0\r\n", ""),
            &[417],
        ),
        whole(
            "h2c upgrade",
            "Bishop Fox, h2c Smuggling (2020)",
            head(&get, &format!("Host: a.test\r\n{h2c}")).into_iter().chain(preface.bytes()).collect(),
        ),
        whole(
            "h2c upgrade without Connection",
            "Bishop Fox, h2c Smuggling (2020)",
            head(
                &get,
                "Host: a.test\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: close\r\n",
            ),
        ),
        whole(
            "WebSocket of an odd version",
            "Egorov, What's Wrong with WebSocket APIs (2019)",
            head(
                &get,
                "Host: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            )
            .into_iter()
            .chain(HIDDEN.replace("/api/hidden", "/admin").into_bytes())
            .collect(),
        ),
        whole(
            "upgrade to what nobody speaks",
            "RFC 9110 §7.8",
            head(&get, "Host: a.test\r\nConnection: Upgrade, close\r\nUpgrade: x, websocket\r\n"),
        ),
        row(
            "HTTP/2 preface, then nothing of it",
            "RFC 9113 §3.4",
            format!("{preface}GET {PATH} HTTP/1.1\r\n\r\n"),
            &[0],
        ),
    ]
}

pub(super) fn rows() -> Vec<Row> {
    [lines(), request_lines(), upgrades()].concat()
}

#[test]
fn a_head_that_is_none_is_refused_and_no_upgrade_is_a_tunnel() {
    play(rows(), status);
}
