//! Clients and servers that try to get past the rules: two readings of one text, lists that change their words, callers
//! who are nobody, servers that never end.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Client, GOLD, WEB, ask, config, conformance::open, gateway, revisions::stateless, said, server::Server,
};
use crate::harness::{self, Gateway, Upstream, eventually};

/// A server that answers a method as a test says, with raw JSON for a result; the rest as a good server would.
fn scripted(answer: impl Fn(&str, &Value) -> Option<String> + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |seen| {
        let taken = || Some(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec());
        let Ok(message) = serde_json::from_slice::<Value>(&seen.body) else { return taken() };
        let method = message["method"].as_str().unwrap_or_default();
        let result = match (answer(method, &message), method) {
            (Some(result), _) => result,
            (None, "initialize") => {
                json!({"protocolVersion": "2025-06-18", "serverInfo": {"name": "s", "version": "1"},
                                           "capabilities": {"tools": {}, "resources": {}}})
                .to_string()
            }
            (None, "tools/call") => r#"{"content":[{"type":"text","text":"called"}]}"#.to_owned(),
            _ => return taken(),
        };
        let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]);
        let head = "HTTP/1.1 200 OK\r\nmcp-session-id: s\r\ncontent-type: application/json\r\n";
        Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
    })
}

fn url(upstream: &Upstream) -> String {
    format!("http://{}/mcp", upstream.address)
}

/// How often a server was asked this.
fn asked(upstream: &Upstream, method: &str) -> usize {
    let is_it = |body: &[u8]| {
        serde_json::from_slice::<Value>(body).is_ok_and(|message| message["method"].as_str() == Some(method))
    };
    upstream.seen().iter().filter(|seen| is_it(&seen.body)).count()
}

