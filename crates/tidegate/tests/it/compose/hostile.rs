//! What no request may do, whatever is in it: end the process, hold others up, or grow without bound.

use serde_json::json;

use super::*;

const PING: &str = "  - {name: ping, match: [{path: {exact: /ping}}], respond: {status: 200}}";

#[test]
fn a_text_that_lies_in_itself_thousands_of_times_is_an_error_of_its_own() {
    let upstream = mirror();
    let gateway = gateway(
        &upstream,
        "
calls: {a: {upstream: u, path: /a}}
jq: \"$request.query.x | fromjson\"",
        PING,
    );
    let answer = gateway.get(&format!("/page/1?x={}", "[".repeat(7_000)));
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(gateway.get("/page/1?x=[1]").text(), "[1]");
    assert_eq!(gateway.get("/ping").status, 200);
}

#[test]
fn a_program_that_takes_long_holds_up_nobody_else() {
    let upstream = backend(|_| (200, 0, json!((0..20_000).collect::<Vec<u32>>()).to_string()));
    let gateway = gateway(
        &upstream,
        "
timeout: 600ms
maxSteps: 10000000
calls: {a: {upstream: u, path: /a}}
jq: \".a as $d | reduce range(0; 1000000) as $i (0; . + ($d | length))\"",
        PING,
    );
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..4).map(|_| scope.spawn(|| timed(|| gateway.get("/page/1")))).collect();
        pause(100);
        for _ in 0..20 {
            let (took, answer) = timed(|| gateway.get("/ping"));
            assert_eq!(answer.status, 200);
            assert!(took.as_millis() < 500, "{took:?}");
        }
        for one in slow {
            let (took, answer) = one.join().expect("an answer");
            assert_eq!(answer.status, 500, "{}", answer.text());
            assert!(took.as_millis() < 3_000, "{took:?}");
        }
    });
}

#[test]
fn many_values_in_few_bytes_are_too_many() {
    let upstream = backend(|_| (200, 0, format!("[{}1]", "{\"a\":0},".repeat(4_000))));
    let gateway = gateway(&upstream, "maxSize: 64KiB\ncalls: {a: {upstream: u, path: /a}}", "");
    let answer = gateway.get("/page/1");
    assert_eq!(answer.status, 502, "{}", answer.text());
    let why = "the call `a` was answered with more values than `maxSize` leaves room for";
    assert_eq!(answer.json()["detail"], why);
}

