//! Which target is asked: by latency, price, load, condition, conversation and what a model can take.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

use super::{KEY, post};
use crate::harness::{Answer, Client, Gateway, Upstream, eventually, pause};

/// What a model is asked that takes texts alone, by callers of several dialects, and what it does not take.
const BEYOND: [(&str, &str, &str); 6] = [
    (
        "/ai/v1/chat/completions",
        r#"{"model":"smart","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}]}"#,
        "tools",
    ),
    (
        "/ai/v1/messages",
        r#"{"model":"smart","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[{"name":"f","input_schema":{"type":"object"}}]}"#,
        "tools",
    ),
    (
        "/ai/v1beta/models/smart:generateContent",
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"object"}}]}]}"#,
        "tools",
    ),
    (
        "/ai/v1/chat/completions",
        r#"{"model":"smart","messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}}]}]}"#,
        "sound",
    ),
    (
        "/ai/v1/messages",
        r#"{"model":"smart","max_tokens":9,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERg=="}}]}]}"#,
        "PDF documents",
    ),
    (
        "/ai/model/smart/converse",
        r#"{"messages":[{"role":"user","content":[{"image":{"format":"png","source":{"bytes":"iVBORw=="}}}]}]}"#,
        "images",
    ),
];

#[test]
fn tools_sound_and_documents_go_to_models_that_take_them_or_nowhere() {
    let ((plain, _), (able, _)) = (provider(), provider());
    let providers = [("plain", "openai", &plain), ("able", "openai-compatible", &able)];
    // gpt-3.5-turbo-16k takes texts alone; of a model that nobody knows nothing is known that it could not.
    let plains = "{provider: plain, model: gpt-3.5-turbo-16k}";
    let both =
        gateway(&providers, &format!("targets: [{plains}, {{provider: able, model: any, weight: 0}}]"));
    let alone = gateway(&providers, &format!("targets: [{plains}]"));
    for (path, body, what) in BEYOND {
        assert_eq!(served(&post(&both, path, "", body)), "able", "{what} of {path}");
        let refused = post(&alone, path, "", body);
        assert_eq!(refused.status, 400, "{what} of {path}: {}", refused.text());
        let told = format!("`gpt-3.5-turbo-16k` takes no {what}");
        assert!(refused.text().contains(&told), "{path}: no {told} in {}", refused.text());
    }
    assert!(plain.seen().is_empty());
    assert_eq!(able.seen().len(), BEYOND.len());
}

