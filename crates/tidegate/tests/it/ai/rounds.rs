//! Tool rounds: a model thinks, says something and calls a tool, and its thoughts come back to it with the result as it
//! wants them: signed or encrypted, in their place, while it goes on thinking. Through every SDK, to every provider that
//! proves its thoughts, whole and streamed.

use ai::{
    canon::{Answer, Choice, Finish, Part, Proof, ProofKind, Usage, events_of},
    dialect::{Dialect, Telling},
    endpoint::Endpoint,
};
use serde_json::{Value, json};

use super::{KEY, Named, config, sdk::Program};
use crate::harness::{Gateway, Peer, Seen, Upstream, node, python};

/// Providers that want thoughts back: the kind, the path of the base address, and a model that thinks. The last two prove
/// none.
pub(super) const PROVIDERS: [(&str, &str, &str); 7] = [
    ("anthropic", "", "claude-sonnet-4-5"),
    ("bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("gemini", "/v1beta", "gemini-2.5-flash"),
    ("openai", "/v1", "gpt-5-codex"),
    ("openrouter", "/v1", "a/thinker"),
    ("deepinfra", "/v1", "a/thinker"),
    ("cohere", "", "command-a-reasoning-08-2025"),
];

/// What a provider proves its thoughts with: bytes, as some dialects have them in base64.
const PROOF: &str = "EqQBCkgIBhABGAIiQA==";

/// The first answer of a provider: it thinks, says something, and calls twice.
fn first(dialect: Dialect, kind: &str) -> Answer {
    let proof = |issuer: &str, kind, id: Option<&str>| Proof {
        issuer: issuer.to_owned(),
        kind,
        value: PROOF.to_owned(),
        id: id.map(str::to_owned),
    };
    let (thought, mark) = match dialect {
        Dialect::Gemini => (None, Some(proof("gemini", ProofKind::Mark, None))),
        Dialect::OpenAiResponses => (Some(proof("openai", ProofKind::Encrypted, Some("rs_1"))), None),
        _ if UNPROVEN.contains(&kind) => (None, None),
        _ => (Some(signature()), None),
    };
    let call = |id: &str, port: &str, proof| Part::ToolCall {
        id: id.to_owned(),
        name: "get_tide".to_owned(),
        arguments: json!({"port": port}).to_string(),
        custom: false,
        proof,
        cache: None,
    };
    let parts = vec![
        Part::Thinking { text: "The moon is full.".to_owned(), proof: thought },
        Part::text("I shall look."),
        call("call_1", "Brest", mark),
        call("call_2", "Ushant", None),
    ];
    of(parts, Finish::ToolCalls)
}

fn signature() -> Proof {
    Proof { issuer: "anthropic".to_owned(), kind: ProofKind::Signature, value: PROOF.to_owned(), id: None }
}

/// Kinds whose thoughts have no proof.
const UNPROVEN: [&str; 2] = ["deepinfra", "cohere"];

pub(super) fn of(parts: Vec<Part>, finish: Finish) -> Answer {
    let usage = Usage { input: 20, output: 30, ..Usage::default() };
    let choices = vec![Choice { parts, finish: Some(finish), ..Choice::default() }];
    Answer { id: "msg_1".to_owned(), choices, usage: Some(usage), ..Answer::default() }
}

/// Some providers speak several dialects.
pub(super) fn dialect_of(seen: &Seen) -> Dialect {
    let path = seen.target().split('?').next().unwrap_or_default();
    Endpoint::of(path, path.ends_with("/messages")).expect("an endpoint").dialect
}

/// An answer as its provider gives it: what callers of a dialect are told is what its providers tell.
fn told(kind: &str, seen: &Seen) -> Option<Vec<u8>> {
    let dialect = dialect_of(seen);
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let answer = match body.contains("at noon") {
        true => of(vec![Part::text("At noon.")], Finish::Stop),
        false => first(dialect, kind),
    };
    written(dialect, seen, answer)
}

/// An answer over a socket, whole or streamed as it was asked for.
pub(super) fn written(dialect: Dialect, seen: &Seen, answer: Answer) -> Option<Vec<u8>> {
    let body = String::from_utf8_lossy(&seen.body);
    let telling = Telling {
        model: "m".to_owned(),
        id: "msg_1".to_owned(),
        created: 1,
        include_usage: true,
        framing: Some(dialect.provider_framing()),
        echo: serde_json::Map::new(),
        names: Default::default(),
    };
    let is_stream = body.contains("\"stream\":true") || seen.target().contains("stream");
    let (kind, bytes) = match is_stream {
        false => ("application/json", dialect.write_answer(answer, &telling)),
        true => {
            let mut writer = dialect.stream_writer(telling);
            let mut bytes = Vec::new();
            events_of(answer).into_iter().for_each(|event| writer.write(event, &mut bytes));
            (dialect.provider_framing().media_type(), bytes)
        }
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", bytes.len());
    Some([head.as_bytes(), &bytes].concat())
}

/// What a further request says of the answers before it, and whether it asks for thoughts.
pub(super) fn sent_back(dialect: Dialect, body: &Value) -> (Vec<String>, bool) {
    let list = |pointer: &str| body.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let word = |kind: &str, proof: &Value| match proof.as_str() {
        Some(proof) => format!("{kind} {proof}"),
        None => kind.to_owned(),
    };
    let answered = |messages: Vec<Value>, of: &str, role: &str| -> Vec<Value> {
        let found = messages.into_iter().filter(|message| message["role"] == role);
        found.flat_map(|message| message[of].as_array().cloned().unwrap_or_default()).collect()
    };
    match dialect {
        Dialect::Anthropic => {
            let blocks = answered(list("/messages"), "content", "assistant");
            let word = |block: &Value| {
                let proof = block.get("signature").or(block.get("data")).unwrap_or(&Value::Null);
                word(block["type"].as_str().unwrap_or_default(), proof)
            };
            (blocks.iter().map(word).collect(), body["thinking"]["type"] == "enabled")
        }
        Dialect::Bedrock => {
            let word = |block: &Value| match block.as_object().and_then(|block| block.iter().next()) {
                Some((_, inner)) if inner.get("redactedContent").is_some() => {
                    word("redacted", &inner["redactedContent"])
                }
                Some((kind, inner)) => word(kind, &inner["reasoningText"]["signature"]),
                None => String::new(),
            };
            let blocks = answered(list("/messages"), "content", "assistant");
            let asks = body.pointer("/additionalModelRequestFields/thinking/type") == Some(&"enabled".into());
            (blocks.iter().map(word).collect(), asks)
        }
        Dialect::Gemini => {
            let parts = answered(list("/contents"), "parts", "model");
            let word = |part: &Value| match part.get("functionCall") {
                Some(_) => word("call", &part["thoughtSignature"]),
                None if part["thought"] == true => word("thought", &part["thoughtSignature"]),
                None => word("text", &part["thoughtSignature"]),
            };
            let asks = body.pointer("/generationConfig/thinkingConfig").is_some();
            // Its own thoughts are not wanted back, and go or stay.
            let words = parts.iter().map(word).filter(|word| word != "thought");
            (words.collect(), asks)
        }
        Dialect::OpenAiChat | Dialect::Cohere => {
            let found = list("/messages").into_iter().find(|message| message["role"] == "assistant");
            let found = found.unwrap_or_default();
            let all = |name: &str| found[name].as_array().cloned().unwrap_or_default();
            let mut words: Vec<String> = match found.get("reasoning_content") {
                Some(_) => vec!["thought".to_owned()],
                None => {
                    all("reasoning_details").iter().map(|one| word("thought", &one["signature"])).collect()
                }
            };
            let is_thought = |block: &Value| block["type"] == "thinking";
            words.extend(
                all("content").iter().filter(|block| is_thought(block)).map(|_| "thought".to_owned()),
            );
            let says = found["content"].is_string() || found["tool_plan"].is_string();
            words.extend(
                (says || all("content").iter().any(|block| !is_thought(block))).then(|| "text".to_owned()),
            );
            words.extend(all("tool_calls").iter().map(|_| "call".to_owned()));
            let asks = ["reasoning", "reasoning_effort", "thinking"];
            (words, asks.iter().any(|name| body.get(name).is_some()))
        }
        Dialect::OpenAiResponses => {
            let items = list("/input").into_iter();
            let words = items.filter(|item| item["role"] != "user").map(|item| {
                let kind = item["type"].as_str().unwrap_or("message").to_owned();
                word(&kind, &item["encrypted_content"])
            });
            let words = words.filter(|word| word != "function_call_output").collect();
            (words, body["reasoning"]["effort"].is_string())
        }
    }
}

fn wanted(dialect: Dialect, kind: &str) -> Vec<String> {
    let proven = |word: &str| format!("{word} {PROOF}");
    let thoughts = match dialect {
        Dialect::Anthropic => vec![proven("thinking")],
        Dialect::Bedrock => vec![proven("reasoningContent")],
        Dialect::Gemini => vec![],
        Dialect::OpenAiResponses => vec![proven("reasoning")],
        _ if UNPROVEN.contains(&kind) => vec!["thought".to_owned()],
        // What comes by this dialect has its vendor's words around it.
        _ => vec![format!("thought {}", signature().seal())],
    };
    let (text, first, second) = match dialect {
        Dialect::Anthropic => ("text", "tool_use".to_owned(), "tool_use"),
        Dialect::Bedrock => ("text", "toolUse".to_owned(), "toolUse"),
        Dialect::Gemini => ("text", proven("call"), "call"),
        Dialect::OpenAiResponses => ("message", "function_call".to_owned(), "function_call"),
        Dialect::OpenAiChat | Dialect::Cohere => ("text", "call".to_owned(), "call"),
    };
    thoughts.into_iter().chain([text.to_owned(), first, second.to_owned()]).collect()
}

/// The SDKs of the two programs.
pub(super) const IN_PYTHON: [&str; 6] =
    ["openai-chat", "openai-responses", "anthropic", "gemini", "bedrock", "cohere"];
pub(super) const IN_JAVASCRIPT: [&str; 7] = [
    "openai-chat",
    "anthropic",
    "gemini",
    "vercel:openai-chat",
    "vercel:openai-responses",
    "vercel:anthropic",
    "vercel:gemini",
];

pub(super) fn in_python(arguments: &[&str]) -> std::process::Command {
    python(include_str!("rounds.py"), arguments)
}

pub(super) fn in_javascript(arguments: &[&str]) -> std::process::Command {
    node("rounds", include_str!("rounds.mjs"), arguments)
}

#[test]
fn thoughts_come_back_to_who_had_them_through_every_sdk() {
    check(in_python, &IN_PYTHON);
}

#[test]
fn thoughts_come_back_to_who_had_them_through_every_sdk_of_javascripts() {
    check(in_javascript, &IN_JAVASCRIPT);
}

fn check(program: Program, sdks: &[&str]) {
    let upstreams: Vec<Upstream> =
        Vec::from(PROVIDERS.map(|(kind, ..)| Upstream::scripted(move |seen| told(kind, seen))));
    let bases: Vec<(&str, &str, String)> = PROVIDERS
        .iter()
        .zip(&upstreams)
        .map(|((kind, path, _), upstream)| (*kind, *kind, format!("http://{}{path}", upstream.address)))
        .collect();
    let targets = PROVIDERS.map(|(kind, _, model)| [(kind, model, 1)]);
    let models: Vec<Named<'_>> =
        PROVIDERS.iter().zip(&targets).map(|((kind, ..), target)| (*kind, &target[..])).collect();
    let gateway = Gateway::start(&config(&bases, &models, ""));
    let base = format!("http://{}/ai", gateway.address);
    let mut wrong = Vec::new();
    for sdk in sdks {
        let mut arguments = vec![*sdk, base.as_str(), KEY];
        arguments.extend(PROVIDERS.iter().map(|(kind, ..)| *kind));
        let before: Vec<usize> = upstreams.iter().map(|upstream| upstream.seen().len()).collect();
        let (well, output) = Peer::start(program(&arguments)).finish();
        assert!(well, "{output}");
        for line in output.lines().filter(|line| !line.ends_with("\"At noon.\"]")) {
            wrong.push(format!("{sdk}: {line}"));
        }
        for (((kind, ..), upstream), before) in PROVIDERS.iter().zip(&upstreams).zip(before) {
            let seen = upstream.seen().split_off(before);
            let seconds: Vec<&Seen> =
                seen.iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains("at noon")).collect();
            if seconds.len() != 2 {
                wrong.push(format!("{sdk} to {kind}: {} second turns", seconds.len()));
            }
            for second in seconds {
                let body: Value = serde_json::from_slice(&second.body).expect("JSON");
                let dialect = dialect_of(second);
                let (mut words, asks) = sent_back(dialect, &body);
                let mut wanted = wanted(dialect, kind);
                let is_chat = sdk.ends_with("openai-chat");
                // What has no proof these clients do not keep, nor those of Chat Completions what another field than
                // their own has, where nothing is translated.
                let keeps_little = *sdk == "cohere" || sdk.starts_with("vercel");
                if UNPROVEN.contains(kind) && keeps_little || *kind == "openrouter" && is_chat {
                    words.retain(|word| !word.starts_with("thought"));
                    wanted.remove(0);
                }
                if words != wanted || !asks {
                    wrong.push(format!("{sdk} to {kind}: {words:?}, thinks: {asks}: {body}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", json!(wrong).to_string().replace("\",\"", "\"\n\""));
}
