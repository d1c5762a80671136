//! Falling back where the provider's status says nothing of it: silent streams, errors in streams, filters.

use std::io::Write;

use ai::{
    canon::{Error, ErrorKind, Event},
    dialect::{Dialect, Telling},
};

use super::{KEY, parrot, post, provider};
use crate::harness::{Answer, Gateway, Upstream, pause, read_request};

const STREAM: &str = r#"{"model":"smart","stream":true,"messages":[{"role":"user","content":"case: text"}]}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A gateway that asks `first`, an OpenAI provider with more settings, and then `second`.
fn gateway(first: &Upstream, more: &str, second: &Upstream, model: &str) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n    - {{name: first, kind: openai, baseUrl: \"http://{}/v1\", keys: [k]{more}}}\n    - {{name: second, kind: openai, baseUrl: \"http://{}/v1\", keys: [k]}}\n  models:\n    - name: smart\n      targets: [{{provider: first, model: gpt-4o}}, {{provider: second, model: gpt-4o, weight: 0}}]{model}\n",
        first.address, second.address
    ))
}

/// A provider whose stream begins with these events, one at a time, and then stays silent for a second.
fn silent_after(events: &'static [&'static str]) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let mut out = HEAD.to_owned();
            for event in events {
                let data = format!("data: {event}\n\n");
                out.push_str(&format!("{:x}\r\n{data}\r\n", data.len()));
            }
            if reader.get_mut().write_all(out.as_bytes()).is_err() {
                return;
            }
            pause(1000);
            let _ = reader.get_mut().write_all(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        }
    })
}

const ROLE: &str = r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const WORD: &str = r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"first"},"finish_reason":null}]}"#;
const ERROR: &str = r#"{"error":{"message":"overloaded","type":"server_error"}}"#;

fn served(answer: &Answer) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("x-tidegate-provider").expect("a provider")
}

#[test]
fn a_stream_that_has_not_begun_to_speak_in_time_is_anothers() {
    for events in [&[][..], &[ROLE]] {
        let (silent, good) = (silent_after(events), provider::of(Dialect::OpenAiChat));
        let gateway = gateway(&silent, ", firstToken: 200ms", &good, "");
        let answer = post(&gateway, "/ai/v1/chat/completions", "", STREAM);
        assert_eq!(served(&answer), "second", "{events:?}");
        assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
        assert_eq!(silent.seen().len(), 1);
    }
}

#[test]
fn a_stream_that_has_spoken_is_kept_whole_however_long_it_pauses() {
    let (speaks, good) = (silent_after(&[ROLE, WORD]), provider::of(Dialect::OpenAiChat));
    let gateway = gateway(&speaks, ", firstToken: 200ms", &good, "");
    let answer = post(&gateway, "/ai/v1/chat/completions", "", STREAM);
    assert_eq!(served(&answer), "first");
    let text = answer.text();
    assert!(text.starts_with(&format!("data: {ROLE}\n\ndata: {WORD}\n\n")), "{text}");
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert!(good.seen().is_empty());
}

#[test]
fn an_error_before_the_first_word_of_a_stream_is_not_passed_on_while_another_may_be_asked() {
    let (broken, good) = (silent_after(&[ROLE, ERROR]), provider::of(Dialect::OpenAiChat));
    let gateway = gateway(&broken, "", &good, "");
    assert_eq!(served(&post(&gateway, "/ai/v1/chat/completions", "", STREAM)), "second");
    assert_eq!((broken.seen().len(), good.seen().len()), (1, 1));
}

const CUT: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1}}"#;
const FILTERED: &str = r#"{"error":{"message":"filtered","type":"invalid_request_error","param":"prompt","code":"content_filter"}}"#;
const TOO_LONG: &str = r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#;