/// A provider that answers well, after as many milliseconds as are told.
fn provider() -> (Upstream, Arc<AtomicU64>) {
    let delay = Arc::new(AtomicU64::new(0));
    let wait = delay.clone();
    let upstream = Upstream::scripted(move |_| {
        pause(wait.load(Ordering::Relaxed));
        let body = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
        let length = body.len();
        Some(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    });
    (upstream, delay)
}

/// A gateway over providers `(name, kind, upstream)` and the model `smart` with these settings.
fn gateway(providers: &[(&str, &str, &Upstream)], model: &str) -> Gateway {
    let mut text = format!(
        "consumers: [{{name: app, keys: [{KEY}], groups: [gold]}}, {{name: other, keys: [another-key]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{headers: [x-api-key]}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n"
    );
    for (name, kind, upstream) in providers {
        let path = if *kind == "anthropic" { "" } else { "/v1" };
        text.push_str(&format!(
            "    - {{name: {name}, kind: {kind}, baseUrl: \"http://{}{path}\", keys: [k]}}\n",
            upstream.address
        ));
    }
    text.push_str(&format!("  models: [{{name: smart, {model}}}]\n"));
    Gateway::start(&text)
}

fn ask(gateway: &Gateway, more: &Value) -> Answer {
    let mut body = json!({"model": "smart", "messages": [{"role": "user", "content": "hello"}]});
    if let (Some(body), Some(more)) = (body.as_object_mut(), more.as_object()) {
        body.extend(more.clone());
    }
    post(gateway, "/ai/v1/chat/completions", "", &body.to_string())
}

fn served(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-tidegate-provider").expect("a provider")
}

#[test]
fn the_target_that_began_to_answer_soonest_of_late_is_asked() {
    let ((one, slow), (two, _)) = (provider(), provider());
    slow.store(150, Ordering::Relaxed);
    let gateway = gateway(
        &[("one", "openai", &one), ("two", "openai", &two)],
        "strategy: leastLatency, targets: [{provider: one, model: a}, {provider: two, model: b}]",
    );
    let first: Vec<String> = (0..8).map(|_| served(&ask(&gateway, &json!({}))).to_owned()).collect();
    assert_eq!(one.seen().len(), 1, "it was tried once: {first:?}");
    assert!(first[2..].iter().all(|name| name == "two"), "{first:?}");
}

#[test]
fn a_target_that_fails_fast_is_not_a_fast_one() {
    let broken = Upstream::fixed(500, r#"{"error":{"message":"no"}}"#);
    let (good, slow) = provider();
    slow.store(50, Ordering::Relaxed);
    let gateway = gateway(
        &[("broken", "openai", &broken), ("good", "openai", &good)],
        "strategy: leastLatency, targets: [{provider: broken, model: a}, {provider: good, model: b}]",
    );
    for _ in 0..6 {
        assert_eq!(served(&ask(&gateway, &json!({}))), "good");
    }
    assert_eq!(broken.seen().len(), 1);
}

#[test]
fn the_cheapest_target_is_asked_and_unknown_prices_come_last() {
    let ((one, _), (two, _), (three, _)) = (provider(), provider(), provider());
    let gateway = gateway(
        &[("unknown", "openai", &one), ("dear", "openai", &two), ("cheap", "openai", &three)],
        "strategy: leastCost, targets: [{provider: unknown, model: nobody-knows-it}, {provider: dear, model: gpt-4o}, {provider: cheap, model: gpt-4o-mini}]",
    );
    for _ in 0..4 {
        assert_eq!(served(&ask(&gateway, &json!({}))), "cheap");
    }
    assert_eq!((one.seen().len(), two.seen().len()), (0, 0));
}

#[test]
fn the_target_with_the_fewest_calls_in_flight_is_asked() {
    let ((one, slow), (two, _)) = (provider(), provider());
    slow.store(1500, Ordering::Relaxed);
    let gateway = gateway(
        &[("one", "openai", &one), ("two", "openai", &two)],
        "strategy: leastBusy, targets: [{provider: one, model: a}, {provider: two, model: b}]",
    );
    let body = r#"{"model":"smart","messages":[]}"#;
    let mut waiting = Client::connect(gateway.address);
    waiting.write(format!(
        "POST /ai/v1/chat/completions HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ));
    eventually("a call under way", || one.seen().len() == 1);
    for _ in 0..4 {
        assert_eq!(served(&ask(&gateway, &json!({}))), "two");
    }
    assert_eq!(waiting.read().expect("an answer").status, 200);
    assert_eq!(served(&ask(&gateway, &json!({}))), "one", "it has none in flight any more");
}

#[test]
fn turns_of_a_conversation_stay_at_one_target_and_conversations_spread() {
    let providers: Vec<(Upstream, Arc<AtomicU64>)> = (0..3).map(|_| provider()).collect();
    let named: Vec<(&str, &str, &Upstream)> = ["one", "two", "three"]
        .into_iter()
        .zip(&providers)
        .map(|(name, (one, _))| (name, "openai", one))
        .collect();
    let gateway = gateway(
        &named,
        "sticky: conversation, targets: [{provider: one, model: a}, {provider: two, model: a}, {provider: three, model: a}]",
    );
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..24 {
        let first = json!({"role": "user", "content": format!("question {number}")});
        let turn = |more: &[Value]| {
            let messages: Vec<Value> = std::iter::once(first.clone()).chain(more.iter().cloned()).collect();
            served(&ask(&gateway, &json!({"messages": messages}))).to_owned()
        };
        let place = turn(&[]);
        let answer = json!({"role": "assistant", "content": "hi"});
        let again = json!({"role": "user", "content": format!("and {number}?")});
        assert_eq!(turn(&[answer.clone(), again.clone()]), place, "{number}");
        assert_eq!(turn(&[answer, again, json!({"role": "assistant", "content": "so"})]), place, "{number}");
        seen.insert(place);
    }
    assert_eq!(seen.len(), 3, "24 conversations are not all at {seen:?}");
    // The caller's own key for its prompt cache holds over what is said.
    let places: std::collections::BTreeSet<String> = (0..6)
        .map(|number| {
            let message = json!([{"role": "user", "content": format!("other {number}")}]);
            served(&ask(&gateway, &json!({"messages": message, "prompt_cache_key": "k1"}))).to_owned()
        })
        .collect();
    assert_eq!(places.len(), 1);
}

#[test]
fn a_condition_decides_by_header_consumer_and_body() {
    let ((one, _), (two, _), (three, _)) = (provider(), provider(), provider());
    let gateway = gateway(
        &[("canary", "openai", &one), ("tools", "openai", &two), ("rest", "openai", &three)],
        "targets: [{provider: canary, model: a, variant: canary, when: \"request.headers['x-canary'] == 'yes' && 'gold' in consumer.groups\"}, {provider: tools, model: b, when: \"ai.tools && ai.inputTokens < 1000 && ai.maxTokens <= 100\"}, {provider: rest, model: c, variant: stable}]",
    );
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"hello"}]}"#;
    for _ in 0..3 {
        assert_eq!(served(&post(&gateway, "/ai/v1/chat/completions", "\nx-canary: yes", body)), "canary");
        assert_eq!(served(&post(&gateway, "/ai/v1/chat/completions", "\nx-canary: no", body)), "rest");
        let tools =
            json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
        assert_eq!(served(&ask(&gateway, &json!({"tools": tools, "max_tokens": 50}))), "tools");
        assert_eq!(served(&ask(&gateway, &json!({"tools": tools, "max_tokens": 500}))), "rest");
    }
    let head = format!(
        "POST /ai/v1/chat/completions HTTP/1.1\nhost: gw\nx-api-key: another-key\nx-canary: yes\ncontent-length: {}",
        body.len()
    );
    assert_eq!(served(&gateway.send(&head, body.as_bytes())), "rest", "the group is the condition too");
    for record in gateway.records(13) {
        let variant = match record["ai"]["provider"].as_str() {
            Some("canary") => json!("canary"),
            Some("rest") => json!("stable"),
            _ => Value::Null,
        };
        assert_eq!(record["ai"]["variant"], variant, "{record}");
    }
}

#[test]
fn shares_among_those_that_a_condition_leaves_follow_their_weights() {
    let ((one, _), (two, _), (three, _)) = (provider(), provider(), provider());
    let gateway = gateway(
        &[("one", "openai", &one), ("two", "openai", &two), ("never", "openai", &three)],
        "targets: [{provider: never, model: c, weight: 10, when: 'ai.images'}, {provider: one, model: a, weight: 3}, {provider: two, model: b}]",
    );
    for _ in 0..80 {
        served(&ask(&gateway, &json!({})));
    }
    assert_eq!(three.seen().len(), 0);
    assert!((45..=74).contains(&one.seen().len()), "{} of 80, 60 are due", one.seen().len());
}

fn picture() -> Value {
    json!({"messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]}]})
}

#[test]
fn what_a_target_cannot_take_goes_to_one_that_can() {
    let ((blind, _), (sees, _)) = (provider(), provider());
    let gateway = gateway(
        &[("blind", "openai", &blind), ("sees", "openai", &sees)],
        "targets: [{provider: blind, model: gpt-3.5-turbo}, {provider: sees, model: gpt-4o, weight: 0}]",
    );
    assert_eq!(served(&ask(&gateway, &json!({}))), "blind");
    assert_eq!(served(&ask(&gateway, &picture())), "sees");
    let long = "word ".repeat(40_000);
    let messages = json!([{"role": "user", "content": long}]);
    assert_eq!(
        served(&ask(&gateway, &json!({"messages": messages}))),
        "sees",
        "16385 tokens are too few for it"
    );
    assert_eq!(blind.seen().len(), 1);
}

#[test]
fn what_no_target_can_take_is_refused_before_it_costs_anything() {
    let (blind, _) = provider();
    let targets = "targets: [{provider: blind, model: gpt-3.5-turbo}]";
    let gateway_ = gateway(&[("blind", "openai", &blind)], targets);
    let answer = ask(&gateway_, &picture());
    assert_eq!(answer.status, 400, "{}", answer.text());
    let told = answer.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert_eq!(told, "nothing behind `smart` can take this request: `gpt-3.5-turbo` takes no images");
    let body = r#"{"model":"smart","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}"#;
    let answer = post(&gateway_, "/ai/v1/messages", "", body);
    assert_eq!((answer.status, &answer.json()["type"]), (400, &json!("error")), "{}", answer.text());
    assert!(blind.seen().is_empty());
    let record = gateway_.records(1).pop().expect("a record");
    assert_eq!(record["status"], 400);
    // An operator who knows better says so.
    let gateway_ = gateway(&[("blind", "openai", &blind)], &format!("checkCapabilities: false, {targets}"));
    assert_eq!(served(&ask(&gateway_, &picture())), "blind");
}

#[test]
fn a_test_by_shares_tells_its_variants_in_the_records() {
    let ((one, _), (two, _)) = (provider(), provider());
    let gateway = gateway(
        &[("one", "openai", &one), ("two", "openai", &two)],
        "targets: [{provider: one, model: gpt-4o, weight: 3, variant: stable}, {provider: two, model: gpt-4o-2024-11-20, variant: canary}]",
    );
    for _ in 0..40 {
        served(&ask(&gateway, &json!({})));
    }
    let records = gateway.records(40);
    let of = |variant: &str, served: &str| {
        let is_so =
            |record: &&Value| record["ai"]["variant"] == variant && record["ai"]["served_model"] == served;
        records.iter().filter(is_so).count()
    };
    assert_eq!((of("stable", "gpt-4o"), of("canary", "gpt-4o-2024-11-20")), (30, 10), "{}", records[0]);
}

#[test]
fn turns_stay_at_one_target_in_other_dialects_too() {
    let providers: Vec<(Upstream, Arc<AtomicU64>)> = (0..3).map(|_| provider()).collect();
    let named: Vec<(&str, &str, &Upstream)> = ["one", "two", "three"]
        .into_iter()
        .zip(&providers)
        .map(|(name, (one, _))| (name, "openai-compatible", one))
        .collect();
    let gateway = gateway(
        &named,
        "sticky: conversation, targets: [{provider: one, model: a}, {provider: two, model: a}, {provider: three, model: a}]",
    );
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let parts = |role: &str, text: &str| json!({"role": role, "parts": [{"text": text}]});
    let blocks = |role: &str, text: &str| json!({"role": role, "content": [{"text": text}]});
    type Turn<'t> = (&'t str, &'t dyn Fn(&str, &[[&str; 2]]) -> Value);
    let all = |first: &str, more: &[[&str; 2]], say: &dyn Fn(&str, &str) -> Value| -> Vec<Value> {
        std::iter::once(["user", first])
            .chain(more.iter().copied())
            .map(|[role, text]| say(role, text))
            .collect()
    };
    let turns: [Turn<'_>; 5] = [
        (
            "/ai/v1/responses",
            &|first, more| json!({"model": "smart", "store": false, "input": all(first, more, &said)}),
        ),
        (
            "/ai/v1/messages",
            &|first, more| json!({"model": "smart", "max_tokens": 9, "messages": all(first, more, &said)}),
        ),
        ("/ai/v1beta/models/smart:generateContent", &|first, more| {
            let model =
                |role: &str, text: &str| parts(if role == "assistant" { "model" } else { role }, text);
            json!({"contents": all(first, more, &model)})
        }),
        ("/ai/model/smart/converse", &|first, more| json!({"messages": all(first, more, &blocks)})),
        ("/ai/v2/chat", &|first, more| json!({"model": "smart", "messages": all(first, more, &said)})),
    ];
    for (path, body) in turns {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..24 {
            let first = format!("question {number}");
            let place = |more: &[[&str; 2]]| {
                let answer = post(&gateway, path, "", &body(&first, more).to_string());
                served(&answer).to_owned()
            };
            let at = place(&[]);
            let more = [["assistant", "hi"], ["user", "and then?"]];
            assert_eq!(place(&more), at, "{path} {number}");
            seen.insert(at);
        }
        assert_eq!(seen.len(), 3, "{path}: 24 conversations are not all at {seen:?}");
    }
}
