//! CloudEvents: the forms that come, the form that is sent, and what is no event.

use super::{json, post, server::Nats};
use crate::harness::{Gateway, eventually};

fn started(publish: &str) -> (Nats, Gateway) {
    let nats = Nats::start();
    nats.stream("EVENTS", &["events.>"]);
    let gateway = Gateway::start(&format!(
        "{}routes:
  - name: events
    match: [{{path: {{exact: /events}}}}]
    publish: {{broker: events, {publish}}}
",
        nats.broker()
    ));
    eventually("the broker is connected", || gateway.metric("tidegate_broker_up") == Some(1.0));
    (nats, gateway)
}

const BINARY: &str = "\nce-specversion: 1.0\nce-id: 1\nce-source: /shop\nce-type: order.placed\ncontent-type: application/json";
const STRUCTURED: &str = "\ncontent-type: application/cloudevents+json";
const BATCH: &str = "\ncontent-type: application/cloudevents-batch+json; charset=UTF-8";

fn event(id: &str, kind: &str) -> String {
    format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/shop\",\"type\":\"{kind}\",\"data\":{{\"total\":1}}}}"
    )
}

#[test]
fn an_event_goes_on_in_the_form_that_it_came_in() {
    let (nats, gateway) = started("subject: events.all, cloudEvents: {}");
    let told =
        json(&post(&gateway, "/events", &format!("{BINARY}\nce-subject: gr%C3%B6%C3%9Fe"), "{\"total\":1}"));
    assert_eq!((&told["id"], &told["sequence"]), (&"1".into(), &1.into()), "{told}");
    let kept = nats.message("EVENTS", 1);
    for (name, value) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.placed"),
        ("ce-subject", "gr%C3%B6%C3%9Fe"),
        ("content-type", "application/json"),
        ("Nats-Msg-Id", "events//5:/shop/1"),
    ] {
        assert_eq!(kept.header(name), Some(value), "{kept:?}");
    }
    assert_eq!(kept.text(), "{\"total\":1}");
    let text = event("2", "order.placed");
    assert_eq!(json(&post(&gateway, "/events", STRUCTURED, &text))["sequence"], 2);
    let kept = nats.message("EVENTS", 2);
    assert_eq!(kept.text(), text);
    assert_eq!(kept.header("content-type"), Some("application/cloudevents+json; charset=utf-8"));
    assert_eq!(kept.header("ce-id"), None);
    // The same event in another form is the same event.
    assert_eq!(json(&post(&gateway, "/events", STRUCTURED, &event("1", "order.placed")))["duplicate"], true);
}

