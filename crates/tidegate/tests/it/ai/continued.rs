//! Streams that break off after they have spoken: gone on with by the next target where the route allows, else ended
//! with an error; and pauses between tokens.

use std::io::Write;

use ai::{
    canon::{Delta, Event, Message, Opening, Part, Request, Role},
    dialect::{Dialect, Telling},
};
use serde_json::json;

use super::{
    KEY,
    parrot::{self, ask_with, heard, question, says, text},
};
use crate::harness::{Answer, Client, Gateway, Redis, Upstream, eventually, pause, read_request};

const CALLERS: [Dialect; 6] = Dialect::ALL;

fn kind(dialect: Dialect) -> (&'static str, &'static str, &'static str) {
    let (_, kind, path, model) =
        *parrot::KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind of provider");
    (kind, path, model)
}

/// How a stream goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Break {
    /// The connection ends.
    Cut,
    /// Nothing comes any more but signs of life.
    Silent,
    /// The provider tells an error.
    Error,
}

/// A provider of a dialect that says so much and then breaks off.
fn breaks(dialect: Dialect, events: Vec<Event>, how: Break) -> Upstream {
    Upstream::raw(move |mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            let framing = dialect.caller_framing(Some("alt=sse"));
            let telling = Telling { model: "m-1".into(), id: "a1".into(), ..Telling::default() };
            let mut writer = dialect.stream_writer(telling);
            let mut body = Vec::new();
            events.iter().for_each(|event| writer.write(event.clone(), &mut body));
            if how == Break::Error {
                let error = ai::canon::Error::of_status(503, "overloaded");
                writer.write(Event::Error(error), &mut body);
            }
            let kind = framing.media_type();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
            let out = [head.as_bytes(), format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat();
            let out = if how == Break::Error { [out.as_slice(), b"0\r\n\r\n"].concat() } else { out };
            if reader.get_mut().write_all(&out).is_err() || how == Break::Cut {
                return;
            }
            for _ in 0..if how == Break::Silent { 20 } else { 0 } {
                pause(100);
                let sign: &[u8] = if kind == "text/event-stream" { b"9\r\n: alive\n\n\r\n" } else { b"" };
                if reader.get_mut().write_all(sign).is_err() {
                    return;
                }
            }
        }
    })
}

fn start() -> Event {
    Event::Start { id: "a1".into(), model: "m-1".into(), created: None }
}

fn open(part: u32, opening: Opening) -> Event {
    Event::Open { choice: 0, part, opening }
}

fn word(part: u32, text: &str) -> Event {
    Event::Delta { choice: 0, part, delta: Delta::Text(text.into()) }
}

fn words() -> Vec<Event> {
    vec![start(), open(0, Opening::Text), word(0, "The tide "), word(0, "is ")]
}

/// A gateway whose model is at `first`, then at `second`.
fn gateway(first: (Dialect, &Upstream), second: (Dialect, &Upstream), route: &str, model: &str) -> Gateway {
    metered(first, second, route, model, "", "")
}

/// The same with further policies on its route, and further settings.
fn metered(
    first: (Dialect, &Upstream),
    second: (Dialect, &Upstream),
    route: &str,
    model: &str,
    policies: &str,
    more: &str,
) -> Gateway {
    let mut text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}]\naccessLog: [{{kind: stdout, format: json}}]\n{more}routes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies: [{{keyAuth: {{headers: [x-api-key, authorization, x-goog-api-key]}}}}{policies}]\n    ai: {{stripPrefix: /ai{route}}}\nai:\n  providers:\n"
    );
    let mut targets = String::new();
    for (name, (dialect, upstream), weight) in [("first", first, 1), ("second", second, 0)] {
        let (kind, path, model) = kind(dialect);
        text.push_str(&format!(
            "    - {{name: {name}, kind: {kind}, baseUrl: \"http://{}{path}\", keys: [k]}}\n",
            upstream.address
        ));
        targets.push_str(&format!("{{provider: {name}, model: \"{model}\", weight: {weight}}}, "));
    }
    text.push_str(&format!("  models: [{{name: smart, targets: [{targets}]{model}}}]\n"));
    Gateway::start(&text)
}

fn other(dialect: Dialect) -> Dialect {
    if dialect == Dialect::OpenAiChat { Dialect::Anthropic } else { Dialect::OpenAiChat }
}

