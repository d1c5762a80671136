//! The upstream `catalog` and its routes: shares, health, times, tries, keys, limits and versions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    super::harness::{Client, Seen, eventually, pause},
    *,
};

/// What makes the route without a limit take a request.
const V2: &str = "accept: application/vnd.shop.v2+json";

/// An answer of 200 without a body.
fn ok() -> Option<Vec<u8>> {
    Some(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec())
}

/// An instance of `catalog` that is ready, and answers clients as a script says.
fn instance(script: impl Fn(&Seen) -> Option<Vec<u8>> + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |seen| if seen.target() == "/readyz" { ok() } else { script(seen) })
}

/// One call of the route without a limit on a kept connection.
fn call(client: &mut Client) -> Answer {
    client.write(format!("GET /products HTTP/1.1\r\nhost: test.example\r\n{V2}\r\n\r\n"));
    client.read().expect("an answer")
}

#[test]
fn a_weight_of_two_is_twice_the_share() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    // One connection is one worker, whose turns are exact.
    let mut client = Client::connect(served.gateway.address);
    for _ in 0..300 {
        assert_eq!(call(&mut client).status, 200);
    }
    assert_eq!((behind.sold(0), behind.sold(1)), (100, 200));
}

#[test]
fn each_algorithm_of_the_comment_serves() {
    let comment = whole();
    let comment = comment.split_once("{algorithm: roundRobin}").expect("a line").1;
    let named = comment.split_once("# ").expect("a comment").1.lines().next().expect("a comment");
    let named: Vec<&str> = named.split(" | ").map(str::trim).collect();
    assert_eq!(named, ["roundRobin", "leastRequest", "peakEwma", "random", "ringHash", "maglev"]);
    for algorithm in named {
        let behind = Behind::echoes();
        let to = format!("{{algorithm: {algorithm}}}");
        let served = Served::changed(&behind, "", |text| replaced(&text, "{algorithm: roundRobin}", &to));
        let mut client = Client::connect(served.gateway.address);
        for _ in 0..20 {
            assert_eq!(call(&mut client).status, 200, "{algorithm}");
        }
        assert_eq!(behind.sold(0) + behind.sold(1), 20, "{algorithm}");
        let status = served.gateway.admin_get("/api/v1/config").json();
        let live = &status["config"]["upstreams"][0]["loadBalancing"]["algorithm"];
        assert_eq!(live, algorithm, "{status}");
    }
}

#[test]
fn an_endpoint_that_is_not_ready_gets_nothing_until_it_is() {
    let is_ready = Arc::new(AtomicBool::new(false));
    let told = is_ready.clone();
    let moody = Upstream::scripted(move |seen| {
        if seen.target() == "/readyz" && !told.load(Ordering::Relaxed) {
            return Some(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec());
        }
        ok()
    });
    let behind = Behind::with_catalog([instance(|_| ok()), moody]);
    let served = Served::new(&behind);
    let healthy = || {
        let series = format!(
            "tidegate_upstream_endpoint_healthy{{upstream=\"catalog\",endpoint=\"{}\"}}",
            behind.catalog[1].address
        );
        served.gateway.metric(&series)
    };
    eventually("two failed checks", || healthy() == Some(0.0));
    let mut client = Client::connect(served.gateway.address);
    let before = behind.sold(1);
    for _ in 0..30 {
        assert_eq!(call(&mut client).status, 200);
    }
    assert_eq!(behind.sold(1), before, "it is not ready");
    is_ready.store(true, Ordering::Relaxed);
    eventually("one good check", || healthy() == Some(1.0));
    for _ in 0..30 {
        assert_eq!(call(&mut client).status, 200);
    }
    assert!(behind.sold(1) > before, "it is ready");
}

#[test]
fn a_try_over_its_time_counts_as_504_and_is_made_again() {
    let calls = Arc::new(AtomicUsize::new(0));
    let slow_once = || {
        let calls = calls.clone();
        instance(move |_| {
            if calls.fetch_add(1, Ordering::Relaxed) == 0 {
                pause(10_000);
            }
            ok()
        })
    };
    let behind = Behind::with_catalog([slow_once(), slow_once()]);
    let served = Served::new(&behind);
    let start = Instant::now();
    assert_eq!(served.ask("GET /products", &format!("\n{V2}")).status, 200, "the second try is quick");
    assert!(start.elapsed() >= Duration::from_millis(1_990), "perTry is 2s: {:?}", start.elapsed());
    let record = served.gateway.records(1).remove(0);
    assert_eq!(record["attempts"], 2, "{record}");
}

#[test]
fn over_the_time_of_the_request_the_client_gets_504() {
    let never = || {
        instance(|_| {
            pause(20_000);
            None
        })
    };
    let behind = Behind::with_catalog([never(), never()]);
    let served = Served::new(&behind);
    let start = Instant::now();
    let answer = served.ask("GET /products", &format!("\n{V2}"));
    let took = start.elapsed();
    assert_eq!((answer.status, answer.problem().as_deref()), (504, Some("upstream-timeout")));
    // Three tries of two seconds are more than the five that the request has.
    assert!(took >= Duration::from_millis(4_950), "request is 5s: {took:?}");
    let record = served.gateway.records(1).remove(0);
    assert_eq!(
        (&record["attempts"], &record["failure"]["side"]),
        (&3.into(), &"upstream".into()),
        "{record}"
    );
    let tries = record["failed_tries"].as_array().expect("tries");
    assert!(tries.len() == 3 || tries.len() == 2, "{record}");
}

