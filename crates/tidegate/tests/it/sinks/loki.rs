//! Loki, by a receiver after its documentation of `POST /loki/api/v1/push`: JSON of streams, each with labels and values of
//! nanoseconds as text, a line, and metadata where there is any; 204, 429 when it is too much, 400 for what it will not
//! take, such as an entry that is too old. It is no Loki: there is none to be had without pulling an image.

use serde_json::Value;

use super::{calls, collector::Collector, dropped, start};
use crate::harness::{Seen, eventually, free_port};

/// What Loki would object to in a request.
fn objection(seen: &Seen) -> Option<String> {
    if seen.line != "POST /loki/api/v1/push HTTP/1.1" {
        return Some("404 page not found".into());
    }
    if seen.header("content-type") != Some("application/json") {
        return Some("415 content type".into());
    }
    if seen.header("x-scope-orgid").is_none() {
        return Some("401 no org id".into());
    }
    let wrong = |what: &str| Some(format!("400 {what}"));
    let Ok(body) = serde_json::from_slice::<Value>(&seen.body) else { return wrong("no JSON") };
    let Some(streams) =
        body["streams"].as_array().filter(|_| body.as_object().is_some_and(|all| all.len() == 1))
    else {
        return wrong("no streams");
    };
    for stream in streams {
        let Some(labels) = stream["stream"].as_object().filter(|labels| !labels.is_empty()) else {
            return wrong("at least one label pair is required per stream");
        };
        let is_label = |(name, value): (&String, &Value)| {
            value.is_string() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !labels.iter().all(is_label) {
            return wrong("labels");
        }
        for value in stream["values"].as_array()? {
            let parts = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let is_time = parts
                .first()
                .and_then(Value::as_str)
                .is_some_and(|text| text.len() == 19 && text.bytes().all(|byte| byte.is_ascii_digit()));
            let is_line = parts.get(1).is_some_and(Value::is_string);
            let has_metadata = parts
                .get(2)
                .is_none_or(|all| all.as_object().is_some_and(|all| all.values().all(Value::is_string)));
            if !is_time || !is_line || !has_metadata || parts.len() > 3 {
                return wrong(&format!("value {value}"));
            }
            if parts[1].as_str().is_some_and(|line| line.contains("/ok/too-old")) {
                return wrong("entry too far behind");
            }
        }
    }
    None
}

fn loki() -> Collector {
    Collector::on(([127, 0, 0, 1], free_port()).into(), |seen| {
        let said = objection(seen)?;
        let (status, text) = said.split_once(' ').expect("a status");
        Some(format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
    })
}

/// All values with the labels of their streams.
fn values(loki: &Collector) -> Vec<(Value, Value)> {
    let bodies =
        loki.taken().into_iter().map(|seen| serde_json::from_slice::<Value>(&seen.body).expect("JSON"));
    let streams = bodies.flat_map(|body| body["streams"].as_array().cloned().unwrap_or_default());
    let values = streams.flat_map(|stream| {
        let values = stream["values"].as_array().cloned().unwrap_or_default();
        values.into_iter().map(move |value| (stream["stream"].clone(), value)).collect::<Vec<_>>()
    });
    values.collect()
}

#[test]
fn calls_are_streams_by_their_labels_with_metadata_beside_the_line() {
    let loki = loki();
    let gateway = start(&format!(
        "  - {{kind: loki, batch: {{time: 100ms}}, retry: {{first: 50ms}}, loki: {{url: \"http://{}\", tenant: shop, compression: gzip, labels: {{job: edge}}, labelFields: [route, status_class, level], structuredMetadata: [request_id, trace_id]}}}}",
        loki.upstream.address
    ));
    loki.answer(429, "", 1);
    calls(&gateway, 0..3);
    gateway.get("/bad/1");
    eventually("four lines", || values(&loki).len() == 4);
    let all = values(&loki);
    let of =
        |status: &str| all.iter().filter(|(labels, _)| labels["status_class"] == status).collect::<Vec<_>>();
    assert_eq!((of("2xx").len(), of("5xx").len()), (3, 1));
    let (labels, value) = of("5xx")[0];
    assert_eq!(
        *labels,
        serde_json::json!({"job": "edge", "route": "bad", "status_class": "5xx", "level": "error"})
    );
    let line: Value = serde_json::from_str(value[1].as_str().expect("a line")).expect("JSON");
    assert_eq!(line["path"], "/bad/1");
    assert_eq!((&value[2]["request_id"], &value[2]["trace_id"]), (&line["request_id"], &line["trace_id"]));
    assert_eq!(loki.taken()[0].header("x-scope-orgid"), Some("shop"));
}

#[test]
fn an_entry_that_loki_will_not_take_costs_itself_alone() {
    let loki = loki();
    let gateway = start(&format!(
        "  - {{kind: loki, batch: {{time: 100ms}}, loki: {{url: \"http://{}\", tenant: shop}}}}",
        loki.upstream.address
    ));
    calls(&gateway, 0..9);
    gateway.get("/ok/too-old");
    calls(&gateway, 9..12);
    eventually("the others arrive", || values(&loki).len() == 12);
    eventually("it is counted", || dropped(&gateway, "loki", "refused") == 1.0);
}