#[test]
fn an_event_is_sent_in_the_form_that_is_wanted_with_its_key() {
    let (nats, gateway) = started(
        "subject: \"events.{{ event.type }}\", key: \"{{ event.subject }}\", \
         cloudEvents: {send: binary, types: [order.placed, order.paid]}",
    );
    let text = event("1", "order.paid").replace("\"data\"", "\"subject\":\"c7\",\"data\"");
    assert_eq!(post(&gateway, "/events", STRUCTURED, &text).status, 202);
    let kept = nats.message("EVENTS", 1);
    assert_eq!((&*kept.subject, &*kept.text()), ("events.order.paid", "{\"total\":1}"));
    for (name, value) in [
        ("ce-type", "order.paid"),
        ("ce-partitionkey", "c7"),
        ("Partition-Key", "c7"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(kept.header(name), Some(value), "{kept:?}");
    }
    let other = post(&gateway, "/events", STRUCTURED, &event("2", "order.>"));
    assert_eq!(other.status, 400);
    assert!(
        other.text().contains("`type`: expected one of `order.placed`, `order.paid`"),
        "{}",
        other.text()
    );
    assert_eq!(nats.count("EVENTS"), 1);
}

#[test]
fn what_is_no_event_is_refused_with_what_is_missing() {
    let schema = "schema: {type: object, required: [total]}";
    let (nats, gateway) = started(&format!("subject: events.all, cloudEvents: {{}}, {schema}"));
    let broken = BINARY.replace("\nce-source: /shop", "");
    for (headers, body, status, want) in [
        ("\ncontent-type: application/json", "{\"total\":1}".to_owned(), 400, "expected a CloudEvent"),
        (&*broken, "{\"total\":1}".to_owned(), 400, "`source` is required"),
        (&*BINARY.replace("1.0", "0.3"), "{\"total\":1}".to_owned(), 400, "`specversion`: expected `1.0`"),
        (STRUCTURED, "{}".to_owned(), 400, "`specversion` is required"),
        (STRUCTURED, event("1", "t").replace("total", "sum"), 400, "`/total` is required"),
        ("\ncontent-type: application/cloudevents+avro", "x".to_owned(), 415, "application/cloudevents+json"),
        ("\ncontent-type: application/cloudevents+json; charset=utf-16", event("1", "t"), 415, "UTF-8"),
        (BATCH, format!("[{}]", event("1", "t")), 415, "another form"),
    ] {
        let answer = post(&gateway, "/events", headers, &body);
        assert_eq!(answer.status, status, "{headers} {body}: {}", answer.text());
        assert!(answer.text().contains(want), "{headers} {body}: {}", answer.text());
    }
    assert_eq!(nats.count("EVENTS"), 0);
}

#[test]
fn a_batch_is_kept_event_by_event_and_none_of_it_when_one_is_wrong() {
    let (nats, gateway) = started("subject: events.all, cloudEvents: {accept: [batch], maxBatch: 3}");
    let batch = |events: &[String]| format!("[{}]", events.join(","));
    let three = [event("1", "t"), event("2", "t"), event("3", "t")];
    for (body, want) in [
        (batch(&[event("1", "t"), "{\"id\":\"2\"}".to_owned()]), "event 1: `specversion` is required"),
        (batch(&[&three[..], &three[..]].concat()), "at most 3 events"),
        ("{}".to_owned(), "a JSON array"),
    ] {
        let answer = post(&gateway, "/events", BATCH, &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.text().contains(want), "{}", answer.text());
    }
    assert_eq!(nats.count("EVENTS"), 0);
    let told = json(&post(&gateway, "/events", BATCH, &batch(&three)));
    let ids: Vec<&str> =
        told["events"].as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
    assert_eq!(nats.count("EVENTS"), 3);
    assert_eq!(nats.message("EVENTS", 2).text(), event("2", "t"));
    let again = json(&post(&gateway, "/events", BATCH, &batch(&three)));
    assert!(
        again["events"].as_array().expect("a list").iter().all(|one| one["duplicate"] == true),
        "{again}"
    );
    assert_eq!(nats.count("EVENTS"), 3);
    assert_eq!(post(&gateway, "/events", STRUCTURED, &event("4", "t")).status, 415);
}

#[test]
fn a_request_becomes_an_event_where_that_is_wanted() {
    let (nats, gateway) = started(
        "subject: events.all, cloudEvents: {send: structured, wrap: {type: note.left, source: \"/notes\"}}",
    );
    let told = json(&post(&gateway, "/events", "\ncontent-type: text/plain\nidempotency-key: n1", "hello"));
    assert_eq!(told["id"], "n1");
    let kept: serde_json::Value = serde_json::from_slice(&nats.message("EVENTS", 1).data).expect("JSON");
    for (name, value) in [
        ("specversion", "1.0"),
        ("id", "n1"),
        ("source", "/notes"),
        ("type", "note.left"),
        ("datacontenttype", "text/plain"),
        ("data", "hello"),
    ] {
        assert_eq!(kept[name], value, "{kept}");
    }
    assert!(kept["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{kept}");
    assert_eq!(json(&post(&gateway, "/events", "\nidempotency-key: n1", "hello"))["duplicate"], true);
    // An event is not wrapped again.
    assert_eq!(json(&post(&gateway, "/events", BINARY, "{}"))["id"], "1");
}
