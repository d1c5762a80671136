//! What is seen of calls: in the record, in metrics, in traces and by the client.

use super::{
    super::otlp::receiver::{PROTOCOLS, Receiver},
    *,
};

const COMPOSE: &str = "
serverTiming: true
calls:
  a: {upstream: u, path: /a}
  b: {upstream: u, path: /broken, method: POST, optional: true}
  c: {upstream: u, path: \"/c/{{ $item }}\", forEach: {in: $.a.list}}
response: {c: $.c}";

fn upstream() -> Upstream {
    backend(|seen| match seen.target() {
        "/broken" => (500, 0, "{}".to_owned()),
        _ => (200, 20, "{\"list\": [1, 2]}".to_owned()),
    })
}

#[test]
fn each_call_is_in_the_record_in_metrics_and_in_server_timing() {
    let upstream = upstream();
    let gateway = gateway(&upstream, COMPOSE, "");
    let answer = gateway.get("/page/1");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let timing = answer.header("server-timing").expect("a field").to_owned();
    let names: Vec<&str> = timing.split(", ").filter_map(|one| one.split(";dur=").next()).collect();
    assert_eq!(names, ["a", "b", "c"], "{timing}");
    let record = gateway.records(1).remove(0);
    let calls = record["calls"].as_array().expect("calls");
    assert_eq!(calls.len(), 4, "{record}");
    let one = |name: &str| calls.iter().find(|call| call["name"] == name).expect("a call");
    assert_eq!((one("a")["status"].clone(), one("a")["upstream"].clone()), (200.into(), "u".into()));
    assert_eq!(one("a")["endpoint"], upstream.address.to_string());
    assert!(one("a")["duration_ms"].as_f64().is_some_and(|millis| millis >= 20.0), "{record}");
    assert_eq!(one("a")["bytes"], 16);
    assert_eq!((one("b")["status"].clone(), one("b")["failed"].clone()), (500.into(), "call-failed".into()));
    assert!(one("c")["started_ms"].as_f64() >= one("a")["duration_ms"].as_f64(), "{record}");
    assert_eq!(calls.iter().filter(|call| call["name"] == "c" && call["index"].is_u64()).count(), 2);
    crate::harness::eventually("metrics", || {
        gateway.metric(
            "tidegate_compose_calls_total{listener=\"public\",route=\"page\",call=\"c\",result=\"ok\"}",
        ) == Some(2.0)
    });
    let metric = |series: &str| gateway.metric(series);
    assert_eq!(
        metric(
            "tidegate_compose_calls_total{listener=\"public\",route=\"page\",call=\"b\",result=\"call-failed\"}"
        ),
        Some(1.0)
    );
    assert_eq!(
        metric("tidegate_upstream_first_byte_seconds_count{upstream=\"u\"}"),
        Some(4.0),
        "{}",
        gateway.metrics()
    );
    // It is of no interest to clients where it is not asked for.
    let plain = super::gateway(&upstream, &COMPOSE.replace("serverTiming: true", ""), "");
    assert_eq!(plain.get("/page/1").header("server-timing"), None);
}

#[test]
fn calls_are_spans_between_the_clients_and_those_of_their_tries() {
    let upstream = upstream();
    let receiver = Receiver::start(PROTOCOLS[0]);
    let gateway = gateway(&upstream, COMPOSE, &receiver.telemetry(PROTOCOLS[0], ""));
    assert_eq!(gateway.get("/page/1").status, 200);
    let spans = receiver.spans(9);
    let server = spans.iter().find(|span| span["kind"] == "server").expect("a server span");
    let calls: Vec<_> = spans.iter().filter(|span| span["parent"] == server["id"]).collect();
    assert_eq!(calls.len(), 4, "{spans:#?}");
    for call in calls {
        let name = call["attributes"]["tidegate.call"].as_str().expect("a name");
        assert_eq!(
            (call["name"].as_str(), call["kind"].as_str()),
            (Some(&*format!("call {name}")), Some("internal"))
        );
        let tries: Vec<_> = spans.iter().filter(|span| span["parent"] == call["id"]).collect();
        assert_eq!(tries.len(), 1, "{spans:#?}");
        assert_eq!(tries[0]["name"], if name == "b" { "POST" } else { "GET" });
        assert_eq!(tries[0]["attributes"]["tidegate.upstream"], "u");
        // The upstream was given the try as its parent.
        let id = tries[0]["id"].as_str().expect("an id").to_owned();
        assert!(
            upstream
                .seen()
                .iter()
                .any(|seen| seen.header("traceparent").is_some_and(|parent| parent.contains(&id)))
        );
    }
}