/// A provider that goes on, and knows what was said.
fn goes_on(dialect: Dialect) -> Upstream {
    parrot::provider(dialect, |request| {
        let said = |message: &Message| {
            let words = message.parts.iter().filter_map(|part| match part {
                Part::Text { text, .. } => Some(text.as_str()),
                _ => None,
            });
            (message.role, words.collect::<String>().trim_end().to_owned())
        };
        let turns: Vec<_> = request.messages.iter().map(said).collect();
        assert!(turns.contains(&(Role::Assistant, "The tide is".to_owned())), "{turns:?}");
        says("high.")
    })
}

fn ask(gateway: &Gateway, dialect: Dialect) -> Answer {
    let request = Request { include_usage: true, ..question("how high?", true) };
    ask_with(gateway, dialect, "smart", &request, KEY, "")
}

#[test]
fn a_stream_that_breaks_goes_on_at_another_target_as_one_answer_in_every_dialect() {
    for caller in CALLERS {
        let first = breaks(caller, words(), Break::Cut);
        let second = goes_on(other(caller));
        let (first, second) = ((caller, &first), (other(caller), &second));
        let budget = ", {budget: {tokens: 10000000, name: b}}";
        let gateway = metered(first, second, ", continueStreams: true", "", budget, "");
        let answer = ask(&gateway, caller);
        assert_eq!(answer.status, 200, "{caller:?}: {}", answer.text());
        let heard = heard(caller, &answer);
        assert_eq!(text(&heard), "The tide is high.", "{caller:?} {}", answer.text());
        assert_eq!((heard.choices.len(), heard.choices[0].parts.len()), (1, 1), "{caller:?}");
        assert_eq!(heard.choices[0].finish, Some(ai::canon::Finish::Stop), "{caller:?}");
        let record = gateway.records(1).pop().expect("a record");
        let ai = &record["ai"];
        assert_eq!((&ai["provider"], &ai["broke"]), (&json!("first"), &serde_json::Value::Null), "{record}");
        assert_eq!(ai["continued"][0]["provider"], "second", "{record}");
        assert_eq!(ai["continued"][0]["answered"], true, "{record}");
        assert_eq!(ai["continued"][0]["output_tokens"], 2, "{record}");
        // What the first said was counted here, for it told nothing; what the second told is added.
        let output = ai["output_tokens"].as_u64().expect("tokens");
        assert!((4..12).contains(&output), "{record}");
        assert_eq!(ai["is_estimate"], true, "{record}");
        let told = heard.usage.expect("usage");
        assert_eq!(told.output, output, "{caller:?} the caller is told the sum");
        assert_eq!(json!(told.input), ai["input_tokens"], "{caller:?} {record}");
        settles(&gateway, told.input + output);
    }
}

/// Waits until the budget of the gateway has taken so many tokens and holds nothing more.
fn settles(gateway: &Gateway, tokens: u64) {
    let mut account = serde_json::Value::Null;
    eventually("the budget is settled", || {
        account = gateway.admin_get("/api/v1/budgets?policy=b").json()["budgets"][0]["accounts"][0].clone();
        account["spent"] == tokens && account["held"].as_u64().unwrap_or_default() == 0
    });
}