#[test]
fn what_retry_names_is_tried_at_another_endpoint() {
    let answer = |status: u16| Some(format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").into_bytes());
    for (what, bad) in [
        ("reset", instance(|_| None)),
        ("502", instance(move |_| answer(502))),
        ("503", instance(move |_| answer(503))),
        ("504", instance(move |_| answer(504))),
    ] {
        let behind = Behind::with_catalog([instance(|_| ok()), bad]);
        let served = Served::new(&behind);
        let mut client = Client::connect(served.gateway.address);
        for _ in 0..9 {
            assert_eq!(call(&mut client).status, 200, "{what}");
        }
        assert!(behind.sold(1) > 0, "{what} was never met");
    }
    // What it does not name goes to the client.
    let bad = || instance(move |_| answer(500));
    let behind = Behind::with_catalog([bad(), bad()]);
    let served = Served::new(&behind);
    assert_eq!(served.ask("GET /products", &format!("\n{V2}")).status, 500);
    assert_eq!(behind.sold(0) + behind.sold(1), 1, "one try");
}

#[test]
fn an_endpoint_where_nobody_listens_costs_no_request() {
    let behind = Behind::echoes();
    let nobody = free_port();
    let served = Served::changed(&behind, "", |text| {
        // What is substituted later keeps its place in the text.
        let text = replaced(&text, "{address: 127.0.0.1:7001}", &format!("{{address: 127.0.0.1:{nobody}}}"));
        text.replace(
            "{address: 127.0.0.1:7002, weight: 2}",
            "{address: 127.0.0.1:7002, weight: 2}\n      - {address: 127.0.0.1:7001, backup: true}",
        )
    });
    let mut client = Client::connect(served.gateway.address);
    for _ in 0..30 {
        assert_eq!(call(&mut client).status, 200);
    }
    assert_eq!(behind.sold(1), 30);
}

#[test]
fn a_post_is_405_with_allow() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let answer = served.ask("POST /v1/products", "\ncontent-length: 0");
    assert_eq!((answer.status, answer.problem().as_deref()), (405, Some("method-not-allowed")));
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    assert_eq!(behind.sold(0) + behind.sold(1), 0);
}

#[test]
fn a_key_lets_in_and_never_reaches_the_upstream() {
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    for headers in [
        "",
        "\nx-api-key: wrong",
        "\nx-api-key: gold-key-of-the-tes",
        "\nauthorization: gold-key-of-the-test",
    ] {
        let answer = served.ask("GET /v1/products", headers);
        assert_eq!((answer.status, answer.problem().as_deref()), (401, Some("unauthenticated")), "{headers}");
    }
    assert_eq!(behind.sold(0) + behind.sold(1), 0);
    assert_eq!(served.ask("GET /v1/products", &format!("\nx-api-key: {GOLD}")).status, 200);
    let seen: Vec<_> = behind.catalog.iter().flat_map(Upstream::seen).collect();
    assert_eq!(behind.sold(0) + behind.sold(1), 1);
    assert!(!format!("{seen:?}").contains("gold-key"), "{seen:?}");
}

#[test]
fn the_sixth_in_a_second_is_told_when_to_come_back() {
    const SENT: usize = 20;
    const ROOM_AGAIN: Duration = Duration::from_millis(200);
    let behind = Behind::echoes();
    let served = Served::new(&behind);
    let mut client = Client::connect(served.gateway.address);
    let ask = |key: &str| format!("GET /v1/products HTTP/1.1\r\nhost: a\r\nx-api-key: {key}\r\n\r\n");
    // All at once, so that it is the limit that waits and not this test. Room for one more comes every fifth of a
    // second, on a slow machine even while these are judged.
    let start = Instant::now();
    client.write(ask(GOLD).repeat(SENT));
    let answers: Vec<Answer> = (0..SENT).map(|_| client.read().expect("an answer")).collect();
    let fits = |allowed: usize| allowed as u128 <= 5 + start.elapsed().as_millis() / ROOM_AGAIN.as_millis();
    let allowed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(fits(allowed), "{allowed} were let in within {:?}", start.elapsed());
    assert!(answers[..5].iter().all(|answer| answer.status == 200), "five are let in");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(allowed < SENT && refused.len() == SENT - allowed, "{answers:?}");
    for answer in refused {
        assert_eq!(answer.problem().as_deref(), Some("rate-limited"));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=5;w=1"));
        assert!(answer.header("ratelimit").is_some_and(|value| value.starts_with("\"default\";r=0;t=")));
    }
    client.write(ask(WEB));
    assert_eq!(client.read().expect("an answer").status, 200, "another consumer has a limit of its own");
    eventually("room for one", || {
        client.write(ask(GOLD));
        client.read().expect("an answer").status == 200
    });
    assert!(fits(allowed + 1), "room came too early: {:?}", start.elapsed());
}

#[test]
fn versions_are_chosen_by_media_type_header_or_path() {
    let beside = "routes:
  - name: v2-by-header
    match: [{path: {prefix: /products}, headers: [{name: x-version, exact: '2'}]}]
    policies: [{rewrite: {path: {replacePrefix: /v2/products}}}]
    backends: [{upstream: catalog}]
  - {name: v2-by-path, match: [{path: {prefix: /v2/products}}], backends: [{upstream: catalog}]}
";
    let behind = Behind::echoes();
    let served = Served::changed(&behind, beside, |text| text);
    let ask = |path: &str, headers: &str| served.ask(&format!("GET {path}"), headers);
    assert_eq!(ask("/products/7?full=1", &format!("\n{V2}")).text(), "/v2/products/7?full=1");
    assert_eq!(ask("/products/7", "\naccept: application/json").status, 404);
    assert_eq!(ask("/products/7", "\nx-version: 2").text(), "/v2/products/7");
    assert_eq!(ask("/products/7", "\nx-version: 1").status, 404);
    assert_eq!(ask("/v2/products/7", "").text(), "/v2/products/7");
}