#[test]
fn what_is_sent_counts_and_calls_are_counted() {
    let upstream = backend(|seen| {
        let list = json!((0..900).collect::<Vec<u32>>()).to_string();
        (200, 0, if seen.target() == "/list" { list } else { "0".to_owned() })
    });
    let gateway = gateway(
        &upstream,
        "
maxSize: 100KiB
calls:
  list: {upstream: u, path: /list}
  big: {upstream: u, method: POST, path: /big, body: [$.list, $item], forEach: {in: $.list, max: 1000}, optional: true}
response: {first: \"$.big[0]\", last: \"$.big[-1]\"}",
        "",
    );
    let answer = gateway.get("/page/1");
    assert_eq!(answer.json(), json!({"first": 0, "last": null, "degraded": ["big"]}), "{}", answer.text());
    assert!(targets(&upstream).len() < 60, "{}", targets(&upstream).len());
    let many = self::gateway(
        &upstream,
        "
calls:
  list: {upstream: u, path: /list}
  a: {upstream: u, path: /a, forEach: {in: $.list, max: 1000}}
  b: {upstream: u, path: /b, forEach: {in: $.list, max: 1000}, after: [a]}",
        "",
    );
    let answer = many.get("/page/1");
    assert_eq!(answer.status, 502);
    let why = "the call `b` would be one of more than 1000 calls of one answer";
    assert_eq!(answer.json()["detail"], why);
    let record = many.records(1).remove(0);
    let calls = record["calls"].as_array().expect("calls");
    assert!(calls.iter().any(|call| call["failed"] == "too-many-calls"), "{record}");
}

#[test]
fn each_call_draws_an_endpoint_of_its_own() {
    let upstreams: Vec<Upstream> = (0..2).map(|_| mirror()).collect();
    let gateway = Gateway::start(&format!(
        "upstreams:
  - {{name: u, loadBalancing: {{algorithm: random}}, endpoints: [{{address: \"{}\"}}, {{address: \"{}\"}}]}}
routes:
  - name: page
    match: [{{path: {{exact: /page}}}}]
    compose:
      calls: {{list: {{upstream: u, path: \"/l\"}}, each: {{upstream: u, path: \"/{{{{ $item }}}}\", forEach: {{in: $request.body}}}}}}
",
        upstreams[0].address, upstreams[1].address
    ));
    let body = json!((0..40).collect::<Vec<u32>>()).to_string();
    let head = format!("POST /page HTTP/1.1\nhost: t\ncontent-length: {}", body.len());
    let answer = gateway.send(&head, body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen: Vec<usize> = upstreams.iter().map(|upstream| upstream.seen().len()).collect();
    assert!(seen.iter().all(|count| *count > 4), "{seen:?}");
}

#[test]
fn one_key_of_the_clients_is_not_that_of_every_call() {
    let upstream = mirror();
    let gateway = gateway(
        &upstream,
        "
forwardHeaders: [\"*\"]
calls: {a: {upstream: u, path: /a}, b: {upstream: u, path: /b}}",
        "",
    );
    let head = "GET /page/1 HTTP/1.1\nhost: t\nidempotency-key: k\ncontent-digest: sha-256=:x:\nx-mine: 1";
    assert_eq!(gateway.send(head, b"").status, 200);
    for seen in upstream.seen() {
        assert_eq!((seen.header("idempotency-key"), seen.header("content-digest")), (None, None));
        assert_eq!(seen.header("x-mine"), Some("1"));
    }
}

#[test]
fn what_an_upstream_calls_degraded_hides_no_failure() {
    let upstream = backend(|_| (200, 0, json!({"degraded": false, "x": 1}).to_string()));
    let gateway = gateway(
        &upstream,
        "
calls: {a: {upstream: u, path: /a}, gone: {upstream: dead, path: /, optional: true}}
response: $.a",
        "",
    );
    assert_eq!(gateway.get("/page/1").json(), json!({"degraded": ["gone"], "x": 1}));
}

#[test]
fn a_body_that_does_not_come_is_waited_for_no_longer_than_all_calls() {
    use std::io::{Read, Write};
    let upstream = mirror();
    let gateway = gateway(
        &upstream,
        "
timeout: 500ms
calls: {a: {upstream: u, path: \"/{{ $request.body.id }}\"}}",
        "",
    );
    let begun = Instant::now();
    let mut client = std::net::TcpStream::connect(gateway.address).expect("a connection");
    client
        .write_all(b"POST /page/1 HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{\"id\"")
        .expect("a part of a request");
    let mut head = [0; 12];
    client.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 408");
    assert!(begun.elapsed().as_millis() < 2_500, "{:?}", begun.elapsed());
}

#[test]
fn why_a_call_was_not_made_is_in_the_record() {
    let upstream = backend(|_| (200, 0, "[1, 2, 3]".to_owned()));
    let gateway = gateway(
        &upstream,
        "
calls:
  list: {upstream: u, path: /}
  many: {upstream: u, path: \"/{{ $item }}\", forEach: {in: $.list, max: 2}, optional: true}
  none: {upstream: u, path: \"/{{ $item }}\", forEach: {in: $.list.items}, optional: true}
  gone: {upstream: dead, path: /, optional: true}
  after: {upstream: u, path: /after, after: [gone], optional: true}
  lacks: {upstream: u, path: \"/{{ $.gone.id }}\", optional: true}",
        "",
    );
    assert_eq!(gateway.get("/page/1").status, 200);
    let record = gateway.records(1).remove(0);
    for (name, why) in
        [("many", "too-many-items"), ("none", "no-list"), ("after", "needs-call"), ("lacks", "not-made")]
    {
        let calls = record["calls"].as_array().expect("calls");
        assert!(calls.iter().any(|call| call["name"] == name && call["failed"] == why), "{name}: {record}");
    }
}

#[test]
fn the_hosts_name_is_preserved_where_the_upstream_wants_that() {
    let upstream = mirror();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, hostHeader: preserve, endpoints: [{{address: \"{}\"}}]}}]
routes:
  - name: page
    match: [{{path: {{exact: /page}}}}]
    compose: {{calls: {{a: {{upstream: u, path: /a}}}}}}
",
        upstream.address
    ));
    assert_eq!(gateway.send("GET /page HTTP/1.1\nhost: shop.example", b"").status, 200);
    assert_eq!(upstream.seen()[0].header("host"), Some("shop.example"));
}
