//! `strangler`: callers that move to a new service, stay there, and come back when it fails.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    super::harness::{Answer, Client, Gateway, Upstream, eventually, pause, raw, run},
    ask, last, refused,
};

/// An upstream that says its name.
pub(crate) fn named(name: &'static str) -> Upstream {
    Upstream::scripted(move |_| Some(said(200, name)))
}

fn said(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A monolith `old` behind every path, and a service `new` under these settings.
fn config(old: &Upstream, new: &Upstream, settings: &str) -> String {
    format!(
        "accessLog: [{{kind: stdout}}]
upstreams:
  - {{name: old, endpoints: [{{address: \"{}\"}}]}}
  - {{name: new, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
routes:
  - name: shop
    match: [{{path: {{prefix: /}}}}]
    policies: [{{strangler: {settings}}}]
    backends: [{{upstream: old}}]\n",
        old.address, new.address
    )
}

fn by_user(percent: u32, rest: &str) -> String {
    format!(
        "{{sticky: {{header: x-user}}, rules: [{{name: orders, path: {{prefix: /orders}}, to: new, percent: {percent}}}]{rest}}}"
    )
}

fn of(client: &mut Client, user: usize) -> String {
    client.write(format!("GET /orders HTTP/1.1\r\nhost: a\r\nx-user: user-{user}\r\n\r\n"));
    client.read().expect("an answer").text()
}

/// Users of a hundred who are on the new side.
fn moved(gateway: &Gateway) -> BTreeSet<usize> {
    let mut client = Client::connect(gateway.address);
    (0..100).filter(|user| of(&mut client, *user) == "new").collect()
}

/// What a reload keeps.
fn listeners(gateway: &Gateway) -> String {
    let text = std::fs::read_to_string(gateway.config()).expect("the configuration");
    let head = text.split("accessLog").next().expect("a beginning");
    head.split_once('\n').expect("the admin endpoint").1.to_owned()
}

/// Sets a rule, `ROUTE/RULE`, by hand.
pub(crate) fn force(gateway: &Gateway, rule: &str, body: &str) -> Answer {
    let request = format!(
        "PUT /api/v1/stranglers/{rule} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer test-admin-token\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        gateway.admin,
        body.len()
    );
    Answer::parse(&raw(gateway.admin, request.as_bytes())).expect("an answer")
}

fn standing(gateway: &Gateway) -> serde_json::Value {
    gateway.admin_get("/api/v1/stranglers").json()["stranglers"][0].clone()
}

#[test]
fn a_larger_share_moves_further_users_and_every_gateway_moves_the_same() {
    let (old, new) = (named("old"), named("new"));
    let gateway = Gateway::start(&config(&old, &new, &by_user(10, "")));
    let listeners = listeners(&gateway);
    let mut before = moved(&gateway);
    assert!((2..=22).contains(&before.len()), "{before:?}");
    assert_eq!(moved(&gateway), before, "they stay where they are");
    for percent in [30, 60, 100] {
        let text = config(&old, &new, &by_user(percent, ""));
        let reload = gateway.reload(&format!("{listeners}{text}"));
        assert_eq!(reload["reloadsRefused"], 0, "{reload}");
        let now = moved(&gateway);
        assert!(before.is_subset(&now) && now.len() > before.len(), "{before:?} {now:?}");
        let other = Gateway::start(&text);
        assert_eq!(moved(&other), now, "another gateway has the same users on the same sides");
        before = now;
    }
    assert_eq!(before.len(), 100);
    let series = "tidegate_strangler_configured_share{route=\"shop\",rule=\"orders\"}";
    assert_eq!(gateway.metric(series), Some(1.0));
    let new_requests = "tidegate_strangler_requests_total{route=\"shop\",rule=\"orders\",side=\"new\"}";
    assert_eq!(gateway.metric(new_requests), standing(&gateway)["newRequests"].as_f64());
    assert!(gateway.metric(new_requests) > Some(100.0));
}

#[test]
fn rules_are_asked_in_order_by_path_and_method_and_what_fits_none_stays() {
    let (old, new) = (named("old"), named("new"));
    let settings = "{rules: [
      {name: reads, path: {template: '/items/{id:int}'}, methods: [GET], to: new, percent: 100},
      {name: one, path: {exact: /items/7}, to: new, percent: 0},
      {name: prices, path: {prefix: /prices}, methods: [POST], to: new, percent: 100}]}";
    let gateway = Gateway::start(&config(&old, &new, settings));
    for (method, path, side) in [
        ("GET", "/items/7", "new"),
        ("DELETE", "/items/7", "old"),
        ("GET", "/items/seven", "old"),
        ("POST", "/prices/7", "new"),
        ("GET", "/prices/7", "old"),
        ("GET", "/", "old"),
    ] {
        let answer = gateway.send(&format!("{method} {path} HTTP/1.1\nhost: a\ncontent-length: 4"), b"body");
        assert_eq!((answer.status, answer.text().as_str()), (200, side), "{method} {path}");
    }
    assert_eq!(last(&new).body, b"body");
    let record =
        gateway.record("the new side", |record| record["path"] == "/prices/7" && record["method"] == "POST");
    let want = serde_json::json!({"rule": "prices", "side": "new", "why": "share"});
    assert_eq!((&record["strangler"], &record["upstream"]), (&want, &"new".into()));
    let record = gateway.record("no rule", |record| record["path"] == "/");
    assert_eq!((&record["strangler"], &record["upstream"]), (&serde_json::Value::Null, &"old".into()));
    let config = gateway.config().display().to_string();
    let (code, out, problems) = run(&["routes", "explain", "-c", &config, "POST", "/prices/1"]);
    assert_eq!(code, 0, "{problems}");
    assert!(out.contains("rule `prices`") && out.contains("has moved 100 % of callers to `new`"), "{out}");
    assert!(out.contains(&new.address.to_string()), "where it goes then: {out}");
}

#[test]
fn testers_choose_their_side_and_nobody_else_does() {
    let (old, new) = (named("old"), named("new"));
    let choice = ", override: {header: x-side, when: \"request.headers['x-tester'] == 'yes'\"}";
    let gateway = Gateway::start(&config(&old, &new, &by_user(0, choice)));
    assert_eq!(ask(&gateway, "/orders", "").text(), "old");
    assert_eq!(ask(&gateway, "/orders", "\nx-side: new").text(), "old", "who is no tester");
    assert_eq!(ask(&gateway, "/orders", "\nx-side: new\nx-tester: yes").text(), "new");
    assert_eq!(ask(&gateway, "/orders", "\nx-side: perhaps\nx-tester: yes").text(), "old");
    let record = gateway.record("a tester", |record| record["strangler"]["side"] == "new");
    assert_eq!(record["strangler"]["why"], "override");
}

#[test]
fn everybody_returns_when_the_new_service_fails_and_it_is_tried_again() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let switch = is_broken.clone();
    let old = named("old");
    let new = Upstream::scripted(move |_| {
        Some(if switch.load(Ordering::Relaxed) { said(503, "broken") } else { said(200, "new") })
    });
    let fallback = ", fallback: {failureRate: 50, minimumCalls: 10, wait: 1s, ramp: 0s}";
    let gateway = Gateway::start(&config(&old, &new, &by_user(100, fallback)));
    for _ in 0..9 {
        assert_eq!(ask(&gateway, "/orders", "").status, 503);
    }
    assert_eq!(standing(&gateway)["state"], "MOVING", "nine are too few");
    assert_eq!(ask(&gateway, "/orders", "").status, 503);
    let status = standing(&gateway);
    assert_eq!((&status["state"], &status["returns"]), (&"RETURNED".into(), &1.into()), "{status}");
    assert_eq!((&status["configuredPercent"], &status["effectivePercent"]), (&100.0.into(), &0.0.into()));
    assert_eq!(ask(&gateway, "/orders", "").text(), "old");
    let record = gateway.record("a return", |record| record["strangler"]["why"] == "returned");
    assert_eq!((&record["strangler"]["side"], &record["status"]), (&"old".into(), &200.into()));
    for (series, value) in [
        ("tidegate_strangler_effective_share{route=\"shop\",rule=\"orders\"}", 0.0),
        ("tidegate_strangler_returns_total{route=\"shop\",rule=\"orders\"}", 1.0),
        ("tidegate_strangler_failures_total{route=\"shop\",rule=\"orders\"}", 10.0),
        ("tidegate_strangler_state{route=\"shop\",rule=\"orders\",state=\"RETURNED\"}", 1.0),
    ] {
        assert_eq!(gateway.metric(series), Some(value), "{series}");
    }
    is_broken.store(false, Ordering::Relaxed);
    eventually("it is tried again", || ask(&gateway, "/orders", "").text() == "new");
    assert_eq!(standing(&gateway)["state"], "MOVING");
}

#[test]
fn a_share_comes_back_by_and_by() {
    let old = named("old");
    let is_broken = Arc::new(AtomicBool::new(true));
    let switch = is_broken.clone();
    let new = Upstream::scripted(move |_| {
        Some(if switch.load(Ordering::Relaxed) { said(500, "broken") } else { said(200, "new") })
    });
    let fallback = ", fallback: {minimumCalls: 5, wait: 500ms, ramp: 1h}";
    let gateway = Gateway::start(&config(&old, &new, &by_user(100, fallback)));
    for _ in 0..5 {
        ask(&gateway, "/orders", "");
    }
    is_broken.store(false, Ordering::Relaxed);
    eventually("some are tried again", || standing(&gateway)["state"] == "RESUMING");
    let few = moved(&gateway);
    assert!((1..=20).contains(&few.len()), "about a twentieth: {few:?}");
}

#[test]
fn slow_answers_and_a_service_that_is_not_there_bring_everybody_back_as_well() {
    let old = named("old");
    let slow = Upstream::scripted(|_| {
        pause(150);
        Some(said(200, "slow"))
    });
    let fallback = ", fallback: {slowRate: 50, slowDuration: 50ms, minimumCalls: 3, wait: 1h}";
    let gateway = Gateway::start(&config(&old, &slow, &by_user(100, fallback)));
    let texts: Vec<String> = (0..4).map(|_| ask(&gateway, "/orders", "").text()).collect();
    assert_eq!(texts, ["slow", "slow", "slow", "old"]);
    let gone = {
        let upstream = named("gone");
        config(&old, &upstream, &by_user(100, ", fallback: {minimumCalls: 3, wait: 1h}"))
    };
    pause(50);
    let gateway = Gateway::start(&gone);
    let statuses: Vec<u16> = (0..4).map(|_| ask(&gateway, "/orders", "").status).collect();
    assert_eq!(statuses[3], 200, "{statuses:?}");
    assert!(statuses[..3].iter().all(|status| *status >= 500), "{statuses:?}");
}

#[test]
fn a_service_that_hangs_until_clients_leave_brings_everybody_back() {
    let old = named("old");
    let hanging = Upstream::scripted(|_| {
        pause(3_000);
        Some(said(200, "late"))
    });
    let fallback = ", fallback: {slowRate: 50, slowDuration: 100ms, minimumCalls: 3, wait: 1h}";
    let gateway = Gateway::start(&config(&old, &hanging, &by_user(100, fallback)));
    let leave_after = |millis: u64| {
        let mut client = Client::connect(gateway.address);
        client.write("GET /orders HTTP/1.1\r\nhost: a\r\n\r\n");
        pause(millis);
    };
    // Whoever leaves at once says nothing about the service.
    (0..4).for_each(|_| leave_after(10));
    gateway.records(4);
    assert_eq!(standing(&gateway)["state"], "MOVING");
    (0..3).for_each(|_| leave_after(200));
    eventually("everybody returns", || standing(&gateway)["state"] == "RETURNED");
    assert_eq!(ask(&gateway, "/orders", "").text(), "old");
}

#[test]
fn an_operator_forces_either_side_also_over_reloads() {
    let (old, new) = (named("old"), named("new"));
    let gateway = Gateway::start(&config(&old, &new, &by_user(100, "")));
    let listeners = listeners(&gateway);
    let answer = force(&gateway, "shop/orders", r#"{"state":"FORCED_OLD"}"#);
    assert_eq!((answer.status, &answer.json()["state"]), (200, &"FORCED_OLD".into()));
    assert_eq!(ask(&gateway, "/orders", "").text(), "old");
    gateway.reload(&format!("{listeners}{}", config(&old, &new, &by_user(50, ""))));
    assert_eq!(moved(&gateway).len(), 0, "what an operator said stands");
    force(&gateway, "shop/orders", r#"{"state":"FORCED_NEW"}"#);
    assert_eq!(moved(&gateway).len(), 100);
    force(&gateway, "shop/orders", r#"{"state":"AUTO"}"#);
    assert!((30..70).contains(&moved(&gateway).len()));
    assert_eq!(force(&gateway, "shop/nothing", r#"{"state":"AUTO"}"#).status, 404);
    assert_eq!(force(&gateway, "shop/orders", r#"{"state":"NEW"}"#).status, 400);
}

#[test]
fn whoever_has_no_cookie_is_given_one_and_stays_by_it() {
    let (old, new) = (named("old"), named("new"));
    let settings = "{sticky: {cookie: {name: sid, issue: true}}, rules: [{name: all, to: new, percent: 50}]}";
    let gateway = Gateway::start(&config(&old, &new, settings));
    let mut sides = BTreeSet::new();
    for _ in 0..20 {
        let first = ask(&gateway, "/", "");
        let cookie = first.header("set-cookie").expect("a cookie");
        assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
        let pair = cookie.split(';').next().expect("a pair");
        let next = ask(&gateway, "/", &format!("\ncookie: {pair}"));
        assert_eq!((next.text(), next.header("set-cookie")), (first.text(), None));
        sides.insert(first.text());
    }
    assert_eq!(sides.len(), 2, "about half of twenty are on either side");
    // Who came by TLS to a proxy before this one sends it back by TLS alone.
    let behind = Gateway::start(&format!("trustedProxies: [127.0.0.0/8]\n{}", config(&old, &new, settings)));
    for (scheme, is_secure) in [("https", true), ("http", false)] {
        let answer = ask(&behind, "/", &format!("\nx-forwarded-proto: {scheme}"));
        let cookie = answer.header("set-cookie").expect("a cookie");
        assert_eq!(cookie.ends_with("; Secure"), is_secure, "{cookie}");
    }
}

#[test]
fn a_websocket_goes_where_its_caller_is() {
    let old = named("old");
    let new = Upstream::raw(|mut reader, _| {
        use std::io::{Read, Write};
        if super::super::harness::read_request(&mut reader).is_some() {
            let agreed = "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
            let _ = reader.get_mut().write_all(agreed.as_bytes());
            let mut bytes = [0; 4];
            if reader.read_exact(&mut bytes).is_ok() {
                let _ = reader.get_mut().write_all(&bytes);
            }
        }
    });
    let settings = "{rules: [{name: live, path: {prefix: /live}, to: new, percent: 100}]}";
    let gateway = Gateway::start(&config(&old, &new, settings));
    let mut client = Client::connect(gateway.address);
    client.write("GET /live HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    assert_eq!(client.read().map(|answer| answer.status), Some(101));
    client.write("ping");
    assert_eq!(client.read_bytes(4), b"ping");
}

#[test]
fn a_request_with_a_key_goes_where_its_caller_is_and_counts_there() {
    let (old, new) = (named("old"), named("new"));
    let text = config(&old, &new, "{rules: [{name: all, to: new, percent: 100}]}");
    let gateway = Gateway::start(&text.replace("policies: [", "policies: [{idempotency: {}}, "));
    let post = "POST / HTTP/1.1\nhost: a\nidempotency-key: \"k\"\ncontent-length: 1";
    for _ in 0..2 {
        assert_eq!(gateway.send(post, b"x").text(), "new");
    }
    assert_eq!((new.seen().len(), old.seen().len()), (1, 0));
}

/// What the new service's own policies say who calls with is nobody's word before them, nor one that chooses a side.
#[test]
fn a_client_cannot_choose_its_side_by_what_the_new_services_policies_say() {
    let (old, new) = (named("old"), named("new"));
    let who = "policies: [{headers: {request: {set: {x-user: \"{{ consumer.name }}\"}}}}]";
    let sides = |text: &str| {
        let gateway = Gateway::start(text);
        let mut client = Client::connect(gateway.address);
        (0..40).map(|user| of(&mut client, user)).collect::<BTreeSet<String>>().len()
    };
    let plain = config(&old, &new, &by_user(50, ""));
    assert_eq!(sides(&plain), 2);
    let telling = plain.replace("retry: {maxAttempts: 1}", &format!("retry: {{maxAttempts: 1}}, {who}"));
    assert_eq!(sides(&telling), 1, "they are told apart by their address, which is one");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (old, new) = (named("old"), named("new"));
    let whole = |settings: &str| {
        format!("listeners: [{{name: p, address: \"127.0.0.1:8080\"}}]\n{}", config(&old, &new, settings))
    };
    refused(&whole("{rules: []}"), &["strangler.rules"]);
    refused(&whole("{rules: [{name: a, to: newer, percent: 1}]}"), &["there is no upstream `newer`"]);
    refused(
        &whole("{rules: [{name: a, to: new, percent: 1}, {name: a, to: new, percent: 1}]}"),
        &["two rules `a`"],
    );
    refused(
        &whole("{rules: [{name: a, to: new, percent: 1, fallback: {window: 0s}}]}"),
        &["fallback.window"],
    );
    let answered = whole("{rules: [{name: a, to: new, percent: 1}]}")
        .replace("backends: [{upstream: old}]", "respond: {}");
    refused(&answered, &["`backends`"]);
    let global = "listeners: [{name: p, address: \"127.0.0.1:8080\"}]
upstreams: [{name: new, endpoints: [{address: \"127.0.0.1:1\"}]}]
globalPolicies: [{strangler: {rules: [{name: a, to: new, percent: 1}]}}]
routes: [{name: r, match: [{path: {prefix: /}}], backends: [{upstream: new}]}]\n";
    refused(global, &["route's own `policies`"]);
}
