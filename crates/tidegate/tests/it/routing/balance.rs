//! Several backends: who is tied to which, and timeouts and retries of a route over its upstream's.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use super::super::harness::{Answer, Gateway, Upstream, pause};

/// Answers with its own number.
fn numbered(number: usize) -> Upstream {
    Upstream::fixed(200, &number.to_string())
}

fn setup(endpoints: &[&Upstream], upstream: &str, route: &str) -> Gateway {
    let endpoints: Vec<_> = endpoints.iter().map(|one| format!("{{address: \"{}\"}}", one.address)).collect();
    Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{}]{upstream}}}]
consumers: [{{name: gold, keys: [gold-key-of-the-test]}}, {{name: web, keys: [web-key-of-the-test]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}]{route}, backends: [{{upstream: u}}]}}]\n",
        endpoints.join(", ")
    ))
}

fn ask(gateway: &Gateway, headers: &str) -> Answer {
    gateway.send(&format!("GET / HTTP/1.1\nhost: a{headers}"), b"")
}

#[test]
fn a_header_or_a_consumer_stays_with_one_endpoint_whatever_the_algorithm() {
    let all: Vec<Upstream> = (0..4).map(numbered).collect();
    let all: Vec<&Upstream> = all.iter().collect();
    for algorithm in ["roundRobin", "random", "leastRequest", "peakEwma", "ringHash", "maglev"] {
        let balancing = format!(", loadBalancing: {{algorithm: {algorithm}}}");
        let gateway = setup(&all, &balancing, ", sticky: {header: x-user}");
        let of = |user: usize| ask(&gateway, &format!("\nx-user: user-{user}")).text();
        let mut used = HashSet::new();
        for user in 0..64 {
            let first = of(user);
            assert!((0..4).all(|_| of(user) == first), "{algorithm}: user {user} moved");
            used.insert(first);
        }
        assert_eq!(used.len(), 4, "{algorithm}: {used:?} are all that 64 users share");
    }
    let gateway = setup(&all, "", ", policies: [{keyAuth: {}}], sticky: {consumer: true}");
    for key in ["gold", "web"] {
        let of = || ask(&gateway, &format!("\nx-api-key: {key}-key-of-the-test")).text();
        let first = of();
        assert!((0..8).all(|_| of() == first), "{key} moved");
    }
}

#[test]
fn when_its_endpoint_is_gone_a_client_gets_another_and_the_others_stay() {
    let mut all: Vec<Upstream> = (0..4).map(numbered).collect();
    let gateway = setup(&all.iter().collect::<Vec<_>>(), "", ", sticky: {header: x-user}");
    let of = |user: usize| ask(&gateway, &format!("\nx-user: user-{user}"));
    let before: Vec<String> = (0..16).map(|user| of(user).text()).collect();
    all.remove(0);
    for (user, before) in before.iter().enumerate() {
        let now = of(user);
        assert_eq!(now.status, 200);
        assert!(
            before == "0" || *before == now.text(),
            "user {user} was at {before} and is at {}",
            now.text()
        );
    }
}

#[test]
fn a_sticky_cookie_is_signed_and_has_the_attributes_that_are_set() {
    let all: Vec<Upstream> = (0..3).map(numbered).collect();
    let all: Vec<&Upstream> = all.iter().collect();
    let gateway = setup(
        &all,
        "",
        ", sticky: {cookie: {name: where, secret: a-secret-of-the-test, ttl: 1h, path: /shop, sameSite: none, secure: true}}",
    );
    let first = ask(&gateway, "");
    let set = first.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        set.starts_with("where=")
            && set.ends_with("; Path=/shop; HttpOnly; Max-Age=3600; SameSite=None; Secure"),
        "{set}"
    );
    let value = set.split(';').next().expect("a pair").to_owned();
    for _ in 0..6 {
        let again = ask(&gateway, &format!("\ncookie: a=b; {value}"));
        assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
    }
    let forged = value.replace(&value[value.len() - 2..], "00");
    let forged = if forged == value { value.replace(&value[value.len() - 2..], "11") } else { forged };
    assert!(
        ask(&gateway, &format!("\ncookie: {forged}")).header("set-cookie").is_some(),
        "a forged one is none"
    );
    let plain = setup(&all, "", ", sticky: {cookie: {secret: a-secret-of-the-test}}");
    let set = ask(&plain, "").header("set-cookie").expect("a cookie").to_owned();
    assert!(
        set.starts_with("tidegate-sticky=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{set}"
    );
    super::refused(
        "upstreams: [{name: u, endpoints: [{address: \"127.0.0.1:1\"}]}]\nroutes: [{name: r, sticky: {cookie: {secret: short}}, backends: [{upstream: u}]}]\n",
        &["routes[0].sticky", "at least 16 characters"],
    );
}

#[test]
fn a_routes_timeouts_and_retries_go_over_its_upstreams() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let upstream = Upstream::scripted(move |seen| {
        counted.fetch_add(1, Ordering::Relaxed);
        if seen.target() == "/slow" {
            pause(1_500);
        }
        Some(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}, timeouts: {{request: 10s}}}}]
routes:
  - {{name: own, match: [{{path: {{exact: /own}}}}], retry: {{maxAttempts: 3, on: ['503'], backoff: {{initial: 1ms}}}}, backends: [{{upstream: u}}]}}
  - {{name: base, match: [{{path: {{exact: /base}}}}], backends: [{{upstream: u}}]}}
  - {{name: slow, match: [{{path: {{exact: /slow}}}}], timeouts: {{request: 200ms}}, backends: [{{upstream: u}}]}}\n",
        upstream.address
    ));
    let tries = |path: &str, status: u16| {
        let before = count.load(Ordering::Relaxed);
        assert_eq!(gateway.get(path).status, status, "{path}");
        count.load(Ordering::Relaxed) - before
    };
    assert_eq!((tries("/own", 503), tries("/base", 503)), (3, 1));
    let start = Instant::now();
    assert_eq!(tries("/slow", 504), 1);
    assert!(start.elapsed().as_millis() < 1_400);
}

#[test]
fn a_backend_without_weight_takes_nothing() {
    let (one, two) = (numbered(1), numbered(2));
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: one, endpoints: [{{address: \"{}\"}}]}}, {{name: two, endpoints: [{{address: \"{}\"}}]}}]
routes: [{{name: r, backends: [{{upstream: one}}, {{upstream: two, weight: 0}}]}}]\n",
        one.address, two.address
    ));
    assert!((0..20).all(|_| gateway.get("/").text() == "1"));
    assert!(two.seen().is_empty());
}
