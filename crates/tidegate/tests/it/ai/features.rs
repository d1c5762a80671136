//! What the official SDKs can ask for beside texts: documents, sound, tools that must or may be called or take a free text,
//! several calls at once, results that failed or hold a picture, JSON, answers by a schema (streamed, too), how tokens are
//! drawn and paid, marks for the cache, counts of tokens. Through every SDK to a provider of
//! every dialect: the SDK reads the answer, and what the provider was asked is read back in its own dialect.

use ai::{
    canon::{
        Answer, Choice, Feature, Finish, Format, Part, Request, Role, Source, ToolChoice, ToolKind, Usage,
    },
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{KEY, Named, config, parrot, sdk::KINDS};
use crate::harness::{Gateway, Peer, Upstream, python};

/// What is asked for, and what the SDK reads of the answer.
fn wanted(case: &str) -> Value {
    let calls = json!([["get_tide", {"port": "Brest"}], ["get_wind", {"port": "Ushant"}]]);
    match case {
        "document" | "audio" => json!("seen"),
        "forced" => json!("get_wind"),
        "single" => json!(1),
        "parse" | "streamed" => json!({"port": "Brest", "height": 7}),
        "json" => json!({"port": "Brest"}),
        "knobs" | "marks" => json!("seen"),
        "custom" => json!(["custom", "note", FREE]),
        "count" => json!(true),
        _ => json!([calls, "done"]),
    }
}

/// What a tool is called with that takes a free text.
const FREE: &str = "free \"text\"\n{}";

/// How tokens are drawn and paid, as far as a caller's SDK says it.
fn knobs(caller: Dialect) -> &'static [Feature] {
    use Feature::{FrequencyPenalty, PresencePenalty, Seed, Stop, Temperature, Tier, TopP, User};
    match caller {
        Dialect::OpenAiChat => &[Stop, Seed, FrequencyPenalty, PresencePenalty, Tier, User],
        Dialect::OpenAiResponses => &[Temperature, TopP, Tier, User],
        Dialect::Anthropic => &[Stop, User],
        Dialect::Gemini | Dialect::Cohere => &[Stop, Seed, FrequencyPenalty, PresencePenalty],
        Dialect::Bedrock => &[Stop, TopP],
    }
}

/// Whether a provider was told of one.
fn is_turned(feature: Feature, request: &Request) -> bool {
    let sampling = &request.sampling;
    match feature {
        Feature::Stop => sampling.stop == ["END"],
        Feature::Seed => sampling.seed == Some(7),
        Feature::FrequencyPenalty => sampling.frequency_penalty == Some(0.5),
        Feature::PresencePenalty => sampling.presence_penalty == Some(0.25),
        Feature::Temperature => sampling.temperature == Some(0.5),
        Feature::TopP => sampling.top_p == Some(0.5),
        Feature::Tier => request.tier.is_some(),
        Feature::User => request.user.as_deref() == Some("u-1"),
        other => panic!("{other:?} is no knob"),
    }
}

/// What cannot be said in a dialect, and is named.
const LOST: &[(&str, Dialect, Feature)] = &[
    ("document", Dialect::Cohere, Feature::Document),
    ("audio", Dialect::Anthropic, Feature::Audio),
    ("audio", Dialect::Cohere, Feature::Audio),
    ("single", Dialect::Gemini, Feature::ParallelToolCalls),
    ("single", Dialect::Bedrock, Feature::ParallelToolCalls),
    ("single", Dialect::Cohere, Feature::ParallelToolCalls),
    ("failure", Dialect::OpenAiChat, Feature::ToolError),
    ("failure", Dialect::OpenAiResponses, Feature::ToolError),
    ("failure", Dialect::Cohere, Feature::ToolError),
    ("json", Dialect::Anthropic, Feature::JsonMode),
    ("json", Dialect::Bedrock, Feature::JsonMode),
    ("marks", Dialect::OpenAiChat, Feature::CacheMark),
    ("marks", Dialect::OpenAiResponses, Feature::CacheMark),
    ("marks", Dialect::Gemini, Feature::CacheMark),
    ("marks", Dialect::Cohere, Feature::CacheMark),
];

fn call(id: &str, name: &str, port: &str) -> Part {
    let arguments = json!({"port": port}).to_string();
    Part::ToolCall { id: id.into(), name: name.into(), arguments, custom: false, proof: None, cache: None }
}

