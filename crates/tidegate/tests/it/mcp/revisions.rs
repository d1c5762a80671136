//! The revision without sessions, and how it meets the others.

use serde_json::{Value, json};

use super::{Client, GOLD, ask, gateway, said, server::Server};
use crate::harness::{Answer, Client as Connection, Gateway, Upstream};

const REVISION: &str = "2026-07-28";

/// A request of a client without sessions, with the headers that it must have and further ones.
pub(super) fn stateless(gateway: &Gateway, method: &str, params: Value, headers: &str) -> Answer {
    let mut params = params;
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(REVISION);
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"sampling": {}});
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
    let name = params["name"].as_str().or(params["uri"].as_str());
    let name = name.map(|name| format!("\nmcp-name: {name}")).unwrap_or_default();
    let message = json!({"jsonrpc": "2.0", "id": 5, "method": method, "params": params});
    let headers =
        format!("\nx-api-key: {GOLD}\nmcp-protocol-version: {REVISION}\nmcp-method: {method}{name}{headers}");
    ask(gateway, "POST", &headers, &message.to_string())
}

/// What such a client hears of changes of tools, as it comes.
pub(super) fn listening(gateway: &Gateway) -> Connection {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": REVISION,
                      "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"notifications": {"toolsListChanged": true}, "_meta": meta});
    let body = json!({"jsonrpc": "2.0", "id": 6, "method": "subscriptions/listen", "params": params});
    let (body, host) = (body.to_string(), gateway.address);
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {host}\naccept: application/json, text/event-stream\ncontent-type: application/json\nx-api-key: {GOLD}\nmcp-protocol-version: {REVISION}\nmcp-method: subscriptions/listen\ncontent-length: {}\n\n",
        body.len()
    );
    let mut connection = Connection::connect(host);
    connection.write(format!("{}{body}", head.replace('\n', "\r\n")).into_bytes());
    connection
}

/// A server that knows no sessions, and is strict about what it is told.
pub(super) fn without_sessions() -> Upstream {
    Upstream::scripted(|seen| {
        let message: Value = serde_json::from_slice(&seen.body).ok()?;
        let method = message["method"].as_str()?;
        let answer = |status: &str, key: &str, value: Value| {
            let text = json!({"jsonrpc": "2.0", "id": message["id"], key: value}).to_string();
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
            Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
        };
        let refused = |text: &str| answer("400 Bad", "error", json!({"code": -32020, "message": text}));
        let meta = &message["params"]["_meta"];
        if method == "initialize" {
            return refused("there are no sessions here");
        }
        for (header, said) in [
            ("mcp-protocol-version", meta["io.modelcontextprotocol/protocolVersion"].as_str()),
            ("mcp-method", Some(method)),
            ("mcp-name", message["params"]["name"].as_str()),
        ] {
            if seen.header(header) != said {
                return refused(&format!("{header} is {:?}, not {said:?}", seen.header(header)));
            }
        }
        if seen.header("mcp-session-id").is_some() || meta["io.modelcontextprotocol/clientInfo"].is_null() {
            return refused("who are you?");
        }
        let kept = |mut value: Value| {
            value["resultType"] = json!("complete");
            value["ttlMs"] = json!(60_000);
            value["cacheScope"] = json!("public");
            value
        };
        let result = match method {
            "server/discover" => {
                kept(json!({"supportedVersions": [REVISION], "capabilities": {"tools": {}}}))
            }
            "tools/list" => {
                kept(json!({"tools": [super::server::tool("look"), super::server::tool("more")]}))
            }
            "tools/call" if message["params"]["name"] == "more" => {
                json!({"resultType": "input_required", "requestState": "s"})
            }
            _ => json!({"resultType": "complete", "content": [{"type": "text", "text": "looked"}]}),
        };
        answer("200 OK", "result", result)
    })
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}/mcp", upstream.address)
}

