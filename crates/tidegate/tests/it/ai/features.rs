//! What the official SDKs can ask for beside texts: documents, sound, tools that must or may be called or take a free text,
//! several calls at once, results that failed or hold a picture, JSON, answers by a schema, how tokens are drawn and paid,
//! how likely they were, what an answer quotes, refusals, labels, marks for the cache, counts of tokens; whole and streamed.
//! Through every SDK of Python and JavaScript to a provider of every dialect: the SDK reads the answer, and what the
//! provider was asked is read back in its own dialect.

use ai::{
    canon::{
        Answer, Choice, Citation, Feature, Finish, Format, Part, Request, Role, Source, TokenProbability,
        ToolChoice, ToolKind, Usage,
    },
    dialect::Dialect,
};
use serde_json::{Value, json};

use super::{
    KEY, Named, config, parrot,
    sdk::{KINDS, Program, tell_table},
};
use crate::harness::{Gateway, Peer, Upstream, node, python};

/// A case as it is asked for whole.
fn whole(case: &str) -> &str {
    case.strip_prefix("streamed-").unwrap_or(case)
}

/// What is asked for, and what the SDK reads of the answer.
fn wanted(case: &str, sdk: &str, caller: Dialect, target: Dialect) -> Value {
    let calls = json!([["get_tide", {"port": "Brest"}], ["get_wind", {"port": "Ushant"}]]);
    match whole(case) {
        "document" | "audio" | "citable" | "labels" => json!("seen"),
        "cached" => json!([9, 5]),
        "probabilities" if !has_probabilities(target) => json!([]),
        // Cohere tells of the tokens that were chosen alone.
        "probabilities" if caller == Dialect::Cohere || target == Dialect::Cohere => {
            json!([["see", -0.25, []], ["n", -0.5, []]])
        }
        "probabilities" => json!([["see", -0.25, ["sea"]], ["n", -0.5, []]]),
        "cited" => json!(["Noon it is.", ["Tides"]]),
        "refused" => refusal(sdk, caller, target),
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

fn has_probabilities(dialect: Dialect) -> bool {
    !matches!(dialect, Dialect::Anthropic | Dialect::Bedrock)
}

/// A refusal as an SDK shows it: in a place of its own where both dialects have one, else as what a filter cut.
fn refusal(sdk: &str, caller: Dialect, target: Dialect) -> Value {
    let is_apart = matches!(target, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    // Chat Completions tells a refusal in its place and ends as ever: elsewhere its words stand alone.
    let is_plain = target == Dialect::OpenAiChat;
    match caller {
        Dialect::Gemini if is_plain && sdk.starts_with("vercel:") => json!(["I will not.", "stop"]),
        _ if sdk.starts_with("vercel:") => json!(["I will not.", "content-filter"]),
        Dialect::Gemini if is_plain => json!(["I will not.", "STOP"]),
        Dialect::Bedrock if is_plain => json!(["I will not.", "end_turn"]),
        Dialect::Cohere if is_plain => json!(["I will not.", "COMPLETE"]),
        Dialect::OpenAiChat => json!(["I will not.", if is_apart { "stop" } else { "content_filter" }]),
        Dialect::OpenAiResponses if is_apart => json!(["I will not.", "refusal", "completed"]),
        Dialect::OpenAiResponses => json!(["I will not.", "output_text", "incomplete"]),
        Dialect::Anthropic => json!(["I will not.", "refusal"]),
        Dialect::Gemini => json!(["I will not.", "SAFETY"]),
        Dialect::Bedrock => json!(["I will not.", "content_filtered"]),
        Dialect::Cohere => json!(["I will not.", "ERROR_TOXIC"]),
    }
}

/// What a tool is called with that takes a free text.
const FREE: &str = "free \"text\"\n{}";

/// How tokens are drawn and paid, as far as a caller's SDK says it.
fn knobs(sdk: &str, caller: Dialect) -> &'static [Feature] {
    use Feature::{FrequencyPenalty, PresencePenalty, Seed, Stop, Temperature, Tier, TopP, User};
    match caller {
        Dialect::OpenAiChat if sdk.starts_with("vercel:") => {
            &[Stop, Seed, FrequencyPenalty, PresencePenalty, User]
        }
        Dialect::OpenAiResponses if sdk.starts_with("vercel:") => &[Temperature, TopP, User],
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
    ("citable", Dialect::OpenAiChat, Feature::Citations),
    ("citable", Dialect::OpenAiResponses, Feature::Citations),
    ("citable", Dialect::Gemini, Feature::Citations),
    ("citable", Dialect::Cohere, Feature::Document),
    // The model there thinks, and is not asked.
    ("probabilities", Dialect::OpenAiResponses, Feature::LogProbabilities),
    ("probabilities", Dialect::Anthropic, Feature::LogProbabilities),
    ("probabilities", Dialect::Bedrock, Feature::LogProbabilities),
    ("labels", Dialect::Anthropic, Feature::Metadata),
    ("labels", Dialect::Cohere, Feature::Metadata),
];

fn call(id: &str, name: &str, port: &str) -> Part {
    let arguments = json!({"port": port}).to_string();
    Part::ToolCall { id: id.into(), name: name.into(), arguments, custom: false, proof: None, cache: None }
}

/// What the model answers.
fn reply(request: &Request) -> Answer {
    let case = case_of(request);
    let case = whole(&case);
    let has_results = request.messages.iter().any(|message| message.role == Role::Tool);
    let parts = match case {
        _ if has_results => vec![Part::text("done")],
        "forced" | "single" => vec![call("call_2", "get_wind", "Ushant")],
        "parse" | "streamed" => vec![Part::text(r#"{"port":"Brest","height":7}"#)],
        "json" => vec![Part::text(r#"{"port":"Brest"}"#)],
        "custom" => vec![noted(request)],
        "probabilities" => vec![Part::text("seen")],
        "cited" => vec![cited()],
        "refused" => vec![Part::Refusal { text: "I will not.".into() }],
        "calls" | "failure" | "picture" => {
            vec![call("call_1", "get_tide", "Brest"), call("call_2", "get_wind", "Ushant")]
        }
        _ => vec![Part::text("seen")],
    };
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
    let finish = match case {
        "refused" => Finish::Refusal,
        _ if calls => Finish::ToolCalls,
        _ => Finish::Stop,
    };
    let log_probabilities = if case == "probabilities" { likely() } else { Vec::new() };
    let choices = vec![Choice { parts, finish: Some(finish), log_probabilities }];
    let cache_read = if case == "cached" { 5 } else { 0 };
    let usage = Some(Usage { input: 9, cache_read, output: 4, ..Usage::default() });
    Answer { id: "a1".into(), model: "m-1".into(), choices, usage, ..Answer::default() }
}

/// A text that says what it rests on.
fn cited() -> Part {
    let citation = Citation {
        title: Some("Tides".into()),
        url: Some("https://tides.example/brest".into()),
        quote: Some("High water at noon.".into()),
        span: Some((0, 4)),
        ..Citation::default()
    };
    Part::Text { text: "Noon it is.".into(), citations: vec![citation], cache: None, proof: None }
}

/// How likely the tokens of an answer were.
fn likely() -> Vec<TokenProbability> {
    let token = |token: &str, log_probability| TokenProbability {
        token: token.into(),
        log_probability,
        ..TokenProbability::default()
    };
    vec![TokenProbability { alternatives: vec![token("sea", -1.5)], ..token("see", -0.25) }, token("n", -0.5)]
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
    match whole(case) {
        "citable" => parts(last).any(|part| matches!(part, Part::Document { citable: true, .. })),
        "probabilities" => last.log_probabilities.is_some(),
        "labels" => last.metadata.get("trip").is_some_and(|trip| trip == "7"),
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

fn in_python(arguments: &[&str]) -> std::process::Command {
    python(include_str!("features.py"), arguments)
}

fn in_javascript(arguments: &[&str]) -> std::process::Command {
    node("features", include_str!("features.mjs"), arguments)
}

/// Whatever an SDK can ask for, in the order of the page's columns.
const CASES: [&str; 26] = [
    "document",
    "streamed-document",
    "audio",
    "streamed-audio",
    "forced",
    "single",
    "calls",
    "failure",
    "picture",
    "custom",
    "streamed-custom",
    "json",
    "parse",
    "streamed",
    "knobs",
    "labels",
    "marks",
    "streamed-cached",
    "count",
    "probabilities",
    "streamed-probabilities",
    "citable",
    "cited",
    "streamed-cited",
    "refused",
    "streamed-refused",
];

/// Asks every provider through an SDK. What became of it is a section of docs/ai-compatibility.md.
fn check(title: &str, sdk: &str, program: Program, caller: Dialect) {
    let (gateway, upstreams) = everyone();
    let base = format!("http://{}/ai", gateway.address);
    let arguments: Vec<&str> =
        [sdk, base.as_str(), KEY].into_iter().chain(KINDS.iter().map(|(target, ..)| target.name())).collect();
    let (well, output) = Peer::start(program(&arguments)).finish();
    assert!(well, "{output}");
    let lines: Vec<Value> = output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let calls = lines.iter().map(|line| 1 + usize::from(line[2][1] == "done")).sum();
    let is_well = !lines.iter().any(|line| line[2].as_str().is_some_and(|said| said.contains("Error")));
    let records = gateway.records(if is_well { calls } else { 0 });
    let asked_for: Vec<&str> =
        CASES.into_iter().filter(|case| lines.iter().any(|line| line[1] == *case)).collect();
    let (mut wrong, mut rows) = (Vec::new(), String::new());
    for ((target, ..), upstream) in KINDS.iter().zip(&upstreams) {
        let seen = upstream.seen();
        let chats = seen.iter().filter(|seen| !seen.target().to_lowercase().contains("count"));
        let asked: Vec<Request> = chats.map(|seen| parrot::asked(*target, seen).0).collect();
        let dropped: Vec<&str> = records
            .iter()
            .filter(|record| record["ai"]["provider"] == target.name())
            .flat_map(|record| record["ai"]["dropped"].as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        rows += &format!("| `{}` |", target.name());
        let of_target: Vec<&Value> = lines.iter().filter(|line| line[0] == target.name()).collect();
        assert_eq!(of_target.len(), asked_for.len(), "{output}");
        for case in &asked_for {
            let line = of_target.iter().find(|line| line[1] == *case).expect("a line");
            let of_case: Vec<Request> =
                asked.iter().filter(|request| case_of(request) == *case).cloned().collect();
            let cell = judge(sdk, caller, *target, line, &of_case, &dropped).unwrap_or_else(|why| {
                wrong.push(format!("{sdk} to {}: {case}: {why}", target.name()));
                "–"
            });
            rows += &format!(" {cell} |");
        }
        rows.push('\n');
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let columns: Vec<String> = asked_for.iter().map(|case| case.replace("streamed-", "streamed ")).collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    tell_table(&format!("Features: {title}"), &columns, &rows);
}

/// What stands on the page of one case at one provider, or what is wrong with it.
fn judge(
    sdk: &str,
    caller: Dialect,
    target: Dialect,
    line: &Value,
    asked: &[Request],
    dropped: &[&str],
) -> Result<&'static str, String> {
    let case = line[1].as_str().unwrap_or_default();
    if line[2] != wanted(case, sdk, caller, target) {
        return Err(format!("the SDK reads {}", line[2]));
    }
    let is_named = |feature: Feature| {
        let name = caller.feature_name(feature);
        dropped.iter().any(|word| word.ends_with(name))
    };
    if case == "knobs" {
        let Some(asked) = asked.last() else { return Err("nobody was asked".into()) };
        let wrong = knobs(sdk, caller).iter().find(|knob| is_named(**knob) == is_turned(**knob, asked));
        return match wrong {
            None if knobs(sdk, caller).iter().all(|knob| is_turned(*knob, asked)) => Ok("✓"),
            None => Ok("in part"),
            Some(knob) => Err(format!("{knob:?}: {:?}, dropped {dropped:?}", asked.sampling)),
        };
    }
    let lost = LOST.iter().find(|(lost, dialect, _)| *lost == whole(case) && *dialect == target);
    match lost.filter(|(.., feature)| target != caller || *feature == Feature::LogProbabilities) {
        None if case != "count" && !is_told(case, asked) => {
            Err(format!("asked {asked:?}, dropped {dropped:?}"))
        }
        None => Ok("✓"),
        Some((.., feature)) => {
            if !is_named(*feature) || !is_told_in_words(case, asked) || is_told(case, asked) {
                return Err(format!("no {} in {dropped:?}: {asked:?}", caller.feature_name(*feature)));
            }
            Ok("named")
        }
    }
}

#[test]
fn features_of_openais_sdk_reach_every_provider_by_chat_completions() {
    check("`openai` for Python, Chat Completions", "openai-chat", in_python, Dialect::OpenAiChat);
}

#[test]
fn features_of_openais_sdk_reach_every_provider_by_responses() {
    check("`openai` for Python, Responses", "openai-responses", in_python, Dialect::OpenAiResponses);
}

#[test]
fn features_of_anthropics_sdk_reach_every_provider() {
    check("`anthropic` for Python", "anthropic", in_python, Dialect::Anthropic);
}

#[test]
fn features_of_googles_sdk_reach_every_provider() {
    check("`google-genai` for Python", "gemini", in_python, Dialect::Gemini);
}

#[test]
fn features_of_amazons_sdk_reach_every_provider() {
    check("`boto3` for Python", "bedrock", in_python, Dialect::Bedrock);
}

#[test]
fn features_of_coheres_sdk_reach_every_provider() {
    check("`cohere` for Python", "cohere", in_python, Dialect::Cohere);
}

#[test]
fn features_of_openais_javascript_reach_every_provider_by_chat_completions() {
    check("`openai` for JavaScript, Chat Completions", "openai-chat", in_javascript, Dialect::OpenAiChat);
}

#[test]
fn features_of_openais_javascript_reach_every_provider_by_responses() {
    check("`openai` for JavaScript, Responses", "openai-responses", in_javascript, Dialect::OpenAiResponses);
}

#[test]
fn features_of_anthropics_javascript_reach_every_provider() {
    check("`@anthropic-ai/sdk` for JavaScript", "anthropic", in_javascript, Dialect::Anthropic);
}

#[test]
fn features_of_googles_javascript_reach_every_provider() {
    check("`@google/genai` for JavaScript", "gemini", in_javascript, Dialect::Gemini);
}

#[test]
fn features_of_vercels_sdk_reach_every_provider_by_four_dialects() {
    for (package, sdk, caller) in [
        ("@ai-sdk/openai` (Chat Completions)", "vercel:openai-chat", Dialect::OpenAiChat),
        ("@ai-sdk/openai` (Responses)", "vercel:openai-responses", Dialect::OpenAiResponses),
        ("@ai-sdk/anthropic`", "vercel:anthropic", Dialect::Anthropic),
        ("@ai-sdk/google`", "vercel:gemini", Dialect::Gemini),
    ] {
        check(&format!("`ai` with `{package}"), sdk, in_javascript, caller);
    }
}
