//! Several servers as one: names, lists, errors, what passes unchanged, and what flows event by event.

use std::io::Write;

use serde_json::json;

use super::{
    Client, GOLD, gateway, said,
    server::{Server, tool},
};
use crate::harness::{self, eventually};

#[test]
fn tools_of_all_servers_are_one_list_and_calls_find_their_server() {
    let (shop, docs) = (Server::with(&["buy", "sell"]), Server::with(&["search"]));
    let gateway = gateway(&[("shop", shop.url(), ""), ("docs", docs.url(), ", prefix: \"\"")], "");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(client.tools(), ["shop_buy", "shop_sell", "search"]);
    assert_eq!(said(&client.call("shop_buy", json!({}))), "buy");
    assert_eq!(said(&client.call("search", json!({}))), "search");
    let (seen, message) = shop.saw("tools/call").pop().expect("a call");
    assert_eq!(message["params"], json!({"name": "buy", "arguments": {}}));
    assert_eq!(message["id"], 7, "ids go through");
    assert_eq!(seen.header("mcp-session-id"), Some("own-1"));
    assert_eq!(seen.header("mcp-protocol-version"), Some("2025-06-18"));
    assert_eq!(seen.header("x-api-key"), None, "the caller's own credentials stay here");
    assert_eq!(docs.saw("tools/call").len(), 1);
    for server in [&shop, &docs] {
        assert_eq!(server.saw("notifications/initialized").len(), 1);
    }
    let unknown = client.call("nothing", json!({}));
    assert!(unknown["error"]["message"].as_str().is_some_and(|text| text.contains("nothing")), "{unknown}");
    let record = gateway.record("the call", |record| record["mcp"]["name"] == "shop_buy");
    assert_eq!(record["mcp"]["method"], "tools/call");
    assert_eq!(record["mcp"]["server"], "shop");
    assert_eq!(record["mcp"]["is_error"], false);
    assert_eq!(record["upstream"], "mcp:tools:shop");
    let series = r#"tidegate_mcp_tool_calls_total{listener="public",route="tools",server="shop",tool="shop_buy",result="ok"}"#;
    assert_eq!(gateway.metric(series), Some(1.0), "{}", gateway.metrics());
    let other = r#"tidegate_mcp_tool_calls_total{listener="public",route="tools",server="docs",tool="other",result="error"}"#;
    assert_eq!(gateway.metric(other), Some(1.0), "what clients make up is no label");
    assert!(!gateway.stdout().contains(&client.session), "a session's id is as good as a password");
}