#[test]
fn what_a_filter_cut_or_a_context_is_too_short_for_goes_to_another_where_that_is_wanted() {
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"case: text"}]}"#;
    for (status, says, on, want) in [
        (200, CUT, "", (200, "first")),
        (200, CUT, "contentFilter", (200, "second")),
        (400, FILTERED, "", (400, "first")),
        (400, FILTERED, "contentFilter", (200, "second")),
        (400, TOO_LONG, "contentFilter", (400, "first")),
        (400, TOO_LONG, "contextLength", (200, "second")),
    ] {
        let (first, good) = (Upstream::fixed(status, says), provider::of(Dialect::OpenAiChat));
        let gateway = gateway(&first, "", &good, &format!("\n      fallbackOn: [{on}]"));
        let answer = post(&gateway, "/ai/v1/chat/completions", "", body);
        let told = (answer.status, answer.header("x-tidegate-provider").unwrap_or_default());
        assert_eq!(told, want, "{says} {on}");
        if want.1 == "first" {
            assert_eq!(answer.text(), says, "what was looked through is passed on as it is");
        }
    }
}

/// A stream of Chat Completions that ends before it has said anything.
const CUT_STREAM: &str = r#"{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"content_filter"}]}"#;

/// A provider that always answers with one of a dialect's streams.
fn streaming(dialect: Dialect, case: &str) -> Upstream {
    let framing = dialect.provider_framing();
    stream_of(framing.media_type(), provider::framed(&provider::fixture(dialect, "streams", case), framing))
}

fn stream_of(kind: &str, body: Vec<u8>) -> Upstream {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = [head.into_bytes(), body].concat();
    Upstream::scripted(move |_| Some(answer.clone()))
}

