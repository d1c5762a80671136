//! Names: both families, services, time to live, and failures that are not answers.

use std::time::{Duration, Instant};

use super::{endpoint_states, in_use, local, ok};
use crate::harness::{
    Client, Gateway, Upstream,
    dns::{A, AAAA, Data, NameServer, SRV, Say},
    eventually, free_port, pause,
};

fn resolving(dns: &NameServer, upstream: &str) -> Gateway {
    Gateway::start(&format!("runtime: {{dnsServers: [\"{}\"]}}\n{}", dns.address, super::config(upstream)))
}

fn addresses(gateway: &Gateway) -> Vec<String> {
    endpoint_states(gateway)
        .iter()
        .filter_map(|endpoint| endpoint["address"].as_str().map(str::to_owned))
        .collect()
}

/// Upstreams on one port of several loopback addresses, each answering with its address.
fn neighbours(hosts: &[&str]) -> (u16, Vec<Upstream>) {
    let port = free_port();
    let all = hosts.iter().map(|host| {
        let address = format!("{host}:{port}").parse().expect("an address");
        let body = host.to_owned().to_owned();
        Upstream::on(address, move |_| {
            Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
        })
    });
    let all = all.collect();
    (port, all)
}

const DISCOVERY: &str = "discovery: {dns: {name: shop.test, port: PORT, minRefresh: 100ms}}";

fn discovery(port: u16) -> String {
    DISCOVERY.replace("PORT", &port.to_string())
}

#[test]
fn a_name_stands_for_all_its_addresses_and_follows_them() {
    let dns = NameServer::start();
    let (port, _all) = neighbours(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    dns.addresses("shop.test", 0, &["127.0.0.1", "127.0.0.2"]);
    let gateway = resolving(&dns, &discovery(port));
    let texts = super::answers(&gateway, 20);
    assert_eq!(texts.keys().collect::<Vec<_>>(), ["127.0.0.1", "127.0.0.2"], "{texts:?}");
    dns.addresses("shop.test", 0, &["127.0.0.2", "127.0.0.3"]);
    eventually("the new one is known", || {
        addresses(&gateway).len() == 2 && addresses(&gateway)[1].starts_with("127.0.0.3")
    });
    let texts = super::answers(&gateway, 20);
    assert_eq!(texts.keys().collect::<Vec<_>>(), ["127.0.0.2", "127.0.0.3"], "{texts:?}");
}

#[test]
fn a_plain_endpoint_with_a_host_name_is_kept_resolved_too() {
    let dns = NameServer::start();
    let (port, _all) = neighbours(&["127.0.0.1", "127.0.0.2"]);
    dns.addresses("shop.test", 0, &["127.0.0.1"]);
    let gateway = resolving(&dns, &format!("endpoints: [{{address: \"shop.test:{port}\"}}]"));
    assert_eq!(gateway.get("/").text(), "127.0.0.1");
    dns.addresses("shop.test", 0, &["127.0.0.2"]);
    eventually("it moved", || gateway.get("/").text() == "127.0.0.2");
}

#[test]
fn both_families_are_used() {
    let dns = NameServer::start();
    let (port, _all) = neighbours(&["127.0.0.1", "[::1]"]);
    dns.addresses("shop.test", 60, &["127.0.0.1", "::1"]);
    let gateway = resolving(&dns, &discovery(port));
    let texts = super::answers(&gateway, 10);
    assert_eq!((texts["127.0.0.1"], texts["[::1]"]), (5, 5));
}

#[test]
fn a_failure_to_resolve_is_not_a_name_that_is_gone() {
    let dns = NameServer::start();
    let (port, mut all) = neighbours(&["127.0.0.1", "127.0.0.2"]);
    dns.addresses("shop.test", 0, &["127.0.0.1", "127.0.0.2"]);
    let gateway = resolving(
        &dns,
        &format!(
            "{}, healthCheck: {{interval: 100ms, healthyThreshold: 1, unhealthyThreshold: 1}}, retry: {{maxAttempts: 2}}",
            discovery(port)
        ),
    );
    let before = addresses(&gateway);
    for say in [Say::Failure, Say::Silence] {
        for kind in [A, AAAA] {
            dns.say("shop.test", kind, say.clone());
        }
        let asked = dns.asked("shop.test", A);
        eventually("it is asked in vain", || dns.asked("shop.test", A) > asked + 1);
        assert_eq!(addresses(&gateway), before, "{say:?}");
        assert_eq!(super::answers(&gateway, 10).len(), 2, "{say:?}");
    }
    // Health goes on meanwhile: one of them dies, and is not resurrected by the next good answer.
    drop(all.remove(0));
    eventually("its end is seen", || in_use(&gateway).len() == 1);
    dns.addresses("shop.test", 0, &["127.0.0.1", "127.0.0.2"]);
    let asked = dns.asked("shop.test", A);
    eventually("names are answered again", || dns.asked("shop.test", A) > asked + 2);
    assert_eq!(in_use(&gateway), [format!("127.0.0.2:{port}")]);
    // That there is no such name is an answer.
    dns.say("shop.test", A, Say::NoSuchName);
    dns.say("shop.test", AAAA, Say::NoSuchName);
    eventually("nobody is left", || addresses(&gateway).is_empty());
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("no-healthy-endpoint")));
}

