//! Targets: shares, and who follows when one fails before its first byte.

use ai::dialect::Dialect;

use super::{gateway, post, provider};
use crate::harness::Upstream;

const BODY: &str = r#"{"model":"smart","messages":[{"role":"user","content":"case: text"}]}"#;

fn base(upstream: &Upstream) -> String {
    format!("http://{}/v1", upstream.address)
}

#[test]
fn shares_follow_weights_exactly() {
    let (one, two) = (provider::of(Dialect::OpenAiChat), provider::of(Dialect::OpenAiChat));
    let gateway = gateway(
        &[("one", "openai", base(&one)), ("two", "openai", base(&two))],
        &[("smart", &[("one", "a", 3), ("two", "b", 1)])],
        "",
    );
    for _ in 0..40 {
        assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", BODY).status, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (30, 10));
}

#[test]
fn another_target_answers_when_one_fails_before_its_first_byte() {
    for status in [401, 403, 404, 408, 429, 500, 502, 503, 529] {
        let bad = Upstream::fixed(status, r#"{"error":{"message":"no"}}"#);
        let good = provider::of(Dialect::OpenAiChat);
        let gateway = gateway(
            &[("bad", "openai", base(&bad)), ("good", "openai", base(&good))],
            &[("smart", &[("bad", "a", 1), ("good", "b", 0)])],
            "",
        );
        let answer = post(&gateway, "/ai/v1/chat/completions", "", BODY);
        assert_eq!((answer.status, answer.header("x-tidegate-provider")), (200, Some("good")), "{status}");
        assert_eq!(bad.seen().len(), 1, "{status}");
    }
}

#[test]
fn a_provider_that_is_away_is_passed_over() {
    let good = provider::of(Dialect::OpenAiChat);
    let away = format!("http://127.0.0.1:{}/v1", crate::harness::free_port());
    let gateway = gateway(
        &[("away", "openai", away), ("good", "openai", base(&good))],
        &[("smart", &[("away", "a", 1), ("good", "b", 0)])],
        "",
    );
    let answer = post(&gateway, "/ai/v1/chat/completions", "", BODY);
    assert_eq!((answer.status, answer.header("x-tidegate-provider")), (200, Some("good")));
}

#[test]
fn a_request_that_is_wrong_everywhere_is_asked_once() {
    let bad =
        Upstream::fixed(400, r#"{"error":{"message":"temperature is odd","type":"invalid_request_error"}}"#);
    let good = provider::of(Dialect::OpenAiChat);
    let gateway = gateway(
        &[("bad", "openai", base(&bad)), ("good", "openai", base(&good))],
        &[("smart", &[("bad", "a", 1), ("good", "b", 0)])],
        "",
    );
    let answer = post(&gateway, "/ai/v1/chat/completions", "", BODY);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["message"], "temperature is odd");
    assert!(good.seen().is_empty());
}

#[test]
fn the_last_failure_is_told_and_a_refused_key_is_not_the_callers() {
    let bad = Upstream::fixed(401, r#"{"error":{"message":"Incorrect API key provided: sk-secret"}}"#);
    let gateway = gateway(&[("bad", "openai", base(&bad))], &[("smart", &[("bad", "a", 1)])], "");
    let answer = post(&gateway, "/ai/v1/chat/completions", "", BODY);
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["error"]["message"], "the provider refuses the gateway's credentials");
    assert!(!answer.text().contains("sk-secret"));
}
