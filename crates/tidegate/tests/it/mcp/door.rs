//! Who comes in: `Origin`, `Host`, and what is no message.

use super::{Client, GOLD, ask, config, gateway, server::Server};
use crate::harness::{Gateway, run};

const HELLO: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

fn hello(gateway: &Gateway, host: &str, origin: &str) -> u16 {
    let origin = if origin.is_empty() { String::new() } else { format!("\norigin: {origin}") };
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {host}\nx-api-key: {GOLD}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{origin}",
        HELLO.len()
    );
    gateway.send(&head, HELLO.as_bytes()).status
}

#[test]
fn foreign_pages_and_bent_names_are_refused_at_the_gateway() {
    let shop = Server::with(&["buy"]);
    let gateway = gateway(&[("shop", shop.url(), "")], "");
    for (host, origin, want) in [
        ("127.0.0.1:8080", "", 200),
        ("localhost:8080", "http://localhost:8080", 200),
        ("[::1]:8080", "http://[::1]:8080", 200),
        ("localhost:8080", "http://localhost:9999", 403),
        ("localhost:8080", "https://localhost:8080", 403),
        ("localhost:8080", "https://evil.example", 403),
        ("localhost:8080", "null", 403),
        ("evil.example", "http://evil.example", 403),
        ("evil.example", "", 403),
    ] {
        let before = shop.sessions();
        assert_eq!(hello(&gateway, host, origin), want, "{host} {origin}");
        assert_eq!(shop.sessions() > before, want == 200, "{host} {origin}: what is refused reaches nobody");
    }
}

#[test]
fn an_operator_names_the_sites_and_hosts_that_may_come() {
    let shop = Server::with(&["buy"]);
    let more =
        "      allowedOrigins: [\"https://app.example.com\"]\n      allowedHosts: [\"*.example.com\"]\n";
    let gateway = gateway(&[("shop", shop.url(), "")], more);
    for (host, origin, want) in [
        ("api.example.com", "https://app.example.com", 200),
        ("api.example.com", "http://api.example.com", 200),
        ("api.example.com", "http://api.example.com:80", 200),
        ("api.example.com", "https://api.example.com", 403),
        ("api.example.com", "http://app.example.com", 403),
        ("api.example.com", "https://app.example.com.evil.example", 403),
        ("example.com", "", 403),
        ("localhost", "", 403),
    ] {
        assert_eq!(hello(&gateway, host, origin), want, "{host} {origin}");
    }
}

#[test]
fn what_is_no_message_is_told_as_the_protocol_says() {
    let shop = Server::with(&["buy"]);
    let gateway = gateway(&[("shop", shop.url(), "")], "      maxBodySize: 1KiB\n");
    let client = Client::begin(&gateway, GOLD);
    let seen = shop.upstream.seen().len();
    let big = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "x".repeat(1024));
    for (body, status, code) in [
        ("{", 400, -32700),
        ("[]", 400, -32600),
        ("[1]", 400, -32600),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, 400, -32600),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shop_buy","name":"x"}}"#,
            400,
            -32600,
        ),
        (r#"{"jsonrpc":"2.0","id":"a","result":{}}"#, 400, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, 200, -32602),
        (&big, 413, -32600),
    ] {
        let answer = ask(&gateway, "POST", &client.headers(), body);
        assert_eq!((answer.status, answer.json()["error"]["code"].as_i64()), (status, Some(code)), "{body}");
    }
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let session = format!("\nx-api-key: {GOLD}\nmcp-session-id: {}", client.session);
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    for (headers, body, status) in [
        (client.headers(), ping, 200),
        (format!("\nx-api-key: {GOLD}"), ping, 200),
        (format!("\nx-api-key: {GOLD}"), list, 400),
        (format!("\nx-api-key: {GOLD}\nmcp-session-id: made-up"), list, 404),
        (format!("{session}\nmcp-protocol-version: 1999-01-01"), list, 400),
        (format!("\nmcp-session-id: {}", client.session), list, 401),
    ] {
        assert_eq!(ask(&gateway, "POST", &headers, body).status, status, "{headers}");
    }
    assert_eq!(ask(&gateway, "PUT", &client.headers(), ping).status, 405);
    let head = format!("GET /mcp HTTP/1.1\nhost: localhost\naccept: text/html{}", client.headers());
    assert_eq!(gateway.send(&head, b"").status, 406);
    let head =
        format!("POST /mcp HTTP/1.1\nhost: localhost\naccept: */*\ncontent-length: 2{}", client.headers());
    assert_eq!(gateway.send(&head, b"{}").status, 415);
    assert_eq!(shop.upstream.seen().len(), seen, "none of it reached the server");
}

#[test]
fn what_cannot_be_meant_is_refused_when_it_is_loaded() {
    let url = || "http://127.0.0.1:7006/mcp".to_owned();
    for (servers, more, says) in [
        (vec![("a", url(), ""), ("a", url(), "")], "", "the name `a` is there twice"),
        (vec![("a", url(), ", prefix: x_"), ("b", url(), ", prefix: x_")], "", "has the prefix `x_`, too"),
        (vec![("a", "ftp://x".to_owned(), "")], "", "expected `http://` or `https://`"),
        (
            vec![("a", url(), "")],
            "      tools: [{name: t, allow: \"tol == 'x'\"}]\n",
            "there is no variable `tol`",
        ),
        (vec![("a", url(), "")], "      tools: [{name: t, pin: abc}]\n", "expected `sha256:`"),
        (vec![("a", url(), "")], "      sessionKey: short\n", "at least 16 characters"),
        (vec![("a", url(), "")], "      allowedOrigins: [app.example.com]\n", "expected a scheme and a host"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        let listener = "listeners: [{name: public, address: \"127.0.0.1:0\"}]\n";
        std::fs::write(&path, format!("{listener}{}", config(&servers, more))).expect("a file");
        let (code, _, problems) = run(&["validate", "--config", &path.display().to_string()]);
        assert_eq!(code, 3, "{says}: {problems}");
        assert!(problems.contains(says), "lacks {says:?}:\n{problems}");
    }
}
