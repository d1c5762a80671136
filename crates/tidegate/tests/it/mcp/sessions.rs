//! Sessions: whose they are, what they outlive, and how they end.

use std::io::{Read, Write};

use serde_json::json;

use super::{Client, GOLD, WEB, ask, config, gateway, said, server::Server};
use crate::harness::{Gateway, Upstream, free_port, read_request};

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

/// A server that has something to say of its own: events with ids, two at a time, from where it is told to go on.
fn talker(name: &'static str) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request.clone());
            if request.line.starts_with("GET") {
                let last = request.header("last-event-id").and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
                let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
                for number in last + 1..last + 3 {
                    let message = json!({"jsonrpc": "2.0", "method": "notifications/message",
                                         "params": {"level": "info", "data": format!("{name}{number}")}});
                    let event = format!("id: {number}\ndata: {message}\n\n");
                    text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
                }
                let is_sent = reader.get_mut().write_all(text.as_bytes()).is_ok();
                // It is silent then, until nobody listens any more.
                let mut rest = [0; 64];
                while is_sent && reader.read(&mut rest).is_ok_and(|read| read > 0) {}
                return;
            }
            let message: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let (status, session, body) = match message["method"].as_str() {
                Some("initialize") => {
                    let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"logging": {}},
                                        "serverInfo": {"name": name, "version": "1"}});
                    let said = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
                    ("200 OK", format!("mcp-session-id: {name}\r\n"), said)
                }
                _ => ("202 Accepted", String::new(), String::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{session}");
            let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            if reader.get_mut().write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// What the GET stream of a session brings: so many messages' words, and the id of the last event.
fn heard(client: &Client<'_>, last: Option<&str>, count: usize) -> (Vec<String>, String) {
    let mut listener = crate::harness::Client::connect(client.gateway.address);
    let last = last.map_or(String::new(), |last| format!("last-event-id: {last}\r\n"));
    let fields = client.headers().replace('\n', "\r\n");
    let host = client.gateway.address;
    listener.write(format!(
        "GET /mcp HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\n{last}{}\r\n\r\n",
        fields.trim_start()
    ));
    assert_eq!(listener.read_head().expect("an answer").status, 200);
    let (mut words, mut id) = (Vec::new(), String::new());
    while words.len() < count {
        let line = listener.read_line();
        if let Some(found) = line.trim_end().strip_prefix("id: ") {
            id = found.to_owned();
        }
        if let Some(data) = line.trim_end().strip_prefix("data: ") {
            let message: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
            words.extend(message["params"]["data"].as_str().map(str::to_owned));
        }
    }
    words.sort();
    (words, id)
}

#[test]
fn a_stream_of_two_servers_goes_on_from_where_both_were_over_a_restart() {
    let servers = [talker("a"), talker("b")];
    let [a, b] = servers.each_ref().map(|server| format!("http://{}/mcp", server.address));
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = format!(
        "listeners:\n  - {{name: public, address: \"{address}\"}}\n{}",
        config(&[("a", a, ""), ("b", b, "")], "")
    );
    let mut first = Gateway::from_text(&text, address, |_| {});
    let client = Client::begin(&first, GOLD);
    let session = client.session.clone();
    let (words, last) = heard(&client, None, 4);
    assert_eq!(words, ["a1", "a2", "b1", "b2"]);
    let (words, again) = heard(&client, Some(&last), 4);
    assert_eq!(words, ["a3", "a4", "b3", "b4"], "the id {last} says how far both had come");
    first.signal("TERM");
    first.wait();
    let folder = std::mem::replace(&mut first.folder, tempfile::tempdir().expect("a folder"));
    drop(first);
    let second = Gateway::in_folder(folder, &text, address, |_| {});
    let client = Client { gateway: &second, key: GOLD, session };
    let (words, _) = heard(&client, Some(&again), 4);
    assert_eq!(words, ["a5", "a6", "b5", "b6"], "and outlives the gateway: {again}");
    for server in &servers {
        let asked: Vec<Option<String>> = server
            .seen()
            .iter()
            .filter(|seen| seen.line.starts_with("GET"))
            .map(|seen| seen.header("last-event-id").map(str::to_owned))
            .collect();
        assert_eq!(asked, [None, Some("2".into()), Some("4".into())]);
    }
}
