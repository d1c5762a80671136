//! Servers that ask back, and clients of the other kind: each is asked, and answers, in its own revision's way.

use serde_json::{Value, json};

use super::{
    Client, GOLD, WEB, gateway, last_of,
    sdk::{check, endpoint, report, with_third},
};
use crate::harness::{Client as Connection, Gateway, Peer, Upstream, free_port, node};

/// A server of the revision without sessions, whose tool `ask` wants to know three things, and then one more.
fn asking() -> Upstream {
    Upstream::scripted(|seen| {
        let message: Value = serde_json::from_slice(&seen.body).ok()?;
        let params = &message["params"];
        let result = match message["method"].as_str()? {
            "initialize" => {
                let error = json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32022, "message": "no"}});
                return Some(answer("400 Bad", &error));
            }
            "server/discover" => json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                                        "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}),
            "tools/list" => json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private",
                                   "tools": [super::server::tool("ask"), super::server::tool("insist")]}),
            "tools/call" if params["name"] == "insist" => {
                json!({"resultType": "input_required", "requestState": "again"})
            }
            "tools/call" => asked(params),
            _ => json!({"resultType": "complete"}),
        };
        Some(answer("200 OK", &json!({"jsonrpc": "2.0", "id": message["id"], "result": result})))
    })
}

/// What the tool answers in each round.
fn asked(params: &Value) -> Value {
    let form = json!({"message": "Which colour?", "requestedSchema": {"type": "object", "properties": {"colour": {"type": "string"}}}});
    let word = json!({"messages": [{"role": "user", "content": {"type": "text", "text": "A word for new?"}}], "maxTokens": 10});
    let given = &params["inputResponses"];
    match params["requestState"].as_str() {
        None => json!({"resultType": "input_required", "requestState": "one", "inputRequests": {
            "word": {"method": "sampling/createMessage", "params": word},
            "form": {"method": "elicitation/create", "params": form},
        }}),
        Some("one") => {
            let state = json!([
                given["word"]["content"]["text"],
                given["form"]["action"],
                given["form"]["content"]["colour"]
            ]);
            json!({"resultType": "input_required", "requestState": state.to_string(),
                   "inputRequests": {"places": {"method": "roots/list", "params": {}}}})
        }
        Some(state) => {
            let known: Vec<String> = serde_json::from_str(state).unwrap_or_default();
            let [word, action, colour] = known.as_slice() else { return json!({"content": []}) };
            let roots = given["places"]["roots"].as_array().map_or(0, Vec::len);
            let text = format!("{word}; {action}ed with {colour}; {roots} root");
            json!({"resultType": "complete", "content": [{"type": "text", "text": text}]})
        }
    }
}

fn answer(status: &str, value: &Value) -> Vec<u8> {
    let text = value.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
    format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}/mcp", upstream.address)
}

/// A server of JavaScript's SDK that has sessions.
fn asker() -> (Peer, String) {
    let port = free_port().to_string();
    let mut peer = Peer::start(node("asker", include_str!("asker.mjs"), &[&port]));
    assert_eq!(peer.line().as_deref(), Some("ready"));
    (peer, format!("http://127.0.0.1:{port}/mcp"))
}

#[test]
fn a_client_with_sessions_is_asked_for_a_server_without_in_the_middle_of_its_call() {
    let new = asking();
    let (_peers, gateway) = with_third(&[], Some(("new", url(&new))));
    let arguments = [&*endpoint(&gateway), GOLD, "new_ask"];
    let peer = Peer::start(node("client-asked", include_str!("client.mjs"), &arguments));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["asked_by"], "a sampled word for new; accepted with blue; 1 root", "{report}");
    // Each round is the same call again, with who makes it and what was said.
    let calls: Vec<Value> = new
        .seen()
        .iter()
        .filter(|seen| seen.header("mcp-method") == Some("tools/call"))
        .map(|seen| serde_json::from_slice(&seen.body).expect("JSON"))
        .collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    for call in &calls {
        assert_eq!(call["params"]["name"], "ask", "{call}");
        assert!(
            call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]["sampling"].is_object()
        );
    }
    assert_eq!(calls[1]["params"]["requestState"], "one");
}