#[test]
fn reserves_serve_while_the_names_of_the_others_stand_for_nothing() {
    let dns = NameServer::start();
    for kind in [A, AAAA] {
        dns.say("shop.test", kind, Say::NoSuchName);
    }
    let reserve = Upstream::fixed(200, "reserve");
    let settings = format!(
        "endpoints: [{{address: \"shop.test:80\"}}, {{address: \"{}\", backup: true}}]",
        reserve.address
    );
    let gateway = resolving(&dns, &settings);
    assert_eq!(super::answers(&gateway, 20).get("reserve"), Some(&20));
}

#[test]
fn another_rhythm_loses_no_address_while_names_cannot_be_resolved() {
    let dns = NameServer::start();
    let (port, _all) = neighbours(&["127.0.0.1", "127.0.0.2"]);
    dns.addresses("shop.test", 0, &["127.0.0.1", "127.0.0.2"]);
    let listener = free_port();
    let text = |rhythm: &str| {
        format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{listener}\"}}]\nruntime: {{dnsServers: [\"{}\"]}}\n{}",
            dns.address,
            super::config(&discovery(port).replace("minRefresh: 100ms", rhythm))
        )
    };
    let gateway = Gateway::from_text(&text("minRefresh: 100ms"), local(listener), |_| {});
    let before = addresses(&gateway);
    assert_eq!(before.len(), 2);
    for kind in [A, AAAA] {
        dns.say("shop.test", kind, Say::Failure);
    }
    assert_eq!(gateway.reload(&text("minRefresh: 200ms, maxRefresh: 30s"))["lastReload"], "ok");
    assert_eq!(addresses(&gateway), before);
    assert_eq!(super::answers(&gateway, 10).len(), 2);
}

#[test]
fn a_family_that_cannot_be_asked_keeps_its_addresses() {
    let dns = NameServer::start();
    let (port, _all) = neighbours(&["127.0.0.1", "127.0.0.2", "[::1]"]);
    dns.addresses("shop.test", 0, &["127.0.0.1", "::1"]);
    let gateway = resolving(&dns, &discovery(port));
    assert_eq!(addresses(&gateway).len(), 2);
    dns.say("shop.test", AAAA, Say::Failure);
    dns.say("shop.test", A, Say::Records(0, vec![Data::Address([127, 0, 0, 2].into())]));
    eventually("the other family moves on", || {
        addresses(&gateway) == [format!("127.0.0.2:{port}"), format!("[::1]:{port}")]
    });
}

