//! What a call costs beside its own model: judges, embeddings, pictures.

use std::{io::Write, net::TcpStream};

use serde_json::{Value, json};

use super::{
    KEY,
    budgets::{INPUT, OUTPUT, settles, taken},
    limits::{ask, base, metered, told},
    parrot, post,
};
use crate::harness::{Gateway, Upstream, eventually, pause};

const BUDGET: &str = ", {budget: {amount: 1000, key: consumer, name: b}}";
const PRICES: &str = "    - {name: judge, targets: [{provider: p1, model: gpt-4o}]}
    - {name: vectors, targets: [{provider: p1, model: gpt-4o}]}
  prices:
    - {provider: p0, model: gpt-4o, input: 2.5, output: 10}
    - {provider: p1, model: gpt-4o, input: 2.5, output: 10}
";

const PRICES_OF_ONE: &str = "  prices: [{provider: p0, model: gpt-4o, input: 2.5, output: 10}]\n";

/// A model that judges, and tells what it cost.
fn judge(violation: bool) -> Upstream {
    let verdict = json!({"violation": violation}).to_string();
    let body = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": verdict}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77}});
    Upstream::fixed(200, &body.to_string())
}

/// Whoever takes a question, and nobody waits for.
fn slow() -> Upstream {
    Upstream::scripted(|_| {
        pause(3000);
        None
    })
}

/// Asks, and leaves when it has come so far. The record of that.
fn leave(gateway: &Gateway, more: &str, has_come: impl FnMut() -> bool) -> Value {
    let body = format!(
        r#"{{"model":"smart","max_tokens":500{more},"messages":[{{"role":"user","content":"Hello"}}]}}"#
    );
    let mut client = TcpStream::connect(gateway.address).expect("a connection");
    let head = format!(
        "POST /ai/v1/chat/completions HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).expect("written");
    eventually("they have it", has_come);
    drop(client);
    gateway.record("who has left", |record| record["status"] == 499)
}

fn rule(on: &str) -> String {
    format!(
        ", {{guardrails: {{rules: [{{name: j, on: {on}, judge: {{model: judge, instructions: Be kind.}}}}]}}}}"
    )
}

#[test]
fn what_a_judge_costs_is_on_the_bill_of_the_call_it_judges() {
    let (of_judge, of_call) = (70 * INPUT + 7 * OUTPUT, 100 * INPUT + 10 * OUTPUT);
    for (violation, on, status, want) in [
        (false, "request", 200, of_judge + of_call),
        (true, "request", 400, of_judge),
        (true, "answer", 400, of_judge + of_call),
    ] {
        let (model, judge) = (told(100, 10), judge(violation));
        let policies = format!("{BUDGET}{}", rule(on));
        let gateway = metered("", &policies, &[&base(&model), &base(&judge)], PRICES);
        let answer = ask(&gateway, 500, "");
        assert_eq!(answer.status, status, "{}", answer.text());
        settles(&gateway, "the judge's part and the model's", |taken| taken == want);
    }
}

#[test]
fn whoever_leaves_while_a_judge_is_asked_pays_for_that_and_is_recorded_as_itself() {
    let (model, slow) = (told(100, 10), slow());
    let policies = format!("{BUDGET}{}", rule("request"));
    let gateway = metered("", &policies, &[&base(&model), &base(&slow)], PRICES);
    let left = leave(&gateway, "", || slow.seen().len() == 1);
    assert!(left["upstream"].is_null(), "it was not asked for the call: {left}");
    settles(&gateway, "what the judge was asked", |taken| (20 * INPUT..500 * INPUT).contains(&taken));
    assert!(model.seen().is_empty());
}

#[test]
fn whoever_leaves_pays_for_what_was_answered_and_for_whoever_is_asked_about_it() {
    const CALL: u128 = 100 * INPUT + 10 * OUTPUT;
    let form =
        r#", {guardrails: {rules: [{name: f, jsonSchema: {schema: '{"type": "object"}', repair: true}}]}}"#;
    let cache = ", {aiCache: {semantic: {model: vectors, threshold: 0.9}}}";
    for (policy, more, asked, upstream, least, most) in [
        (&*rule("answer"), "", 2, json!("ai:p0"), CALL + 20 * INPUT, CALL + 500 * INPUT),
        // The model is asked once more.
        (form, "", 2, json!("ai:p0"), CALL + 20 * INPUT, CALL + 500 * INPUT),
        (cache, ",\"temperature\":0", 1, Value::Null, INPUT, 20 * INPUT),
    ] {
        let said = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}});
        let model = Upstream::scripted(move |seen| {
            if String::from_utf8_lossy(&seen.body).contains("does not have the form") {
                pause(3000);
                return None;
            }
            Some(parrot::http("application/json", said.to_string().as_bytes()))
        });
        let slow = slow();
        let gateway = metered("", &format!("{BUDGET}{policy}"), &[&base(&model), &base(&slow)], PRICES);
        let left = leave(&gateway, more, || model.seen().len() + slow.seen().len() == asked);
        assert_eq!(left["upstream"], upstream, "{left}");
        settles(&gateway, policy, |taken| taken >= least && taken < most);
    }
}

