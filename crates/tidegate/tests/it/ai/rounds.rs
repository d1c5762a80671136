//! Tool rounds: a model thinks, says something and calls a tool, and its thoughts come back to it with the result as it
//! wants them: signed or encrypted, in their place, while it goes on thinking. Through every SDK, to every provider that
//! proves its thoughts, whole and streamed.

use ai::{
    canon::{Answer, Choice, Finish, Part, Proof, ProofKind, Usage, events_of},
    dialect::{Dialect, Telling},
};
use serde_json::{Value, json};

use super::{KEY, Named, config};
use crate::harness::{Gateway, Peer, Seen, Upstream, python};

/// Providers that prove thoughts: the dialect, the kind, the path of the base address, and a model that thinks.
const PROVIDERS: [(Dialect, &str, &str, &str); 4] = [
    (Dialect::Anthropic, "anthropic", "", "claude-sonnet-4-5"),
    (Dialect::Bedrock, "bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Dialect::Gemini, "gemini", "/v1beta", "gemini-2.5-flash"),
    (Dialect::OpenAiResponses, "openai", "/v1", "gpt-5-codex"),
];

/// What a provider proves its thoughts with: bytes, as some dialects have them in base64.
const PROOF: &str = "EqQBCkgIBhABGAIiQA==";

/// The first answer of a provider: it thinks, says something, and calls.
fn first(dialect: Dialect) -> Answer {
    let proof = |issuer: &str, kind, id: Option<&str>| Proof {
        issuer: issuer.to_owned(),
        kind,
        value: PROOF.to_owned(),
        id: id.map(str::to_owned),
    };
    let (thought, mark) = match dialect {
        Dialect::Gemini => (None, Some(proof("gemini", ProofKind::Mark, None))),
        Dialect::OpenAiResponses => (Some(proof("openai", ProofKind::Encrypted, Some("rs_1"))), None),
        _ => (Some(proof("anthropic", ProofKind::Signature, None)), None),
    };
    let call = Part::ToolCall {
        id: "call_1".to_owned(),
        name: "get_tide".to_owned(),
        arguments: r#"{"port":"Brest"}"#.to_owned(),
        custom: false,
        proof: mark,
        cache: None,
    };
    let thought = Part::Thinking { text: "The moon is full.".to_owned(), proof: thought };
    of(vec![thought, Part::text("I shall look."), call], Finish::ToolCalls)
}

fn of(parts: Vec<Part>, finish: Finish) -> Answer {
    let usage = Usage { input: 20, output: 30, ..Usage::default() };
    let choices = vec![Choice { parts, finish: Some(finish), ..Choice::default() }];
    Answer { id: "msg_1".to_owned(), choices, usage: Some(usage), ..Answer::default() }
}

/// An answer as its provider gives it: what callers of a dialect are told is what its providers tell.
fn told(dialect: Dialect, seen: &Seen) -> Option<Vec<u8>> {
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let answer = match body.contains("at noon") {
        true => of(vec![Part::text("At noon.")], Finish::Stop),
        false => first(dialect),
    };
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

/// What the second request says of the first answer, and whether it asks for thoughts.
fn sent_back(dialect: Dialect, body: &Value) -> (Vec<String>, bool) {
    let list = |pointer: &str| body.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let word = |kind: &str, proof: &Value| match proof.as_str() {
        Some(proof) => format!("{kind} {proof}"),
        None => kind.to_owned(),
    };
    let answered = |messages: Vec<Value>, of: &str, role: &str| -> Vec<Value> {
        let found = messages.into_iter().find(|message| message["role"] == role).unwrap_or_default();
        found[of].as_array().cloned().unwrap_or_default()
    };
    match dialect {
        Dialect::Anthropic => {
            let blocks = answered(list("/messages"), "content", "assistant");
            let word = |block: &Value| word(block["type"].as_str().unwrap_or_default(), &block["signature"]);
            (blocks.iter().map(word).collect(), body["thinking"]["type"] == "enabled")
        }
        Dialect::Bedrock => {
            let word = |block: &Value| match block.as_object().and_then(|block| block.iter().next()) {
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
        _ => {
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

fn wanted(dialect: Dialect) -> Vec<String> {
    let words: &[String] = &match dialect {
        Dialect::Anthropic => [format!("thinking {PROOF}"), "text".to_owned(), "tool_use".to_owned()],
        Dialect::Bedrock => [format!("reasoningContent {PROOF}"), "text".to_owned(), "toolUse".to_owned()],
        Dialect::Gemini => ["text".to_owned(), format!("call {PROOF}"), String::new()],
        _ => [format!("reasoning {PROOF}"), "message".to_owned(), "function_call".to_owned()],
    };
    words.iter().filter(|word| !word.is_empty()).cloned().collect()
}

#[test]
fn thoughts_come_back_to_who_had_them_through_every_sdk() {
    let upstreams: Vec<Upstream> = PROVIDERS
        .iter()
        .map(|(dialect, ..)| {
            let dialect = *dialect;
            Upstream::scripted(move |seen| told(dialect, seen))
        })
        .collect();
    let bases: Vec<(&str, &str, String)> = PROVIDERS
        .iter()
        .zip(&upstreams)
        .map(|((dialect, kind, path, _), upstream)| {
            (dialect.name(), *kind, format!("http://{}{path}", upstream.address))
        })
        .collect();
    let targets = PROVIDERS.map(|(dialect, .., model)| [(dialect.name(), model, 1)]);
    let models: Vec<Named<'_>> =
        PROVIDERS.iter().zip(&targets).map(|((dialect, ..), target)| (dialect.name(), &target[..])).collect();
    let gateway = Gateway::start(&config(&bases, &models, ""));
    let base = format!("http://{}/ai", gateway.address);
    let mut wrong = Vec::new();
    for sdk in ["openai-chat", "openai-responses", "anthropic", "gemini", "bedrock", "cohere"] {
        let mut arguments = vec![sdk, base.as_str(), KEY];
        arguments.extend(PROVIDERS.iter().map(|(dialect, ..)| dialect.name()));
        let before: Vec<usize> = upstreams.iter().map(|upstream| upstream.seen().len()).collect();
        let (well, output) = Peer::start(python(include_str!("rounds.py"), &arguments)).finish();
        assert!(well, "{output}");
        for line in output.lines().filter(|line| !line.ends_with("\"At noon.\"]")) {
            wrong.push(format!("{sdk}: {line}"));
        }
        for (((dialect, ..), upstream), before) in PROVIDERS.iter().zip(&upstreams).zip(before) {
            let seen = upstream.seen().split_off(before);
            let seconds: Vec<&Seen> =
                seen.iter().filter(|seen| String::from_utf8_lossy(&seen.body).contains("at noon")).collect();
            if seconds.len() != 2 {
                wrong.push(format!("{sdk} to {}: {} second turns", dialect.name(), seconds.len()));
            }
            for second in seconds {
                let body: Value = serde_json::from_slice(&second.body).expect("JSON");
                let (words, asks) = sent_back(*dialect, &body);
                if words != wanted(*dialect) || !asks {
                    wrong.push(format!("{sdk} to {}: {words:?}, thinks: {asks}: {body}", dialect.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", json!(wrong).to_string().replace("\",\"", "\"\n\""));
}