#[test]
fn a_time_to_live_of_zero_does_not_flip_health() {
    let dns = NameServer::start();
    let (port, mut all) = neighbours(&["127.0.0.1", "127.0.0.2"]);
    dns.addresses("shop.test", 0, &["127.0.0.1", "127.0.0.2"]);
    let gateway = resolving(
        &dns,
        &format!(
            "discovery: {{dns: {{name: shop.test, port: {port}, minRefresh: 20ms}}}},
            healthCheck: {{interval: 100ms, healthyThreshold: 3, unhealthyThreshold: 1}}"
        ),
    );
    drop(all.remove(0));
    eventually("its end is seen", || in_use(&gateway).len() == 1);
    let asked = dns.asked("shop.test", A);
    // The order of an answer means nothing, either.
    for round in 0..40 {
        let order: [&str; 2] =
            if round % 2 == 0 { ["127.0.0.2", "127.0.0.1"] } else { ["127.0.0.1", "127.0.0.2"] };
        dns.addresses("shop.test", 0, &order);
        assert_eq!(in_use(&gateway), [format!("127.0.0.2:{port}")], "round {round}");
        pause(20);
    }
    assert!(dns.asked("shop.test", A) > asked + 5, "it was resolved again and again");
}

#[test]
fn the_time_to_live_is_honoured_within_its_bounds() {
    let dns = NameServer::start();
    let (port, _all) = neighbours(&["127.0.0.1"]);
    dns.addresses("long.test", 3600, &["127.0.0.1"]);
    dns.addresses("short.test", 1, &["127.0.0.1"]);
    dns.addresses("bounded.test", 3600, &["127.0.0.1"]);
    let upstream = |name: &str, more: &str| {
        format!("{{name: {name}, discovery: {{dns: {{name: {name}.test, port: {port}{more}}}}}}}")
    };
    let _gateway = Gateway::start(&format!(
        "runtime: {{dnsServers: [\"{}\"]}}
upstreams: [{}, {}, {}]
routes: [{{name: r, backends: [{{upstream: long}}, {{upstream: short}}, {{upstream: bounded}}]}}]\n",
        dns.address,
        upstream("long", ""),
        upstream("short", ", minRefresh: 100ms"),
        upstream("bounded", ", maxRefresh: 1s"),
    ));
    let start = Instant::now();
    let first = dns.asked("long.test", A);
    eventually("those that are due are asked for again", || {
        dns.asked("short.test", A) > first + 2 && dns.asked("bounded.test", A) > first + 2
    });
    assert!(start.elapsed() > Duration::from_millis(1_500), "not before their time");
    assert!(dns.asked("long.test", A) <= 2, "once at the start, and once by its watcher");
}

#[test]
fn services_bring_ports_weights_and_reserves() {
    let dns = NameServer::start();
    let ports: Vec<_> = (0..3).map(|_| free_port()).collect();
    let all: Vec<_> = ports
        .iter()
        .map(|port| {
            let body = format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{port}");
            Some(Upstream::on(local(*port), move |_| Some(body.clone().into_bytes())))
        })
        .collect();
    let services = vec![
        Data::Service(10, 1, ports[0], "a.test".into()),
        Data::Service(10, 3, ports[1], "b.test".into()),
        Data::Service(20, 1, ports[2], "c.test".into()),
    ];
    // More than fits into a datagram: asked again over TCP.
    dns.say("_shop._tcp.test", SRV, Say::TooLarge(0, services));
    for name in ["a.test", "b.test", "c.test"] {
        dns.addresses(name, 0, &["127.0.0.1"]);
    }
    let gateway = resolving(
        &dns,
        // A kept connection would still be answered by an upstream that takes no new ones.
        "discovery: {dns: {name: _shop._tcp.test, type: SRV, minRefresh: 100ms}}, retry: {maxAttempts: 3},
        pool: {maxRequests: 1}",
    );
    let texts = super::answers(&gateway, 40);
    assert_eq!(texts.get(&ports[0].to_string()), Some(&10), "{texts:?}");
    assert_eq!(texts.get(&ports[1].to_string()), Some(&30), "{texts:?}");
    // One target cannot be resolved any more: it stays as it was known, and so do the others.
    dns.say("a.test", A, Say::Failure);
    dns.say("a.test", AAAA, Say::Failure);
    let asked = dns.asked("a.test", A);
    eventually("it is asked in vain", || dns.asked("a.test", A) > asked + 1);
    assert_eq!(addresses(&gateway).len(), 3);
    // The reserve takes over when the first two are gone.
    let mut all = all;
    all[0] = None;
    all[1] = None;
    let texts = super::answers(&gateway, 10);
    assert_eq!(texts.keys().collect::<Vec<_>>(), [&ports[2].to_string()]);
}