/// What the model answers.
fn reply(request: &Request) -> Answer {
    let case = case_of(request);
    let has_results = request.messages.iter().any(|message| message.role == Role::Tool);
    let parts = match &*case {
        _ if has_results => vec![Part::text("done")],
        "forced" | "single" => vec![call("call_2", "get_wind", "Ushant")],
        "parse" | "streamed" => vec![Part::text(r#"{"port":"Brest","height":7}"#)],
        "json" => vec![Part::text(r#"{"port":"Brest"}"#)],
        "custom" => vec![noted(request)],
        "calls" | "failure" | "picture" => {
            vec![call("call_1", "get_tide", "Brest"), call("call_2", "get_wind", "Ushant")]
        }
        _ => vec![Part::text("seen")],
    };
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let finish = Some(if calls { Finish::ToolCalls } else { Finish::Stop });
    let choices = vec![Choice { parts, finish, ..Choice::default() }];
    let usage = Some(Usage { input: 9, output: 4, ..Usage::default() });
    Answer { id: "a1".into(), model: "m-1".into(), choices, usage, ..Answer::default() }
}

/// A call of the tool that takes a free text, as the model was told it.
fn noted(request: &Request) -> Part {
    let is_free = request.tools.iter().any(|tool| matches!(tool.kind, ToolKind::Custom { .. }));
    let arguments = if is_free { FREE.to_owned() } else { json!({"input": FREE}).to_string() };
    let (id, name) = ("call_1".to_owned(), "note".to_owned());
    Part::ToolCall { id, name, arguments, custom: is_free, proof: None, cache: None }
}

fn parts(request: &Request) -> impl Iterator<Item = &Part> {
    request.messages.iter().flat_map(|message| &message.parts)
}

fn case_of(request: &Request) -> String {
    let text = parts(request).find_map(|part| match part {
        Part::Text { text, .. } => text.strip_prefix("feature: "),
        _ => None,
    });
    text.unwrap_or_default().to_owned()
}

fn holds(source: &Source, kind: &str, begin: &str) -> bool {
    matches!(source, Source::Inline { media_type, data } if media_type == kind && data.starts_with(begin))
}

/// Whether a provider was told what was asked for.
fn is_told(case: &str, asked: &[Request]) -> bool {
    let Some(last) = asked.last() else { return false };
    let text = |content: &[Part]| -> String {
        let words = content.iter().filter_map(|part| match part {
            Part::Text { text, .. } => Some(text.as_str()),
            _ => None,
        });
        words.collect()
    };
    let results: Vec<(&str, String, bool)> = parts(last)
        .filter_map(|part| match part {
            Part::ToolResult { id, content, is_error, .. } => Some((id.as_str(), text(content), *is_error)),
            _ => None,
        })
        .collect();
    let calls: Vec<&str> = parts(last)
        .filter_map(|part| if let Part::ToolCall { id, .. } = part { Some(id.as_str()) } else { None })
        .collect();
    let answers_both = || {
        let ids: Vec<&str> = results.iter().map(|(id, ..)| *id).collect();
        asked.len() == 2 && calls.len() == 2 && calls == ids && results[0].1.contains("at noon")
    };
    match case {
        "document" => parts(last).any(
            |part| matches!(part, Part::Document { source, .. } if holds(source, "application/pdf", "JVBERi0xLjQg")),
        ),
        "audio" => parts(last)
            .any(|part| matches!(part, Part::Audio { source, .. } if holds(source, "audio/wav", "UklGRiQA"))),
        "forced" => match &last.tool_choice {
            Some(ToolChoice::Named(name)) => name == "get_wind",
            Some(ToolChoice::Among { names, required }) => *required && names[..] == ["get_wind"],
            // Who cannot name one is shown no other.
            Some(ToolChoice::Required) => last.tools.iter().all(|tool| tool.name == "get_wind"),
            _ => false,
        },
        "single" => last.parallel_tool_calls == Some(false),
        "json" => last.format == Format::Json,
        "marks" => parts(last).any(|part| part.cache().is_some()),
        "custom" => last.tools.iter().any(|tool| {
            let is_noted = tool.name == "note" && tool.description.as_deref() == Some("Writes it down.");
            is_noted
                && match &tool.kind {
                    ToolKind::Custom { .. } => true,
                    ToolKind::Function { parameters: Some(schema) } => schema["properties"]["input"]["type"] == "string",
                    _ => false,
                }
        }),
        "parse" | "streamed" => matches!(&last.format, Format::Schema { schema, .. }
            if schema["properties"]["height"]["type"] == "integer" && schema["required"] == json!(["port", "height"])),
        "calls" => answers_both() && results[1].1.contains("no such port"),
        "failure" => answers_both() && results[1].1.contains("no such port") && !results[0].2 && results[1].2,
        "picture" => {
            let is_image = |part: &Part| matches!(part, Part::Image { source, .. } if holds(source, "image/png", "iVBORw0KGgo"));
            let is_shown = parts(last).any(|part| is_image(part) || part.inner().iter().any(is_image));
            asked.len() == 2 && is_shown && results.iter().any(|(_, text, _)| text.contains("at noon"))
        }
        _ => true,
    }
}

/// What is so far told without its mark: the words of a failure arrive all the same.
fn is_told_in_words(case: &str, asked: &[Request]) -> bool {
    case != "failure" || is_told("calls", asked)
}

/// A gateway with a provider of every dialect, each behind the model of that dialect's name.
fn everyone() -> (Gateway, Vec<Upstream>) {
    let upstreams: Vec<Upstream> = KINDS
        .iter()
        .map(|(dialect, ..)| {
            let dialect = *dialect;
            let chat = parrot::answering(dialect, reply);
            Upstream::scripted(move |seen| {
                // Counting is a path of its own, and free.
                let told = match dialect {
                    Dialect::Anthropic => r#"{"input_tokens":7}"#,
                    Dialect::Gemini => r#"{"totalTokens":7}"#,
                    _ => r#"{"inputTokens":7}"#,
                };
                let path = seen.target().to_lowercase().replace(['_', '-'], "");
                if path.contains("counttokens") {
                    return Some(parrot::http("application/json", told.as_bytes()));
                }
                chat(seen)
            })
        })
        .collect();
    let providers: Vec<(&str, &str, String)> = KINDS
        .iter()
        .zip(&upstreams)
        .map(|((dialect, kind, path, _), upstream)| {
            (dialect.name(), *kind, format!("http://{}{path}", upstream.address))
        })
        .collect();
    let targets: Vec<[(&str, &str, u32); 1]> =
        KINDS.iter().map(|(dialect, .., model)| [(dialect.name(), *model, 1)]).collect();
    let models: Vec<Named<'_>> =
        KINDS.iter().zip(&targets).map(|((dialect, ..), targets)| (dialect.name(), &targets[..])).collect();
    // Which features a dialect has is the question, not which model has them.
    let text = config(&providers, &models, "")
        .replace("\n      targets:", "\n      checkCapabilities: false\n      targets:");
    (Gateway::start(&text), upstreams)
}

fn check(sdk: &str, caller: Dialect) {
    let (gateway, upstreams) = everyone();
    let base = format!("http://{}/ai", gateway.address);
    let (mut wrong, mut before) = (Vec::new(), 0);
    for ((target, ..), upstream) in KINDS.iter().zip(&upstreams) {
        let arguments = [sdk, base.as_str(), KEY, target.name()];
        let (well, output) = Peer::start(python(include_str!("features.py"), &arguments)).finish();
        assert!(well, "{output}");
        let seen = upstream.seen();
        let chats = seen.iter().filter(|seen| !seen.target().to_lowercase().contains("count"));
        let asked: Vec<Request> = chats.map(|seen| parrot::asked(*target, seen).0).collect();
        let lines: Vec<Value> =
            output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let calls: usize = lines.iter().map(|line| 1 + usize::from(line[2][1] == "done")).sum();
        let is_well = lines.iter().all(|line| line[2] == wanted(line[1].as_str().unwrap_or_default()));
        let records = gateway.records(if is_well { before + calls } else { before }).split_off(before);
        before += records.len();
        let dropped: Vec<&str> = records
            .iter()
            .flat_map(|record| record["ai"]["dropped"].as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for line in lines {
            let case = line[1].as_str().expect("a case");
            let what = format!("{sdk} to {}: {case}", target.name());
            if line[2] != wanted(case) {
                wrong.push(format!("{what} is {}", line[2]));
                continue;
            }
            let of_case: Vec<Request> =
                asked.iter().filter(|request| case_of(request) == case).cloned().collect();
            if case == "knobs" {
                let Some(asked) = of_case.last() else { continue };
                for feature in knobs(caller) {
                    let name = caller.feature_name(*feature);
                    let is_named = dropped.iter().any(|word| word.ends_with(name));
                    if is_named == is_turned(*feature, asked) {
                        wrong.push(format!(
                            "{what}: {name} is named {is_named}: {:?} {dropped:?}",
                            asked.sampling
                        ));
                    }
                }
                continue;
            }
            let lost = LOST.iter().find(|(lost, dialect, _)| *lost == case && dialect == target);
            match lost.filter(|_| *target != caller) {
                None if case != "count" && !is_told(case, &of_case) => {
                    wrong.push(format!("{what}: asked {of_case:?}, dropped {dropped:?}"));
                }
                Some((.., feature)) => {
                    let name = caller.feature_name(*feature);
                    let is_named = dropped.iter().any(|word| word.ends_with(name));
                    if !is_named || !is_told_in_words(case, &of_case) || is_told(case, &of_case) {
                        wrong.push(format!("{what}: no {name} in {dropped:?}: {of_case:?}"));
                    }
                }
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn features_of_openais_sdk_reach_every_provider_by_chat_completions() {
    check("openai-chat", Dialect::OpenAiChat);
}

#[test]
fn features_of_openais_sdk_reach_every_provider_by_responses() {
    check("openai-responses", Dialect::OpenAiResponses);
}

#[test]
fn features_of_anthropics_sdk_reach_every_provider() {
    check("anthropic", Dialect::Anthropic);
}

#[test]
fn features_of_googles_sdk_reach_every_provider() {
    check("gemini", Dialect::Gemini);
}

#[test]
fn features_of_amazons_sdk_reach_every_provider() {
    check("bedrock", Dialect::Bedrock);
}

#[test]
fn features_of_coheres_sdk_reach_every_provider() {
    check("cohere", Dialect::Cohere);
}
