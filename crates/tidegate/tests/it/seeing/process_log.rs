//! The process's own log: JSON lines with stable fields, whatever is told.

use crate::harness::{Gateway, eventually};

const ROUTE: &str = "routes: [{name: r, match: [{path: {prefix: /}}], respond: {}}]\n";

/// Whether a text is a time such as `2026-06-01T12:00:00.123Z`.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|at| if at.is_ascii_digit() { '0' } else { at }).collect();
    let (whole, fraction) = shape.split_once('.').unwrap_or((shape.trim_end_matches('Z'), "Z"));
    whole == "0000-00-00T00:00:00" && fraction.ends_with('Z') && fraction.trim_start_matches('0') == "Z"
}

#[test]
fn every_line_of_the_process_is_json_with_time_level_and_message_in_front() {
    let mut gateway = Gateway::from_text(
        &format!(
            "listeners: [{{name: public, address: \"127.0.0.1:{0}\"}}]\n{ROUTE}",
            crate::harness::free_port()
        ),
        ([127, 0, 0, 1], 0).into(),
        |command| {
            command.args(["--log-level", "debug"]);
        },
    );
    // A refusal of several lines with quotes and a control character in them.
    let after = gateway
        .reload("listeners: [{name: \"pu\\u0001\\\"blic\", adress: x}]\nroutes: [{name: r, respnd: {}}]\n");
    assert_eq!(after["lastReload"], "refused");
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let log = gateway.stderr();
    let mut levels = Vec::new();
    for line in log.lines() {
        let told: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let fields: Vec<_> = told.as_object().expect("an object").keys().take(3).collect();
        assert_eq!(fields, ["timestamp", "level", "message"], "{line}");
        assert!(told["timestamp"].as_str().is_some_and(is_time), "{line}");
        assert!(told["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}");
        levels.push(told["level"].as_str().expect("text").to_owned());
    }
    assert!(levels.iter().all(|level| ["error", "warn", "info", "debug"].contains(&level.as_str())), "{log}");
    for level in ["error", "info"] {
        assert!(levels.iter().any(|known| known == level), "nothing at level {level}:\n{log}");
    }
    assert!(log.contains("adress") && log.contains("respnd"), "{log}");
}

#[test]
fn a_line_of_a_call_names_the_ids_that_find_it() {
    let gateway = Gateway::start(&format!("accessLog: [{{kind: stdout}}]\n{ROUTE}"));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = gateway.send(&format!("GET / HTTP/1.1\nhost: a\ntraceparent: {trace}"), b"");
    let record = gateway.records(1).remove(0);
    let fields: Vec<_> = record.as_object().expect("an object").keys().take(6).collect();
    assert_eq!(fields, ["timestamp", "level", "message", "trace_id", "span_id", "request_id"]);
    assert!(record["timestamp"].as_str().is_some_and(is_time), "{record}");
    assert_eq!(record["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let span = record["span_id"].as_str().expect("text");
    assert!(span.len() == 16 && span != "b7ad6b7169203331", "the gateway's own span: {record}");
    assert_eq!(record["request_id"].as_str(), answer.header("x-request-id"));
    eventually("one line per call", || gateway.stdout().lines().count() == 1);
}
