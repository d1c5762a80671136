//! Conversations: what passes untouched, what is translated, and what is told when it fails.

use ai::dialect::Dialect;
use serde_json::json;

use super::{KEY, gateway, post, provider};

fn base(upstream: &crate::harness::Upstream, path: &str) -> String {
    format!("http://{}{path}", upstream.address)
}

#[test]
fn bytes_of_one_dialect_pass_but_for_the_model_and_the_key() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway =
        gateway(&[("one", "openai", base(&upstream, "/v1"))], &[("smart", &[("one", "gpt-4o", 1)])], "");
    let body = r#"{ "model" : "smart","messages":[{"role":"user","content":"case: text","odd":1.50}],  "new_field":{"a":[ ]} }"#;
    let answer = post(
        &gateway,
        "/ai/v1/chat/completions",
        "\nopenai-organization: o1\nx-forwarded-for: 9.9.9.9\ncookie: a=b",
        body,
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-tidegate-provider"), Some("one"));
    assert_eq!(answer.header("x-tidegate-model"), Some("gpt-4o"));
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.target(), "/v1/chat/completions");
    assert_eq!(String::from_utf8_lossy(&seen.body), body.replace("smart", "gpt-4o"));
    assert_eq!(seen.header("authorization"), Some("Bearer provider-key-of-the-test"));
    assert_eq!(seen.header("openai-organization"), Some("o1"), "the vendor's own fields go on");
    for private in ["x-api-key", "cookie", "x-forwarded-for", "x-real-ip", "forwarded"] {
        assert_eq!(seen.header(private), None, "{private} is no provider's business");
    }
    assert!(!format!("{seen:?}").contains(KEY));
    let record = gateway.records(1).pop().expect("a record");
    let times = record["ai"]["time"].as_object().expect("where the time went");
    assert_eq!(times["queue_ms"], 0.0);
    let sum: f64 = times.values().filter_map(serde_json::Value::as_f64).sum();
    assert!((sum - record["duration_ms"].as_f64().expect("a time")).abs() < 0.1, "{record}");
    assert_eq!(
        record["ai"],
        json!({"operation": "chat", "dialect": "openai-chat", "model": "smart", "provider": "one",
               "provider_kind": "openai", "served_model": "gpt-4o", "stream": false, "attempts": 1, "time": times,
               "input_tokens": 19, "cache_read_tokens": 12, "cache_write_tokens": 0, "output_tokens": 10,
               "reasoning_tokens": 4, "is_estimate": false, "cost_usd": 0.0001325,
               "price_table": record["ai"]["price_table"]})
    );
}

#[test]
fn the_usage_of_a_stream_is_counted_and_told_only_to_who_asked() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway =
        gateway(&[("one", "openai", base(&upstream, "/v1"))], &[("smart", &[("one", "gpt-4o", 1)])], "");
    for (options, told) in [("", false), (r#","stream_options":{"include_usage":true}"#, true)] {
        let body = format!(
            r#"{{"model":"smart","stream":true{options},"messages":[{{"role":"user","content":"case: text"}}]}}"#
        );
        let answer = post(&gateway, "/ai/v1/chat/completions", "", &body);
        let text = answer.text();
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert_eq!(text.contains("\"prompt_tokens\""), told, "{text}");
        let seen = upstream.seen().pop().expect("a request");
        assert!(String::from_utf8_lossy(&seen.body).contains(r#""include_usage":true"#));
    }
    for record in gateway.records(2) {
        assert_eq!(record["ai"]["output_tokens"], 10, "{record}");
        assert_eq!(record["ai"]["stream"], true);
    }
}

#[test]
fn a_wrong_key_is_refused_in_the_callers_dialect() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway =
        gateway(&[("one", "openai", base(&upstream, "/v1"))], &[("smart", &[("one", "gpt-4o", 1)])], "");
    for (path, pointer) in [
        ("/ai/v1/chat/completions", "/error/message"),
        ("/ai/v1/messages", "/error/message"),
        ("/ai/v1beta/models/smart:generateContent", "/error/message"),
        ("/ai/v2/chat", "/message"),
    ] {
        let head = format!("POST {path} HTTP/1.1\nhost: gw\nx-api-key: wrong\ncontent-length: 2");
        let answer = gateway.send(&head, b"{}");
        assert_eq!(answer.status, 401, "{path}");
        assert!(
            answer.json().pointer(pointer).is_some_and(serde_json::Value::is_string),
            "{path} {}",
            answer.text()
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"tidegate\""));
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = gateway(
        &[("one", "openai", base(&upstream, "/v1"))],
        &[("smart", &[("one", "gpt-4o", 1)])],
        "maxBodySize: 1KiB",
    );
    for (path, body, status, says) in [
        ("/ai/v1/chat/completions", "{", 400, "not JSON"),
        ("/ai/v1/chat/completions", "{}", 400, "`model` is required"),
        ("/ai/v1/chat/completions", r#"{"model":"a","model":"b"}"#, 400, "duplicate field"),
        ("/ai/v1/chat/completions", r#"{"model":"other"}"#, 404, "no model `other` here"),
        ("/ai/v1/nothing", "{}", 404, "no vendor's API"),
        (
            "/ai/v1/chat/completions",
            &format!("{{\"model\":\"{}\"}}", "x".repeat(1024)),
            413,
            "larger than 1024 bytes",
        ),
    ] {
        let answer = post(&gateway, path, "", body);
        assert_eq!(answer.status, status, "{path} {body}");
        let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(says), "{path} {body}: {message}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn models_are_listed_as_each_dialect_lists_them() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = gateway(
        &[("one", "openai", base(&upstream, "/v1"))],
        &[("smart", &[("one", "gpt-4o", 1)]), ("one/*", &[("one", "*", 1)])],
        "",
    );
    let get = |path: &str, header: &str| {
        gateway.send(&format!("GET {path} HTTP/1.1\nhost: gw\nx-api-key: {KEY}{header}"), b"").json()
    };
    assert_eq!(get("/ai/v1/models", "")["data"][0]["id"], "smart");
    assert_eq!(
        get("/ai/v1/models", "")["data"].as_array().map(Vec::len),
        Some(1),
        "a pattern names no model"
    );
    let list = get("/ai/v1/models", "");
    assert_eq!(
        list["models"],
        serde_json::json!([{"name": "smart", "endpoints": ["chat"]}]),
        "as Cohere's SDK reads it"
    );
    assert_eq!(get("/ai/v1/models/smart", "")["object"], "model");
    assert_eq!(get("/ai/v1/models", "\nanthropic-version: 2023-06-01")["data"][0]["type"], "model");
    assert_eq!(get("/ai/v1beta/models", "")["models"][0]["name"], "models/smart");
    assert_eq!(get("/ai/v1/models/other", "")["error"]["message"], "no model `other` here");
}

#[test]
fn a_pattern_passes_the_rest_of_the_name_on() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = gateway(&[("one", "openai", base(&upstream, ""))], &[("one/*", &[("one", "ft:*", 1)])], "");
    let body = r#"{"model":"one/gpt-4o","messages":[{"role":"user","content":"case: text"}]}"#;
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", body).status, 200);
    let seen = upstream.seen().pop().expect("a request");
    assert_eq!(seen.target(), "/chat/completions");
    assert!(String::from_utf8_lossy(&seen.body).contains(r#""model":"ft:gpt-4o""#));
}