#[test]
fn a_text_that_two_readers_take_for_two_things_reaches_nobody() {
    let schema = json!({"type": "object", "properties": {"amount": {"type": "integer", "maximum": 100}}});
    let shop = Server::of(vec![
        json!({"name": "buy", "inputSchema": schema}),
        json!({"name": "pay", "inputSchema": schema}),
    ]);
    let more = "      tools:
        - {name: shop_buy, allow: \"!has(arguments.amount) || arguments.amount <= 100\"}
        - {name: shop_pay, validateArguments: true}
        - {name: shop_refund, allow: \"consumer.name == 'web'\"}
";
    let gateway = gateway(&[("shop", shop.url(), "")], more);
    let client = Client::begin(&gateway, GOLD);
    let envelope = |inner: &str| format!(r#"{{"jsonrpc":"2.0","id":1,{inner}}}"#);
    let call = |name: &str, arguments: &str| {
        envelope(&format!(r#""method":"tools/call","params":{{"name":"{name}","arguments":{arguments}}}"#))
    };
    for (body, code) in [
        (call("shop_buy", r#"{"amount":9999,"amount":1}"#), -32602),
        (call("shop_buy", r#"{"amount":1,"Amount":9999}"#), -32602),
        (call("shop_buy", r#"{"Amount":9999}"#), -32602),
        (call("shop_buy", r#"{"amount":1,"x":[{"a":1,"\u0061":2}]}"#), -32602),
        (call("shop_pay", r#"{"amount":9999,"amount":1}"#), -32602),
        (call("shop_pay", r#"{"AMOUNT":9999}"#), -32602),
        (envelope(r#""method":"tools/call","params":{"name":"shop_buy","Name":"shop_refund"}"#), -32600),
        (
            envelope(
                r#""method":"tools/call","params":{"name":"shop_buy","arguments":{},"Arguments":{"amount":9999}}"#,
            ),
            -32600,
        ),
        (
            envelope(r#""method":"tools/call","params":{"name":"shop_buy","argumentſ":{"amount":9999}}"#),
            -32600,
        ),
        (envelope(r#""method":"tools/list","Method":"tools/call","params":{"name":"refund"}"#), -32600),
        (
            envelope(r#""method":"tools/call","params":{"name":"shop_buy"},"Params":{"name":"refund"}"#),
            -32600,
        ),
    ] {
        let said = ask(&gateway, "POST", &client.headers(), &body).json();
        assert_eq!(said["error"]["code"], code, "{body}: {said}");
    }
    assert!(shop.saw("tools/call").is_empty());
    for name in ["shop_buy", "shop_pay"] {
        let said =
            ask(&gateway, "POST", &client.headers(), &call(name, r#"{"amount":100,"note":"A"}"#)).json();
        assert!(said["result"].is_object(), "{said}");
    }
}

#[test]
fn no_writing_of_a_list_gets_a_changed_tool_past_its_pin() {
    let turn = Arc::new(AtomicUsize::new(0));
    let good = r#"{"name":"buy","description":"good","inputSchema":{"type":"object"}}"#;
    let bad = r#"{"name":"buy","description":"bad","inputSchema":{"type":"object"}}"#;
    let pages = [
        format!(r#"{{"tools":[{good}]}}"#),
        format!(r#"{{"tools":[{}]}}"#, good.replace("\"good\"", "\"good\",\"description\":\"bad\"")),
        format!(r#"{{"tools":[{}]}}"#, good.replace("\"good\"", "\"good\",\"Description\":\"bad\"")),
        format!(r#"{{"tools":[{}]}}"#, good.replace(r#""type":"object""#, r#""type":"object","type":"bad""#)),
        format!(
            r#"{{"tools":[{}]}}"#,
            good.replace("\"buy\"", "\"look\",\"name\":\"buy\"").replace("good", "bad")
        ),
        format!(
            r#"{{"tools":[{}]}}"#,
            good.replace(r#""type":"object""#, r#""const":1e999,"description":"bad""#)
        ),
        format!(r#"{{"tools":[{bad},{good}]}}"#),
        format!(r#"{{"tools":[{good},{bad}]}}"#),
        format!(r#"{{"tools":[{good}],"tools":[{bad}]}}"#),
        format!(r#"{{"tools":[],"Tools":[{bad}]}}"#),
        r#"{"tools":[{"Name":"buy","description":"bad"}]}"#.to_owned(),
    ];
    let (now, all) = (turn.clone(), pages.clone());
    let server =
        scripted(move |method, _| (method == "tools/list").then(|| all[now.load(Ordering::Relaxed)].clone()));
    let gateway = gateway(&[("shop", url(&server), "")], "      pinTools: true\n");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(client.tools(), ["shop_buy"]);
    for (at, page) in pages.iter().enumerate().skip(1) {
        turn.store(at, Ordering::Relaxed);
        let text = client.post(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})).text();
        assert!(!text.contains("bad"), "{page}\n{text}");
    }
    let before = asked(&server, "tools/call");
    turn.store(6, Ordering::Relaxed);
    assert!(client.tools().is_empty());
    let refused = client.call("shop_buy", json!({}));
    assert!(refused["error"]["message"].as_str().is_some_and(|text| text.contains("twice")), "{refused}");
    assert_eq!(asked(&server, "tools/call"), before);
    turn.store(0, Ordering::Relaxed);
    assert_eq!(client.tools(), ["shop_buy"]);
    assert_eq!(said(&client.call("shop_buy", json!({}))), "called");
}

#[test]
fn a_flood_of_names_does_not_make_a_changed_tool_an_approved_one() {
    let turn = Arc::new(AtomicUsize::new(0));
    let now = turn.clone();
    let server = scripted(move |method, _| {
        let word = if now.load(Ordering::Relaxed) == 0 { "good" } else { "changed" };
        let tool = |at: usize| format!(r#"{{"name":"t{at}","description":"{word}"}}"#);
        let tools: Vec<String> = (0..5000).map(tool).collect();
        (method == "tools/list").then(|| format!(r#"{{"tools":[{}]}}"#, tools.join(",")))
    });
    let gateway = gateway(&[("shop", url(&server), "")], "      pinTools: true\n");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(client.tools().len(), 4096);
    turn.store(1, Ordering::Relaxed);
    assert!(client.tools().is_empty());
    assert!(client.call("shop_t4999", json!({}))["error"].is_object());
    assert_eq!(asked(&server, "tools/call"), 0);
}

#[test]
fn strangers_share_no_session_at_a_server() {
    let old = Server::with(&["buy"]);
    let open = open(&old.url(), "");
    for _ in 0..2 {
        let called = stateless(&open, "tools/call", json!({"name": "buy", "arguments": {}}), "").json();
        assert_eq!(said(&called), "buy");
    }
    assert_eq!(old.sessions(), 2, "one for each call");
    let ended = || old.upstream.seen().iter().filter(|seen| seen.line.starts_with("DELETE")).count();
    eventually("both are ended", || ended() == 2);
    let used =
        old.saw("tools/call").into_iter().map(|(seen, _)| seen.header("mcp-session-id").map(str::to_owned));
    assert_eq!(used.collect::<Vec<_>>(), [Some("own-1".to_owned()), Some("own-2".to_owned())]);
    // Who is somebody keeps one.
    let known = gateway(&[("old", old.url(), "")], "");
    for _ in 0..2 {
        stateless(&known, "tools/call", json!({"name": "old_buy", "arguments": {}}), "");
    }
    assert_eq!(old.sessions(), 3);
}

#[test]
fn one_wish_to_hear_makes_few_requests() {
    let server = scripted(|method, _| (method == "resources/subscribe").then(|| "{}".to_owned()));
    let open = open(&url(&server), "");
    let listen = |uris: Vec<String>| json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": uris}});
    let many = (0..2000).map(|number| format!("memo://{number}")).collect();
    let refused = stateless(&open, "subscriptions/listen", listen(many), "");
    assert_eq!(refused.json()["error"]["code"], -32602, "{}", refused.text());
    assert_eq!(asked(&server, "resources/subscribe"), 0);
}

#[test]
fn a_server_that_wants_no_pause_gets_one_and_one_in_trouble_is_asked_again() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    let server = Upstream::raw(move |mut reader, seen| {
        while let Some(request) = harness::read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request.clone());
            let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let answer = if request.line.starts_with("GET") {
                match count.fetch_add(1, Ordering::Relaxed) {
                    0 => "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    _ => {
                        let told = "retry: 0\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n\n";
                        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
                        format!("{head}content-length: {}\r\n\r\n{told}", told.len())
                    }
                }
            } else if message["method"] == "initialize" {
                let text =
                    json!({"jsonrpc": "2.0", "id": message["id"], "result": {"protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}})
                    .to_string();
                let head = "HTTP/1.1 200 OK\r\nmcp-session-id: s\r\ncontent-type: application/json\r\n";
                format!("{head}content-length: {}\r\n\r\n{text}", text.len())
            } else {
                "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
            };
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let gateway = gateway(&[("one", url(&server), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let mut connection = harness::Client::connect(gateway.address);
    let head = format!(
        "GET /mcp HTTP/1.1\nhost: {}\naccept: text/event-stream{}\n\n",
        gateway.address,
        client.headers()
    );
    connection.write(head.replace('\n', "\r\n").into_bytes());
    while !connection.read_line().contains("list_changed") {}
    let start = Instant::now();
    let before = opened.load(Ordering::Relaxed);
    while start.elapsed() < Duration::from_secs(2) {
        connection.read_line();
    }
    let times = opened.load(Ordering::Relaxed) - before;
    assert!((1..=9).contains(&times), "asked {times} times within two seconds");
}

#[test]
fn ids_are_the_same_however_a_server_spells_them() {
    let server = Upstream::scripted(|seen| {
        let taken = || Some(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec());
        let Ok(message) = serde_json::from_slice::<Value>(&seen.body) else { return taken() };
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                                   "serverInfo": {"name": "s", "version": "1"}}),
            "tools/list" => json!({"tools": [super::server::tool("buy")]}),
            "tools/call" => json!({"content": [{"type": "text", "text": "called"}]}),
            _ => return taken(),
        };
        let id = match &message["id"] {
            Value::String(text) => {
                format!(
                    "\"{}\"",
                    text.chars().map(|letter| format!("\\u{:04x}", letter as u32)).collect::<String>()
                )
            }
            other => format!("{other}.0"),
        };
        let text = format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n\n");
        let head = "HTTP/1.1 200 OK\r\nmcp-session-id: s\r\ncontent-type: text/event-stream\r\n";
        Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
    });
    let gateway = gateway(&[("one", url(&server), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let events = |id: Value, method: &str| {
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"name": "one_buy"}});
        client.post(&message).text()
    };
    for id in [json!(7), json!("a")] {
        let text = events(id.clone(), "tools/list");
        assert!(text.contains("one_buy"), "{text}");
        let text = events(id.clone(), "tools/call");
        assert!(
            text.contains("called") && text.contains(&format!("\"id\":{id},")),
            "as the client wrote it: {text}"
        );
    }
}

#[test]
fn sessions_are_counted_exactly_and_for_each_consumer() {
    let shop = Server::with(&["buy"]);
    let gateway =
        gateway(&[("shop", shop.url(), "")], "      maxSessions: 5\n      maxSessionsPerConsumer: 3\n");
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
                        "clientInfo": {"name": "test", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let begin = |key: &str| ask(&gateway, "POST", &format!("\nx-api-key: {key}"), &hello);
    let statuses = |key: &str| [(); 4].map(|()| begin(key).status);
    assert_eq!(statuses(GOLD), [200, 200, 200, 429]);
    assert_eq!(statuses(WEB), [200, 200, 503, 503]);
    let ended = || shop.upstream.seen().iter().filter(|seen| seen.line.starts_with("DELETE")).count();
    eventually("what was begun in vain is ended", || ended() == 3);
}

#[test]
fn cursors_of_somebodys_own_making_are_refused() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let server = scripted(|method, message| {
        let more = if message["params"]["cursor"].is_null() { r#","nextCursor":"n""# } else { "" };
        (method == "tools/list").then(|| format!(r#"{{"tools":[]{more}}}"#))
    });
    let gateway = gateway(&[("one", url(&server), "")], "");
    let (gold, web) = (Client::begin(&gateway, GOLD), Client::begin(&gateway, WEB));
    let forged = URL_SAFE_NO_PAD.encode(r#"{"one":"n"}"#);
    let before = asked(&server, "tools/list");
    assert_eq!(gold.request("tools/list", json!({"cursor": forged}))["error"]["code"], -32602);
    assert_eq!(asked(&server, "tools/list"), before);
    let page = gold.request("tools/list", json!({}));
    let cursor = &page["result"]["nextCursor"];
    assert!(cursor.is_string(), "{page}");
    assert_eq!(web.request("tools/list", json!({"cursor": cursor}))["error"]["code"], -32602, "another's");
    assert_eq!(
        gold.request("resources/list", json!({"cursor": cursor}))["error"]["code"],
        -32602,
        "another list"
    );
    assert!(gold.request("tools/list", json!({"cursor": cursor}))["result"].is_object());
}

#[test]
fn a_list_that_is_chosen_for_a_caller_is_nobody_elses() {
    let new = super::revisions::without_sessions();
    let url = format!("http://{}/mcp", new.address);
    let scope = |gateway: &Gateway| {
        stateless(gateway, "tools/list", json!({}), "").json()["result"]["cacheScope"].clone()
    };
    assert_eq!(scope(&open(&url, "")), "public", "as the server says");
    assert_eq!(scope(&open(&url, ", tools: [{name: look, allow: \"false\"}]")), "private");
    assert_eq!(scope(&gateway(&[("new", url, "")], "")), "private");
}

/// A server that begins a stream for a list and never ends it.
fn endless() -> Upstream {
    Upstream::raw(|mut reader, seen| {
        while let Some(request) = harness::read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request.clone());
            let message: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let method = message["method"].as_str().unwrap_or_default();
            let to = reader.get_mut();
            if method == "tools/list" {
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
                let mut is_well = to.write_all(head).is_ok();
                for _ in 0..200 {
                    harness::pause(50);
                    is_well = is_well && to.write_all(b"4\r\n: x\n\r\n").is_ok();
                }
                return;
            }
            let answer = if method == "initialize" {
                let text =
                    json!({"jsonrpc": "2.0", "id": message["id"], "result": {"protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}})
                    .to_string();
                let head = "HTTP/1.1 200 OK\r\nmcp-session-id: s\r\ncontent-type: application/json\r\n";
                format!("{head}content-length: {}\r\n\r\n{text}", text.len())
            } else {
                "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
            };
            if to.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[test]
fn a_list_that_never_ends_is_given_up_and_cancelled() {
    let server = endless();
    let gateway = gateway(&[("one", url(&server), ", timeouts: {request: 1s}")], "");
    let client = Client::begin(&gateway, GOLD);
    let start = Instant::now();
    let answer = client.post(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"}));
    assert_eq!((answer.status, start.elapsed() < Duration::from_secs(5)), (504, true), "{}", answer.text());
    eventually("the server is told", || asked(&server, "notifications/cancelled") == 1);
}

#[test]
fn a_client_that_leaves_cancels_a_list() {
    let server = endless();
    let gateway = gateway(&[("one", url(&server), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/list"}"#;
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{}\n\n",
        gateway.address,
        body.len(),
        client.headers()
    );
    let mut connection = harness::Client::connect(gateway.address);
    connection.write(format!("{}{body}", head.replace('\n', "\r\n")).into_bytes());
    eventually("the server is asked", || asked(&server, "tools/list") == 1);
    assert_eq!(asked(&server, "notifications/cancelled"), 0);
    drop(connection);
    eventually("the server is told", || asked(&server, "notifications/cancelled") == 1);
}

#[test]
fn metadata_is_not_told_under_a_bent_name() {
    let shop = Server::with(&["buy"]);
    let more = "      oauth: {resource: \"https://api.example.com/mcp\", authorizationServers: [\"https://login.example.com\"]}\n";
    let gateway = gateway(&[("shop", shop.url(), "")], more);
    let path = "/.well-known/oauth-protected-resource/mcp";
    for (host, want) in [("evil.example", 403), ("api.example.com", 200), ("localhost", 200)] {
        assert_eq!(gateway.send(&format!("GET {path} HTTP/1.1\nhost: {host}"), b"").status, want, "{host}");
    }
}

#[test]
fn policies_see_the_clients_head_also_after_a_server_was_asked() {
    let long = "x".repeat(4000);
    let shop = Server::with(&[&long]);
    let text = config(&[("shop", shop.url(), "")], "")
        .replace("[{keyAuth: {header: x-api-key}}]", "[{keyAuth: {header: x-api-key}}, {compress: {}}]");
    let gateway = Gateway::start(&text);
    let client = Client::begin(&gateway, GOLD);
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": format!("shop_{long}")}});
    let headers = format!("{}\naccept-encoding: gzip", client.headers());
    let answer = ask(&gateway, "POST", &headers, &call.to_string());
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
}