#[test]
fn a_stream_goes_on_only_where_there_is_room_for_that_too() {
    let redis = Redis::start();
    let store = format!("redis: {{addresses: [\"127.0.0.1:{}\"]}}\n", redis.port);
    let kinds = [
        ("budget: {", ""),
        ("tokenRateLimit: {window: 10d, ", ""),
        ("budget: {store: redis, ", &*store),
        ("tokenRateLimit: {store: redis, window: 10d, ", &*store),
    ];
    let cases = CALLERS.map(|caller| (caller, kinds[0])).into_iter();
    // The dialect matters to who counts here; who counts there is asked in one.
    let cases = cases.chain(kinds[1..].iter().map(|kind| (Dialect::Anthropic, *kind)));
    for (caller, (kind, settings)) in cases {
        let prompt = "How high is the water at the pier? ".repeat(100);
        let request = Request { include_usage: true, max_output_tokens: Some(60), ..question(&prompt, true) };
        let run = |kind: &str, tokens: u64| {
            let (first, second) = (breaks(caller, words(), Break::Cut), goes_on(other(caller)));
            let (policy, route) =
                (format!(", {{{kind}tokens: {tokens}, name: b}}}}"), ", continueStreams: true");
            if kind.contains("redis") {
                redis.ask("FLUSHALL");
            }
            let gateway = metered((caller, &first), (other(caller), &second), route, "", &policy, settings);
            if kind.contains("redis") {
                eventually("a connection to redis", || gateway.metric("tidegate_redis_up ") == Some(1.0));
            }
            let answer = ask_with(&gateway, caller, "smart", &request, KEY, "");
            (gateway, answer, second.seen().len())
        };
        // A budget of little says what the call may take at most.
        let refused = run("budget: {", 1).1.text();
        let most = refused.split_once("up to ").map_or("", |(_, rest)| rest).split(' ').next();
        let most: u64 = most.and_then(|most| most.parse().ok()).expect("a number of tokens");
        // What is said of going on is more than what little there is besides.
        let is_limit = kind.starts_with("tokenRateLimit");
        // A call may take all of a limit that nobody else has taken of, and owes what it takes beyond.
        let cases = match is_limit {
            true => vec![(most / 2, true), (most + 8, true), (most * 4, true)],
            false => vec![(most + 8, false), (most * 4, true)],
        };
        for (tokens, goes) in cases {
            let (gateway, answer, asked) = run(kind, tokens);
            let told = answer.text();
            let what = format!("{caller:?} {kind} {tokens} of {most}: {told}");
            assert_eq!((answer.status, asked), (200, usize::from(goes)), "{what}");
            assert_eq!(told.contains("has no room for asking another model"), !goes, "{what}");
            if goes {
                assert_eq!(text(&heard(caller, &answer)), "The tide is high.", "{what}");
            }
            let ai = gateway.records(1).pop().expect("a record")["ai"].clone();
            assert_eq!(ai["broke"].is_string(), !goes, "{what} {ai}");
            let spent = ai["input_tokens"].as_u64().zip(ai["output_tokens"].as_u64()).expect("tokens");
            assert!(is_limit || spent.0 + spent.1 <= tokens, "{what} {ai}");
            // Of a shared account a gateway knows what it saw last.
            if kind == "budget: {" {
                settles(&gateway, spent.0 + spent.1);
            }
        }
    }
}

