//! OTLP export to a real receiver, over both protocols: what arrives, and what happens when nothing can.

mod away;
mod hedge;
pub(super) mod receiver;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use self::receiver::{PROTOCOLS, Receiver, list};
use super::harness::{Gateway, Upstream, free_port};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// An upstream that answers, one that fails each first try, and one that nobody serves.
fn setup(upstream: &Upstream, flaky: &Upstream, telemetry: &str) -> Gateway {
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout}}]
upstreams:
  - {{name: good, endpoints: [{{address: \"{}\"}}]}}
  - {{name: flaky, endpoints: [{{address: \"{}\"}}], retry: {{maxAttempts: 3, on: [\"503\"]}}}}
  - {{name: dead, endpoints: [{{address: \"127.0.0.1:{}\"}}], retry: {{maxAttempts: 1}}}}
routes:
  - {{name: item, match: [{{path: {{exact: /items}}}}, {{path: {{template: \"/items/{{id}}\"}}}}], backends: [{{upstream: good}}]}}
  - {{name: flaky, match: [{{path: {{prefix: /flaky}}}}], backends: [{{upstream: flaky}}]}}
  - {{name: dead, match: [{{path: {{exact: /dead}}}}], backends: [{{upstream: dead}}]}}
{telemetry}",
        upstream.address,
        flaky.address,
        free_port()
    ))
}

fn flaky() -> Upstream {
    let first = AtomicBool::new(true);
    Upstream::scripted(move |_| {
        let status = if first.fetch_xor(true, Ordering::Relaxed) { 503 } else { 200 };
        Some(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok").into_bytes())
    })
}

fn server<'a>(spans: &'a [Value], route: &str) -> &'a Value {
    let found =
        spans.iter().find(|span| span["kind"] == "server" && span["attributes"]["tidegate.route"] == route);
    found.unwrap_or_else(|| panic!("no server span of {route}: {spans:#?}"))
}

/// The tries of a call, oldest first.
fn clients<'a>(spans: &'a [Value], server: &Value) -> Vec<&'a Value> {
    let mut found: Vec<_> = spans.iter().filter(|span| span["parent"] == server["id"]).collect();
    found.sort_by_key(|span| span["start"].as_u64());
    assert!(found.iter().all(|span| span["kind"] == "client" && span["trace"] == server["trace"]));
    found
}

/// The ids in a `traceparent`.
fn ids(traceparent: &str) -> (String, String) {
    let mut parts = traceparent.split('-').skip(1).map(str::to_owned);
    (parts.next().expect("a trace"), parts.next().expect("a span"))
}

#[test]
fn a_span_per_call_and_per_try_hang_together_over_the_hop() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let (upstream, flaky) = (Upstream::echo(), flaky());
        let gateway = setup(&upstream, &flaky, &receiver.telemetry(protocol, "interval: 200ms"));
        let ask = |path: &str, more: &str| {
            gateway.send(&format!("GET {path} HTTP/1.1\nhost: shop.test:81{more}"), b"").status
        };
        let headers = format!("\ntraceparent: {PARENT}\ntracestate: a=1\nuser-agent: test/1");
        assert_eq!(ask("/items/7?token=secret&q=1", &headers), 200);
        assert_eq!(ask("/flaky/x", ""), 200);
        assert_eq!(ask("/dead", ""), 502);
        let spans = receiver.spans(7);

        // A call that went well, in its caller's trace.
        let call = server(&spans, "item");
        assert_eq!((&call["trace"], &call["parent"]), (&json!(TRACE), &json!("00f067aa0ba902b7")));
        assert_eq!((&call["name"], &call["status"]), (&json!("GET /items/{id}"), &json!(0)));
        for (name, value) in [
            ("http.route", json!("/items/{id}")),
            ("http.response.status_code", json!(200)),
            ("url.path", json!("/items/7")),
            ("url.query", json!("token=[redacted]&q=1")),
            ("url.scheme", json!("http")),
            ("server.address", json!("shop.test")),
            ("server.port", json!(81)),
            ("client.address", json!("127.0.0.1")),
            ("user_agent.original", json!("test/1")),
            ("network.protocol.version", json!("1.1")),
            ("tidegate.upstream", json!("good")),
            ("tidegate.endpoint", json!(upstream.address.to_string())),
            ("tidegate.attempts", json!(1)),
        ] {
            assert_eq!(call["attributes"][name], value, "{name} of {call}");
        }
        let tries = clients(&spans, call);
        assert_eq!(tries.len(), 1);
        assert_eq!((&tries[0]["name"], &tries[0]["status"]), (&json!("GET"), &json!(0)));
        let tried = &tries[0]["attributes"];
        assert_eq!(tried["url.full"], "http://shop.test:81/items/7?token=[redacted]&q=1");
        assert_eq!(tried["network.peer.port"], upstream.address.port());
        assert_eq!(tried["http.response.status_code"], 200);
        assert!(tried.get("http.request.resend_count").is_none());
        // The upstream's parent is the try.
        let seen = &upstream.seen()[0];
        let sent = seen.header("traceparent").expect("a parent");
        assert_eq!(ids(sent), (TRACE.to_owned(), tries[0]["id"].as_str().expect("an id").to_owned()));
        assert!(sent.ends_with("-01"));
        assert_eq!(seen.header("tracestate"), Some("a=1"));

        // A call that took two tries: each is a span, and each upstream request names its own.
        let call = server(&spans, "flaky");
        assert_eq!((&call["parent"], &call["status"]), (&json!(""), &json!(0)));
        let tries = clients(&spans, call);
        let facts = |at: usize, name: &str| tries[at]["attributes"][name].clone();
        assert_eq!(tries.len(), 2);
        assert_eq!(
            (facts(0, "http.response.status_code"), facts(0, "error.type")),
            (json!(503), json!("503"))
        );
        assert_eq!(
            (facts(1, "http.response.status_code"), facts(1, "error.type")),
            (json!(200), Value::Null)
        );
        assert_eq!(
            (facts(0, "http.request.resend_count"), facts(1, "http.request.resend_count")),
            (Value::Null, json!(1))
        );
        let named: Vec<_> =
            flaky.seen().iter().map(|seen| ids(seen.header("traceparent").expect("one"))).collect();
        let spanned: Vec<_> = tries
            .iter()
            .map(|span| {
                (
                    call["trace"].as_str().unwrap_or_default().into(),
                    span["id"].as_str().unwrap_or_default().into(),
                )
            })
            .collect();
        assert_eq!(named, spanned);
        assert!(tries[0]["end"].as_u64() <= tries[1]["start"].as_u64());
        assert!(tries[1]["end"].as_u64() <= call["end"].as_u64());

        // A call that failed says whose fault it was, and where.
        let call = server(&spans, "dead");
        assert_eq!(call["status"], 2);
        for (name, value) in [
            ("error.type", "connect-failed"),
            ("tidegate.failure.side", "upstream"),
            ("tidegate.failure.stage", "connect"),
            ("tidegate.failure.reason", "connect-failed"),
        ] {
            assert_eq!(call["attributes"][name], value, "{name} of {call}");
        }
        let tries = clients(&spans, call);
        assert_eq!((tries.len(), &tries[0]["attributes"]["error.type"]), (1, &json!("connect-failed")));
        assert_eq!(tries[0]["attributes"].get("http.response.status_code"), None);
    }
}

#[test]
fn a_callers_decision_not_to_sample_is_kept_and_a_share_of_ours_too() {
    let receiver = Receiver::start("http/protobuf");
    let (upstream, flaky) = (Upstream::echo(), flaky());
    let gateway =
        setup(&upstream, &flaky, &receiver.telemetry("http/protobuf", "interval: 100ms, sample: 0"));
    let unsampled = PARENT.replace("-01", "-00");
    let ask = |headers: &str| gateway.send(&format!("GET /items HTTP/1.1\nhost: a{headers}"), b"").status;
    assert_eq!(ask(&format!("\ntraceparent: {unsampled}")), 200);
    assert_eq!(ask(""), 200);
    assert_eq!(ask("\ntraceparent: nonsense\ntracestate: a=1"), 200);
    assert_eq!(ask(&format!("\ntraceparent: {PARENT}")), 200);
    let received = receiver.until("the logs of all four", |all| list(&all["logs"]).len() == 4);
    let spans = receiver.spans(2);
    assert_eq!(spans.len(), 2, "the sampled call and its try alone");
    assert!(spans.iter().all(|span| span["trace"] == TRACE));
    let seen = upstream.seen();
    let parents: Vec<_> = seen.iter().map(|seen| seen.header("traceparent").expect("a parent")).collect();
    assert!(parents[..3].iter().all(|parent| parent.ends_with("-00")), "{parents:?}");
    assert!(parents[3].ends_with("-01"), "{parents:?}");
    // Without spans of tries, the upstream's parent is the call, as the log names it.
    let logged = list(&received["logs"]).iter().map(|log| log["span"].as_str().unwrap_or_default());
    assert!(logged.clone().any(|span| span == ids(parents[0]).1));
    assert_eq!(seen[2].header("tracestate"), None, "it belonged to a trace that nobody knows");
}

#[test]
fn log_records_arrive_with_the_ids_of_their_trace() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let (upstream, flaky) = (Upstream::echo(), flaky());
        let gateway = setup(
            &upstream,
            &flaky,
            &receiver.telemetry(
                protocol,
                "interval: 200ms, serviceName: door, attributes: {deployment.environment.name: test}",
            ),
        );
        assert_eq!(gateway.get("/items/7?api_key=secret").status, 200);
        assert_eq!(gateway.get("/dead").status, 502);
        let received = receiver.until("two logs", |all| list(&all["logs"]).len() == 2);
        assert_eq!(received["resource"]["service.name"], "door");
        assert_eq!(received["resource"]["deployment.environment.name"], "test");
        assert!(!received.to_string().contains("secret"), "{received}");
        for line in gateway.records(2) {
            let logs = list(&received["logs"]);
            let log = logs.iter().find(|log| log["span"] == line["span_id"]).expect("the same call");
            assert_eq!((&log["trace"], &log["flags"]), (&line["trace_id"], &json!(1)));
            let facts = &log["attributes"];
            assert_eq!(facts["tidegate.request_id"], line["request_id"]);
            assert_eq!(facts["http.response.status_code"], line["status"]);
            let failed = line["status"] == 502;
            assert_eq!(log["severity"], if failed { "ERROR" } else { "INFO" });
            assert_eq!(log["event"], "tidegate.request");
            let body = if failed { "GET /dead 502" } else { "GET /items/7 200" };
            assert_eq!(log["body"], body);
        }
    }
}

/// A sample of `/metrics` as `name{labels}` with sorted labels.
fn series(name: &str, labels: &serde_json::Map<String, Value>) -> String {
    let mut labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", value.as_str().unwrap_or_default()))
        .collect();
    labels.sort();
    format!("{name}{{{}}}", labels.join(","))
}

fn page(text: &str) -> std::collections::BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let mut labels: Vec<_> =
                labels.trim_end_matches('}').split("\",").filter(|one| !one.is_empty()).collect();
            labels.sort_unstable();
            let labels: Vec<_> =
                labels.iter().map(|one| format!("{}\"", one.trim_end_matches('"'))).collect();
            (format!("{name}{{{}}}", labels.join(",")), value.parse().expect("a number"))
        })
        .collect()
}

/// Metrics that move without traffic, or by being told.
fn is_restless(name: &str) -> bool {
    let moving = [
        "process_",
        "tidegate_records_",
        "tidegate_otlp_",
        "tidegate_connections",
        "tidegate_upstream_latency",
    ];
    moving.iter().any(|start| name.starts_with(start))
}

#[test]
fn metrics_are_those_of_the_metrics_page() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start(protocol);
        let (upstream, flaky) = (Upstream::echo(), flaky());
        let gateway = setup(&upstream, &flaky, &receiver.telemetry(protocol, "interval: 200ms"));
        for number in 0..20 {
            assert_eq!(gateway.get(&format!("/items/{number}")).status, 200);
            assert_eq!(gateway.get("/flaky").status, 200);
        }
        assert_eq!(gateway.get("/dead").status, 502);
        assert_eq!(gateway.get("/nothing").status, 404);
        let requests = |all: &Value| -> f64 {
            list(&all["metrics"]["tidegate_requests_total"]["points"])
                .iter()
                .filter_map(|point| point["value"].as_f64())
                .sum()
        };
        let received = receiver.until("42 counted requests", |all| requests(all) == 42.0);
        let page = page(&gateway.metrics());
        let mut compared = 0;
        for (name, metric) in received["metrics"].as_object().expect("metrics") {
            for point in list(&metric["points"]) {
                let labels = point["attributes"].as_object().expect("labels");
                let on_page = |suffix: &str, more: Option<f64>| {
                    let mut labels = labels.clone();
                    if let Some(bound) = more {
                        let text = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                        labels.insert("le".to_owned(), text.into());
                    }
                    let series = series(&format!("{name}{suffix}"), &labels);
                    *page.get(&series).unwrap_or_else(|| panic!("{series} is not on the page"))
                };
                if metric["kind"] == "histogram" {
                    assert_eq!(metric["unit"], "s", "{name}");
                    assert_eq!(point["count"].as_f64(), Some(on_page("_count", None)), "{name}");
                    assert_eq!(point["sum"].as_f64(), Some(on_page("_sum", None)), "{name}");
                    let bounds =
                        list(&point["bounds"]).iter().filter_map(Value::as_f64).chain([f64::INFINITY]);
                    let mut below = 0.0;
                    for (bound, count) in bounds.zip(list(&point["buckets"])) {
                        below += count.as_f64().expect("a count");
                        assert_eq!(below, on_page("_bucket", Some(bound)), "{name} up to {bound}");
                    }
                    compared += 1;
                } else {
                    let value = on_page("", None);
                    if !is_restless(name) {
                        assert_eq!(point["value"].as_f64(), Some(value), "{name} {labels:?}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 30, "{compared} series are alike");
        let names = |text: &str| text.split('{').next().unwrap_or_default().to_owned();
        for series in page.keys() {
            let name = names(series);
            let plain = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = |name: &str| received["metrics"].get(name).is_some();
            assert!(known(&name) || plain.is_some_and(known), "{name} is on the page alone");
        }
    }
}

#[test]
fn signals_that_are_off_are_not_sent() {
    let receiver = Receiver::start("http/protobuf");
    let (upstream, flaky) = (Upstream::echo(), flaky());
    let signals = "interval: 100ms, signals: {traces: false, metrics: false, logs: true}";
    let gateway = setup(&upstream, &flaky, &receiver.telemetry("http/protobuf", signals));
    assert_eq!(gateway.get("/items").status, 200);
    let received = receiver.until("a log", |all| list(&all["logs"]).len() == 1);
    assert_eq!(received["requests"], json!({"logs": 1}));
    let log = &list(&received["logs"])[0];
    let seen = &upstream.seen()[0];
    let parent = ids(seen.header("traceparent").expect("a parent"));
    assert_eq!((log["trace"].as_str(), log["span"].as_str()), (Some(&*parent.0), Some(&*parent.1)));
}

#[test]
fn a_client_that_leaves_ends_its_spans() {
    let receiver = Receiver::start("http/protobuf");
    let asked = std::sync::Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let slow = Upstream::scripted(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        super::harness::pause(3_000);
        None
    });
    let gateway = setup(&slow, &slow, &receiver.telemetry("http/protobuf", "interval: 100ms"));
    let mut client = super::harness::Client::connect(gateway.address);
    client.write("GET /items HTTP/1.1\r\nhost: a\r\n\r\n");
    super::harness::eventually("the upstream is asked", || asked.load(Ordering::Relaxed) == 1);
    drop(client);
    let spans = receiver.spans(2);
    let call = server(&spans, "item");
    assert_eq!(call["attributes"].get("http.response.status_code"), None, "nothing was sent: {call}");
    assert_eq!(call["attributes"]["tidegate.failure.side"], "client");
    assert_eq!(call["status"], 0, "no fault of ours");
    let tries = clients(&spans, call);
    assert_eq!(tries[0]["attributes"]["error.type"], "client-left");
}

#[test]
fn credentials_in_a_query_reach_no_receiver() {
    let receiver = Receiver::start("http/protobuf");
    let upstream = Upstream::echo();
    let gateway = Gateway::start(&format!(
        "upstreams: [{{name: u, endpoints: [{{address: \"{}\"}}]}}]
consumers: [{{name: c, keys: [a-key-that-nobody-may-see]}}]
routes: [{{name: r, match: [{{path: {{prefix: /}}}}], policies: [{{keyAuth: {{query: api_key, hideCredentials: false}}}}], backends: [{{upstream: u}}]}}]
{}",
        upstream.address,
        receiver.telemetry("http/protobuf", "interval: 200ms, signals: {traces: true, metrics: false, logs: true}")
    ));
    for query in [
        "api_key=a-key-that-nobody-may-see&q=1",
        "q=1&api%5Fkey=a-key-that-nobody-may-see",
        "api_key=a-wrong-key-of-somebody",
    ] {
        gateway.send(&format!("GET /x?{query} HTTP/1.1\nhost: shop.test"), b"");
    }
    let all = receiver
        .until("spans and logs", |all| list(&all["spans"]).len() >= 4 && list(&all["logs"]).len() >= 3);
    let text = all.to_string();
    assert!(text.contains("api_key=[redacted]&q=1"), "{text}");
    for secret in ["nobody-may-see", "wrong-key-of"] {
        assert!(!text.contains(secret), "{text}");
    }
}