#[test]
fn an_address_that_leaves_its_name_is_drained_and_then_forgotten() {
    let dns = NameServer::start();
    let port = free_port();
    let slow = Upstream::on(format!("127.0.0.1:{port}").parse().expect("an address"), |seen| {
        if seen.target() == "/slow" {
            pause(1_500);
        }
        ok()
    });
    let _other = Upstream::on(format!("127.0.0.2:{port}").parse().expect("an address"), |_| ok());
    dns.addresses("shop.test", 0, &["127.0.0.1"]);
    let gateway =
        resolving(&dns, &format!("{}, healthCheck: {{path: /health, interval: 50ms}}", discovery(port)));
    eventually("it is checked", || slow.seen().len() > 2);
    let mut client = Client::connect(gateway.address);
    client.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the call is out", || slow.seen().iter().any(|seen| seen.target() == "/slow"));
    dns.addresses("shop.test", 0, &["127.0.0.2"]);
    eventually("it has left", || addresses(&gateway) == [format!("127.0.0.2:{port}")]);
    assert_eq!(client.read().expect("an answer").status, 200, "what is in flight is not cut");
    let series = format!("tidegate_upstream_endpoint_healthy{{upstream=\"u\",endpoint=\"127.0.0.1:{port}\"");
    assert!(!gateway.metrics().contains(&series));
    pause(300);
    let checked = slow.seen().len();
    pause(500);
    assert_eq!(slow.seen().len(), checked, "nobody checks it any more");
}

#[test]
fn an_unknown_name_is_503() {
    let dns = NameServer::start();
    let gateway = resolving(&dns, "endpoints: [{address: \"no-such-host.test:80\"}]");
    for _ in 0..3 {
        let answer = gateway.get("/");
        assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("no-healthy-endpoint")));
        assert!(answer.header("retry-after").is_some());
    }
    assert!(dns.asked("no-such-host.test", A) > 0, "the configured server was asked");
}

#[test]
fn a_name_server_that_is_silent_at_the_start_only_delays_its_upstreams() {
    let dns = NameServer::start();
    for kind in [A, AAAA] {
        dns.say("shop.test", kind, Say::Silence);
    }
    let (port, _all) = neighbours(&["127.0.0.1"]);
    let other = Upstream::fixed(200, "other");
    let gateway = Gateway::start(&format!(
        "runtime: {{dnsServers: [\"{}\"]}}
upstreams: [{{name: u, {}}}, {{name: other, {}}}]
routes:
  - {{name: other, match: [{{path: {{exact: /other}}}}], backends: [{{upstream: other}}]}}
  - {{name: r, match: [{{path: {{prefix: /}}}}], backends: [{{upstream: u}}]}}\n",
        dns.address,
        discovery(port),
        super::endpoints([&other])
    ));
    assert!(dns.asked("shop.test", A) > 0, "it was asked in vain");
    let answer = gateway.get("/");
    assert_eq!((answer.status, answer.problem().as_deref()), (503, Some("no-healthy-endpoint")));
    assert_eq!(gateway.get("/other").text(), "other", "nobody else is touched");
    dns.addresses("shop.test", 0, &["127.0.0.1"]);
    eventually("it is there without anyone's doing", || gateway.get("/").text() == "127.0.0.1");
}
