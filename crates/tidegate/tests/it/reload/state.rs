//! What did not change goes on where it was: breakers, health, listeners. What is refused changes nothing at all.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{
    super::harness::{Client, Gateway, Upstream, eventually, free_port, get, pause},
    config, fixed,
};

fn routed(upstream: &Upstream, settings: &str, route: &str) -> String {
    format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]{settings}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}]{route}, backends: [{{upstream: u}}]}}]\n",
        upstream.address
    )
}

const BREAKER: &str =
    ", retry: {maxAttempts: 1}, circuitBreaker: {minimumNumberOfCalls: 3, waitDurationInOpenState: 5m}";

fn breaker(gateway: &Gateway) -> String {
    gateway.admin_get("/api/v1/status").json()["upstreams"][0]["breaker"]["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn an_open_breaker_stays_open_over_reloads_and_over_refused_ones() {
    let upstream = Upstream::fixed(500, "broken");
    let gateway = Gateway::start(&routed(&upstream, BREAKER, ""));
    for _ in 0..4 {
        gateway.get("/");
    }
    assert_eq!(breaker(&gateway), "OPEN");
    gateway.reload(&config(&gateway, &routed(&upstream, BREAKER, ", priority: 1")));
    assert_eq!((breaker(&gateway).as_str(), gateway.get("/").status), ("OPEN", 503));
    // The upstream changes, too, but another part of this configuration cannot be compiled.
    let refused = routed(
        &upstream,
        &format!("{BREAKER}, pool: {{maxIdlePerWorker: 3}}, timeouts: {{request: 3s}}, healthCheck: {{}}"),
        "",
    )
    .replace("match: [{", "match: [{when: 'request.nothing', ");
    assert_eq!(gateway.reload(&config(&gateway, &refused))["lastReload"], "refused");
    assert_eq!(breaker(&gateway), "OPEN");
    gateway
        .reload(&config(&gateway, &routed(&upstream, &format!("{BREAKER}, timeouts: {{request: 3s}}"), "")));
    assert_eq!((breaker(&gateway).as_str(), gateway.get("/").status), ("OPEN", 503));
    let other = BREAKER.replace("minimumNumberOfCalls: 3", "minimumNumberOfCalls: 4");
    gateway.reload(&config(&gateway, &routed(&upstream, &other, "")));
    assert_eq!(breaker(&gateway), "CLOSED", "a changed breaker begins anew");
}

#[test]
fn an_endpoint_that_was_out_is_out_after_a_reload_and_one_that_goes_is_checked_no_more() {
    let healthy = Arc::new(AtomicBool::new(true));
    let probe = |healthy: Arc<AtomicBool>| {
        Upstream::scripted(move |seen| {
            let good = seen.target() != "/health" || healthy.load(Ordering::Relaxed);
            let status = if good { "200 OK" } else { "503 No" };
            Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes())
        })
    };
    let (sick, well) = (probe(healthy.clone()), probe(Arc::new(AtomicBool::new(true))));
    let text = |extra: &str, both: bool| {
        let first = if both { format!("{{address: \"{}\"}}, ", sick.address) } else { String::new() };
        format!(
            "upstreams: [{{name: u, endpoints: [{first}{{address: \"{}\"}}], loadBalancing: {{panicThreshold: 0}}, healthCheck: {{path: /health, interval: 100ms, unhealthyThreshold: 1}}{extra}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}]\n",
            well.address
        )
    };
    let gateway = Gateway::start(&text("", true));
    let calls =
        |upstream: &Upstream| upstream.seen().iter().filter(|seen| seen.target() != "/health").count();
    let health =
        || gateway.admin_get("/api/v1/status").json()["upstreams"][0]["endpoints"][0]["healthy"].as_bool();
    healthy.store(false, Ordering::Relaxed);
    eventually("the sick endpoint is out", || health() == Some(false));
    let before = calls(&sick);
    gateway.reload(&config(&gateway, &text(", bulkhead: {maxConcurrentCalls: 9}", true)));
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(calls(&sick), before, "health is known from before the reload");
    gateway.reload(&config(&gateway, &text("", false)));
    eventually("nobody checks an endpoint that is gone", || {
        let checks = sick.seen().len();
        pause(600);
        sick.seen().len() == checks
    });
    assert!(!gateway.metrics().contains(&sick.address.to_string()), "nor counts it");
}

#[test]
fn listeners_come_move_and_go_and_connections_of_others_notice_nothing() {
    let gateway = Gateway::start(&fixed("one"));
    let (second, third) = (free_port(), free_port());
    let on = |port: u16| get(([127, 0, 0, 1], port).into(), "/").map(|answer| answer.text());
    let with = |listener: &str, body: &str| {
        format!("listeners: [{{name: public, address: \"{}\"}}{listener}]\n{}", gateway.address, fixed(body))
    };
    let mut kept = Client::connect(gateway.address);
    assert_eq!(kept.get("/").expect("an answer").text(), "one");
    gateway.reload(&with(&format!(", {{name: second, address: \"127.0.0.1:{second}\"}}"), "two"));
    assert_eq!(
        (on(second).as_deref(), kept.get("/").expect("an answer").text().as_str()),
        (Some("two"), "two")
    );
    gateway.reload(&with(&format!(", {{name: second, address: \"127.0.0.1:{third}\"}}"), "three"));
    eventually("the old address is closed", || on(second).is_none());
    assert_eq!(on(third).as_deref(), Some("three"));
    gateway.reload(&with("", "four"));
    eventually("the listener is gone", || on(third).is_none());
    assert_eq!(kept.get("/").expect("the connection lives on").text(), "four");
}

