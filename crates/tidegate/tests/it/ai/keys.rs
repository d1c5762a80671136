//! Keys of one provider: each is set aside by itself, the next one serves the same call, and one call brings it back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{KEY, post};
use crate::harness::{Answer, Gateway, Upstream, pause};

const BODY: &str = r#"{"model":"smart","messages":[{"role":"user","content":"hello"}]}"#;

/// Refusals that one request brings about, by a word in it.
const OWN_FAULTS: [(&str, u16, &str); 5] = [
    (
        "too-large",
        429,
        r#"{"error":{"message":"Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000.","type":"tokens","code":"rate_limit_exceeded"}}"#,
    ),
    ("flagged", 403, r#"{"error":{"message":"Your input was flagged by moderation","code":403}}"#),
    (
        "too-dear",
        402,
        r#"{"error":{"message":"This request requires more credits, or fewer max_tokens. You can only afford 12","code":402}}"#,
    ),
    ("firewalled", 403, "<html>blocked</html>"),
    (
        "other-account",
        401,
        r#"{"error":{"message":"mismatched organization","code":"mismatched_organization"}}"#,
    ),
];

/// What a provider answers to each key: a status and header fields.
type Answers = Arc<Mutex<HashMap<&'static str, (u16, &'static str)>>>;

/// A provider that answers by the key that it is shown, and well to those that nothing is said about.
fn provider() -> (Upstream, Answers) {
    let answers = Answers::default();
    let known = answers.clone();
    let upstream = Upstream::scripted(move |seen| {
        let shown = seen.header("authorization").unwrap_or_default().trim_start_matches("Bearer ").to_owned();
        let (status, fields) = known.lock().expect("not poisoned").get(&*shown).copied().unwrap_or((200, ""));
        let body = match status {
            200 => {
                r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
            }
            _ => r#"{"error":{"message":"no","type":"x"}}"#,
        };
        // A caller may ask for a refusal of its own.
        let said = String::from_utf8_lossy(&seen.body).into_owned();
        let own = OWN_FAULTS.iter().find(|(name, ..)| said.contains(name));
        let (status, body) = own.map_or((status, body), |(_, status, body)| (*status, *body));
        Some(
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes(),
        )
    });
    (upstream, answers)
}

fn set(answers: &Answers, key: &'static str, status: u16, fields: &'static str) {
    answers.lock().expect("not poisoned").insert(key, (status, fields));
}

/// The configuration of a gateway over providers with their keys; each model's targets are all of them, in order.
fn config(providers: &[(&str, &Upstream, &str)], cooldown: &str) -> String {
    let mut text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n"
    );
    for (name, upstream, keys) in providers {
        text.push_str(&format!(
            "    - {{name: {name}, kind: openai, baseUrl: \"http://{}/v1\", keys: {keys}, keyCooldown: {cooldown}}}\n",
            upstream.address
        ));
    }
    text.push_str("  models:\n");
    for (name, model) in [("smart", "a"), ("other", "b")] {
        text.push_str(&format!("    - name: {name}\n      targets:\n"));
        for (index, (provider, ..)) in providers.iter().enumerate() {
            let weight = u8::from(index == 0);
            text.push_str(&format!("        - {{provider: {provider}, model: {model}, weight: {weight}}}\n"));
        }
    }
    text
}

fn ask(gateway: &Gateway) -> Answer {
    post(gateway, "/ai/v1/chat/completions", "", BODY)
}

/// The keys that a provider was shown, in order.
fn shown(upstream: &Upstream) -> Vec<String> {
    let all = upstream.seen();
    all.iter().map(|seen| seen.header("authorization").unwrap_or_default().replace("Bearer ", "")).collect()
}

fn key_status(gateway: &Gateway, provider: usize, key: usize) -> Value {
    gateway.admin_get("/api/v1/status").json()["providers"][provider]["keys"][key].clone()
}

const COOLDOWN: &str = "{first: 1s, max: 60s}";

#[test]
fn a_refused_key_is_set_aside_and_the_next_one_serves_the_same_call() {
    for status in [401, 402] {
        let (upstream, answers) = provider();
        set(&answers, "bad", status, "");
        let gateway = Gateway::start(&config(&[("one", &upstream, "[bad, good]")], COOLDOWN));
        for _ in 0..4 {
            assert_eq!(ask(&gateway).status, 200, "{status}");
        }
        assert_eq!(shown(&upstream), ["bad", "good", "good", "good", "good"], "{status}");
        let bad = key_status(&gateway, 0, 0);
        assert_eq!(
            (&bad["key"], &bad["state"], &bad["refused"]),
            (&json!("keys[0]"), &json!("ASIDE"), &json!(1))
        );
        assert_eq!(key_status(&gateway, 0, 1)["state"], "READY");
        let series = "tidegate_ai_key_aside{provider=\"one\",key=\"keys[0]\"}";
        assert_eq!(gateway.metric(series), Some(1.0));
        assert_eq!(
            gateway.metric("tidegate_ai_key_requests_total{provider=\"one\",key=\"keys[1]\"}"),
            Some(4.0)
        );
        let told = format!("{}{}", gateway.metrics(), gateway.admin_get("/api/v1/status").text());
        assert!(!told.contains("good"), "keys are told by their place alone");
        assert!(gateway.records(4).iter().all(|record| record["ai"]["key"] == "keys[1]"));
    }
}