#[test]
fn nobody_is_asked_where_there_is_no_room_for_the_call() {
    let (model, judge) = (told(100, 10), judge(false));
    let small = format!(", {{budget: {{tokens: 50, key: consumer, name: b}}}}{}", rule("both"));
    let gateway = metered("", &small, &[&base(&model), &base(&judge)], PRICES);
    assert_eq!(ask(&gateway, 500, "").status, 429);
    assert!(judge.seen().is_empty() && model.seen().is_empty());
}

#[test]
fn what_a_judge_may_cost_is_held_with_the_call() {
    for (on, more, status) in [
        ("request", "", 429),
        ("answer", "", 429),
        // A judge says little, and a budget may assume so.
        ("both", ", assumedOutput: 100", 200),
    ] {
        let (model, judge) = (told(100, 10), judge(false));
        let budget = format!(", {{budget: {{tokens: 5000, key: consumer, name: b{more}}}}}");
        let gateway = metered("", &budget, &[&base(&model)], "");
        assert_eq!(ask(&gateway, 500, "").status, 200, "alone it has room");
        let gateway = metered("", &format!("{budget}{}", rule(on)), &[&base(&model), &base(&judge)], PRICES);
        let answer = ask(&gateway, 500, "");
        assert_eq!(answer.status, status, "{on}: {}", answer.text());
        assert_eq!(judge.seen().is_empty(), status == 429, "{on}");
    }
}

#[test]
fn an_answer_from_the_cache_costs_its_embedding_alone() {
    let model = told(100, 10);
    let vectors = json!({"object": "list", "model": "m", "data": [{"index": 0, "embedding": [1.0, 0.5]}],
        "usage": {"prompt_tokens": 11, "total_tokens": 11}});
    let vectors = Upstream::fixed(200, &vectors.to_string());
    let policies = format!("{BUDGET}, {{aiCache: {{semantic: {{model: vectors, threshold: 0.9}}}}}}");
    let gateway = metered("", &policies, &[&base(&model), &base(&vectors)], PRICES);
    let first = 11 * INPUT + 100 * INPUT + 10 * OUTPUT;
    assert_eq!(ask(&gateway, 500, ",\"temperature\":0").status, 200);
    settles(&gateway, "an embedding and a call", |taken| taken == first);
    let body = r#"{"model":"smart","max_tokens":500,"temperature":0,"messages":[{"role":"user","content":"case: other"}]}"#;
    let again = post(&gateway, "/ai/v1/chat/completions", "", body);
    assert_eq!(again.header("x-tidegate-cache"), Some("hit"), "{}", again.text());
    settles(&gateway, "one more embedding", |taken| taken == first + 11 * INPUT);
    assert_eq!(model.seen().len(), 1);
}

#[test]
fn a_stream_that_a_rule_cuts_is_settled_to_what_was_said() {
    let chunk = |delta: &str| {
        format!(
            "data: {}\n\n",
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o",
                   "choices": [{"index": 0, "delta": {"content": delta}, "finish_reason": null}]})
        )
    };
    // It breaks off without a word of its usage: what was said is counted here.
    let said = ["The tide ", "is high, ", "says Acme Corp ", "at noon. "].map(chunk).concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n",
        said.len() + 1_000
    );
    let model = Upstream::scripted(move |_| Some([head.as_bytes(), said.as_bytes()].concat()));
    let rules = ", {guardrails: {rules: [{name: rivals, words: [Acme Corp], on: answer}]}}";
    let gateway = metered("", &format!("{BUDGET}{rules}"), &[&base(&model)], PRICES_OF_ONE);
    let answer = ask(&gateway, 500, ",\"stream\":true");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!answer.text().contains("Acme") && answer.text().contains("content_filter"), "{}", answer.text());
    settles(&gateway, "some words of five hundred", |taken| taken > 0 && taken < 100 * OUTPUT);
}

#[test]
fn pictures_are_held_for_and_settled_to_what_was_made() {
    let body = json!({"created": 1, "data": [{"b64_json": "AAAA"}], "usage": {"input_tokens": 20,
        "output_tokens": 300, "total_tokens": 320}});
    let upstream = Upstream::fixed(200, &body.to_string());
    let models = "    - {name: paint, targets: [{provider: p0, model: gpt-image-1}]}
  prices: [{provider: p0, model: \"gpt-*\", input: 2.5, output: 10}]\n";
    let gateway = metered("", BUDGET, &[&base(&upstream)], models);
    let paint = |n: u64, quality: &str| {
        let body = json!({"model": "paint", "prompt": "a tide", "n": n, "quality": quality}).to_string();
        post(&gateway, "/ai/v1/images/generations", "", &body)
    };
    // Of 7,024 tokens each they may cost 1,405 dollars, and there are 1,000.
    assert_eq!(paint(20_000, "high").status, 429);
    assert_eq!(paint(20_000, "low").status, 200, "of 408 tokens each they are 82 dollars");
    let one: Value = paint(1, "auto").json();
    assert!(one["data"].is_array(), "{one}");
    settles(&gateway, "what both told", |taken| taken == 2 * (20 * INPUT + 300 * OUTPUT));
    assert!(taken(&gateway) > 0);
}
