//! Budgets: on every path exactly what was spent is settled, and nothing is held when nothing is on its way.

use std::io::Write;

use ai::dialect::Dialect;

use super::{
    limits::{ask, base, metered, read_until, told},
    post, provider,
};
use crate::harness::{Gateway, Upstream, eventually, free_port, pause, read_request};

/// The budget of the tests: a thousand dollars.
const BUDGET: &str = ", {budget: {amount: 1000, key: consumer, name: b}}";
const LIMIT: u128 = 1000 * 1_000_000_000_000;
/// A token of the prompt, and of the answer: 2.50 and 10 dollars per million, as the catalogue has it for `p1`.
pub(super) const PRICES: &str = "  prices: [{provider: p0, model: gpt-4o, input: 2.5, output: 10}]\n";
pub(super) const INPUT: u128 = 2_500_000;
pub(super) const OUTPUT: u128 = 10_000_000;

/// Picodollars that are spent or held: a call that might cost more than everything is refused and told what is left.
pub(super) fn taken(gateway: &Gateway) -> u128 {
    // A store that gateways share may be away for a moment more, where the machine is busy.
    let told = || ask(gateway, 999_000_000_000, "");
    let mut refused = told();
    for _ in 0..40 {
        if refused.status != 503 {
            break;
        }
        pause(50);
        refused = told();
    }
    assert_eq!(refused.status, 429, "{}", refused.text());
    let message = refused.json()["error"]["message"].as_str().expect("a message").to_owned();
    let left = message.split("has $").nth(1).and_then(|rest| rest.split(' ').next()).expect("what is left");
    let (dollars, places) = left.split_once('.').expect("a point");
    LIMIT - format!("{dollars}{places:0<12}").parse::<u128>().expect("a number")
}

/// Waits until what is taken is this: the client may have its answer a moment before it is settled.
pub(super) fn settles(gateway: &Gateway, what: &str, want: impl Fn(u128) -> bool) -> u128 {
    let mut last = 0;
    eventually(what, || {
        last = taken(gateway);
        want(last)
    });
    last
}

/// Streams for as long as somebody listens, and never tells the usage.
pub(super) fn endless() -> Upstream {
    Upstream::raw(|mut reader, _| {
        if read_request(&mut reader).is_none() {
            return;
        }
        let stream = reader.get_mut();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        for _ in 0..2000 {
            let event = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" tide\"}}]}\n\n";
            if stream.write_all(event.as_bytes()).is_err() {
                return;
            }
            pause(5);
        }
    })
}

/// A client that leaves when it has heard something.
pub(super) fn leave_in_the_middle(gateway: &Gateway) {
    let body =
        r#"{"model":"smart","stream":true,"max_tokens":5000,"messages":[{"role":"user","content":"Hello"}]}"#;
    let stream = read_until(gateway, body, "tide");
    pause(200);
    drop(stream);
}