#[test]
fn a_key_comes_back_by_one_call_and_stays_away_longer_each_time() {
    let (upstream, answers) = provider();
    set(&answers, "bad", 401, "");
    let gateway = Gateway::start(&config(&[("one", &upstream, "[bad, good]")], "{first: 300ms, max: 60s}"));
    assert_eq!(ask(&gateway).status, 200);
    pause(350);
    assert_eq!(key_status(&gateway, 0, 0)["state"], "TRIAL");
    for _ in 0..4 {
        assert_eq!(ask(&gateway).status, 200);
    }
    let tries = shown(&upstream).iter().filter(|key| *key == "bad").count();
    assert_eq!(tries, 2, "one call tried it: {:?}", shown(&upstream));
    pause(350);
    assert_eq!(key_status(&gateway, 0, 0)["state"], "ASIDE", "the second time is twice as long");
    set(&answers, "bad", 200, "");
    pause(350);
    for _ in 0..4 {
        assert_eq!(ask(&gateway).status, 200);
    }
    assert_eq!(key_status(&gateway, 0, 0)["state"], "READY");
}

#[test]
fn a_limited_key_is_set_aside_until_its_reset_for_that_model_alone() {
    for fields in [
        "retry-after: 30\r\n",
        "retry-after-ms: 30000\r\nretry-after: 99\r\n",
        "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 30s\r\n",
        "anthropic-ratelimit-tokens-reset: 2020-01-01T00:00:00Z\r\nretry-after: 30\r\n",
    ] {
        let (upstream, answers) = provider();
        set(&answers, "full", 429, fields);
        let gateway = Gateway::start(&config(&[("one", &upstream, "[full, free]")], COOLDOWN));
        for _ in 0..3 {
            assert_eq!(ask(&gateway).status, 200, "{fields}");
        }
        assert_eq!(shown(&upstream), ["full", "free", "free", "free"], "{fields}");
        let full = key_status(&gateway, 0, 0);
        assert_eq!((&full["state"], &full["limited"]), (&json!("READY"), &json!(1)), "{fields}");
        let left = full["models"][0]["asideSeconds"].as_f64().expect("a time");
        assert_eq!(full["models"][0]["model"], "a", "{fields}");
        assert!((25.0..=30.0).contains(&left), "{fields} {left}");
        // Its limit for one model says nothing about another.
        set(&answers, "full", 200, "");
        let body = BODY.replace("smart", "other");
        for _ in 0..2 {
            assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", &body).status, 200);
        }
        assert_eq!(shown(&upstream).iter().filter(|key| *key == "full").count(), 2, "{fields}");
    }
}

#[test]
fn the_next_target_serves_when_all_keys_of_one_are_away() {
    let ((one, answers), (two, _)) = (provider(), provider());
    set(&answers, "a", 429, "retry-after: 30\r\n");
    set(&answers, "b", 401, "");
    let providers = [("one", &one, "[a, b]"), ("two", &two, "[c]")];
    let gateway = Gateway::start(&config(&providers, "{first: 30s, max: 60s}"));
    for _ in 0..3 {
        let answer = ask(&gateway);
        assert_eq!((answer.status, answer.header("x-tidegate-provider")), (200, Some("two")));
    }
    assert_eq!(shown(&one), ["a", "b"], "what is away is not asked");
    assert_eq!(two.seen().len(), 3);
}

#[test]
fn callers_learn_when_to_come_again_in_their_own_dialect() {
    for (status, fields, first, later, word) in
        [(429, "retry-after: 40\r\n", 429, 429, "rate_limit_error"), (401, "", 502, 503, "overloaded_error")]
    {
        let (upstream, answers) = provider();
        set(&answers, "a", status, fields);
        set(&answers, "b", status, fields);
        let gateway = Gateway::start(&config(&[("one", &upstream, "[a, b]")], "{first: 40s, max: 60s}"));
        assert_eq!(ask(&gateway).status, first);
        assert_eq!(upstream.seen().len(), 2, "both keys were tried for it");
        let body = r#"{"model":"smart","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;
        let answer = post(&gateway, "/ai/v1/messages", "", body);
        assert_eq!(answer.status, later, "{}", answer.text());
        let after: u64 = answer.header("retry-after").expect("a time").parse().expect("seconds");
        assert!((35..=40).contains(&after), "{after}");
        assert_eq!(answer.json()["error"]["type"], word, "{}", answer.text());
        assert_eq!(upstream.seen().len(), 2, "nothing is sent while no key can be taken");
    }
}