#[test]
fn a_client_without_sessions_reaches_servers_of_both_kinds() {
    let (old, new) = (Server::with(&["buy", "slow"]), without_sessions());
    let gateway = gateway(&[("old", old.url(), ""), ("new", url(&new), "")], "");
    let discovered = stateless(&gateway, "server/discover", json!({}), "").json();
    let result = &discovered["result"];
    assert_eq!(result["supportedVersions"][0], REVISION, "{discovered}");
    assert_eq!(result["capabilities"]["tools"], json!({"listChanged": true}), "{discovered}");
    assert_eq!((&result["resultType"], &result["ttlMs"]), (&json!("complete"), &json!(0)));
    let listed = stateless(&gateway, "tools/list", json!({}), "").json();
    let names: Vec<&str> = listed["result"]["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("{listed}"))
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert_eq!(names, ["old_buy", "old_slow", "new_look", "new_more"]);
    assert_eq!(listed["result"]["cacheScope"], "private", "{listed}");
    let called = stateless(&gateway, "tools/call", json!({"name": "new_look", "arguments": {}}), "").json();
    assert_eq!((said(&called), &called["id"]), ("looked", &json!(5)));
    let called = stateless(&gateway, "tools/call", json!({"name": "old_buy", "arguments": {}}), "");
    assert_eq!(called.header("mcp-session-id"), None);
    let called = called.json();
    assert_eq!(
        (said(&called), &called["id"], &called["result"]["resultType"]),
        ("buy", &json!(5), &json!("complete"))
    );
    let (_, message) = old.saw("tools/call").pop().expect("a call");
    assert_eq!(message["params"], json!({"name": "buy", "arguments": {}}));
    assert_ne!(message["id"], 5, "in a session that others share ids are the gateway's own");
    // Nobody could be asked in the session of lists; the calls of clients that can be have one of their own.
    let able = old.saw("initialize").into_iter().map(|(_, hello)| hello["params"]["capabilities"].clone());
    assert_eq!(able.collect::<Vec<_>>(), [json!({}), json!({"sampling": {}})]);
    let asks = stateless(&gateway, "tools/call", json!({"name": "new_more"}), "").json();
    assert_eq!(asks["result"]["resultType"], "input_required", "{asks}");
}

#[test]
fn progress_in_a_shared_session_keeps_the_clients_token() {
    let old = Server::with(&["slow"]);
    old.gate.open();
    let gateway = gateway(&[("old", old.url(), "")], "");
    let params = json!({"name": "old_slow", "_meta": {"progressToken": "mine"}});
    let text = stateless(&gateway, "tools/call", params, "").text();
    assert_eq!(text.matches(r#""progressToken":"mine""#).count(), 2, "{text}");
    assert!(text.contains(r#""id":5"#) && text.contains(r#""resultType":"complete""#), "{text}");
    assert!(!text.contains("tidegate-"), "{text}");
}

#[test]
fn a_client_with_sessions_reaches_a_server_without() {
    let new = without_sessions();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(client.tools(), ["new_look", "new_more"]);
    assert_eq!(said(&client.call("new_look", json!({}))), "looked");
    let asks = client.call("new_more", json!({}));
    assert!(
        asks["error"]["message"].as_str().is_some_and(|text| text.contains("more than 16 times")),
        "{asks}"
    );
}

#[test]
fn what_a_request_says_of_itself_must_be_true() {
    let old = Server::with(&["buy"]);
    let gateway = gateway(&[("old", old.url(), "")], "");
    let seen = old.upstream.seen().len();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": REVISION,
                      "io.modelcontextprotocol/clientCapabilities": {}});
    let call = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call",
                      "params": {"name": "old_buy", "_meta": meta}});
    let bare = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/list", "params": {}});
    let ping = json!({"jsonrpc": "2.0", "id": 5, "method": "ping", "params": {"_meta": meta}});
    for (message, headers, status, code) in [
        (&call, "mcp-protocol-version: 2026-07-28\nmcp-method: tools/call\nmcp-name: old_sell", 400, -32020),
        (&call, "mcp-protocol-version: 2026-07-28\nmcp-method: tools/list\nmcp-name: old_buy", 400, -32020),
        (&call, "mcp-protocol-version: 2026-07-28\nmcp-method: tools/call", 400, -32020),
        (&bare, "mcp-protocol-version: 2026-07-28\nmcp-method: tools/list", 400, -32602),
        (&ping, "mcp-protocol-version: 2026-07-28\nmcp-method: ping", 404, -32601),
        (&bare, "mcp-protocol-version: 2031-01-01\nmcp-method: tools/list", 400, -32022),
    ] {
        let answer = ask(&gateway, "POST", &format!("\nx-api-key: {GOLD}\n{headers}"), &message.to_string());
        let said = answer.json();
        assert_eq!(
            (answer.status, said["error"]["code"].as_i64()),
            (status, Some(code)),
            "{headers}: {said}"
        );
    }
    assert_eq!(old.upstream.seen().len(), seen, "none of it reached the server");
    let headers = format!("\nx-api-key: {GOLD}\nmcp-protocol-version: {REVISION}");
    assert_eq!(ask(&gateway, "GET", &headers, "").status, 405);
}

/// A session of a revision, and what its messages say of it.
fn session(gateway: &Gateway, revision: &str) -> String {
    let params = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let answer = ask(gateway, "POST", &format!("\nx-api-key: {GOLD}"), &hello.to_string());
    assert_eq!(answer.json()["result"]["protocolVersion"], revision, "{}", answer.text());
    let session = answer.header("mcp-session-id").expect("a session");
    format!("\nx-api-key: {GOLD}\nmcp-session-id: {session}\nmcp-protocol-version: {revision}")
}

#[test]
fn every_revision_of_sessions_is_spoken_with_clients_whatever_the_server_speaks() {
    let (old, new) = (Server::with(&["buy"]), without_sessions());
    let gateway = gateway(&[("old", old.url(), ""), ("new", url(&new), "")], "");
    for revision in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        let headers = session(&gateway, revision);
        for (tool, says) in [("old_buy", "buy"), ("new_look", "looked")] {
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}});
            let answer = ask(&gateway, "POST", &headers, &call.to_string()).json();
            assert_eq!(said(&answer), says, "{revision}: {answer}");
        }
    }
}