#[test]
fn schemas_and_what_nobody_knows_pass_byte_for_byte() {
    let schema = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","$defs":{"a":{"const":1.50}},"x-odd":[1,  2,1e400],"properties":{"z":{"$ref":"#/$defs/a"},"a":{}}}"##;
    let listed = format!(
        r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{{"odd":{{"b":1,"a":2}},"name":"t","inputSchema":{schema},"_meta":{{"k":"\u00e9"}}}}],"_meta":{{"page":1}}}}}}"#
    );
    let server = harness::Upstream::scripted(move |seen| {
        let body = String::from_utf8_lossy(&seen.body);
        let text = if body.contains("\"initialize\"") {
            r#"{"jsonrpc":"2.0","id":"tidegate-initialize","result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}}"#.to_owned()
        } else if body.contains("tools/list") {
            listed.clone()
        } else {
            return Some(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec());
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n";
        Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
    });
    let gateway = gateway(&[("one", format!("http://{}/mcp", server.address), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let text = client.post(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})).text();
    let want = format!(
        r#"{{"odd":{{"b":1,"a":2}},"name":"one_t","inputSchema":{schema},"_meta":{{"k":"\u00e9"}}}}"#
    );
    assert!(text.contains(&want), "{text}");
    assert!(text.contains(r#""_meta":{"page":1}"#), "{text}");
}

#[test]
fn a_server_that_is_away_takes_no_other_down_and_takes_part_when_it_is_back() {
    let shop = Server::with(&["buy"]);
    let away = harness::free_port();
    let gateway =
        gateway(&[("shop", shop.url(), ""), ("docs", format!("http://127.0.0.1:{away}/mcp"), "")], "");
    let client = Client::begin(&gateway, GOLD);
    assert_eq!(client.tools(), ["shop_buy"]);
    let listed = client.post(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})).json();
    assert_eq!(listed["result"]["_meta"]["tidegate/missing-servers"], json!(["docs"]), "{listed}");
    assert!(gateway.stderr().contains("tools/list lacks server `docs`"), "{}", gateway.stderr());
    let up = |server: &str| {
        gateway.metric(&format!("tidegate_mcp_server_up{{route=\"tools\",server=\"{server}\"}}"))
    };
    assert_eq!((up("shop"), up("docs")), (Some(1.0), Some(0.0)));
    let refused = client.call("docs_search", json!({}));
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    assert_eq!(said(&client.call("shop_buy", json!({}))), "buy");
    assert!(gateway.stderr().contains("server `docs` takes no part"), "{}", gateway.stderr());
    let back = harness::Upstream::on(std::net::SocketAddr::from(([127, 0, 0, 1], away)), |seen| {
        let message: serde_json::Value = serde_json::from_slice(&seen.body).ok()?;
        let result = match message["method"].as_str()? {
            "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                                   "serverInfo": {"name": "docs", "version": "1"}}),
            "tools/call" => json!({"content": [{"type": "text", "text": "found"}]}),
            _ => return Some(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec()),
        };
        let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
    });
    eventually("the server takes part", || {
        client.call("docs_search", json!({}))["result"]["content"][0]["text"] == "found"
    });
    assert_eq!(up("docs"), Some(1.0));
    drop(back);
}

#[test]
fn two_tools_of_one_name_are_a_clear_error_and_neither_is_listed() {
    let (one, two) = (Server::with(&["same", "left"]), Server::with(&["same", "right"]));
    let gateway = gateway(&[("one", one.url(), ", prefix: \"\""), ("two", two.url(), ", prefix: \"\"")], "");
    let client = Client::begin(&gateway, GOLD);
    let refused = client.call("same", json!({}));
    let text = refused["error"]["message"].as_str().expect("an error");
    assert!(text.contains("`one` and `two` both have a tool `same`"), "{text}");
    assert_eq!(client.tools(), ["left", "right"]);
    assert_eq!(said(&client.call("right", json!({}))), "right");
    assert!(gateway.stderr().contains("both have a tool `same`"));
    assert!(one.saw("tools/call").is_empty());
}

#[test]
fn pages_of_all_servers_go_on_where_each_of_them_was() {
    let many = |name: &'static str, pages: usize| {
        harness::Upstream::scripted(move |seen| {
            let message: serde_json::Value = serde_json::from_slice(&seen.body).ok()?;
            let page: usize =
                message["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().expect("a page"));
            let result = match message["method"].as_str()? {
                "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                                       "serverInfo": {"name": name, "version": "1"}}),
                "tools/list" if page + 1 < pages => {
                    json!({"tools": [tool(&format!("t{page}"))], "nextCursor": format!("{}", page + 1)})
                }
                "tools/list" => json!({"tools": [tool(&format!("t{page}"))]}),
                _ => return Some(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_vec()),
            };
            let text = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
            Some(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes())
        })
    };
    let (one, two) = (many("one", 3), many("two", 1));
    let url = |upstream: &harness::Upstream| format!("http://{}/mcp", upstream.address);
    let gateway = gateway(&[("one", url(&one), ""), ("two", url(&two), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let (mut names, mut cursor) = (Vec::new(), json!({}));
    for _ in 0..10 {
        let page = client.request("tools/list", cursor.clone());
        for tool in page["result"]["tools"].as_array().expect("tools") {
            names.push(tool["name"].as_str().expect("a name").to_owned());
        }
        match page["result"]["nextCursor"].as_str() {
            Some(next) => cursor = json!({"cursor": next}),
            None => break,
        }
    }
    assert_eq!(names, ["one_t0", "two_t0", "one_t1", "one_t2"]);
    let wrong = client.request("tools/list", json!({"cursor": "none of ours"}));
    assert_eq!(wrong["error"]["code"], -32602, "{wrong}");
}

#[test]
fn events_flow_one_by_one() {
    let shop = Server::with(&["slow"]);
    let gateway = gateway(&[("shop", shop.url(), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let mut connection = slow_call(&client);
    let mut read = |wanted: &str| {
        for _ in 0..40 {
            if connection.read_line().contains(wanted) {
                return;
            }
        }
        panic!("never came: {wanted}");
    };
    read("text/event-stream");
    // The server waits for its gate now: what has come came by itself.
    read("\"progress\":1");
    shop.gate.open();
    read("\"progress\":2");
    read("late");
}

#[test]
fn a_client_that_leaves_cancels_its_call() {
    let shop = Server::with(&["slow"]);
    let gateway = gateway(&[("shop", shop.url(), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let mut connection = slow_call(&client);
    while !connection.read_line().contains("\"progress\":1") {}
    assert!(shop.saw("notifications/cancelled").is_empty());
    drop(connection);
    eventually("the server is told", || !shop.saw("notifications/cancelled").is_empty());
    let (seen, message) = shop.saw("notifications/cancelled").pop().expect("a message");
    assert_eq!(message["params"]["requestId"], 9);
    assert_eq!(seen.header("mcp-session-id"), Some("own-1"));
}

#[test]
fn a_clients_own_cancellation_finds_the_server() {
    let (shop, docs) = (Server::with(&["slow"]), Server::with(&["search"]));
    let gateway = gateway(&[("shop", shop.url(), ""), ("docs", docs.url(), "")], "");
    let client = Client::begin(&gateway, GOLD);
    let mut connection = slow_call(&client);
    while !connection.read_line().contains("\"progress\":1") {}
    let params = json!({"requestId": 9, "reason": "no more"});
    let told = client.post(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}));
    assert_eq!(told.status, 202);
    assert_eq!(shop.saw("notifications/cancelled").pop().expect("a message").1["params"], params);
    assert!(docs.saw("notifications/cancelled").is_empty());
}

/// A call of `shop_slow` with the id 9 on a connection of its own.
fn slow_call(client: &Client<'_>) -> harness::Client {
    let body = json!({"jsonrpc": "2.0", "id": 9, "method": "tools/call",
                      "params": {"name": "shop_slow", "_meta": {"progressToken": "p1"}}})
    .to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\nhost: {}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{}\n\n",
        client.gateway.address,
        body.len(),
        client.headers()
    );
    let mut connection = harness::Client::connect(client.gateway.address);
    let mut bytes = Vec::new();
    write!(bytes, "{}{body}", head.replace('\n', "\r\n")).expect("written");
    connection.write(bytes);
    connection
}
