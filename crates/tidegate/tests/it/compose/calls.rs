//! Calls: at once, one after another, optional, failing, with heads and bodies of their own.

use serde_json::json;

use super::*;

#[test]
fn three_calls_take_as_long_as_the_slowest() {
    let upstream = backend(|seen| (200, 300, format!("{{\"t\": \"{}\"}}", seen.target())));
    let gateway = gateway(
        &upstream,
        "
calls:
  a: {upstream: u, path: \"/a/{id}\"}
  b: {upstream: u, path: /b}
  c: {upstream: u, path: /c}
response: {a: \"$.a.t\", b: \"$.b.t\", c: \"$.c.t\"}",
        "",
    );
    let (took, answer) = timed(|| gateway.get("/page/7"));
    assert_eq!((answer.status, answer.json()), (200, json!({"a": "/a/7", "b": "/b", "c": "/c"})));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(took.as_millis() >= 300 && took.as_millis() < 750, "one after another: {took:?}");
}

#[test]
fn a_call_may_use_what_another_answered() {
    let upstream = backend(|seen| {
        let body = match seen.target() {
            "/orders/7" => json!({"customer": {"id": "c 1/ä"}, "skus": ["x", "y&z"], "count": 3, "no": null}),
            target => {
                json!({"target": target, "body": String::from_utf8_lossy(&seen.body), "tag": seen.header("x-tag")})
            }
        };
        (200, 0, body.to_string())
    });
    let gateway = gateway(
        &upstream,
        r#"
calls:
  order: {upstream: u, path: "/orders/{id}"}
  customer:
    upstream: u
    path: "/customers/{{ $.order.customer.id }}?skus={{ $.order.skus[*] }}&no={{ $.order.no }}&n={{ $.order.count }}&q={{ request.query.q }}"
    headers: {x-tag: "n{{ $.order.count }}", x-not: "{{ $.order.no }}"}
  note:
    upstream: u
    method: POST
    path: /notes
    body: {of: "$.order.customer.id", all: "$.order.skus", text: "count {{ $.order.count }}", last: "$.order.skus[-1]", list: [1, "$$x", null]}
response:
  customer: "$.customer.target"
  tag: "$.customer.tag"
  note: "$.note.body"
"#,
        "",
    );
    let answer = gateway.get("/page/7?q=a%26b=c");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["customer"], "/customers/c%201%2F%C3%A4?skus=x,y%26z&n=3&q=a%26b%3Dc");
    assert_eq!(told["tag"], "n3");
    let note: serde_json::Value = serde_json::from_str(told["note"].as_str().expect("a body")).expect("JSON");
    let want = json!({"of": "c 1/ä", "all": ["x", "y&z"], "text": "count 3", "last": "y&z", "list": [1, "$x", null]});
    assert_eq!(note, want);
    let seen = upstream.seen();
    let customer = seen.iter().find(|seen| seen.target().starts_with("/customers")).expect("a call");
    assert_eq!(customer.header("x-not"), None);
    assert_eq!(customer.header("accept"), Some("application/json"));
    let note = seen.iter().find(|seen| seen.target() == "/notes").expect("a call");
    assert_eq!(note.header("content-type"), Some("application/json"));
    assert!(note.line.starts_with("POST "), "{}", note.line);
}

#[test]
fn what_is_optional_leaves_null_and_its_name() {
    let upstream = backend(|seen| match seen.target() {
        "/broken" => (500, 0, "{}".to_owned()),
        "/slow" => (200, 2_000, "{}".to_owned()),
        "/text" => (200, 0, "no JSON".to_owned()),
        _ => (200, 0, json!({"x": 1}).to_string()),
    });
    let gateway = gateway(
        &upstream,
        "
calls:
  good: {upstream: u, path: /good}
  broken: {upstream: u, path: /broken, optional: true}
  slow: {upstream: u, path: /slow, optional: true, timeout: 200ms}
  text: {upstream: u, path: /text, optional: true}
  dead: {upstream: dead, path: /x, optional: true}
  after: {upstream: u, path: \"/with/{{ $.broken.id }}\", optional: true}
  later: {upstream: u, path: /later, after: [broken], optional: true}
response: {good: $.good.x, broken: $.broken, slow: $.slow.x, text: $.text, dead: $.dead, after: $.after, later: $.later}",
        "",
    );
    let (took, answer) = timed(|| gateway.get("/page/7"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let want = json!({
        "good": 1, "broken": null, "slow": null, "text": null, "dead": null, "after": null, "later": null,
        "degraded": ["after", "broken", "dead", "later", "slow", "text"],
    });
    assert_eq!(answer.json(), want);
    assert_eq!(answer.header("x-tidegate-degraded"), Some("after, broken, dead, later, slow, text"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(took.as_millis() < 1_500, "{took:?}");
    assert!(!targets(&upstream).iter().any(|target| target.starts_with("/with") || target == "/later"));
}

#[test]
fn a_call_that_is_needed_fails_the_answer_and_is_named() {
    let upstream = backend(|seen| match seen.target() {
        "/a/1" => (500, 0, "{\"secret\": 1}".to_owned()),
        "/a/2" => (404, 0, "{\"title\": \"no such order\"}".to_owned()),
        "/a/3" => (200, 3_000, "{}".to_owned()),
        "/a/4" => (200, 0, "<html>".to_owned()),
        "/a/5" => (410, 0, "{}".to_owned()),
        "/a/6" => (302, 0, "{}".to_owned()),
        "/a/8" => (204, 0, String::new()),
        _ => (200, 0, "{}".to_owned()),
    });
    let gateway = gateway(
        &upstream,
        "
calls:
  order: {upstream: u, path: \"/a/{id}\", timeout: 400ms, passOn: [404]}
  other: {upstream: u, path: \"/b/{{ $.order.customer }}\", optional: true}
response: {order: $.order}",
        "",
    );
    for (id, status, slug, words) in [
        (1, 502, "call-failed", "the call `order` was answered with 500"),
        (3, 504, "upstream-timeout", "the call `order` failed"),
        (4, 502, "bad-upstream-answer", "the call `order` was answered with what is no JSON"),
        (5, 502, "call-failed", "the call `order` was answered with 410"),
        (6, 502, "call-failed", "the call `order` was answered with 302"),
    ] {
        let answer = gateway.get(&format!("/page/{id}"));
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:tidegate:problem:{slug}"), "{id}");
        assert_eq!(problem["detail"], words, "{id}");
        assert!(!answer.text().contains("secret"));
    }
    // By choice the client gets what the call got.
    let answer = gateway.get("/page/2");
    assert_eq!((answer.status, answer.text().as_str()), (404, "{\"title\": \"no such order\"}"));
    assert_eq!(gateway.get("/page/8").json(), json!({"order": null, "degraded": ["other"]}));
    let failed = gateway.record("the first page", |record| record["path"] == "/page/1");
    assert_eq!(failed["failure"]["reason"], "call-failed");
}

#[test]
fn an_upstream_that_dies_or_is_not_there_is_a_502_that_names_the_call() {
    let upstream = Upstream::raw(|mut reader, _| {
        use std::io::Write;
        let Some(seen) = crate::harness::read_request(&mut reader) else { return };
        if seen.target() == "/late" {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":");
        }
    });
    let gateway = gateway(&upstream, "calls: {one: {upstream: u, path: \"/{id}\"}}", "");
    let answer = gateway.get("/page/at-once");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["detail"], "the call `one` failed");
    let answer = gateway.get("/page/late");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["detail"], "the answer of the call `one` broke off");
}

#[test]
fn an_open_circuit_is_told_and_slow_calls_open_it() {
    let upstream = backend(|_| (200, 1_000, "{}".to_owned()));
    let gateway = Gateway::start(&format!(
        "upstreams:
  - name: u
    endpoints: [{{address: \"{}\"}}]
    retry: {{maxAttempts: 1}}
    circuitBreaker: {{failureRateThreshold: 50, minimumNumberOfCalls: 2, slidingWindow: 10s, waitDurationInOpenState: 30s}}
routes:
  - name: page
    match: [{{path: {{exact: /page}}}}]
    compose: {{timeout: 150ms, calls: {{one: {{upstream: u, path: /}}}}}}
",
        upstream.address
    ));
    for _ in 0..2 {
        assert_eq!(gateway.get("/page").status, 504);
    }
    let answer = gateway.get("/page");
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (503, Some("urn:tidegate:problem:circuit-open"))
    );
    assert_eq!(answer.json()["detail"], "the call `one` failed");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn retries_are_those_of_the_upstream() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let upstream = backend(move |_| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        (if first { 503 } else { 200 }, 0, "{\"ok\": true}".to_owned())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 3, on: [\"503\"]}}}}]
routes: [{{name: page, match: [{{path: {{exact: /page}}}}], compose: {{calls: {{one: {{upstream: u, path: /}}}}}}}}]",
        upstream.address
    ));
    assert_eq!(gateway.get("/page").json(), json!({"one": {"ok": true}}));
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn which_of_the_clients_fields_go_on() {
    let upstream = backend(|seen| {
        let names: Vec<_> =
            seen.headers.iter().map(|(name, value)| format!("{}: {value}", name.to_lowercase())).collect();
        (200, 0, json!({"seen": names}).to_string())
    });
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: ann, keys: [the-key-of-ann]}}]
routes:
  - name: page
    match: [{{path: {{exact: /page}}}}]
    policies:
      - keyAuth: {{header: x-api-key}}
      - headers: {{request: {{set: {{x-user: \"{{{{ consumer.name }}}}\"}}}}}}
    compose:
      forwardHeaders: [accept-language, x-tenant]
      calls:
        plain: {{upstream: u, path: /}}
        all: {{upstream: u, path: /, forwardHeaders: [\"*\"]}}
        none: {{upstream: u, path: /, forwardHeaders: []}}
",
        upstream.address
    ));
    let answer = gateway.send(
        "GET /page HTTP/1.1\nhost: t.example\nx-api-key: the-key-of-ann\naccept-language: de\nx-tenant: one\ncookie: a=b\nauthorization: Bearer x\nx-user: forged\nx-other: o\nif-none-match: \"e\"\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"",
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    let has = |call: &str, line: &str| {
        told[call]["seen"]
            .as_array()
            .expect("fields")
            .iter()
            .any(|seen| seen.as_str().is_some_and(|seen| seen.starts_with(line)))
    };
    let id = answer.header("x-request-id").expect("an id").to_owned();
    for call in ["plain", "all", "none"] {
        assert!(has(call, "x-user: ann"), "{call}: {told}");
        assert!(has(call, &format!("x-request-id: {id}")), "{call}");
        assert!(has(call, "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{call}");
        assert!(has(call, "x-forwarded-for: 127.0.0.1"), "{call}");
        // As `hostHeader: preserve`, the default, promises of every call to an upstream.
        assert!(has(call, "host: t.example"), "{call}: {told}");
        for never in ["x-api-key", "x-user: forged", "if-none-match"] {
            assert!(!has(call, never), "{call} has {never}: {told}");
        }
    }
    for (line, want) in [
        ("accept-language: de", [true, true, false]),
        ("x-tenant: one", [true, true, false]),
        ("cookie: a=b", [false, true, false]),
        ("authorization: Bearer x", [false, true, false]),
        ("x-other: o", [false, true, false]),
    ] {
        assert_eq!(["plain", "all", "none"].map(|call| has(call, line)), want, "{line}: {told}");
    }
}

#[test]
fn the_clients_body_and_other_methods_are_of_use() {
    let upstream = backend(|seen| {
        (200, 0, json!({"line": seen.line, "got": String::from_utf8_lossy(&seen.body)}).to_string())
    });
    let gateway = gateway(
        &upstream,
        "
status: 201
maxRequestSize: 1KiB
calls:
  made: {upstream: u, method: PUT, path: \"/things/{{ $request.body.id }}\", body: $request.body.parts}
response: {line: $.made.line, got: $.made.got, of: $request.method, lang: $request.query.lang, id: $request.captures.id}",
        "",
    );
    let post = |body: &str| {
        gateway.send(
            &format!("POST /page/%C3%A4?lang=d+e HTTP/1.1\nhost: t\ncontent-length: {}", body.len()),
            body.as_bytes(),
        )
    };
    let answer = post(r#"{"id": "ü", "parts": [1, {"a": "😀"}]}"#);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let want = json!({"line": "PUT /things/%C3%BC HTTP/1.1", "got": "[1,{\"a\":\"😀\"}]", "of": "POST", "lang": "d e", "id": "ä"});
    assert_eq!(answer.json(), want);
    let wrong = post("{");
    assert_eq!((wrong.status, wrong.json()["type"].as_str()), (400, Some("urn:tidegate:problem:invalid")));
    let lacks = post("{}");
    assert_eq!(lacks.status, 400);
    assert_eq!(lacks.json()["detail"], "the call `made` needs `$request.body.id`, which the request lacks");
    assert_eq!(post(&format!("[\"{}\"]", "x".repeat(2_000))).status, 413);
    let request =
        b"HEAD /page/1 HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{\"id\": 12}";
    let bytes = crate::harness::raw(gateway.address, request);
    assert!(bytes.ends_with(b"\r\n\r\n"), "a body: {}", String::from_utf8_lossy(&bytes));
    let head = Answer::read(&mut &bytes[..], true).expect("a head");
    assert_eq!(head.status, 201);
    assert!(head.header("content-length").is_some_and(|length| length != "0"), "{:?}", head.headers);
}

#[test]
fn a_client_that_leaves_takes_all_calls_with_it() {
    use std::io::{Read, Write};
    let (gone, left) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::raw(move |mut reader, seen| {
        let Some(request) = crate::harness::read_request(&mut reader) else { return };
        seen.lock().expect("not poisoned").push(request);
        // Nothing is answered: the connection ends when the gateway gives the call up.
        let ended = reader.read(&mut [0; 1]).is_ok_and(|count| count == 0);
        let _ = gone.lock().expect("not poisoned").send(ended);
    });
    let gateway = gateway(
        &upstream,
        "
calls:
  a: {upstream: u, path: /a}
  b: {upstream: u, path: /b, optional: true}
  c: {upstream: u, path: \"/c/{{ $.a.id }}\"}",
        "",
    );
    let mut client = std::net::TcpStream::connect(gateway.address).expect("a connection");
    client.write_all(b"GET /page/1 HTTP/1.1\r\nhost: t\r\n\r\n").expect("sent");
    crate::harness::eventually("both calls", || upstream.seen().len() == 2);
    drop(client);
    for _ in 0..2 {
        assert!(left.recv_timeout(Duration::from_secs(10)).expect("the end of a call"));
    }
    let record = gateway.records(1).remove(0);
    assert_eq!(record["status"], 499, "{record}");
    let calls = record["calls"].as_array().expect("calls");
    assert_eq!(calls.len(), 2, "{record}");
    assert!(calls.iter().all(|call| call["failed"] == "cut-off"), "{record}");
}

#[test]
fn no_value_leaves_its_segment_or_its_parameter() {
    let upstream = mirror();
    let gateway = gateway(
        &upstream,
        "
calls:
  one: {upstream: u, path: \"/v1/{{ request.query.a }}/x?b={{ request.query.b }}&c=1\", headers: {x-b: \"{{ request.query.b }}\"}}
response: $.one.target",
        "",
    );
    for (a, b, want) in [
        ("a%2Fb", "", "/v1/a%2Fb/x?b=&c=1"),
        ("..%2Fadmin", "1", "/v1/..%2Fadmin/x?b=1&c=1"),
        ("a%3Fq%3D1", "1%26c%3D2", "/v1/a%3Fq%3D1/x?b=1%26c%3D2&c=1"),
        ("a%0D%0AX-Evil%3A%201", "%0D%0AX%3A1", "/v1/a%0D%0AX-Evil%3A%201/x?b=%0D%0AX%3A1&c=1"),
        ("a%23b", "%00", "/v1/a%23b/x?b=%00&c=1"),
        ("%5C..%5C", "%F0%9F%98%80", "/v1/%5C..%5C/x?b=%F0%9F%98%80&c=1"),
        ("%252e%252e", "%2541", "/v1/%252e%252e/x?b=%2541&c=1"),
        ("...", "a+b", "/v1/.../x?b=a%20b&c=1"),
    ] {
        let answer = gateway.get(&format!("/page/1?a={a}&b={b}"));
        assert_eq!((answer.status, answer.json()), (200, json!(want)), "{a} {b}: {}", answer.text());
    }
    let before = upstream.seen().len();
    for a in ["..", "%2e%2e", ".", "%2E", ""] {
        let answer = gateway.get(&format!("/page/1?a={a}&b=1"));
        assert_eq!(answer.status, 400, "{a}: {}", answer.text());
        assert!(
            answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("`one`")),
            "{}",
            answer.text()
        );
    }
    assert_eq!(gateway.get("/page/1?b=1").status, 400, "a path without its value");
    assert_eq!(upstream.seen().len(), before, "nothing of these went out");
    for seen in upstream.seen() {
        assert!(seen.header("x-evil").is_none() && seen.header("x").is_none());
        // A value that no header can hold is left out whole.
        assert!(seen.header("x-b").is_none_or(|value| !value.contains('X')), "{seen:?}");
    }
}

#[test]
fn a_capture_is_one_segment_and_in_a_query_one_parameter() {
    let upstream = mirror();
    let gateway = gateway(
        &upstream,
        "
calls:
  one: {upstream: u, path: \"/v1/{id}/x?id={id}&n=1\"}
response: $.one.target",
        "",
    );
    for (id, want) in [
        ("7", "/v1/7/x?id=7&n=1"),
        ("a&admin=1", "/v1/a&admin=1/x?id=a%26admin%3D1&n=1"),
        ("a+b%20c", "/v1/a+b%20c/x?id=a%2Bb%20c&n=1"),
        ("%C3%A4", "/v1/%C3%A4/x?id=%C3%A4&n=1"),
    ] {
        let answer = gateway.get(&format!("/page/{id}"));
        assert_eq!((answer.status, answer.json()), (200, json!(want)), "{id}: {}", answer.text());
    }
    for id in ["..", "%2e%2e", "..%2fadmin", "a%2fb"] {
        let answer = gateway.get(&format!("/page/{id}"));
        assert_ne!(answer.status, 200, "{id}: {}", answer.text());
    }
}

#[test]
fn what_a_consumer_of_the_upstreams_own_has_masked_is_masked_in_composed_answers() {
    let upstream = backend(|seen| {
        assert_eq!(seen.header("x-api-key"), None);
        (200, 0, json!({"email": "ann@example.com", "target": seen.target()}).to_string())
    });
    let gateway = Gateway::start(&format!(
        "consumers: [{{name: page, keys: [the-key-of-the-page], policies: [{{mask: {{fields: [email]}}}}]}}]
upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}], policies: [{{keyAuth: {{}}}}]}}]
routes:
  - name: page
    match: [{{path: {{prefix: /page}}}}]
    compose:
      calls: {{a: {{upstream: u, path: /a, headers: {{x-api-key: the-key-of-the-page}}}}}}
      response: {{a: \"$.a\"}}
",
        upstream.address
    ));
    let answer = gateway.get("/page");
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"a": {"email": "[masked]", "target": "/a"}})),
        "{}",
        answer.text()
    );
}