#[test]
fn what_is_known_of_a_key_outlives_a_reload_and_goes_with_the_key() {
    let (upstream, answers) = provider();
    set(&answers, "bad", 401, "");
    let text = |keys| config(&[("one", &upstream, keys)], "{first: 30s, max: 60s}");
    let gateway = Gateway::start(&text("[bad, good]"));
    assert_eq!(ask(&gateway).status, 200);
    let whole = |keys| {
        let before = std::fs::read_to_string(gateway.config()).expect("the configuration");
        // The harness writes the line of the admin endpoint itself.
        let head =
            before.split("consumers:").next().and_then(|head| head.split_once('\n')).expect("a head").1;
        format!("{head}{}", text(keys))
    };
    // A key in front moves the others; each keeps what is known of it.
    assert_eq!(gateway.reload(&whole("[new, bad, good]"))["reloadsApplied"], 1);
    assert_eq!(key_status(&gateway, 0, 1)["state"], "ASIDE");
    for _ in 0..4 {
        assert_eq!(ask(&gateway).status, 200);
    }
    assert_eq!(shown(&upstream).iter().filter(|key| *key == "bad").count(), 1);
    gateway.reload(&whole("[fresh, good]"));
    assert_eq!(key_status(&gateway, 0, 0)["state"], "READY", "another key is another key");
}

#[test]
fn failures_of_the_provider_say_nothing_of_its_keys() {
    let (upstream, answers) = provider();
    set(&answers, "a", 500, "");
    set(&answers, "b", 400, "");
    let gateway = Gateway::start(&config(&[("one", &upstream, "[a, b]")], COOLDOWN));
    let statuses: Vec<u16> = (0..4).map(|_| ask(&gateway).status).collect();
    assert_eq!(statuses, [500, 400, 500, 400]);
    assert_eq!(upstream.seen().len(), 4, "neither is sent again with another key");
    assert!((0..2).all(|key| key_status(&gateway, 0, key)["state"] == "READY"));
}

#[test]
fn what_one_request_brings_about_shuts_nobody_else_out() {
    for (name, status, _) in OWN_FAULTS {
        let (upstream, _) = provider();
        let gateway = Gateway::start(&config(&[("one", &upstream, "[a, b]")], "{first: 60s, max: 60s}"));
        for _ in 0..6 {
            let body = BODY.replace("hello", name);
            // Whose account it is only matters where the caller names one.
            let fields = "\nopenai-organization: org-of-the-caller";
            let told = post(&gateway, "/ai/v1/chat/completions", fields, &body).status;
            let want = if name == "flagged" || status == 429 || status == 402 { status } else { 502 };
            assert_eq!(told, want, "{name}");
        }
        assert_eq!(ask(&gateway).status, 200, "{name}");
        for key in [0, 1] {
            let status = key_status(&gateway, 0, key);
            assert_eq!((&status["state"], &status["models"]), (&json!("READY"), &json!([])), "{name}");
        }
    }
}

#[test]
fn a_key_that_several_callers_are_refused_with_is_set_aside_for_the_model() {
    let (upstream, answers) = provider();
    set(&answers, "a", 403, "");
    let text = config(&[("one", &upstream, "[a, b]")], "{first: 60s, max: 60s}")
        .replace("consumers: [", "consumers: [{name: other, keys: [another-key]}, ");
    let gateway = Gateway::start(&text);
    for number in 0..8 {
        let key = if number % 2 == 0 { KEY } else { "another-key" };
        let head = format!(
            "POST /ai/v1/chat/completions HTTP/1.1\nhost: gw\nx-api-key: {key}\ncontent-length: {}",
            BODY.len()
        );
        assert_eq!(gateway.send(&head, BODY.as_bytes()).status, 200);
    }
    assert_eq!(shown(&upstream).iter().filter(|key| *key == "a").count(), 3);
    assert_eq!(key_status(&gateway, 0, 0)["models"][0]["model"], "a");
}

#[test]
fn a_key_that_is_at_its_limit_in_one_region_is_not_so_in_another() {
    let ((east, answers), (west, _)) = (provider(), provider());
    set(&answers, "same", 429, "retry-after: 30\r\n");
    let providers = [("east", &east, "[same]"), ("west", &west, "[same]")];
    let gateway = Gateway::start(&config(&providers, COOLDOWN));
    for _ in 0..3 {
        let answer = ask(&gateway);
        assert_eq!((answer.status, answer.header("x-tidegate-provider")), (200, Some("west")));
    }
    assert_eq!((east.seen().len(), west.seen().len()), (1, 3));
    assert_eq!(key_status(&gateway, 0, 0)["models"][0]["state"], "ASIDE");
    assert_eq!(key_status(&gateway, 1, 0)["models"], json!([]));
}
