//! What the comments of the route `tools` promise.

use serde_json::{Value, json};

use super::{super::mcp::server::Server, *};

#[test]
fn both_servers_are_one_endpoint() {
    let (shop, docs) = (Server::with(&["buy"]), Server::with(&["search"]));
    let behind = Behind::echoes();
    let served = Served::changed(&behind, "", |text| {
        let text = replaced(&text, "http://127.0.0.1:7006/mcp", &shop.url());
        replaced(&text, "http://127.0.0.1:7007/mcp", &docs.url())
    });
    let post = |headers: &str, message: &Value| {
        let body = message.to_string();
        let head = format!(
            "POST /mcp HTTP/1.1\nhost: localhost\nx-api-key: {GOLD}\naccept: application/json, text/event-stream\ncontent-type: application/json\ncontent-length: {}{headers}",
            body.len()
        );
        served.gateway.send(&head, body.as_bytes())
    };
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {},
                        "clientInfo": {"name": "test", "version": "1"}});
    let begun = post("", &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}));
    let session = format!("\nmcp-session-id: {}", begun.header("mcp-session-id").expect("a session"));
    let listed = post(&session, &json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).json();
    let names: Vec<&Value> =
        listed["result"]["tools"].as_array().expect("tools").iter().map(|tool| &tool["name"]).collect();
    assert_eq!(names, ["shop_buy", "search"]);
    for (full, own) in [("shop_buy", "buy"), ("search", "search")] {
        let call = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": full}});
        assert_eq!(post(&session, &call).json()["result"]["content"][0]["text"], own);
    }
    let nobody = served.gateway.send("POST /mcp HTTP/1.1\nhost: localhost\ncontent-length: 2", b"{}");
    assert_eq!(nobody.status, 401);
}

#[test]
fn two_servers_whose_tools_would_have_one_name_are_an_error_at_load() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let conf = served.gateway.folder.path().join("conf");
    let file = conf.join("tidegate.yaml");
    let good = fs::read_to_string(&file).expect("a file");
    let check = |text: &str| {
        fs::write(&file, text).expect("a file");
        crate::harness::run_with(&["validate", "-c", &conf.display().to_string()], &ENVIRONMENT)
    };
    assert_eq!(check(&good).0, 0);
    let (code, _, said) = check(&replaced(&good, "prefix: \"\"}", "prefix: \"shop_\"}"));
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("has the prefix `shop_`, too") && said.contains("tidegate.yaml:"), "{said}");
}