#[test]
fn a_client_without_sessions_is_asked_for_a_server_with_by_the_answers_of_its_calls() {
    let (_asker, at) = asker();
    let (_peers, gateway) = with_third(&[], Some(("old", at)));
    let arguments = [&*endpoint(&gateway), GOLD, "old_ask"];
    let peer = Peer::start(node("modern-asked", include_str!("client_modern.mjs"), &arguments));
    let report = report(&gateway, peer);
    check(&report);
    assert_eq!(report["revision"], "2026-07-28", "{report}");
    assert_eq!(report["asked_by"], "a sampled word for asker; accepted with blue; 1 root", "{report}");
}

#[test]
fn an_answer_is_taken_once_and_of_nobody_else_and_who_never_comes_back_cancels_the_call() {
    let (mut peer, at) = asker();
    let gateway = gateway(&[("old", at, "")], "");
    let asked = elicited(&gateway, json!({"name": "old_ask_and_wait", "arguments": {}}), GOLD);
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let state = result["requestState"].as_str().expect("a state").to_owned();
    let question = &result["inputRequests"]["question"];
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("Still there?"))
    );
    let again = |state: &str| {
        json!({"name": "old_ask_and_wait", "arguments": {}, "requestState": state,
               "inputResponses": {"question": {"action": "accept", "content": {}}}})
    };
    // Somebody else's answer is none, nor one to a state that there never was.
    for (state, key) in [(&*state, WEB), ("tidegate-asks-0", GOLD)] {
        let refused = elicited(&gateway, again(state), key);
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    assert_eq!(peer_said(&mut peer, &gateway, again(&state)), "answered");
    // It is over with the client that leaves: the server is told.
    assert_eq!(peer.line().as_deref(), Some("cancelled"));
    let refused = elicited(&gateway, again(&state), GOLD);
    assert_eq!(refused["error"]["code"], -32602, "an answer is taken once: {refused}");
}

/// Makes a call whose answer does not come, leaves, and tells what the server says of it first.
fn peer_said(peer: &mut Peer, gateway: &Gateway, params: Value) -> String {
    let (body, head) = request(gateway, params, GOLD);
    let mut client = Connection::connect(gateway.address);
    client.write(format!("{}{body}", head.replace('\n', "\r\n")).into_bytes());
    let line = peer.line().expect("a line");
    drop(client);
    line
}

/// A call of a client that can be asked by forms.
fn request(gateway: &Gateway, mut params: Value, key: &str) -> (String, String) {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                             "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}});
    let body = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params}).to_string();
    let name = params["name"].as_str().expect("a name");
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {}\nx-api-key: {key}\naccept: application/json, text/event-stream\ncontent-type: application/json\nmcp-protocol-version: 2026-07-28\nmcp-method: tools/call\nmcp-name: {name}\ncontent-length: {}\n\n",
        gateway.address,
        body.len()
    );
    (body, head)
}

fn elicited(gateway: &Gateway, params: Value, key: &str) -> Value {
    let (body, head) = request(gateway, params, key);
    last_of(&gateway.send(head.trim_end(), body.as_bytes()))
}

#[test]
fn a_server_that_asks_without_an_end_is_stopped() {
    let new = asking();
    let gateway = gateway(&[("new", url(&new), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let refused = client.call("new_insist", json!({}));
    assert!(
        refused["error"]["message"].as_str().is_some_and(|text| text.contains("more than 16 times")),
        "{refused}"
    );
    let calls = new.seen().into_iter().filter(|seen| seen.header("mcp-method") == Some("tools/call"));
    assert_eq!(calls.count(), 17, "the call, and sixteen times again");
}