#[test]
fn a_batch_of_2025_03_26_is_answered_together_and_of_no_other_revision() {
    let old = Server::with(&["buy", "slow"]);
    old.gate.open();
    let gateway = gateway(&[("old", old.url(), "")], "");
    let headers = session(&gateway, "2025-03-26");
    let call = |id: u64, name: &str| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name, "arguments": {}}});
    let batch = json!([
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        call(1, "old_buy"),
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
        call(3, "old_none"),
        {"jsonrpc": "2.0", "id": 4, "method": "tools/list"},
    ]);
    let answer = ask(&gateway, "POST", &headers, &batch.to_string());
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{}",
        answer.text()
    );
    let all = answer.json();
    let ids: Vec<u64> = all.as_array().expect("a list").iter().filter_map(|one| one["id"].as_u64()).collect();
    assert_eq!(ids, [1, 2, 3, 4], "{all}");
    assert_eq!((said(&all[0]), &all[1]["result"]), ("buy", &json!({})), "{all}");
    assert!(all[2]["error"]["code"].is_i64() && all[3]["result"]["tools"].is_array(), "{all}");
    // What a server says beside its answers comes in the same stream.
    let mut slow = call(5, "old_slow");
    slow["params"]["_meta"] = json!({"progressToken": "mine"});
    let text = ask(&gateway, "POST", &headers, &json!([slow, call(6, "old_buy")]).to_string()).text();
    assert!(text.matches("\"progressToken\":\"mine\"").count() == 2 && text.contains("\"id\":6"), "{text}");
    let told = json!([{"jsonrpc": "2.0", "method": "notifications/initialized"}]);
    assert_eq!(ask(&gateway, "POST", &headers, &told.to_string()).status, 202);
    let many = json!(vec![call(1, "old_buy"); 65]);
    for (headers, batch, words) in [
        (headers.clone(), &json!([]), "1 to 64"),
        (headers.clone(), &many, "1 to 64"),
        (
            headers,
            &json!([{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}]),
            "no part of a batch",
        ),
        (session(&gateway, "2025-06-18"), &batch, "each message by itself"),
    ] {
        let answer = ask(&gateway, "POST", &headers, &batch.to_string());
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_i64()),
            (400, Some(-32600)),
            "{}",
            answer.text()
        );
        assert!(answer.text().contains(words), "{words}: {}", answer.text());
    }
}
