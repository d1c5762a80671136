//! The promises in the comments of the reference configuration, for the parts that this build has. TLS is in
//! `tls`, tokens in `attacks::jwt`.

use std::time::{Duration, Instant};

use super::harness::{Client, Gateway, Upstream, pause};

/// The reference configuration's resources of this build, on upstreams of the test.
fn setup(catalog: [&Upstream; 2], orders: [&Upstream; 2]) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]
upstreams:
  - name: catalog
    endpoints: [{{address: \"{}\"}}, {{address: \"{}\", weight: 2}}]
    loadBalancing: {{algorithm: roundRobin}}
    timeouts: {{connect: 1s, perTry: 300ms, request: 700ms}}
    retry: {{maxAttempts: 3, on: [connectFailure, reset, \"502\", \"503\", \"504\"]}}
  - {{name: orders, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 1}}}}
  - {{name: orders-canary, endpoints: [{{address: \"{}\"}}]}}
consumers:
  - {{name: gold, groups: [partners], keys: [gold-key-of-the-test]}}
  - {{name: web, keys: [web-key-of-the-test]}}
routes:
  - name: catalog
    match: [{{path: {{prefix: /v1/products}}, methods: [GET, HEAD]}}]
    policies:
      - keyAuth: {{header: x-api-key}}
      - rateLimit: {{limit: 5, window: 1s, key: consumer}}
    backends: [{{upstream: catalog}}]
  - name: free
    match: [{{path: {{prefix: /free}}}}]
    backends: [{{upstream: catalog}}]
  - name: catalog-v2-by-header
    match:
      - {{path: {{prefix: /products}}, headers: [{{name: accept, regex: 'application/vnd\\.shop\\.v2\\+json'}}]}}
    policies: [{{rewrite: {{path: {{replacePrefix: /v2/products}}}}}}]
    backends: [{{upstream: catalog}}]
  - name: orders
    match: [{{path: {{exact: /v1/orders}}, methods: [GET]}}]
    backends: [{{upstream: orders, weight: 90}}, {{upstream: orders-canary, weight: 10}}]
  - name: old-shop
    match: [{{path: {{prefix: /legacy}}}}]
    policies:
      - deprecation: {{deprecatedAt: 2026-06-01, sunsetAt: 2027-06-01, successor: /v1}}
    redirect: {{pathPrefix: /v1, status: 308}}
  - name: ping
    match: [{{path: {{exact: /ping}}}}]
    respond: {{status: 200, headers: {{content-type: application/json}}, body: '{{\"pong\":true}}'}}
  - {{name: on-any, match: [{{path: {{exact: /host}}}}], respond: {{body: any}}}}
  - {{name: on-wildcard, hosts: [\"*.example.test\"], match: [{{path: {{exact: /host}}}}], respond: {{body: wildcard}}}}
  - {{name: on-exact, hosts: [api.example.test], match: [{{path: {{exact: /host}}}}], respond: {{body: exact}}}}
",
        catalog[0].address, catalog[1].address, orders[0].address, orders[1].address
    ))
}

fn quick() -> Upstream {
    Upstream::echo()
}

#[test]
fn a_key_lets_in_and_never_reaches_the_upstream() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    let ask = |headers: &str| gateway.send(&format!("GET /v1/products HTTP/1.1\nhost: a{headers}"), b"");
    for headers in [
        "",
        "\nx-api-key: wrong",
        "\nx-api-key: gold-key-of-the-tes",
        "\nauthorization: gold-key-of-the-test",
    ] {
        let answer = ask(headers);
        assert_eq!((answer.status, answer.problem().as_deref()), (401, Some("unauthenticated")), "{headers}");
    }
    assert!(one.seen().is_empty() && two.seen().is_empty());
    assert_eq!(ask("\nx-api-key: gold-key-of-the-test").status, 200);
    let seen = one.seen().into_iter().chain(two.seen()).next().expect("a request");
    assert!(!format!("{seen:?}").contains("gold-key"), "{seen:?}");
}

#[test]
fn the_sixth_in_a_second_is_told_when_to_come_back() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    let ask = |key: &str| gateway.send(&format!("GET /v1/products HTTP/1.1\nhost: a\nx-api-key: {key}"), b"");
    let start = Instant::now();
    let statuses: Vec<_> = (0..6).map(|_| ask("gold-key-of-the-test")).collect();
    assert!(start.elapsed() < Duration::from_millis(180), "the machine is too slow for this test");
    assert!(statuses[..5].iter().all(|answer| answer.status == 200));
    let sixth = &statuses[5];
    assert_eq!((sixth.status, sixth.problem().as_deref()), (429, Some("rate-limited")));
    assert_eq!(sixth.header("retry-after"), Some("1"));
    assert_eq!(sixth.header("ratelimit-policy"), Some("\"default\";q=5;w=1"));
    assert!(sixth.header("ratelimit").is_some_and(|value| value.starts_with("\"default\";r=0;t=")));
    assert_eq!(ask("web-key-of-the-test").status, 200, "another consumer has a limit of its own");
    pause(250);
    assert_eq!(ask("gold-key-of-the-test").status, 200, "a fifth of a second makes room for one");
}

#[test]
fn a_post_is_405_with_allow() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    let answer = gateway.send("POST /v1/products HTTP/1.1\nhost: a\ncontent-length: 0", b"");
    assert_eq!((answer.status, answer.problem().as_deref()), (405, Some("method-not-allowed")));
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
}

#[test]
fn a_weight_of_two_is_twice_the_share() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    // One connection is one worker, whose turns are exact.
    let mut client = Client::connect(gateway.address);
    for _ in 0..300 {
        assert_eq!(client.get("/free").expect("an answer").status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (100, 200));
}

#[test]
fn a_try_over_its_time_counts_as_504_and_the_request_as_a_whole_too() {
    let first = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let slow_once = || {
        let first = first.clone();
        Upstream::scripted(move |_| {
            if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                pause(500);
            }
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
        })
    };
    let (one, two) = (slow_once(), slow_once());
    let gateway = setup([&one, &two], [&one, &two]);
    let start = Instant::now();
    assert_eq!(gateway.get("/free").status, 200, "the second try is quick");
    assert!(start.elapsed() >= Duration::from_millis(290));
    let never = || {
        Upstream::scripted(|_| {
            pause(2_000);
            None
        })
    };
    let (one, two) = (never(), never());
    let gateway = setup([&one, &two], [&one, &two]);
    let start = Instant::now();
    let answer = gateway.get("/free");
    let took = start.elapsed().as_millis();
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    assert!((600..1_500).contains(&took), "{took} ms");
    let record = gateway.records(1).pop().expect("a record");
    assert!(record["attempts"].as_u64() >= Some(2), "{record}");
    assert_eq!(record["failure"]["side"], "upstream", "{record}");
}

#[test]
fn versions_are_chosen_by_media_type() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    let ask = |accept: &str| {
        gateway.send(&format!("GET /products/7?full=1 HTTP/1.1\nhost: a\naccept: {accept}"), b"")
    };
    assert_eq!(ask("application/vnd.shop.v2+json").text(), "/v2/products/7?full=1");
    assert_eq!(ask("application/json").status, 404);
}

#[test]
fn an_exact_host_beats_a_wildcard_and_a_wildcard_none() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    let ask = |host: &str| gateway.send(&format!("GET /host HTTP/1.1\nhost: {host}"), b"").text();
    for (host, want) in [
        ("api.example.test", "exact"),
        ("API.example.test:8080", "exact"),
        ("x.example.test", "wildcard"),
        ("a.b.example.test", "wildcard"),
        ("example.test", "any"),
        ("other.test", "any"),
    ] {
        assert_eq!(ask(host), want, "{host}");
    }
}

#[test]
fn ninety_to_ten_holds_over_ten_thousand_requests() {
    let (one, two, orders, canary) = (quick(), quick(), quick(), quick());
    let gateway = setup([&one, &two], [&orders, &canary]);
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let address = gateway.address;
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for _ in 0..2_500 {
                    assert_eq!(client.get("/v1/orders").expect("an answer").status, 200);
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().expect("requests"));
    let (orders, canary) = (orders.seen().len(), canary.seen().len());
    assert_eq!(orders + canary, 10_000);
    assert!((980..=1_020).contains(&canary), "{canary} of 10,000 went to the canary");
}

#[test]
fn the_old_shop_is_deprecated_and_redirects() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    let answer = gateway.get("/legacy/products/7?x=1");
    assert_eq!((answer.status, answer.header("location")), (308, Some("/v1/products/7?x=1")));
    // RFC 9745: seconds since 1970-01-01; RFC 8594: an HTTP date.
    assert_eq!(answer.header("deprecation"), Some("@1780272000"));
    assert_eq!(answer.header("sunset"), Some("Tue, 01 Jun 2027 00:00:00 GMT"));
    assert!(answer.header("link").is_some_and(|link| link.contains("</v1>; rel=\"successor-version\"")));
}

#[test]
fn ping_is_answered_here() {
    let (one, two) = (quick(), quick());
    let gateway = setup([&one, &two], [&one, &two]);
    let answer = gateway.get("/ping");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!(answer.json(), serde_json::json!({"pong": true}));
}