#[test]
fn a_stream_that_a_filter_cut_before_its_first_word_goes_to_another_where_that_is_wanted() {
    let cut =
        || stream_of("text/event-stream", format!("data: {CUT_STREAM}\n\ndata: [DONE]\n\n").into_bytes());
    type First = (&'static str, &'static str, &'static str, Upstream);
    let firsts = || -> [First; 5] {
        [
            ("openai", "/v1", "gpt-4o", cut()),
            ("openai", "/v1", "gpt-4o", Upstream::fixed(400, FILTERED)),
            ("anthropic", "", "claude-sonnet-4-5", streaming(Dialect::Anthropic, "refusal")),
            ("gemini", "/v1beta", "gemini-2.5-flash", streaming(Dialect::Gemini, "prompt_blocked")),
            // This one has said something.
            (
                "bedrock",
                "",
                "anthropic.claude-sonnet-4-5-20250929-v1:0",
                streaming(Dialect::Bedrock, "filtered"),
            ),
        ]
    };
    for on in ["", "contentFilter"] {
        for (kind, path, model, first) in firsts() {
            let good = streaming(Dialect::OpenAiChat, "text");
            let gateway = Gateway::start(&format!(
                "accessLog: [{{kind: stdout, format: json}}]\nconsumers: [{{name: app, keys: [{KEY}]}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n    - {{name: first, kind: {kind}, baseUrl: \"http://{}{path}\", keys: [k]}}\n    - {{name: second, kind: openai, baseUrl: \"http://{}/v1\", keys: [k]}}\n  models:\n    - name: smart\n      fallbackOn: [{on}]\n      targets: [{{provider: first, model: \"{model}\"}}, {{provider: second, model: gpt-4o, weight: 0}}]\n",
                first.address, good.address
            ));
            let answer = post(&gateway, "/ai/v1/chat/completions", "", STREAM);
            let want = on == "contentFilter" && kind != "bedrock";
            assert_eq!(good.seen().len(), usize::from(want), "{kind} {on}: {}", answer.text());
            if want {
                assert_eq!(served(&answer), "second", "{kind}");
                assert!(answer.text().contains("A ti"), "{}", answer.text());
                let record = gateway.record("the call", |record| record["attempts"] == 2);
                assert_eq!(record["failed_tries"][0]["upstream"], "ai:first", "{record}");
            }
        }
    }
}

/// Answers side by side are one stream: it is another target's only when all of them were cut.
#[test]
fn a_stream_of_several_answers_is_left_when_a_filter_cut_all_of_them() {
    let piece = |choice: u32, content: &str, finish: &str| {
        format!(
            r#"data: {{"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":{choice},"delta":{{"role":"assistant","content":"{content}"}},"finish_reason":{finish}}}]}}"#
        )
    };
    let cut = |choice: u32| piece(choice, "", "\"content_filter\"");
    let body = STREAM.replace("\"stream\"", "\"n\":2,\"stream\"");
    for (pieces, want) in [
        (vec![cut(0), piece(1, "high", "null"), piece(1, "", "\"stop\"")], "first"),
        (vec![cut(1), piece(0, "high", "null"), piece(0, "", "\"stop\"")], "first"),
        (vec![cut(0), piece(1, "", "\"stop\"")], "first"),
        (vec![cut(0), cut(1)], "second"),
        // There came fewer than were asked for.
        (vec![cut(0)], "second"),
    ] {
        let all = pieces.join("\n\n") + "\n\ndata: [DONE]\n\n";
        let first = stream_of("text/event-stream", all.clone().into_bytes());
        let good = provider::of(Dialect::OpenAiChat);
        let gateway = gateway(&first, "", &good, "\n      fallbackOn: [contentFilter]");
        let answer = post(&gateway, "/ai/v1/chat/completions", "", &body);
        assert_eq!(served(&answer), want, "{all}");
        if want == "first" {
            assert_eq!(answer.text(), all, "what was looked through is passed on as it is");
        }
    }
}

/// A target that took the request and said nothing may have worked on it: the next one is asked where there is room for
/// both.
#[test]
fn no_budget_is_overdrawn_by_a_target_that_was_silent_before_another_is_asked() {
    let words = "tide ".repeat(4000);
    let body = format!(
        r#"{{"model":"smart","stream":true,"max_tokens":10,"messages":[{{"role":"user","content":"case: text {words}"}}]}}"#
    );
    let ask = ai::ask::Ask::of(Dialect::OpenAiChat, body.as_bytes());
    let prices = &ai::catalogue::find("openai", "gpt-4o").expect("known").prices;
    let bounds = ai::cost::Bounds { input: ask.input, output: 10, ..Default::default() };
    let one = ai::cost::reserve(prices, &bounds).0 as f64 / 1e12;
    for (more, want) in [(0.003, (504, None)), (0.1, (200, Some("second")))] {
        let (silent, good) = (silent_after(&[]), provider::of(Dialect::OpenAiChat));
        let text = format!(
            "consumers: [{{name: app, keys: [{KEY}]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{}}}}, {{budget: {{amount: {:.6}, name: small}}}}]\n    ai: {{stripPrefix: /ai}}\nai:\n  providers:\n    - {{name: first, kind: openai, baseUrl: \"http://{}/v1\", keys: [k], firstToken: 200ms}}\n    - {{name: second, kind: openai, baseUrl: \"http://{}/v1\", keys: [k]}}\n  models:\n    - name: smart\n      targets: [{{provider: first, model: gpt-4o}}, {{provider: second, model: gpt-4o, weight: 0}}]\n",
            one + more,
            silent.address,
            good.address
        );
        let gateway = Gateway::start(&text);
        let answer = post(&gateway, "/ai/v1/chat/completions", "", &body);
        assert_eq!((answer.status, answer.header("x-tidegate-provider")), want, "{}", answer.text());
        let record = gateway.records(1).remove(0);
        assert_eq!((silent.seen().len(), good.seen().len()), (1, usize::from(want.0 == 200)), "{record}");
        if want.0 == 504 {
            assert_eq!(record["stopped_by"], "budget", "{record}");
        }
        let spent =
            gateway.metric("tidegate_ai_cost_usd_total{route=\"models\",provider=\"first\",model=\"smart\"}");
        assert!(spent.unwrap_or_default() < one + more, "{spent:?}");
    }
}

/// What callers are told when neither of two targets answers.
#[test]
fn of_several_refusals_the_one_that_can_be_tried_again_soonest_is_told() {
    let answer = |status: u16, fields: &str, body: &str| {
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    };
    let says = |status: u16, fields: &'static str, name: &'static str| {
        let body = format!(r#"{{"error":{{"message":"{name}","type":"x"}}}}"#);
        answer(status, fields, &body)
    };
    let body = r#"{"model":"smart","messages":[{"role":"user","content":"hello"}]}"#;
    for (one, two, want, told, after) in [
        // A limit that tells when it ends, before a fallback that is not set up.
        ((429, "retry-after: 7\r\n"), (404, ""), 429, "one", Some("7")),
        ((503, "retry-after: 9\r\n"), (401, ""), 503, "one", Some("9")),
        ((404, ""), (503, "retry-after: 9\r\n"), 503, "two", Some("9")),
        // The shorter wait.
        ((503, "retry-after: 30\r\n"), (503, "retry-after: 5\r\n"), 503, "two", Some("5")),
        (
            (429, "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 4s\r\n"),
            (500, ""),
            429,
            "one",
            Some("4"),
        ),
        // Of equals the first.
        ((500, ""), (502, ""), 500, "one", None),
        // What a provider finds wrong with the request is told at once.
        ((503, "retry-after: 9\r\n"), (400, ""), 400, "two", None),
    ] {
        let (first, second) = (says(one.0, one.1, "one"), says(two.0, two.1, "two"));
        let first = Upstream::scripted(move |_| Some(first.clone()));
        let second = Upstream::scripted(move |_| Some(second.clone()));
        let gateway = gateway(&first, "", &second, "");
        let answer = post(&gateway, "/ai/v1/chat/completions", "", body);
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (want, after),
            "{one:?} {two:?} {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["message"], told, "{one:?} {two:?}");
        assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    }
}

/// A stream that tells an error before its first word, in a dialect.
fn refusing(dialect: Dialect, kind: ErrorKind) -> Upstream {
    let telling = Telling { model: "m-1".into(), id: "a1".into(), ..Telling::default() };
    let (mut writer, mut body) = (dialect.stream_writer(telling), Vec::new());
    writer.write(Event::Error(Error::new(kind, "as the provider says")), &mut body);
    stream_of(dialect.caller_framing(Some("alt=sse")).media_type(), body)
}

#[test]
fn what_a_stream_told_before_its_first_word_is_told_in_the_callers_dialect_when_nobody_else_answers() {
    for (kind, statuses) in [
        (ErrorKind::RateLimited, &[429][..]),
        (ErrorKind::Overloaded, &[503, 529]),
        (ErrorKind::Server, &[500, 502]),
        // The gateway's own keys are no matter of the caller's.
        (ErrorKind::Authentication, &[502]),
    ] {
        for (dialect, ..) in parrot::KINDS {
            // Streams of Bedrock's have no word for a wrong key.
            if (kind, dialect) == (ErrorKind::Authentication, Dialect::Bedrock) {
                continue;
            }
            // The last target's stream would be passed on with its error in it: this one has no such model, which is of less use.
            let (first, second) = (refusing(dialect, kind), Upstream::fixed(404, "{}"));
            let place = |upstream: &Upstream| {
                let (_, kind, path, model) =
                    *parrot::KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind");
                (kind, format!("http://{}{path}", upstream.address), model)
            };
            let ((name, base, model), (_, other, _)) = (place(&first), place(&second));
            let start = || {
                super::gateway(
                    &[("first", name, base.clone()), ("second", name, other.clone())],
                    &[("smart", &[("first", model, 1), ("second", model, 0)])],
                    "",
                )
            };
            let mut gateway = start();
            for (caller, ..) in parrot::KINDS {
                // A key that is at its limit, or refused, is set aside: the next caller would not come to it.
                match kind {
                    ErrorKind::RateLimited => gateway = start(),
                    ErrorKind::Authentication if caller != dialect => continue,
                    _ => {}
                }
                let request = parrot::question("how high?", true);
                let answer = parrot::ask_with(&gateway, caller, "smart", &request, KEY, "");
                let what =
                    format!("{kind:?} of {dialect:?} for {caller:?}: {} {}", answer.status, answer.text());
                assert!(statuses.contains(&answer.status), "{what}");
                let told = caller.read_error(answer.status, &answer.body);
                let want = if kind == ErrorKind::Authentication { ErrorKind::Server } else { kind };
                // Cohere has one word for what is busy and what fails.
                assert!(told.kind == want || ErrorKind::of_status(answer.status) == want, "{what}: {told:?}");
                let says = told.message.contains("as the provider says");
                assert_eq!(says, kind != ErrorKind::Authentication, "{what}");
            }
            assert!(!first.seen().is_empty() && !second.seen().is_empty(), "{dialect:?}: both are asked");
        }
    }
}