#[test]
fn an_address_that_is_taken_leaves_the_old_running_whole() {
    let upstream = Upstream::fixed(500, "broken");
    let gateway = Gateway::start(&routed(&upstream, BREAKER, ""));
    for _ in 0..4 {
        gateway.get("/");
    }
    let holder = std::net::TcpListener::bind(("127.0.0.1", free_port())).expect("a port");
    let taken = holder.local_addr().expect("an address");
    let text = format!(
        "listeners: [{{name: public, address: \"{}\"}}, {{name: more, address: \"{taken}\"}}]\n{}",
        gateway.address,
        routed(&upstream, ", healthCheck: {}", "")
    );
    let state = gateway.reload(&text);
    assert_eq!(state["lastReload"], "refused");
    assert!(state["reloadError"].as_str().is_some_and(|error| error.contains(&taken.to_string())), "{state}");
    assert_eq!((breaker(&gateway).as_str(), gateway.get("/").status), ("OPEN", 503));
}

#[test]
fn an_access_log_that_cannot_be_opened_refuses_the_reload_and_the_old_one_goes_on() {
    let gateway = Gateway::start(&format!("accessLog: [{{kind: stdout}}]\n{}", fixed("one")));
    let bad = "accessLog: [{kind: file, path: /nowhere/at/all/access.log}]\n";
    let state = gateway.reload(&config(&gateway, &format!("{bad}{}", fixed("two"))));
    assert_eq!(state["lastReload"], "refused");
    assert_eq!(gateway.get("/").text(), "one", "no half of it is live");
    gateway.records(1);
    // The logs could be opened, but the rest is refused: they go back.
    let path = gateway.folder.path().join("other.log").display().to_string();
    let half = format!(
        "accessLog: [{{kind: file, path: '{path}'}}]\n{}",
        fixed("two").replace("respond", "priority: 1, match: [{when: 'x'}], respond")
    );
    assert_eq!(
        gateway.reload(&config(&gateway, &half.replacen("match: [{path: {prefix: /}}], ", "", 1)))["lastReload"],
        "refused"
    );
    gateway.get("/");
    gateway.records(2);
}

#[test]
fn what_takes_effect_at_the_next_start_alone_is_said() {
    let gateway = Gateway::start(&fixed("one"));
    gateway.reload(&config(&gateway, &format!("runtime: {{workers: 3}}\n{}", fixed("two"))));
    assert_eq!(gateway.get("/").text(), "two");
    assert!(gateway.stderr().contains("`runtime.workers` has changed"), "{}", gateway.stderr());
}

#[test]
fn an_old_connection_has_the_listeners_new_settings() {
    let gateway = Gateway::with("trustedProxies: [127.0.0.1/32]", &echo_client());
    let mut kept = Client::connect(gateway.address);
    let mut ask = || {
        kept.write("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.7\r\n\r\n");
        kept.read().expect("an answer").header("x-client").unwrap_or_default().to_owned()
    };
    assert_eq!(ask(), "192.0.2.7");
    gateway.reload(&config(&gateway, &echo_client()));
    assert_eq!(ask(), "127.0.0.1", "nobody is trusted any more");
}

fn echo_client() -> String {
    "routes: [{name: r, match: [{path: {prefix: /}}], policies: [{headers: {response: {set: {x-client: '{{ client.address }}'}}}}], respond: {}}]\n".to_owned()
}

#[test]
fn a_refused_reload_heals_no_endpoint() {
    let (sick, well) = (
        Upstream::scripted(|seen| {
            let status = if seen.target() == "/health" { "503 No" } else { "200 OK" };
            Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes())
        }),
        Upstream::fixed(200, "well"),
    );
    let text = |checked: &str, route: &str| {
        format!(
            "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}]{checked}}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}{route}}}], backends: [{{upstream: u}}]}}]\n",
            sick.address, well.address
        )
    };
    // So rare that nothing is put right by the next check.
    let checked = ", healthCheck: {path: /health, interval: 10m, jitter: 0, healthyThreshold: 1, unhealthyThreshold: 1}";
    let gateway = Gateway::start(&text(checked, ""));
    let health =
        || gateway.admin_get("/api/v1/status").json()["upstreams"][0]["endpoints"][0]["healthy"].as_bool();
    eventually("the sick endpoint is out", || health() == Some(false));
    // Without checks all endpoints would be taken for healthy; but this cannot be compiled.
    let refused = text("", ", when: 'request.nothing'");
    assert_eq!(gateway.reload(&config(&gateway, &refused))["lastReload"], "refused");
    assert_eq!(health(), Some(false), "what was refused has changed nothing");
    assert_eq!(gateway.reload(&config(&gateway, &text("", "")))["lastReload"], "ok");
    assert_eq!(health(), Some(true));
}
