//! HTTP/1.1 messages of more than one meaning, and paths of more than one name.

use std::{
    io::{BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::super::harness::{Answer, Gateway, Upstream};

/// A row: name, source, request line and headers (host is added unless the row has one), body, statuses.
struct Row(&'static str, &'static str, Vec<u8>, &'static [u16]);

const BAD: &[u16] = &[400];
const NOT_IMPLEMENTED: &[u16] = &[501];

/// A POST to a route that takes it, with these header lines and this body.
fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /api/x HTTP/1.1\r\nHost: a.test\r\n{headers}\r\n{body}").into_bytes()
}

/// A GET of this target.
fn target(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").into_bytes()
}

fn head(line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\n{headers}\r\n").into_bytes()
}

/// A second request that must never be seen.
const HIDDEN: &str = "GET /api/hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn framing() -> Vec<Row> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let both = |first: &str, second: &str| post(&format!("{first}\r\n{second}\r\n"), "0\r\n\r\n");
    let length = |value: &str| post(&format!("Content-Length: {value}\r\n"), &format!("hello{HIDDEN}"));
    let coding = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n");
    let chunks = |body: &str| post(chunked, body);
    vec![
        Row("CL.TE", "RFC 9112 §6.1", both("Content-Length: 5", "Transfer-Encoding: chunked"), BAD),
        Row("TE.CL", "RFC 9112 §6.1", both("Transfer-Encoding: chunked", "Content-Length: 5"), BAD),
        Row("CL.CL", "RFC 9112 §6.3", both("Content-Length: 5", "Content-Length: 6"), BAD),
        Row("CL.CL alike", "RFC 9112 §6.3", both("Content-Length: 5", "Content-Length: 5"), BAD),
        Row("CL list", "RFC 9112 §6.3", length("5, 5"), BAD),
        Row("CL plus", "RFC 9110 §8.6", length("+5"), BAD),
        Row("CL minus", "RFC 9110 §8.6", length("-5"), BAD),
        Row("CL hex", "RFC 9110 §8.6", length("0x5"), BAD),
        Row("CL spaces", "RFC 9110 §8.6", length("5 5"), BAD),
        Row("CL empty", "RFC 9110 §8.6", length(""), BAD),
        Row("CL overflow", "CVE-2021-40346", length("18446744073709551621"), BAD),
        Row("CL underscore", "RFC 9110 §8.6", length("5_"), BAD),
        Row("TE twice chunked", "RFC 9112 §6.1", coding("chunked, chunked"), BAD),
        Row("TE identity", "RFC 9112 §7", coding("identity"), &[400, 501]),
        Row("TE xchunked", "CVE-2019-16276", coding("xchunked"), &[400, 501]),
        Row("TE gzip", "RFC 9112 §6.1", coding("gzip"), &[400, 501]),
        Row("TE not last", "RFC 9112 §6.3", coding("chunked, gzip"), &[400, 501]),
        Row("TE vertical tab", "CVE-2019-18277", coding("\u{b}chunked"), BAD),
        Row("TE parameter", "RFC 9112 §7.1", coding("chunked;q=1"), &[400, 501]),
        Row(
            "TE lines",
            "RFC 9112 §6.1",
            both("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
            &[400, 501],
        ),
        Row(
            "TE chunked lines",
            "RFC 9112 §6.1",
            both("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
            BAD,
        ),
        Row("TE space colon", "RFC 9112 §5.1", both("X: y", "Transfer-Encoding : chunked"), BAD),
        Row("TE folded", "RFC 9112 §5.2", both("X: y", " Transfer-Encoding: chunked"), BAD),
        Row("TE tab folded", "RFC 9112 §5.2", both("Transfer-Encoding:", "\tchunked"), BAD),
        Row(
            "TE HTTP/1.0",
            "RFC 9112 §6.1",
            head("POST /api/x HTTP/1.0", "Host: a.test\r\nTransfer-Encoding: chunked\r\n"),
            BAD,
        ),
        Row("chunk LF", "CVE-2024-52304", chunks("5\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk 0x", "RFC 9112 §7.1", chunks("0x5\r\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk plus", "RFC 9112 §7.1", chunks("+5\r\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk minus", "RFC 9112 §7.1", chunks("-5\r\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk space", "RFC 9112 §7.1", chunks("5 \r\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk empty", "RFC 9112 §7.1", chunks("\r\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk overflow", "CVE-2020-11080", chunks("10000000000000005\r\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk no end", "RFC 9112 §7.1", chunks("5\r\nhelloX\r\n0\r\n\r\n"), BAD),
        Row("chunk end LF", "CVE-2025-66373", chunks("5\r\nhello\n0\r\n\r\n"), BAD),
        Row("chunk extension LF", "CVE-2025-55315", chunks("5;x\nhello\r\n0\r\n\r\n"), BAD),
        Row("chunk extension CR", "CVE-2025-55315", chunks("5;x\rhello\r\n0\r\n\r\n"), BAD),
        Row("trailer folded", "RFC 9112 §7.1.2", chunks("0\r\nX: y\r\n z\r\n\r\n"), BAD),
        Row("trailer LF", "RFC 9112 §7.1.2", chunks("0\r\nX: y\n\r\n"), BAD),
        Row("trailer name", "RFC 9110 §5.1", chunks("0\r\nX y: z\r\n\r\n"), BAD),
    ]
}

fn heads() -> Vec<Row> {
    let get = "GET /api/x HTTP/1.1";
    let host = "Host: a.test\r\n";
    let with = |line: &str| head(get, &format!("{host}{line}\r\n"));
    let hosted = |value: &str| head(get, &format!("Host: {value}\r\n"));
    vec![
        Row("bare LF", "RFC 9112 §2.2", b"GET /api/x HTTP/1.1\nHost: a.test\n\n".to_vec(), BAD),
        Row(
            "LF in head",
            "RFC 9112 §2.2",
            b"GET /api/x HTTP/1.1\r\nHost: a.test\nX: y\r\n\r\n".to_vec(),
            BAD,
        ),
        Row("bare CR", "RFC 9112 §2.2", with("X: a\rTransfer-Encoding: chunked"), BAD),
        Row("NUL in value", "RFC 9110 §5.5", with("X: a\0b"), BAD),
        Row("control in value", "RFC 9110 §5.5", with("X: a\u{1}b"), BAD),
        Row("space in name", "RFC 9110 §5.1", with("X y: z"), BAD),
        Row("NUL in name", "RFC 9110 §5.1", with("X\0: z"), BAD),
        Row("empty name", "RFC 9110 §5.1", with(": z"), BAD),
        Row("no colon", "RFC 9112 §5", with("X"), BAD),
        Row("non-ASCII name", "RFC 9110 §5.1", with("Xé: z"), BAD),
        Row("no Host", "RFC 9112 §3.2", head(get, "X: y\r\n"), BAD),
        Row("two Hosts", "RFC 9112 §3.2", head(get, "Host: a.test\r\nHost: b.test\r\n"), BAD),
        Row("two Hosts alike", "RFC 9112 §3.2", head(get, "Host: a.test\r\nHost: a.test\r\n"), BAD),
        Row("Host list", "RFC 9110 §7.2", hosted("a.test, b.test"), BAD),
        Row("Host space", "RFC 9110 §7.2", hosted("a.test b.test"), BAD),
        Row("Host path", "RFC 9110 §7.2", hosted("a.test/admin"), BAD),
        Row("Host userinfo", "RFC 9110 §4.2.4", hosted("user@a.test"), BAD),
        Row("Host port", "RFC 9110 §7.2", hosted("a.test:port"), BAD),
        Row("Host fragment", "RFC 9110 §7.2", hosted("a.test#x"), BAD),
        Row("Host folded", "RFC 9112 §5.2", head(get, "Host:\r\n a.test\r\n"), BAD),
        Row("absolute other host", "RFC 9112 §3.2.2", head("GET http://b.test/api/x HTTP/1.1", host), BAD),
        Row("absolute userinfo", "RFC 9110 §4.2.4", head("GET http://u@a.test/api/x HTTP/1.1", host), BAD),
        Row("absolute ftp", "RFC 9112 §3.2.2", head("GET ftp://a.test/api/x HTTP/1.1", host), BAD),
        Row("two spaces", "RFC 9112 §3", head("GET  /api/x HTTP/1.1", host), BAD),
        Row("tab", "RFC 9112 §3", head("GET\t/api/x HTTP/1.1", host), BAD),
        Row("leading space", "RFC 9112 §3", head(" GET /api/x HTTP/1.1", host), BAD),
        Row("trailing word", "RFC 9112 §3", head("GET /api/x HTTP/1.1 X", host), BAD),
        Row("no version", "RFC 9112 §3", head("GET /api/x", host), BAD),
        Row("small version", "RFC 9112 §2.3", head("GET /api/x http/1.1", host), BAD),
        Row("version 2.0", "RFC 9110 §15.6.6", head("GET /api/x HTTP/2.0", host), &[400, 505]),
        Row("version 1.2", "RFC 9110 §2.5", head("GET /api/x HTTP/1.2", host), &[400, 505]),
        Row("version 1.11", "RFC 9112 §2.3", head("GET /api/x HTTP/1.11", host), BAD),
        Row("bad method", "RFC 9110 §9.1", head("GE(T /api/x HTTP/1.1", host), BAD),
        Row("NUL before", "RFC 9112 §3", head("\0GET /api/x HTTP/1.1", host), BAD),
        Row("no slash", "RFC 9112 §3.2", target("admin"), BAD),
        Row("asterisk GET", "RFC 9112 §3.2.4", target("*"), BAD),
        Row("fragment", "RFC 9112 §3.2", target("/api/x#y"), BAD),
        Row("raw UTF-8", "RFC 9112 §3.2", target("/api/é"), BAD),
        Row("quote in target", "RFC 3986 §2", target("/api/\"x"), BAD),
        Row(
            "CONNECT",
            "RFC 9110 §9.3.6",
            head("CONNECT a.test:443 HTTP/1.1", "Host: a.test:443\r\n"),
            NOT_IMPLEMENTED,
        ),
        Row("Expect", "RFC 9110 §10.1.1", post("Expect: 200-ok\r\nContent-Length: 0\r\n", ""), &[417]),
    ]
}

fn paths() -> Vec<Row> {
    let guarded: &[u16] = &[401];
    vec![
        Row("encoded dots", "CVE-2021-41773", target("/api/%2e%2e/admin"), guarded),
        Row("dots", "RFC 3986 §5.2.4", target("/api/../admin"), guarded),
        Row("mixed dots", "CVE-2021-41773", target("/api/.%2E/admin"), guarded),
        Row("dot", "RFC 3986 §5.2.4", target("/./admin"), guarded),
        Row("merged slashes", "CVE-2021-43798", target("//admin"), guarded),
        Row("more slashes", "CVE-2021-43798", target("///admin//"), guarded),
        Row("encoded letter", "RFC 3986 §2.3", target("/%61dmin"), guarded),
        Row("slash at end", "CVE-2022-22965", target("/admin/"), guarded),
        Row("query", "RFC 3986 §3.4", target("/admin?/api/x"), guarded),
        Row("absolute form", "RFC 9112 §3.2.2", target("http://a.test/admin"), guarded),
        Row("other case", "RFC 3986 §6.2.2.1", target("/ADMIN"), &[404]),
        Row("space at end", "CVE-2020-17523", target("/admin%20"), &[404]),
        Row("above the root", "RFC 3986 §5.2.4", target("/../admin"), BAD),
        Row("far above", "CVE-2021-42013", target("/api/../../admin"), BAD),
        Row("encoded slash", "CVE-2025-1974", target("/api/..%2fadmin"), BAD),
        Row("encoded slash alone", "CVE-2021-29492", target("/api%2fadmin"), BAD),
        Row("double encoding", "CVE-2021-42013", target("/api/%252e%252e/admin"), BAD),
        Row("doubly encoded slash", "CVE-2021-29492", target("/api/..%252fadmin"), BAD),
        Row("backslash", "CVE-2021-29492", target("/api/..\\admin"), BAD),
        Row("encoded backslash", "CVE-2021-29492", target("/api/..%5cadmin"), BAD),
        Row("dots semicolon", "CVE-2020-5902", target("/api/..;/admin"), BAD),
        Row("semicolon", "CVE-2020-11989", target("/admin;x=1"), BAD),
        Row("NUL", "CVE-2006-7243", target("/admin%00"), BAD),
        Row("bad escape", "RFC 3986 §2.1", target("/api/%zz"), BAD),
        Row("half escape", "RFC 3986 §2.1", target("/api/%6"), BAD),
        Row("%u escape", "CVE-2009-1535", target("/api/%u002e%u002e/admin"), BAD),
        Row("encoded newline", "CVE-2016-5699", target("/api/%0d%0aX:y"), BAD),
        Row("overlong dot", "CVE-2000-0884", target("/api/%c0%ae%c0%ae/admin"), BAD),
    ]
}

fn sizes() -> Vec<Row> {
    let long = "x".repeat(70_000);
    let many = "X: y\r\n".repeat(200);
    let get = |headers: &str| head("GET /api/x HTTP/1.1", &format!("Host: a.test\r\n{headers}"));
    vec![
        Row("long value", "RFC 6585 §5", get(&format!("X: {long}\r\n")), &[431]),
        Row("long name", "RFC 6585 §5", get(&format!("{long}: x\r\n")), &[431]),
        Row("many fields", "RFC 6585 §5", get(&many), &[431]),
        Row("long target", "RFC 9110 §15.5.15", target(&format!("/api/{long}")), &[414, 431]),
        Row("endless line", "RFC 9112 §3", long.into_bytes(), &[400, 414, 431]),
        Row(
            "long trailers",
            "CVE-2023-45288",
            post("Transfer-Encoding: chunked\r\n", &format!("0\r\nX: {}\r\n\r\n", "y".repeat(70_000))),
            &[400, 413, 431],
        ),
        Row(
            "long chunk extension",
            "CVE-2023-39326",
            post(
                "Transfer-Encoding: chunked\r\n",
                &format!("5;{}\r\nhello\r\n0\r\n\r\n", "y".repeat(70_000)),
            ),
            &[400, 413, 431],
        ),
        Row("large body", "RFC 9110 §15.5.14", post("Content-Length: 2000\r\n", &"x".repeat(2000)), &[413]),
        Row(
            "large chunks",
            "RFC 9110 §15.5.14",
            post("Transfer-Encoding: chunked\r\n", &format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000))),
            &[413],
        ),
    ]
}

/// The status of the first answer to these bytes; 0 when the connection ends without one.
fn status(address: SocketAddr, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let _ = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    loop {
        match Answer::read(&mut reader, false) {
            Some(answer) if answer.status < 200 => {}
            Some(answer) => return answer.status,
            None => return 0,
        }
    }
}

#[test]
fn every_form_of_attack_is_answered_and_reaches_no_upstream() {
    // The upstream answers at once, whatever comes: what it sees before its head is complete counts, too.
    let upstream = Upstream::fixed(200, "reached");
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: c, keys: [secret-of-the-test]}}]
routes:
  - name: api
    match: [{{path: {{prefix: /api}}}}]
    policies: [{{requestLimits: {{maxBodySize: 1KiB}}}}]
    backends: [{{upstream: u}}]
  - name: admin
    match: [{{path: {{prefix: /admin}}}}]
    policies: [{{keyAuth: {{header: x-api-key}}}}]
    backends: [{{upstream: u}}]
",
        upstream.address
    ));
    assert_eq!(gateway.get("/api/x").text(), "reached");
    let before = (upstream.seen().len(), gateway.rss());
    let rows: Vec<Row> = [framing(), heads(), paths(), sizes()].into_iter().flatten().collect();
    assert!(rows.len() >= 80, "{}", rows.len());
    let mut wrong = Vec::new();
    for Row(name, source, bytes, statuses) in &rows {
        let seen = upstream.seen().len();
        let status = status(gateway.address, bytes);
        if !statuses.contains(&status) {
            wrong.push(format!("{name} ({source}): {status}, not {statuses:?}"));
        }
        let seen: Vec<_> = upstream.seen().split_off(seen);
        if seen.iter().any(|seen| seen.line.contains("hidden") || seen.line.contains("admin")) {
            wrong.push(format!("{name} ({source}): the upstream saw {:?}", seen[0].line));
        } else if !seen.is_empty() {
            wrong.push(format!("{name} ({source}): the upstream saw a whole request: {:?}", seen[0].line));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(gateway.get("/api/x").text(), "reached", "the gateway still works");
    assert_eq!(upstream.seen().len(), before.0 + 1);
    let grown = gateway.rss().saturating_sub(before.1);
    assert!(grown < 16 << 20, "memory grew by {grown} bytes");
}
