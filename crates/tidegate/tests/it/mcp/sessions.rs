//! Sessions: whose they are, what they outlive, and how they end.

use serde_json::json;

use super::{Client, GOLD, WEB, ask, config, gateway, said, server::Server};
use crate::harness::{Gateway, free_port};

#[test]
fn a_session_is_its_consumers_and_nobody_elses() {
    let shop = Server::with(&["buy"]);
    let gateway = gateway(&[("shop", shop.url(), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    assert_eq!(client.post(&list).status, 200);
    let stranger = client.with(&gateway, WEB);
    for answer in [
        stranger.post(&list),
        ask(&gateway, "GET", &stranger.headers(), ""),
        ask(&gateway, "DELETE", &stranger.headers(), ""),
    ] {
        assert_eq!(answer.status, 404, "{}", answer.text());
        assert_eq!(answer.json()["error"]["message"], "Session not found");
    }
    assert_eq!(client.post(&list).status, 200, "it goes on");
    assert!(!client.session.contains("own-1"), "the server's own id is not shown");
}

#[test]
fn a_session_ends_when_its_client_says_so_at_the_servers_too() {
    let shop = Server::with(&["buy"]);
    let gateway = gateway(&[("shop", shop.url(), "")], "");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(ask(&gateway, "DELETE", &client.headers(), "").status, 204);
    let ended = shop.upstream.seen().into_iter().find(|seen| seen.line.starts_with("DELETE"));
    assert_eq!(ended.expect("a DELETE").header("mcp-session-id"), Some("own-1"));
    assert_eq!(client.post(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})).status, 404);
}

#[test]
fn a_session_goes_on_over_a_restart_of_the_gateway() {
    let shop = Server::with(&["buy"]);
    let port = free_port();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let text = format!(
        "listeners:\n  - {{name: public, address: \"{address}\"}}\n{}",
        config(&[("shop", shop.url(), "")], "")
    );
    let mut first = Gateway::from_text(&text, address, |_| {});
    let client = Client::begin(&first, GOLD);
    let session = client.session.clone();
    first.signal("TERM");
    first.wait();
    // The same folder, and so the same data directory.
    let folder = std::mem::replace(&mut first.folder, tempfile::tempdir().expect("a folder"));
    drop(first);
    let second = Gateway::in_folder(folder, &text, address, |_| {});
    let client = Client { gateway: &second, key: GOLD, session };
    assert_eq!(said(&client.call("shop_buy", json!({}))), "buy");
    assert_eq!(shop.sessions(), 1, "the server's session is the same, too");
    assert_eq!(
        Client { gateway: &second, key: WEB, session: client.session.clone() }
            .post(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"}))
            .status,
        404
    );
}

#[test]
fn gateways_with_one_secret_take_each_others_sessions() {
    let shop = Server::with(&["buy"]);
    let key = "      sessionKey: a-secret-that-gateways-share\n";
    let [one, two] = [(); 2].map(|()| gateway(&[("shop", shop.url(), "")], key));
    let other = gateway(&[("shop", shop.url(), "")], "      sessionKey: another-secret-of-somebody\n");
    let client = Client::begin(&one, GOLD);
    assert_eq!(said(&client.with(&two, GOLD).call("shop_buy", json!({}))), "buy");
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    assert_eq!(client.with(&other, GOLD).post(&list).status, 404);
}

#[test]
fn there_are_no_more_sessions_than_there_may_be() {
    let shop = Server::with(&["buy"]);
    let gateway = gateway(&[("shop", shop.url(), "")], "      maxSessions: 16\n");
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                        "clientInfo": {"name": "test", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let refused = (0..60).find_map(|_| {
        let answer = ask(&gateway, "POST", &format!("\nx-api-key: {GOLD}"), &hello);
        (answer.status != 200).then_some(answer)
    });
    let refused = refused.expect("one too many");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    assert!(
        refused.json()["error"]["message"].as_str().is_some_and(|text| text.contains("as many sessions"))
    );
}

#[test]
fn a_server_that_forgot_a_session_begins_a_new_one_unseen() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };
    let (forgets, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (now, count) = (forgets.clone(), begun.clone());
    let server = crate::harness::Upstream::scripted(move |seen| {
        let message: serde_json::Value = serde_json::from_slice(&seen.body).ok()?;
        let own = seen.header("mcp-session-id").unwrap_or_default().to_owned();
        let mut head = String::new();
        let result = match message["method"].as_str()? {
            "initialize" => {
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                head = format!("mcp-session-id: own-{number}\r\n");
                json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                       "serverInfo": {"name": "s", "version": "1"}})
            }
            _ if own == "own-1" && now.load(Ordering::Relaxed) => {
                return Some(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec());
            }
            "tools/call" => json!({"content": [{"type": "text", "text": own}]}),
            _ => return Some(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec()),
        };
        let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
        head.push_str("content-type: application/json\r\n");
        Some(format!("HTTP/1.1 200 OK\r\n{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
    });
    let gateway = gateway(&[("one", format!("http://{}/mcp", server.address), "")], "");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(said(&client.call("one_t", json!({}))), "own-1");
    forgets.store(true, Ordering::Relaxed);
    assert_eq!(said(&client.call("one_t", json!({}))), "own-2");
    assert_eq!(said(&client.call("one_t", json!({}))), "own-2");
    assert_eq!(begun.load(Ordering::Relaxed), 2);
}
