//! What operators have set by hand: it outlives the process, until they take it back.

use serde_json::{Value, json};

use crate::{
    harness::{Answer, Gateway, Upstream, free_port},
    policies::strangler::{force, named},
    upstreams::breaker::operate,
};

/// A monolith that moves to a service, and an upstream with a breaker.
fn text(port: u16, old: &Upstream, new: &Upstream, has_all: bool) -> String {
    let (rule, breaker) = match has_all {
        true => ("{name: orders, to: new, percent: 100}", ", circuitBreaker: {}"),
        false => ("{name: other, to: new, percent: 100}", ""),
    };
    format!(
        "listeners: [{{name: public, address: \"127.0.0.1:{port}\"}}]
upstreams:
  - {{name: old, endpoints: [{{address: \"{0}\"}}]}}
  - {{name: new, endpoints: [{{address: \"{1}\"}}]}}
  - {{name: orders, endpoints: [{{address: \"{1}\"}}]{breaker}}}
routes:
  - name: shop
    match: [{{path: {{prefix: /shop}}}}]
    policies: [{{strangler: {{sticky: {{header: x-user}}, rules: [{rule}]}}}}]
    backends: [{{upstream: old}}]
  - {{name: orders, match: [{{path: {{prefix: /orders}}}}], backends: [{{upstream: orders}}]}}
",
        old.address, new.address
    )
}

/// What is told to be set: kind, state, and whether there is such a thing.
fn set(gateway: &Gateway) -> Vec<(String, String, bool)> {
    let status = gateway.admin_get("/api/v1/status").json();
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let all = status["byHand"].as_array().expect("a list").iter();
    all.map(|one| {
        assert!(one["since"].as_str().is_some_and(|since| since.starts_with("20")), "{one}");
        (text(one, "kind"), text(one, "state"), one["isLive"] == true)
    })
    .collect()
}

fn is_set(kind: &str, state: &str, is_live: bool) -> (String, String, bool) {
    (kind.to_owned(), state.to_owned(), is_live)
}

/// What the first calls get.
fn first(gateway: &Gateway) -> (String, Option<String>) {
    let orders: Answer = gateway.get("/orders");
    (gateway.get("/shop").text(), orders.problem())
}

#[test]
fn what_an_operator_has_forced_outlives_stops_kills_and_upgrades_until_it_is_taken_back() {
    let (old, new, port) = (named("old"), named("new"), free_port());
    let listen = ([127, 0, 0, 1], port).into();
    let mut gateway = Gateway::from_text(&text(port, &old, &new, true), listen, |_| {});
    assert_eq!(first(&gateway), ("new".to_owned(), None));
    assert!(set(&gateway).is_empty());
    assert_eq!(force(&gateway, "shop/orders", r#"{"state":"FORCED_OLD"}"#).status, 200);
    assert_eq!(operate(&gateway, "orders", r#"{"state":"FORCED_OPEN"}"#).status, 200);
    let both = [is_set("strangler", "FORCED_OLD", true), is_set("breaker", "FORCED_OPEN", true)];
    assert_eq!(set(&gateway), both);
    let forced = ("old".to_owned(), Some("circuit-open".to_owned()));
    for how in ["TERM", "KILL", "upgrade"] {
        match how {
            "upgrade" => _ = gateway.upgrade(),
            signal => gateway.restart(signal),
        }
        assert_eq!(first(&gateway), forced, "from the first call on, after {how}");
        assert_eq!(set(&gateway), both, "{how}");
    }
    assert!(
        gateway.stderr().contains("the circuit breaker of `orders` is FORCED_OPEN"),
        "{}",
        gateway.stderr()
    );
    // What is not configured any more waits, also over a restart.
    assert_eq!(gateway.reload(&text(port, &old, &new, false))["lastReload"], "ok");
    gateway.restart("TERM");
    assert_eq!(first(&gateway), ("new".to_owned(), None));
    let waiting = [is_set("strangler", "FORCED_OLD", false), is_set("breaker", "FORCED_OPEN", false)];
    assert_eq!(set(&gateway), waiting);
    assert_eq!(gateway.reload(&text(port, &old, &new, true))["lastReload"], "ok");
    assert_eq!(first(&gateway), forced, "as soon as it is there again");
    // It is taken back, for good.
    let answer = force(&gateway, "shop/orders", r#"{"state":"AUTO"}"#);
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"MOVING".into()));
    assert_eq!(operate(&gateway, "orders", r#"{"state":"CLOSED"}"#).status, 200);
    gateway.restart("KILL");
    assert_eq!(first(&gateway), ("new".to_owned(), None));
    assert!(set(&gateway).is_empty());
}

#[test]
fn what_is_kept_of_something_that_is_gone_can_be_forgotten_and_a_spoilt_file_ends_the_start() {
    let (old, new, port) = (named("old"), named("new"), free_port());
    let listen = ([127, 0, 0, 1], port).into();
    let mut gateway = Gateway::from_text(&text(port, &old, &new, true), listen, |_| {});
    assert_eq!(operate(&gateway, "orders", r#"{"state":"DISABLED"}"#).status, 200);
    assert_eq!(force(&gateway, "shop/orders", r#"{"state":"FORCED_NEW"}"#).status, 200);
    assert_eq!(gateway.reload(&text(port, &old, &new, false))["lastReload"], "ok");
    assert_eq!(operate(&gateway, "orders", r#"{"state":"FORCED_OPEN"}"#).status, 409, "it has no breaker");
    assert_eq!(force(&gateway, "shop/orders", r#"{"state":"FORCED_OLD"}"#).status, 404);
    assert_eq!(set(&gateway).len(), 2);
    let forgotten = operate(&gateway, "orders", r#"{"state":"CLOSED"}"#);
    assert_eq!((forgotten.status, forgotten.json()), (200, json!({"upstream": "orders", "breaker": null})));
    assert_eq!(force(&gateway, "shop/orders", r#"{"state":"AUTO"}"#).status, 200);
    assert!(set(&gateway).is_empty());
    assert_eq!(
        operate(&gateway, "orders", r#"{"state":"CLOSED"}"#).status,
        409,
        "there is nothing to forget"
    );
    let file = gateway.folder.path().join("data/by-hand.json");
    assert!(file.exists());
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    std::fs::write(&file, "{").expect("written");
    let output = gateway.again().stderr(std::process::Stdio::piped()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("by-hand.json") && said.contains("remove it to begin with nothing set"), "{said}");
}
