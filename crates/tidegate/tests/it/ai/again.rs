//! Asking a model's targets again when none has answered.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use ai::dialect::Dialect;

use super::{KEY, post, provider};
use crate::harness::{Answer, Client, Gateway, Upstream, eventually, pause};

const WHOLE: &str = r#"{"model":"smart","messages":[{"role":"user","content":"case: text"}]}"#;
const STREAM: &str = r#"{"model":"smart","stream":true,"messages":[{"role":"user","content":"case: text"}]}"#;
const PATH: &str = "/ai/v1/chat/completions";
const QUICK: &str = "backoff: {initial: 1ms, max: 5ms}";

/// A provider that first says each of these, and then answers.
fn after(refusals: Vec<Vec<u8>>) -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::scripted(move |seen| match refusals.get(asked.fetch_add(1, Ordering::Relaxed)) {
        Some(refusal) => Some(refusal.clone()).filter(|refusal| !refusal.is_empty()),
        None => Some(provider::answer(Dialect::OpenAiChat, seen)),
    })
}

/// A refusal by its status, more of its head, and its type.
fn refusal(status: u16, fields: &str, kind: &str) -> Vec<u8> {
    let body = format!(r#"{{"error":{{"message":"as the provider says","type":"{kind}","code":"{kind}"}}}}"#);
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn away() -> Vec<u8> {
    refusal(503, "", "server_error")
}

/// A stream that tells an error before its first word.
fn broken(kind: &str) -> Vec<u8> {
    let body = format!(
        "data: {{\"error\":{{\"message\":\"as the provider says\",\"type\":\"{kind}\",\"code\":\"{kind}\"}}}}\n\n"
    );
    format!(
        "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A gateway with a budget, whose model is at these providers.
fn gateway(providers: &[&Upstream], retry: &str) -> Gateway {
    budgeted(providers, retry, "amount: 100")
}

fn budgeted(providers: &[&Upstream], retry: &str, budget: &str) -> Gateway {
    let name = |number: usize| format!("provider-{}", number + 1);
    let at = |(number, provider): (usize, &&Upstream)| {
        format!(
            "    - {{name: {}, kind: openai, baseUrl: \"http://{}/v1\", keys: [k]}}\n",
            name(number),
            provider.address
        )
    };
    let listed: String = providers.iter().enumerate().map(at).collect();
    let targets: Vec<_> = (0..providers.len())
        .map(|number| {
            format!("{{provider: {}, model: gpt-4o, weight: {}}}", name(number), usize::from(number == 0))
        })
        .collect();
    Gateway::start(&format!(
        "accessLog: [{{kind: stdout, format: json}}]\nconsumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}, {{budget: {{{budget}, name: all}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n{listed}  models:\n    - name: smart\n      targets: [{}]\n{retry}",
        targets.join(", ")
    ))
}

fn retry(settings: &str) -> String {
    format!("      retry: {{{settings}}}\n")
}

fn ask(gateway: &Gateway, body: &str) -> (Answer, Duration) {
    let began = Instant::now();
    (post(gateway, PATH, "", body), began.elapsed())
}

#[test]
fn a_target_that_fails_is_asked_again_whole_or_streamed() {
    for (refusals, body) in [
        (vec![away()], WHOLE),
        (vec![away(), away()], WHOLE),
        (vec![away()], STREAM),
        (vec![refusal(408, "", "timeout")], WHOLE),
        // Cut before its head, and an error before its first word.
        (vec![Vec::new()], WHOLE),
        (vec![broken("server_error")], STREAM),
    ] {
        let count = refusals.len();
        let upstream = after(refusals);
        let gateway = gateway(&[&upstream], &retry(QUICK));
        let (answer, _) = ask(&gateway, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("A ti"), "{}", answer.text());
        assert_eq!(upstream.seen().len(), count + 1);
        let record = gateway.record("the call", |record| record["status"] == 200);
        assert_eq!(record["attempts"], count as u64 + 1, "{record}");
        assert_eq!(record["failed_tries"].as_array().map(Vec::len), Some(count), "{record}");
    }
}

#[test]
fn it_is_asked_once_without_it_and_as_often_as_it_says_with_it() {
    for (settings, want) in
        [(String::new(), 1), (retry(QUICK), 3), (retry("maxAttempts: 2, backoff: {initial: 1ms}"), 2)]
    {
        let upstream = after(vec![away(); 5]);
        let gateway = gateway(&[&upstream], &settings);
        let (answer, _) = ask(&gateway, WHOLE);
        assert_eq!((answer.status, upstream.seen().len()), (503, want), "{settings}");
        assert!(
            answer.text().contains("as the provider says"),
            "the provider's own words: {}",
            answer.text()
        );
    }
}

#[test]
fn what_asking_again_does_not_mend_is_not_asked_again() {
    for (refusal, body, status) in [
        (refusal(400, "", "invalid_request_error"), WHOLE, 400),
        (refusal(401, "", "authentication_error"), WHOLE, 502),
        (refusal(404, "", "not_found_error"), WHOLE, 404),
        (refusal(501, "", "server_error"), WHOLE, 501),
        (refusal(429, "", "insufficient_quota"), WHOLE, 429),
        // The provider knows better.
        (refusal(503, "x-should-retry: false\r\n", "server_error"), WHOLE, 503),
        (broken("context_length_exceeded"), STREAM, 200),
    ] {
        let upstream = after(vec![refusal.clone(); 3]);
        let gateway = gateway(&[&upstream], &retry(QUICK));
        let (answer, took) = ask(&gateway, body);
        let told = String::from_utf8_lossy(&refusal).into_owned();
        assert_eq!(upstream.seen().len(), 1, "{told}: {}", answer.text());
        assert!(answer.status == status || status == 502, "{told}: {} {}", answer.status, answer.text());
        assert!(took < Duration::from_secs(5), "{told}: {took:?}");
    }
}

#[test]
fn a_limit_is_waited_for_as_long_as_the_provider_says_and_no_longer_than_a_call_may() {
    for body in [WHOLE, STREAM] {
        let upstream = after(vec![refusal(429, "retry-after: 1\r\n", "rate_limit_exceeded")]);
        let of = gateway(&[&upstream], &retry(QUICK));
        let (answer, took) = ask(&of, body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(took >= Duration::from_millis(900), "{took:?}: the key is limited for a second");
        assert_eq!(upstream.seen().len(), 2);
        let record = of.record("the call", |record| record["status"] == 200);
        let queued = record["ai"]["time"]["queue_ms"].as_f64();
        assert!(queued.is_some_and(|millis| millis >= 900.0), "the pause is told: {record}");
    }
    let upstream = after(vec![refusal(429, "retry-after: 60\r\n", "rate_limit_exceeded"); 3]);
    let of = gateway(&[&upstream], &retry(QUICK));
    let (answer, took) = ask(&of, WHOLE);
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("60")));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn another_target_is_asked_first_and_then_all_of_them_again() {
    let (first, second) = (after(vec![away(); 2]), after(vec![away()]));
    let gateway = gateway(&[&first, &second], &retry(QUICK));
    let (answer, _) = ask(&gateway, WHOLE);
    assert_eq!((answer.status, answer.header("x-tidegate-provider")), (200, Some("provider-2")));
    assert_eq!((first.seen().len(), second.seen().len()), (2, 2));
}

/// A provider that takes its time with everything.
fn slow(millis: u64) -> Upstream {
    Upstream::scripted(move |seen| {
        pause(millis);
        Some(provider::answer(Dialect::OpenAiChat, seen))
    })
}

#[test]
fn the_last_target_is_waited_for_whatever_its_first_token() {
    let upstream = slow(600);
    let more = retry(&format!("{QUICK}, maxAttempts: 3")) + "      firstToken: 100ms\n";
    let gateway = gateway(&[&upstream], &more);
    let (answer, _) = ask(&gateway, STREAM);
    assert_eq!((answer.status, upstream.seen().len()), (200, 1), "{}", answer.text());
}

#[test]
fn a_target_that_is_asked_after_another_has_all_of_its_own_time() {
    // The first takes as long as both may.
    let (silent, good) = (slow(3000), slow(200));
    let gateway = Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n    - {{name: first, kind: openai, baseUrl: \"http://{}/v1\", keys: [k], timeouts: {{request: 700ms}}}}\n    - {{name: second, kind: openai, baseUrl: \"http://{}/v1\", keys: [k], timeouts: {{request: 700ms}}}}\n  models:\n    - name: smart\n      targets: [{{provider: first, model: gpt-4o}}, {{provider: second, model: gpt-4o, weight: 0}}]\n",
        silent.address, good.address
    ));
    let (answer, _) = ask(&gateway, WHOLE);
    assert_eq!(
        (answer.status, answer.header("x-tidegate-provider")),
        (200, Some("second")),
        "{}",
        answer.text()
    );
}

#[test]
fn a_budget_holds_once_whatever_it_takes() {
    let (plain, often) = (after(Vec::new()), after(vec![away(); 2]));
    let taken = |upstream: &Upstream| {
        let gateway = gateway(&[upstream], &retry(QUICK));
        assert_eq!(ask(&gateway, WHOLE).0.status, 200);
        let account = || gateway.admin_get("/api/v1/budgets").json()["budgets"][0]["accounts"][0].clone();
        eventually("nothing is held", || account()["held"] == "0.00");
        account()["spent"].as_str().map(str::to_owned)
    };
    let once = taken(&plain);
    assert!(once.as_deref().is_some_and(|spent| spent != "0.00"), "{once:?}");
    assert_eq!(taken(&often), once, "what failed cost nothing, and nothing stays held");
}

#[test]
fn a_share_of_calls_bounds_what_is_asked_again() {
    let upstream = after(vec![away(); 100]);
    let settings = format!("{QUICK}, maxAttempts: 10, budget: {{percent: 0, minPerSecond: 1, window: 2s}}");
    let gateway = gateway(&[&upstream], &retry(&settings));
    for _ in 0..5 {
        assert_eq!(ask(&gateway, WHOLE).0.status, 503);
    }
    let asked = upstream.seen().len();
    assert!((6..=9).contains(&asked), "five calls, and two more in two seconds: {asked}");
}

#[test]
fn a_client_that_leaves_ends_the_waiting() {
    let upstream = after(vec![refusal(429, "retry-after: 1\r\n", "rate_limit_exceeded"); 3]);
    let gateway = gateway(&[&upstream], &retry(QUICK));
    let mut client = Client::connect(gateway.address);
    client.write(format!(
        "POST {PATH} HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{WHOLE}",
        WHOLE.len()
    ));
    eventually("it is asked", || upstream.seen().len() == 1);
    drop(client);
    gateway.record("the client has gone", |record| record["status"] == 499);
    pause(1500);
    assert_eq!(upstream.seen().len(), 1, "nobody waits for it any more");
}

#[test]
fn settings_that_cannot_be_are_told_with_their_place() {
    for (settings, told) in [
        ("maxAttempts: 1", "maxAttempts"),
        ("maxAttempts: 11", "maxAttempts"),
        ("maxWait: 0s", "expected more than nothing"),
        ("maxWait: 11m", "at most 10m"),
        ("backoff: {initial: 9s}", "at most `max`"),
        ("budget: {window: 0s}", "expected more than nothing"),
        ("on: [503]", "on"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tidegate.yaml");
        let text = format!(
            "listeners: [{{name: a, address: \"127.0.0.1:8080\"}}]\nroutes: [{{name: m, ai: {{}}}}]\nai:\n  providers: [{{name: p, kind: openai, keys: [k]}}]\n  models:\n    - name: smart\n      targets: [{{provider: p, model: gpt-4o}}]\n{}",
            retry(settings)
        );
        std::fs::write(&path, text).expect("a file");
        let (code, _, problems) = crate::harness::run(&["validate", "--config", &path.display().to_string()]);
        assert_ne!(code, 0, "{settings}: {problems}");
        assert!(problems.contains(told) && problems.contains("tidegate.yaml:8"), "{settings}: {problems}");
    }
}

#[test]
fn what_a_stream_told_before_its_first_word_is_told_when_nobody_does_better() {
    // A key that is at its limit is set aside for it, so that nobody is asked with it again.
    let upstream = after(vec![broken("rate_limit_exceeded"); 3]);
    let gateway =
        gateway(&[&upstream], &retry("maxAttempts: 3, maxWait: 300ms, backoff: {initial: 1ms, max: 5ms}"));
    let (answer, _) = ask(&gateway, STREAM);
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let (answer, _) = ask(&gateway, STREAM);
    assert_eq!((answer.status, upstream.seen().len()), (429, 1), "the key is set aside: {}", answer.text());

    let upstream = after(vec![broken("invalid_api_key"); 3]);
    let gateway = gateway_of(&upstream);
    let (answer, _) = ask(&gateway, STREAM);
    assert_eq!((answer.status, upstream.seen().len()), (502, 1), "it is not asked again: {}", answer.text());
}

fn gateway_of(upstream: &Upstream) -> Gateway {
    gateway(&[upstream], &retry(QUICK))
}

#[test]
fn what_the_last_target_said_is_told_where_there_is_no_room_for_another_round() {
    let body = WHOLE.replace("{\"model\"", "{\"max_tokens\":50,\"model\"");
    let run = |tokens: u64| {
        // Its connection ends after it has the request: nobody knows what that cost.
        let upstream = after(vec![Vec::new(); 3]);
        let gateway = budgeted(&[&upstream], &retry(QUICK), &format!("tokens: {tokens}"));
        let answer = ask(&gateway, &body).0;
        (answer, upstream.seen().len())
    };
    let refused = run(1).0.text();
    let most = refused.split_once("up to ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    let most = most.unwrap_or_else(|| panic!("no number: {refused}"));
    let (answer, asked) = run(most);
    assert_eq!((answer.status, asked), (502, 1), "{}", answer.text());
    assert!(!answer.text().contains("has no room"), "{}", answer.text());
    assert_eq!(run(most * 10).1, 3);
}

/// An answer of which a filter has left nothing, whole or streamed.
fn filtered(streams: bool) -> Vec<u8> {
    let choice = r#""index":0,"finish_reason":"content_filter""#;
    let (kind, body) = match streams {
        false => (
            "application/json",
            format!(
                r#"{{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{{{choice},"message":{{"role":"assistant","content":""}}}}],"usage":{{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}}}}"#
            ),
        ),
        true => (
            "text/event-stream",
            format!(
                "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{{choice},\"delta\":{{}}}}]}}\n\ndata: [DONE]\n\n"
            ),
        ),
    };
    format!("HTTP/1.1 200 X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

#[test]
fn who_says_what_a_filter_cuts_is_not_paid_to_say_it_again() {
    for (body, streams) in [(WHOLE, false), (STREAM, true)] {
        let (first, second) = (after(vec![filtered(streams); 3]), after(vec![away(); 2]));
        let more = retry(QUICK) + "      fallbackOn: [contentFilter]\n";
        let gateway = gateway(&[&first, &second], &more);
        let (answer, _) = ask(&gateway, body);
        let provider = answer.header("x-tidegate-provider");
        assert_eq!((answer.status, provider), (200, Some("provider-2")), "{}", answer.text());
        assert_eq!((first.seen().len(), second.seen().len()), (1, 3), "{body}");
    }
}

#[test]
fn what_a_filter_cut_is_told_where_nobody_else_can_be_asked() {
    let body = WHOLE.replace("{\"model\"", "{\"max_tokens\":50,\"model\"");
    let run = |tokens: u64| {
        let (first, second) = (after(vec![filtered(false)]), after(Vec::new()));
        let gateway =
            budgeted(&[&first, &second], "      fallbackOn: [contentFilter]\n", &format!("tokens: {tokens}"));
        let answer = ask(&gateway, &body).0;
        let record = gateway.records(1).remove(0);
        (answer, record, first.seen().len(), second.seen().len())
    };
    let refused = run(1).0.text();
    let most = refused.split_once("up to ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    let most = most.unwrap_or_else(|| panic!("no number: {refused}"));
    // The first has cost, so that there is no room for a second.
    let (answer, record, first, second) = run(most);
    assert_eq!((answer.status, first, second), (200, 1, 0), "{}", answer.text());
    assert_eq!(answer.header("x-tidegate-provider"), Some("provider-1"), "{answer:?}");
    assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter", "{}", answer.text());
    assert_eq!(
        (&record["stopped_by"], &record["ai"]["input_tokens"]),
        (&"budget".into(), &3.into()),
        "{record}"
    );
    assert!(record["failed_tries"].is_null(), "it is the answer: {record}");
    let (answer, _, first, second) = run(most * 10);
    assert_eq!((first, second, answer.header("x-tidegate-provider")), (1, 1, Some("provider-2")));
}