#[test]
fn what_the_provider_tells_is_spent_to_the_picodollar() {
    let upstream = told(123, 45);
    let gateway = metered("", BUDGET, &[&base(&upstream)], PRICES);
    for calls in 1..=3u128 {
        let answer = ask(&gateway, 500, "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("x-tidegate-cost"), Some("0.0007575"));
        let want = calls * (123 * INPUT + 45 * OUTPUT);
        settles(&gateway, "what was told", |taken| taken == want);
    }
}

#[test]
fn a_stream_is_settled_at_its_end() {
    let upstream = provider::of(Dialect::OpenAiChat);
    let gateway = metered("", BUDGET, &[&base(&upstream)], PRICES);
    let answer = ask(&gateway, 500, ",\"stream\":true");
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    let record = gateway.records(1).remove(0)["ai"].clone();
    let tokens = |name: &str| u128::from(record[name].as_u64().expect("tokens"));
    let want = tokens("input_tokens") * INPUT + tokens("output_tokens") * OUTPUT;
    assert!(want > 0 && record["is_estimate"] == false, "{record}");
    settles(&gateway, "the stream's usage", |taken| taken == want);
}

#[test]
fn whatever_goes_wrong_nothing_stays_held() {
    let good = told(100, 10);
    let away = format!("http://127.0.0.1:{}/v1", free_port());
    let broken = Upstream::fixed(500, r#"{"error":{"message":"no"}}"#);
    let wrong = Upstream::fixed(400, r#"{"error":{"message":"odd"}}"#);
    let silent = Upstream::scripted(|_| None);
    let once = 100 * INPUT + 10 * OUTPUT;
    for (name, targets, status, want) in [
        ("nobody is there", vec![away.clone()], 502, 0),
        ("a provider's failure", vec![base(&broken)], 500, 0),
        ("a provider's refusal", vec![base(&wrong)], 400, 0),
        ("another target after a failure", vec![base(&broken), base(&good)], 200, once),
        ("another target after one that is away", vec![away, base(&good)], 200, once),
    ] {
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        let gateway = metered("", BUDGET, &targets, PRICES);
        let answer = ask(&gateway, 500, "");
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        settles(&gateway, name, |taken| taken == want);
    }
    // Whether a provider that took the request and hung up has worked, nobody knows: the prompt is paid.
    let gateway = metered("", BUDGET, &[&base(&silent)], PRICES);
    assert_eq!(ask(&gateway, 500, "").status, 502);
    settles(&gateway, "a provider that hung up", |taken| taken > 0 && taken < 100 * INPUT);
}

#[test]
fn what_is_refused_here_costs_nothing() {
    let upstream = told(100, 10);
    let both = format!("{BUDGET}, {{tokenRateLimit: {{output: 300, window: 1h}}}}");
    let gateway = metered("", &both, &[&base(&upstream)], PRICES);
    assert_eq!(ask(&gateway, 300, "").status, 200);
    let once = 100 * INPUT + 10 * OUTPUT;
    settles(&gateway, "the one that passed", |taken| taken == once);
    for _ in 0..20 {
        let refused = ask(&gateway, 300, "");
        assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded", "{}", refused.text());
    }
    let large = "x".repeat(70 * 1024);
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", &large).status, 413);
    assert_eq!(post(&gateway, "/ai/v1/chat/completions", "", "{").status, 400);
    assert_eq!(taken(&gateway), once, "the budget got back what the limit refused");
}

#[test]
fn a_client_that_leaves_pays_for_what_it_heard_and_no_more_is_held() {
    let upstream = endless();
    let gateway = metered("", BUDGET, &[&base(&upstream)], PRICES);
    leave_in_the_middle(&gateway);
    // Up to 5,000 tokens were held.
    let spent = settles(&gateway, "what was heard", |taken| taken > 0 && taken < 2000 * OUTPUT);
    // Calls that looked at what is left are recorded, too.
    let record = &gateway.record("an estimate", |record| record["ai"]["is_estimate"] == true)["ai"];
    let tokens = |name: &str| u128::from(record[name].as_u64().expect("tokens"));
    assert_eq!(spent, tokens("input_tokens") * INPUT + tokens("output_tokens") * OUTPUT, "{record}");
}

#[test]
fn what_is_spent_outlives_the_process_however_it_ends() {
    let upstream = told(100, 10);
    let mut gateway = metered("", BUDGET, &[&base(&upstream)], PRICES);
    let once = 100 * INPUT + 10 * OUTPUT;
    assert_eq!(ask(&gateway, 500, "").status, 200);
    gateway.restart("TERM");
    settles(&gateway, "what one process spent", |taken| taken == once);
    assert_eq!(ask(&gateway, 500, "").status, 200);
    settles(&gateway, "what both spent", |taken| taken == 2 * once);
    // What is written in batches may be a moment late.
    pause(500);
    gateway.restart("KILL");
    settles(&gateway, "what a killed process spent", |taken| taken == 2 * once);
    gateway.upgrade();
    settles(&gateway, "what one that was taken over from spent", |taken| taken == 2 * once);
    assert!(gateway.folder.path().join("data/spent.db").exists());
}

#[test]
fn a_spent_budget_stops_warns_once_and_is_told_in_the_vendors_words() {
    let upstream = told(1000, 100);
    let policy = ", {budget: {tokens: 2500, per: month, timeZone: Europe/Berlin, warnAt: 40, name: monthly}}";
    let gateway = metered("", policy, &[&base(&upstream)], "");
    assert_eq!(ask(&gateway, 100, "").header("x-tidegate-budget"), None);
    let warned = ask(&gateway, 100, "");
    assert_eq!((warned.status, warned.header("x-tidegate-budget")), (200, Some("\"monthly\";used=44.0")));
    let refused = ask(&gateway, 300, "");
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["error"]["code"], "insufficient_quota", "{}", refused.text());
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let after: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!(after <= 31 * 24 * 3600 + 3600, "{after}");
    let warnings = gateway.stderr().matches("of the budget `monthly`").count();
    assert_eq!(warnings, 1, "{}", gateway.stderr());
    let page = gateway.metrics();
    for family in ["tidegate_budget_warnings_total{budget=\"", "tidegate_budget_refusals_total{budget=\""] {
        let line = page.lines().find(|line| line.starts_with(family)).expect(family);
        assert!(line.contains("routes/models/budget/monthly") && line.ends_with(" 1"), "{line}");
    }
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn what_is_only_held_for_others_can_be_tried_again_in_seconds() {
    let upstream = endless();
    let policy = ", {budget: {amount: 0.15, name: small}}";
    let gateway = metered("", policy, &[&base(&upstream)], PRICES);
    // The first is on its way, and holds up to $0.10.
    let body = r#"{"model":"smart","stream":true,"max_tokens":10000,"messages":[{"role":"user","content":"Hello"}]}"#;
    let first = read_until(&gateway, body, "tide");
    let refused = ask(&gateway, 10000, "");
    let after: u64 = refused.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!(refused.status == 429 && after <= 10, "{after} {}", refused.text());
    assert_ne!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded", "{}", refused.text());
    assert_eq!(refused.header("x-tidegate-budget"), Some("\"small\";used=0.0"));
    assert!(refused.text().contains("held for calls on their way"), "{}", refused.text());
    // More than the whole budget never has room, and a call that names no bound is told what was assumed.
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"case: text"}]}"#;
    let refused = post(&gateway, "/ai/v1/chat/completions", "", body);
    assert_eq!(refused.json()["error"]["code"], "insufficient_quota", "{}", refused.text());
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert!(refused.text().contains("16384 tokens of the answer are assumed"), "{}", refused.text());
    assert!(refused.text().contains("`max_tokens`") && refused.text().contains("`assumedOutput`"));
    drop(first);
    eventually("nothing is held", || !ask(&gateway, 20000, "").text().contains("held for calls"));
}

#[test]
fn a_model_without_a_price_is_refused_under_a_budget_of_money() {
    let upstream = told(10, 10);
    let models = "    - {name: own, targets: [{provider: p0, model: nobody-knows-it}]}\n";
    let own = |gateway: &Gateway| {
        let body = r#"{"model":"own","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}"#;
        post(gateway, "/ai/v1/chat/completions", "", body)
    };
    let refused = own(&metered("", BUDGET, &[&base(&upstream)], models));
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("nobody knows what `nobody-knows-it` costs"), "{}", refused.text());
    assert!(upstream.seen().is_empty());
    let free = ", {budget: {amount: 1, unknownPrice: free}}";
    assert_eq!(own(&metered("", free, &[&base(&upstream)], models)).status, 200);
}
