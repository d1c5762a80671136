//! Redirects and fixed answers.

use super::super::harness::Gateway;

fn location(redirect: &str, target: &str) -> (u16, String) {
    let gateway = Gateway::start(&format!(
        "routes: [{{name: r, match: [{{path: {{prefix: /old}}}}, {{path: {{prefix: /old/deep}}}}], redirect: {redirect}}}]\n"
    ));
    let answer = gateway.send(&format!("GET {target} HTTP/1.1\nhost: A.test:8080"), b"");
    (answer.status, answer.header("location").unwrap_or_default().to_owned())
}

#[test]
fn a_redirect_changes_what_it_names_and_keeps_the_rest() {
    for (redirect, target, status, want) in [
        ("{pathPrefix: /new}", "/old/a?q=1", 302, "/new/a?q=1"),
        ("{pathPrefix: /new}", "/old/deep/a", 302, "/new/a"),
        ("{pathPrefix: /new}", "/old", 302, "/new"),
        ("{pathPrefix: /, status: 301}", "/old/a", 301, "/a"),
        ("{path: /all, status: 303}", "/old/a?q=1", 303, "/all?q=1"),
        ("{path: /all, keepQuery: false, status: 307}", "/old/a?q=1", 307, "/all"),
        ("{scheme: https, status: 308}", "/old/a?q=1", 308, "https://a.test/old/a?q=1"),
        ("{scheme: https, port: 8443}", "/old", 302, "https://a.test:8443/old"),
        ("{host: b.test}", "/old", 302, "http://b.test:8080/old"),
        ("{host: b.test, port: 80}", "/old", 302, "http://b.test/old"),
        ("{host: b.test, scheme: https, pathPrefix: /n}", "/old/x", 302, "https://b.test/n/x"),
        ("{port: 9090}", "/old", 302, "http://a.test:9090/old"),
    ] {
        assert_eq!(location(redirect, target), (status, want.to_owned()), "{redirect} {target}");
    }
}

#[test]
fn redirects_that_lead_nowhere_are_refused() {
    let route = |rest: &str| format!("routes: [{{name: r, match: [{{path: {{prefix: /old}}}}], {rest}}}]\n");
    for (rest, words) in [
        ("redirect: {}", "nothing changes"),
        ("redirect: {path: /a, pathPrefix: /b}", "found both"),
        ("redirect: {path: a}", "routes[0].redirect.path"),
        ("redirect: {host: 'a b'}", "routes[0].redirect.host"),
        ("redirect: {path: /a, status: 200}", "routes[0].redirect.status"),
        ("redirect: {path: /a}, respond: {}", "exactly one of"),
        ("respond: {status: 204, body: x}", "status 204 has no body"),
        ("respond: {headers: {content-length: '5'}}", "`content-length` is the gateway's own"),
        ("respond: {}, sticky: {consumer: true}", "only `backends` have `sticky`"),
        ("redirect: {path: /a}, timeouts: {request: 1s}", "only `backends` have `timeouts`"),
        ("respond: {}, retry: {maxAttempts: 2}", "only `backends` have `retry`"),
        ("respond: {}, hostHeader: a", "only `backends` have `hostHeader`"),
        ("respond: {}, websocket: false", "only `backends` have `websocket`"),
    ] {
        super::refused(&route(rest), &[words]);
    }
}

#[test]
fn a_fixed_answer_is_as_it_is_written() {
    let gateway = Gateway::start(
        "routes:
  - {name: a, match: [{path: {exact: /a}}], respond: {status: 418, headers: {content-type: text/plain, x-a: b}, body: 'short and stout'}}
  - {name: b, match: [{path: {exact: /b}}], respond: {status: 204}}
",
    );
    let answer = gateway.get("/a");
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.header("x-a")),
        (418, Some("text/plain"), Some("b"))
    );
    assert_eq!((answer.text().as_str(), answer.header("content-length")), ("short and stout", Some("15")));
    let head = super::super::harness::raw(
        gateway.address,
        b"HEAD /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    );
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.contains("content-length: 15") && head.ends_with("\r\n\r\n"), "{head}");
    let empty = gateway.get("/b");
    assert_eq!((empty.status, empty.header("content-length")), (204, None));
}
