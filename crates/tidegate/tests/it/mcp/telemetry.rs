//! Messages to servers of tools as OpenTelemetry's conventions tell them, at a real receiver that knows the official names.

use serde_json::{Value, json};

use super::{Client, GOLD, config, local, said, server::Server};
use crate::{
    harness::Gateway,
    otlp::receiver::{PROTOCOLS, Receiver, list},
};

#[test]
fn a_call_of_a_tool_is_a_span_between_the_call_and_the_request_to_its_server() {
    for protocol in PROTOCOLS {
        let (receiver, shop) = (Receiver::start(protocol), Server::with(&["buy", "broken"]));
        let telemetry = receiver.telemetry(protocol, "interval: 200ms");
        let gateway = Gateway::start(&format!("{}{telemetry}", config(&[("shop", shop.url(), "")], "")));
        let client = Client::begin(&gateway, GOLD);
        assert_eq!(said(&client.call("shop_buy", json!({}))), "buy");
        assert_eq!(client.call("shop_broken", json!({}))["result"]["isError"], true);
        assert!(client.call("shop_gone", json!({}))["error"].is_object());
        let received = receiver.until("the spans of all calls", |all| {
            ["initialize", "tools/call shop_buy", "tools/call shop_broken", "tools/call shop_gone"]
                .iter()
                .all(|name| list(&all["spans"]).iter().any(|span| span["name"] == *name))
        });
        let spans = list(&received["spans"]);
        let span = |name: &str| spans.iter().find(|span| span["name"] == name).expect("it was waited for");
        let (good, bad, gone) =
            (span("tools/call shop_buy"), span("tools/call shop_broken"), span("tools/call shop_gone"));
        let outer = spans.iter().find(|span| span["id"] == good["parent"]).expect("a parent");
        assert_eq!((&outer["kind"], &good["kind"]), (&json!("server"), &json!("client")));
        let inner: Vec<&Value> = spans.iter().filter(|span| span["parent"] == good["id"]).collect();
        assert_eq!(inner.len(), 1, "the request to the server: {spans:#?}");
        let facts = &good["attributes"];
        for (name, value) in [
            ("gen_ai.operation.name", "execute_tool"),
            ("gen_ai.tool.name", "shop_buy"),
            ("mcp.method.name", "tools/call"),
            ("mcp.protocol.version", "2025-06-18"),
            ("tidegate.mcp.server", "shop"),
            ("tidegate.consumer", "gold"),
        ] {
            assert_eq!(facts[name], value, "{name} of {facts}");
        }
        assert!(facts["mcp.session.id"].as_str().is_some_and(|id| !id.is_empty()), "{facts}");
        assert!(facts.get("error.type").is_none(), "{facts}");
        assert_eq!((&bad["status"], &bad["attributes"]["error.type"]), (&json!(2), &json!("tool_error")));
        assert_eq!((&gone["status"], &gone["attributes"]["error.type"]), (&json!(2), &json!("_OTHER")));
    }
}

#[test]
fn a_tool_that_asks_a_model_is_a_span_around_the_models() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let (pets, provider) = (local::pets(), local::smart());
        let folder = local::document(local::DOCUMENT);
        let text = local::config(&pets, &provider, &folder, local::NO_FILES, "");
        let gateway = Gateway::start(&format!("{text}{}", receiver.telemetry(protocol, "interval: 200ms")));
        let client = Client::begin(&gateway, GOLD);
        assert_eq!(said(&client.call("ai_ask", json!({"prompt": "why?"}))), "1 turns, why?");
        assert!(client.call("ai_summary", json!({"text": "a tale"}))["result"].is_object());
        assert!(client.call("pets_getPet", json!({"petId": "7"}))["result"].is_object());
        let tools = ["tools/call ai_ask", "tools/call ai_summary"];
        let of_api = "tools/call pets_getPet";
        let received = receiver.until("the spans of all tools", |all| {
            let spans = list(&all["spans"]);
            tools.iter().chain([&of_api]).all(|name| spans.iter().any(|span| span["name"] == *name))
        });
        let spans = list(&received["spans"]);
        let api = spans.iter().find(|span| span["name"] == of_api).expect("it was waited for");
        let asked: Vec<&Value> = spans.iter().filter(|span| span["parent"] == api["id"]).collect();
        assert_eq!(asked.len(), 1, "the request to the API: {spans:#?}");
        for name in tools {
            let tool = spans.iter().find(|span| span["name"] == name).expect("it was waited for");
            let outer = spans.iter().find(|span| span["id"] == tool["parent"]).expect("a parent");
            assert_eq!((&outer["kind"], &tool["kind"]), (&json!("server"), &json!("internal")), "{tool}");
            assert_eq!(tool["attributes"]["gen_ai.operation.name"], "execute_tool", "{tool}");
            assert_eq!(tool["attributes"]["tidegate.mcp.server"], "ai", "{tool}");
            let within = |id: &Value| spans.iter().filter(|span| span["parent"] == *id).collect::<Vec<_>>();
            let model = within(&tool["id"]);
            assert_eq!(model.len(), 1, "{spans:#?}");
            assert_eq!((&model[0]["name"], &model[0]["kind"]), (&json!("chat smart"), &json!("client")));
            assert_eq!(within(&model[0]["id"]).len(), 1, "the request to the provider: {spans:#?}");
        }
    }
}
