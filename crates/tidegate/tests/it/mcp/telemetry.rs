//! Messages to servers of tools as OpenTelemetry's conventions tell them, at a real receiver that knows the official names.

use serde_json::{Value, json};

use super::{Client, GOLD, config, said, server::Server};
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