#[test]
fn who_was_asked_to_go_on_costs_also_where_the_client_leaves_before_it_speaks() {
    let taken = |second: &Upstream, leaves: bool| {
        let first = breaks(Dialect::Anthropic, words(), Break::Cut);
        let (first, other) = ((Dialect::Anthropic, &first), (Dialect::OpenAiChat, second));
        let budget = ", {budget: {tokens: 10000000, name: b}}";
        let gateway = metered(first, other, ", continueStreams: true", "", budget, "");
        let body = r#"{"model":"smart","max_tokens":60,"stream":true,"messages":[{"role":"user","content":"how high?"}]}"#;
        let mut client = Client::connect(gateway.address);
        client.write(format!(
            "POST /ai/v1/messages HTTP/1.1\r\nhost: gw\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        eventually("the second is asked", || second.seen().len() == 1);
        if leaves {
            drop(client);
        } else {
            assert!(client.read().expect("an answer").text().contains("broke off"));
        }
        let mut account = serde_json::Value::Null;
        eventually("the budget is settled", || {
            account =
                gateway.admin_get("/api/v1/budgets?policy=b").json()["budgets"][0]["accounts"][0].clone();
            account["spent"].as_u64() > Some(0) && account["held"].as_u64().unwrap_or_default() == 0
        });
        account["spent"].as_u64().expect("tokens")
    };
    // An error costs nothing, so that this is what the first has cost.
    let alone = taken(&Upstream::fixed(500, r#"{"error":{"message":"no"}}"#), false);
    let silent = Upstream::raw(|mut reader, seen| {
        while let Some(request) = read_request(&mut reader) {
            seen.lock().expect("not poisoned").push(request);
            pause(3000);
        }
    });
    let both = taken(&silent, true);
    // The second was told what the first was, and what that had said; each dialect is counted in its own way.
    assert!(both >= alone + 4, "{both} beside {alone}");
}

#[test]
fn on_a_strict_route_a_stream_goes_on_only_where_nothing_is_left_out() {
    let mut request = question("how high?", true);
    request.sampling.seed = Some(7);
    // Anthropic knows no seeds; OpenAI does.
    for (second, strict, goes) in [
        (Dialect::Anthropic, "true", false),
        (Dialect::Anthropic, "false", true),
        (Dialect::OpenAiChat, "true", true),
    ] {
        let first = breaks(Dialect::OpenAiChat, words(), Break::Cut);
        let next = goes_on(second);
        let route = format!(", continueStreams: true, strict: {strict}");
        let gateway = gateway((Dialect::OpenAiChat, &first), (second, &next), &route, "");
        let answer = ask_with(&gateway, Dialect::OpenAiChat, "smart", &request, KEY, "");
        let told = answer.text();
        assert_eq!(told.contains("broke off"), !goes, "{second:?} {strict}: {told}");
        assert_eq!(next.seen().len(), usize::from(goes), "{second:?} {strict}: {told}");
    }
}

#[test]
fn what_breaks_by_an_error_or_by_silence_goes_on_too() {
    for how in [Break::Error, Break::Silent] {
        for caller in CALLERS {
            let first = breaks(other(caller), words(), how);
            let second = goes_on(caller);
            let settings = ", betweenTokens: 300ms";
            let gateway =
                gateway((other(caller), &first), (caller, &second), ", continueStreams: true", settings);
            let answer = ask(&gateway, caller);
            assert_eq!(text(&heard(caller, &answer)), "The tide is high.", "{how:?} {caller:?}");
            let record = gateway.records(1).pop().expect("a record");
            let reason = if how == Break::Error { "provider-error" } else { "upstream-timeout" };
            assert_eq!(record["ai"]["continued"][0]["reason"], reason, "{record}");
        }
    }
}

#[test]
fn where_the_route_does_not_say_so_a_broken_stream_ends_with_an_error() {
    for provider in [Dialect::OpenAiChat, Dialect::Anthropic] {
        for caller in CALLERS {
            let first = breaks(provider, words(), Break::Silent);
            let second = goes_on(Dialect::OpenAiChat);
            let settings = ", betweenTokens: 300ms";
            let gateway = gateway((provider, &first), (Dialect::OpenAiChat, &second), "", settings);
            let answer = ask(&gateway, caller);
            let told = answer.text();
            assert!(
                told.contains("The tide") && told.contains("broke off"),
                "{provider:?} {caller:?} {told}"
            );
            assert!(second.seen().is_empty());
            let record = gateway.records(1).pop().expect("a record");
            assert_eq!(record["ai"]["broke"], "upstream-timeout", "{record}");
        }
    }
}

#[test]
fn what_came_of_a_stream_that_rules_read_whole_is_counted_when_it_breaks_off() {
    let first = breaks(Dialect::Anthropic, words(), Break::Cut);
    let second = goes_on(Dialect::OpenAiChat);
    let (first, other) = ((Dialect::Anthropic, &first), (Dialect::OpenAiChat, &second));
    let rules = ", {guardrails: {rules: [{name: form, jsonSchema: {}}]}}";
    let gateway = metered(first, other, "", "", rules, "");
    let answer = ask(&gateway, Dialect::Anthropic);
    assert!(answer.status >= 500, "{} {}", answer.status, answer.text());
    let ai = gateway.records(1).remove(0)["ai"].clone();
    assert_eq!((&ai["provider"], &ai["is_estimate"]), (&json!("first"), &json!(true)), "{ai}");
    assert!(ai["output_tokens"].as_u64() > Some(1), "{ai}");
}

#[test]
fn half_a_call_is_never_gone_on_with() {
    let call = Opening::ToolCall { id: "c1".into(), name: "f".into(), custom: false };
    let mut events = words();
    events.extend([Event::Close { choice: 0, part: 0 }, open(1, call), word(1, "{\"a\":")]);
    let first = breaks(Dialect::Anthropic, events, Break::Cut);
    let second = goes_on(Dialect::OpenAiChat);
    let gateway =
        gateway((Dialect::Anthropic, &first), (Dialect::OpenAiChat, &second), ", continueStreams: true", "");
    let answer = ask(&gateway, Dialect::OpenAiChat);
    assert!(answer.text().contains("broke off"), "{}", answer.text());
    assert!(second.seen().is_empty(), "nobody else is asked");
    assert!(gateway.records(1)[0]["ai"]["broke"].is_string());
}

#[test]
fn when_nobody_goes_on_the_stream_ends_with_what_it_broke_off_with() {
    let first = breaks(Dialect::Anthropic, words(), Break::Cut);
    let second = Upstream::fixed(500, r#"{"error":{"message":"no"}}"#);
    let gateway =
        gateway((Dialect::Anthropic, &first), (Dialect::OpenAiChat, &second), ", continueStreams: true", "");
    let answer = ask(&gateway, Dialect::Anthropic);
    assert!(
        answer.text().contains("broke off") && answer.text().contains("event: error"),
        "{}",
        answer.text()
    );
    assert_eq!(second.seen().len(), 1);
    let record = gateway.records(1).pop().expect("a record");
    assert_eq!(record["ai"]["continued"], serde_json::Value::Null, "{record}");
    assert!(record["ai"]["broke"].is_string(), "{record}");
}
