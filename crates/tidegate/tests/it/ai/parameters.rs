//! What models take and refuse, as they are sent it: the same wishes from callers of Chat Completions and of
//! Gemini, and tools that one vendor runs.

use ai::{
    canon::{Effort, Reasoning, Request, Sampling},
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{KEY, Named, config, gateway, parrot, post};
use crate::harness::{Gateway, Seen, Upstream};

/// Models, and what they are sent of what everyone asks for, which is more than there is of some of it.
const MODELS: &str = "
openai    | gpt-4o                                    | t=0.5 p=0.9 k=- max=16384 stop=4 think=-
openai    | o1                                        | t=- p=- k=- max=100000 stop=4 think=medium
openai    | o3                                        | t=- p=- k=- max=100000 stop=0 think=medium
openai    | gpt-5                                     | t=- p=- k=- max=128000 stop=0 think=medium
openai    | gpt-5-pro                                 | t=- p=- k=- max=272000 stop=0 think=high
openai    | gpt-4o-search-preview                     | t=- p=- k=- max=16384 stop=4 think=-
anthropic | claude-opus-4-1                           | t=- p=- k=- max=32000 stop=6 think=8192 tokens
anthropic | claude-sonnet-4-5                         | t=- p=- k=- max=64000 stop=6 think=8192 tokens
anthropic | claude-opus-4-6                           | t=- p=- k=- max=128000 stop=6 think=medium
anthropic | claude-opus-4-7                           | t=- p=- k=- max=128000 stop=6 think=medium
gemini    | gemini-2.0-flash                          | t=0.5 p=0.9 k=3 max=500000 stop=5 think=-
gemini    | gemini-2.5-flash                          | t=0.5 p=0.9 k=3 max=65536 stop=5 think=8192 tokens
gemini    | gemini-3-pro-preview                      | t=0.5 p=0.9 k=3 max=500000 stop=5 think=low
gemini    | gemini-3.6-flash                          | t=- p=- k=- max=65536 stop=5 think=medium
bedrock   | amazon.nova-lite-v1:0                     | t=0.5 p=0.9 k=- max=10000 stop=4 think=-
bedrock   | anthropic.claude-sonnet-4-5-20250929-v1:0 | t=- p=- k=- max=64000 stop=6 think=8192 tokens
cohere    | command-a-03-2025                         | t=0.5 p=0.9 k=3 max=8000 stop=5 think=-
mistral   | mistral-large-latest                      | t=0.5 p=0.9 k=- max=262144 stop=6 think=-
xai       | grok-4.6                                  | t=0.5 p=0.9 k=- max=500000 stop=0 think=medium
groq      | llama-3.3-70b-versatile                   | t=0.5 p=0.9 k=- max=500000 stop=4 think=-
";

/// A provider of a kind: its dialect, the path of its base address, and the model's name there.
fn place(kind: &str) -> (Dialect, &'static str) {
    match kind {
        "anthropic" => (Dialect::Anthropic, ""),
        "gemini" => (Dialect::Gemini, "/v1beta"),
        "bedrock" => (Dialect::Bedrock, ""),
        "cohere" => (Dialect::Cohere, ""),
        _ => (Dialect::OpenAiChat, "/v1"),
    }
}

/// Some of OpenAI's models speak no Chat Completions.
fn is_of_responses(seen: &Seen) -> bool {
    seen.target().ends_with("/responses")
}

fn wishes() -> Request {
    Request {
        max_output_tokens: Some(500_000),
        sampling: Sampling {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(3),
            stop: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec(),
            ..Sampling::default()
        },
        reasoning: Some(Reasoning { effort: Some(Effort::Medium), ..Reasoning::default() }),
        ..parrot::question("how high?", false)
    }
}

/// What a model was sent, in a line.
fn sent(request: &Request) -> String {
    let Sampling { temperature, top_p, top_k, stop, .. } = &request.sampling;
    let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let think = request.reasoning.as_ref().map(|reasoning| match (reasoning.effort, reasoning.budget) {
        (Some(effort), _) => effort.word().to_owned(),
        (_, Some(budget)) => format!("{budget} tokens"),
        _ => format!("{:?}", reasoning.enabled),
    });
    format!(
        "t={} p={} k={} max={} stop={} think={}",
        number(temperature.map(|value| value.to_string())),
        number(top_p.map(|value| value.to_string())),
        number(top_k.map(|value| value.to_string())),
        number(request.max_output_tokens.map(|value| value.to_string())),
        stop.len(),
        number(think),
    )
}

#[test]
fn models_are_sent_what_they_take_whoever_asks() {
    let rows: Vec<Vec<&str>> = MODELS
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let kinds: std::collections::BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    let upstream = |kind: &str| {
        let own = parrot::answering(place(kind).0, |_| parrot::says("seen"));
        let responses = parrot::answering(Dialect::OpenAiResponses, |_| parrot::says("seen"));
        Upstream::scripted(move |seen| if is_of_responses(seen) { responses(seen) } else { own(seen) })
    };
    let upstreams: Vec<(&str, Upstream)> = kinds.iter().map(|kind| (*kind, upstream(kind))).collect();
    let providers: Vec<(&str, &str, String)> = upstreams
        .iter()
        .map(|(kind, upstream)| (*kind, *kind, format!("http://{}{}", upstream.address, place(kind).1)))
        .collect();
    let targets: Vec<[(&str, &str, u32); 1]> = rows.iter().map(|row| [(row[0], row[1], 1)]).collect();
    let models: Vec<Named<'_>> =
        rows.iter().zip(&targets).map(|(row, targets)| (row[1], &targets[..])).collect();
    let gateway = Gateway::start(&config(&providers, &models, ""));
    let mut wrong = Vec::new();
    for row in &rows {
        let (dialect, _) = place(row[0]);
        let upstream = &upstreams.iter().find(|(kind, _)| *kind == row[0]).expect("a provider").1;
        for caller in [Dialect::OpenAiChat, Dialect::Gemini] {
            let answer = parrot::ask_with(&gateway, caller, row[1], &wishes(), KEY, "");
            let what = format!("{} from {}", row[1], caller.name());
            if answer.status != 200 {
                wrong.push(format!("{what}: {}", answer.text()));
                continue;
            }
            let seen = upstream.seen().pop().expect("a request");
            let spoken = if is_of_responses(&seen) { Dialect::OpenAiResponses } else { dialect };
            let got = sent(&parrot::asked(spoken, &seen).0);
            // What passes in its own dialect is fitted like what is translated.
            let wanted = row[2];
            // Of what a caller asked and a model was not sent, something is named.
            let is_named = answer.header("x-tidegate-dropped").is_some() == (wanted != sent(&wishes()));
            if got != wanted || !is_named {
                wrong.push(format!("{what}: {got} {:?}", answer.header("x-tidegate-dropped")));
            }
        }
    }
    assert!(!rows.is_empty() && wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A tool that one vendor runs, beside one of the caller's: the caller's path, the body, and what the vendor's is called.
fn vendors_tools() -> [(Dialect, &'static str, Value, &'static str); 3] {
    let schema = json!({"type": "object", "properties": {"port": {"type": "string"}}});
    [
        (
            Dialect::OpenAiResponses,
            "/ai/v1/responses",
            json!({"input": "hi", "tools": [{"type": "web_search"},
                {"type": "function", "name": "get_tide", "parameters": schema, "strict": false}]}),
            "web_search",
        ),
        (
            Dialect::Anthropic,
            "/ai/v1/messages",
            json!({"max_tokens": 99, "messages": [{"role": "user", "content": "hi"}], "tools": [
                {"type": "web_search_20250305", "name": "web_search"}, {"name": "get_tide", "input_schema": schema}]}),
            "web_search",
        ),
        (
            Dialect::Gemini,
            "/ai/v1beta/models/{model}:generateContent",
            json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "tools": [{"googleSearch": {}},
                {"functionDeclarations": [{"name": "get_tide", "parameters": schema}]}]}),
            "googleSearch",
        ),
    ]
}

#[test]
fn a_tool_that_a_vendor_runs_goes_to_that_vendor_alone_and_is_named_elsewhere() {
    let kinds = [
        (Dialect::OpenAiResponses, "openai", "/v1", "gpt-5-codex"),
        (Dialect::Anthropic, "anthropic", "", "claude-sonnet-4-5"),
        (Dialect::Gemini, "gemini", "/v1beta", "gemini-2.5-flash"),
        (Dialect::Cohere, "cohere", "", "command-a-03-2025"),
    ];
    for (target, kind, path, model) in kinds {
        let upstream = parrot::provider(target, |_| parrot::says("seen"));
        let base = format!("http://{}{path}", upstream.address);
        let start =
            |route: &str| gateway(&[("p", kind, base.clone())], &[("smart", &[("p", model, 1)])], route);
        let (lax, strict) = (start(""), start("strict: true"));
        for (caller, path, mut body, name) in vendors_tools() {
            body["model"] = "smart".into();
            let path = path.replace("{model}", "smart");
            let what = format!("{name} of {} to {}", caller.name(), target.name());
            let answer = post(&lax, &path, "", &body.to_string());
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            let seen = upstream.seen().pop().expect("a request");
            let sent = String::from_utf8_lossy(&seen.body).into_owned();
            assert!(sent.contains("get_tide"), "{what}: {sent}");
            let is_own = caller == target;
            assert_eq!(sent.contains(name), is_own, "{what}: {sent}");
            let dropped = answer.header("x-tidegate-dropped").unwrap_or_default();
            assert_eq!(dropped.contains(name), !is_own, "{what}: {dropped}");
            let record = lax.record(&what, |record| record["ai"]["dialect"] == caller.name());
            let names = record["ai"]["dropped"].as_array().cloned().unwrap_or_default();
            assert_eq!(
                names.iter().any(|one| one.as_str().is_some_and(|one| one.contains(name))),
                !is_own,
                "{what}"
            );
            let count = upstream.seen().len();
            let refused = post(&strict, &path, "", &body.to_string());
            assert_eq!(refused.status, if is_own { 200 } else { 422 }, "{what}: {}", refused.text());
            assert_eq!(refused.text().contains(name), !is_own, "{what}: {}", refused.text());
            assert_eq!(upstream.seen().len(), count + usize::from(is_own), "{what}");
        }
    }
}
