//! Receipts by kind: what was read from a cache, written to one, and thought, whatever dialect is asked and answered in.

use ai::dialect::Dialect;
use serde_json::Value;

use super::{KEY, Named, config, parrot, provider, sdk::KINDS};
use crate::harness::{Gateway, Upstream};

/// Answers that tell more than the prompt and the answer: the provider, the case, and the tokens read from a cache,
/// written to one, and thought.
const TOLD: [(Dialect, &str, u64, u64, u64); 9] = [
    (Dialect::Anthropic, "cached", 188_086, 1000, 0),
    (Dialect::Anthropic, "thinking", 0, 0, 380),
    (Dialect::Bedrock, "cached", 188_086, 1000, 0),
    (Dialect::Gemini, "cached", 2048, 0, 0),
    (Dialect::Gemini, "thinking", 0, 0, 100),
    (Dialect::Cohere, "cached", 1984, 0, 0),
    (Dialect::OpenAiResponses, "cached-usage", 1920, 64, 0),
    (Dialect::OpenAiResponses, "reasoning", 0, 0, 1024),
    (Dialect::OpenAiChat, "text", 12, 0, 4),
];

#[test]
fn receipts_tell_cached_and_thought_tokens_to_callers_of_every_dialect() {
    let upstreams: Vec<Upstream> = KINDS.iter().map(|(dialect, ..)| provider::of(*dialect)).collect();
    let providers: Vec<(&str, &str, String)> = KINDS
        .iter()
        .zip(&upstreams)
        .map(|((dialect, kind, path, _), upstream)| {
            (dialect.name(), *kind, format!("http://{}{path}", upstream.address))
        })
        .collect();
    let away = format!("http://127.0.0.1:{}/v1", crate::harness::free_port());
    let providers: Vec<_> = providers.into_iter().chain([("away", "openai-compatible", away)]).collect();
    let targets: Vec<[(&str, &str, u32); 2]> =
        KINDS.iter().map(|(dialect, .., model)| [("away", "m", 1), (dialect.name(), *model, 0)]).collect();
    let models: Vec<Named<'_>> =
        KINDS.iter().zip(&targets).map(|((dialect, ..), targets)| (dialect.name(), &targets[..])).collect();
    let gateway = Gateway::start(&config(&providers, &models, ""));
    let mut attempts = 0;
    for (told, case, cache_read, cache_write, reasoning) in TOLD {
        let fixture = provider::fixture(told, "answers", case);
        let usage = told.read_answer(fixture.as_bytes()).expect("a fixture").usage.expect("a usage");
        for caller in Dialect::ALL {
            let what = format!("{} {case} to {}", told.name(), caller.name());
            let request = parrot::question(&format!("case: {case}"), false);
            let answer = parrot::ask_with(&gateway, caller, told.name(), &request, KEY, "");
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            let count = |name: &str| {
                let text = answer.header(&format!("x-tidegate-{name}"));
                text.map_or(0, |text| text.parse::<u64>().expect("a number"))
            };
            let got = ["cache-read-tokens", "cache-write-tokens", "reasoning-tokens"].map(count);
            assert_eq!(got, [cache_read, cache_write, reasoning], "{what}");
            assert_eq!(
                (count("input-tokens"), count("output-tokens")),
                (usage.input, usage.output),
                "{what}"
            );
            attempts = attempts.max(count("attempts"));
            assert_eq!(answer.header("x-tidegate-cache"), None, "{what}: no cache was asked");
        }
    }
    assert!(attempts > 1, "the first target was away: that was a try, too");
    let records = gateway.records(TOLD.len() * 6);
    let thought = |record: &&Value| record["ai"]["reasoning_tokens"].as_u64() > Some(0);
    assert!(records.iter().filter(thought).count() >= 6, "{records:?}");
}

/// Of sound the tokens have a price of their own, and Chat Completions and Gemini tell them apart.
#[test]
fn receipts_tell_the_tokens_of_sound() {
    let usage =
        ai::canon::Usage { input: 50, input_audio: 30, output: 40, output_audio: 20, ..Default::default() };
    let tellers = [Dialect::OpenAiChat, Dialect::Gemini];
    let upstreams: Vec<(Dialect, Upstream)> = tellers
        .into_iter()
        .map(|dialect| {
            let reply = move |_: &ai::canon::Request| ai::canon::Answer {
                usage: Some(usage),
                ..parrot::says("heard")
            };
            (dialect, parrot::provider(dialect, reply))
        })
        .collect();
    let all: Vec<(Dialect, &Upstream)> =
        upstreams.iter().map(|(dialect, upstream)| (*dialect, upstream)).collect();
    let gateway = parrot::gateway(&all, "", "");
    for told in tellers {
        for caller in Dialect::ALL {
            let what = format!("{} to {}", told.name(), caller.name());
            let whole =
                parrot::ask_with(&gateway, caller, told.name(), &parrot::question("hm", false), KEY, "");
            assert_eq!(whole.status, 200, "{what}: {}", whole.text());
            let sound = ["x-tidegate-input-audio-tokens", "x-tidegate-output-audio-tokens"]
                .map(|name| whole.header(name));
            assert_eq!(sound, [Some("30"), Some("20")], "{what}");
            let streamed =
                parrot::ask_with(&gateway, caller, told.name(), &parrot::question("hm", true), KEY, "");
            assert_eq!(streamed.status, 200, "{what}");
        }
    }
    for record in gateway.records(24) {
        let of = |name: &str| record["ai"][name].as_u64();
        let tokens = ["input_tokens", "input_audio_tokens", "output_tokens", "output_audio_tokens"].map(of);
        assert_eq!(tokens, [Some(50), Some(30), Some(40), Some(20)], "{record}");
    }
    for (kind, tokens) in [("input_audio", 30.0), ("output_audio", 20.0)] {
        let series = format!(
            "tidegate_ai_tokens_total{{route=\"models\",provider=\"gemini\",model=\"gemini\",kind=\"{kind}\"}}"
        );
        assert_eq!(gateway.metric(&series), Some(tokens * 12.0));
    }
}
