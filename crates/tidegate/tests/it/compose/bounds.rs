//! Bounds: of answers, of all of them, of time.

use serde_json::json;

use super::*;

#[test]
fn answers_are_bounded_one_by_one_and_together() {
    let upstream = Upstream::raw(|mut reader, _| {
        use std::io::Write;
        while let Some(seen) = crate::harness::read_request(&mut reader) {
            let size: usize = seen.target().trim_start_matches('/').parse().unwrap_or(0);
            // Without a length, so that it is found out while it comes.
            let body = format!("\"{}\"", "x".repeat(size));
            let answer = format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            );
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    let gateway = gateway(
        &upstream,
        "
maxSize: 30KiB
calls:
  one: {upstream: u, path: \"/{id}\", maxSize: 10KiB}
  two: {upstream: u, path: \"/{{ request.query.two }}\", maxSize: 29KiB, after: [one], optional: true}
  last: {upstream: u, path: /9000, after: [one], optional: true}
response: {two: $.two, last: $.last}",
        "",
    );
    let answer = gateway.get("/page/10300?two=1");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["detail"], "the call `one` was answered with more than its `maxSize`");
    let answer = gateway.get("/page/9000?two=10");
    assert_eq!((answer.status, answer.json()["degraded"].clone()), (200, json!(null)), "{}", answer.text());
    // Together they are more than all may have.
    let answer = gateway.get("/page/9000?two=29000");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.json()["degraded"].as_array().expect("a list").is_empty());
    assert!(answer.body.len() < 30 * 1024);
}

#[test]
fn an_answer_that_would_be_larger_than_it_may_is_none() {
    let upstream = backend(|_| (200, 0, format!("\"{}\"", "x".repeat(6_000))));
    let gateway = gateway(
        &upstream,
        "
maxSize: 10KiB
calls: {one: {upstream: u, path: /}}
response: [$.one, $.one]",
        "",
    );
    let answer = gateway.get("/page/1");
    assert_eq!((answer.status, answer.json()["type"].as_str()), (500, Some("urn:tidegate:problem:internal")));
    let record = gateway.records(1).remove(0);
    assert!(
        record["failure"]["detail"].as_str().is_some_and(|detail| detail.contains("maxSize")),
        "{record}"
    );
}

#[test]
fn the_time_for_all_calls_bounds_each() {
    let upstream = backend(|seen| (200, if seen.target() == "/slow" { 3_000 } else { 150 }, "{}".to_owned()));
    let compose = "
timeout: 500ms
calls:
  a: {upstream: u, path: /a}
  b: {upstream: u, path: /slow, after: [a], optional: OPTIONAL}
  c: {upstream: u, path: /c, after: [b], optional: true}
response: {a: $.a, b: $.b, c: $.c}";
    let optional = gateway(&upstream, &compose.replace("OPTIONAL", "true"), "");
    let (took, answer) = timed(|| optional.get("/page/1"));
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"a": {}, "b": null, "c": null, "degraded": ["b", "c"]}))
    );
    assert!((450..1_400).contains(&took.as_millis()), "{took:?}");
    let needed = gateway(&upstream, &compose.replace("OPTIONAL", "false"), "");
    let (took, answer) = timed(|| needed.get("/page/1"));
    assert_eq!(
        (answer.status, answer.json()["type"].as_str()),
        (504, Some("urn:tidegate:problem:upstream-timeout"))
    );
    assert!(
        answer.json()["detail"].as_str().is_some_and(|detail| detail.contains("`b`")),
        "{}",
        answer.text()
    );
    assert!((450..1_400).contains(&took.as_millis()), "{took:?}");
}

#[test]
fn a_body_that_hangs_is_given_up_in_time() {
    let upstream = Upstream::raw(|mut reader, _| {
        use std::io::Write;
        if crate::harness::read_request(&mut reader).is_some() {
            let _ = reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"a\"");
            pause(5_000);
        }
    });
    let gateway = gateway(&upstream, "calls: {one: {upstream: u, path: /, timeout: 300ms}}", "");
    let (took, answer) = timed(|| gateway.get("/page/1"));
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!(answer.json()["detail"], "the answer of the call `one` broke off");
    assert!(took.as_millis() < 2_000, "{took:?}");
}
