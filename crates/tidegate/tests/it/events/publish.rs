//! A body becomes a message: where it goes, what it carries, what it is called, and what is refused.

use super::{json, post, server::Nats};
use crate::harness::{Gateway, eventually};

/// A server with the stream `ORDERS`, and a gateway whose one route publishes to it.
fn started(publish: &str) -> (Nats, Gateway) {
    let nats = Nats::start();
    nats.stream("ORDERS", &["orders.>"]);
    let gateway = gateway(&nats, publish);
    (nats, gateway)
}

fn gateway(nats: &Nats, publish: &str) -> Gateway {
    let gateway = Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
{}consumers:
  - {{name: ann, keys: [the-key-of-ann]}}
  - {{name: bob, keys: [the-key-of-bob]}}
routes:
  - name: orders
    match: [{{path: {{template: \"/orders/{{id}}\"}}}}]
    policies: [{{keyAuth: {{header: x-api-key, anonymous: ann}}}}]
    publish: {{broker: events, {publish}}}
",
        nats.broker()
    ));
    eventually("the broker is connected", || gateway.metric("tidegate_broker_up") == Some(1.0));
    gateway
}

const PLAIN: &str = "subject: \"orders.{{ captures.id }}.placed\"";

#[test]
fn a_body_is_kept_before_it_is_answered_and_the_answer_says_where() {
    let (nats, gateway) = started(&format!(
        "{PLAIN}, key: \"{{{{ request.header.x-customer }}}}\", headers: [x-tenant], set: {{x-who: \"{{{{ consumer.name }}}}\"}}"
    ));
    let headers =
        "\ncontent-type: application/json\nx-tenant: blue\nx-other: red\nx-customer: c 7\nnats-rollup: all";
    let answer = post(&gateway, "/orders/7", headers, "{\"total\":1}");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let told = json(&answer);
    assert_eq!(
        (&told["stream"], &told["sequence"], &told["duplicate"]),
        (&"ORDERS".into(), &1.into(), &false.into())
    );
    assert!(told["id"].as_str().is_some_and(|id| id.len() == 32), "{told}");
    let kept = nats.message("ORDERS", 1);
    assert_eq!(kept.subject, "orders.7.placed");
    assert_eq!(kept.text(), "{\"total\":1}");
    for (name, value) in [
        ("content-type", Some("application/json")),
        ("x-tenant", Some("blue")),
        ("x-who", Some("ann")),
        ("Partition-Key", Some("c 7")),
        ("Nats-Msg-Id", told["id"].as_str()),
        ("x-other", None),
        ("nats-rollup", None),
        ("x-api-key", None),
    ] {
        assert_eq!(kept.header(name), value, "{name}: {kept:?}");
    }
    let record = gateway.record("the message", |record| record["route"] == "orders");
    let want = serde_json::json!({"broker": "events", "subject": "orders.7.placed", "stream": "ORDERS", "sequence": 1,
        "messages": 1, "duplicates": 0});
    assert_eq!(record["publish"], want);
    let stored = "tidegate_publish_messages_total{broker=\"events\",result=\"stored\"}";
    assert_eq!(gateway.metric(stored), Some(1.0));
    assert_eq!(gateway.metric("tidegate_publish_confirm_seconds_count{broker=\"events\"}"), Some(1.0));
    let status = gateway.admin_get("/api/v1/status").json();
    assert_eq!(
        (&status["brokers"][0]["name"], &status["brokers"][0]["state"]),
        (&"events".into(), &"UP".into())
    );
}

#[test]
fn a_second_message_of_one_key_is_dropped_and_that_of_another_consumer_is_not() {
    let (nats, gateway) = started(PLAIN);
    let send = |who: &str| {
        let headers = format!("\nx-api-key: the-key-of-{who}\nidempotency-key: \"k-1\"");
        json(&post(&gateway, "/orders/7", &headers, "x"))
    };
    let (first, second, other) = (send("ann"), send("ann"), send("bob"));
    assert_eq!((&first["id"], &first["duplicate"]), (&"k-1".into(), &false.into()));
    assert_eq!((&second["sequence"], &second["duplicate"]), (&first["sequence"], &true.into()));
    assert_eq!((&other["sequence"], &other["duplicate"]), (&2.into(), &false.into()));
    assert_eq!(nats.count("ORDERS"), 2);
    assert_eq!(nats.message("ORDERS", 1).header("Nats-Msg-Id"), Some("orders/ann/k-1"));
    let duplicate = "tidegate_publish_messages_total{broker=\"events\",result=\"duplicate\"}";
    assert_eq!(gateway.metric(duplicate), Some(1.0));
    for bad in ["\nidempotency-key: ", "\nidempotency-key: a\nidempotency-key: b"] {
        assert_eq!(post(&gateway, "/orders/7", bad, "x").status, 400, "{bad}");
    }
    let long = format!("\nidempotency-key: {}", "k".repeat(300));
    assert_eq!(post(&gateway, "/orders/7", &long, "x").status, 400);
}

#[test]
fn an_id_can_be_made_by_the_configuration_and_one_that_cannot_be_made_is_refused() {
    let (nats, gateway) = started(&format!("{PLAIN}, id: \"order-{{{{ request.header.x-order }}}}\""));
    let send = |headers: &str| post(&gateway, "/orders/7", headers, "x");
    assert_eq!(json(&send("\nx-order: 9"))["id"], "order-9");
    assert_eq!(json(&send("\nx-order: 9\nx-api-key: the-key-of-bob"))["duplicate"], true);
    let refused = send("");
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("the message's id"), "{}", refused.text());
    assert_eq!(nats.count("ORDERS"), 1);
}

#[test]
fn nobody_reaches_a_subject_that_is_not_meant() {
    let (nats, gateway) = started(PLAIN);
    for path in ["a%2Ea", "a.b", "*", "a%0d%0aPUB", "%00", "..%2e", &"x".repeat(200)] {
        let answer = post(&gateway, &format!("/orders/{path}"), "", "x");
        assert!(matches!(answer.status, 400 | 404), "{path}: {} {}", answer.status, answer.text());
    }
    assert_eq!(nats.count("ORDERS"), 0);
    // What a path does not decode is a text like any other.
    assert_eq!(post(&gateway, "/orders/%2A", "", "x").status, 202);
    assert_eq!(nats.message("ORDERS", 1).subject, "orders.%2A.placed");
    assert_eq!(post(&gateway, "/orders/a-b_c", "", "x").status, 202);
}

#[test]
fn what_does_not_fit_the_schema_is_told_by_its_place_and_not_sent() {
    let schema = "schema: {type: object, required: [total], properties: {total: {type: integer}}}";
    let (nats, gateway) = started(&format!("{PLAIN}, {schema}, contentTypes: [application/json]"));
    let kind = "\ncontent-type: application/json; charset=utf-8";
    for (headers, body, status, want) in [
        (kind, "{\"total\":\"many\"}", 400, "`/total`"),
        (kind, "{}", 400, "`/total` is required"),
        (kind, "{", 400, "not JSON"),
        ("\ncontent-type: text/plain", "{\"total\":1}", 415, "expected application/json"),
        ("", "{\"total\":1}", 415, "expected application/json"),
        ("\ncontent-type: application/json\ncontent-encoding: gzip", "x", 415, "compressed"),
    ] {
        let answer = post(&gateway, "/orders/7", headers, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().contains(want), "{body}: {}", answer.text());
    }
    assert_eq!(nats.count("ORDERS"), 0);
    assert_eq!(post(&gateway, "/orders/7", kind, "{\"total\":1}").status, 202);
    let get = gateway.get("/orders/7");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST, PUT, PATCH")));
}

#[test]
fn a_body_that_is_too_large_for_the_route_or_for_the_broker_is_a_413() {
    let nats = Nats::with("max_payload: 2048");
    nats.stream("ORDERS", &["orders.>"]);
    let gateway = gateway(&nats, &format!("{PLAIN}, maxBodySize: 4KiB"));
    for (size, status) in [(1024, 202), (2048, 413), (5000, 413)] {
        let answer = post(&gateway, "/orders/7", "", &"x".repeat(size));
        assert_eq!(answer.status, status, "{size}: {}", answer.text());
    }
    assert_eq!(nats.count("ORDERS"), 1);
    let chunked = "POST /orders/7 HTTP/1.1\nhost: x\ntransfer-encoding: chunked";
    let body = format!("1400\r\n{}\r\n0\r\n\r\n", "x".repeat(0x1400));
    assert_eq!(gateway.send(chunked, body.as_bytes()).status, 413);
}
