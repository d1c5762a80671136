//! Several tool rounds, one behind the other: the thoughts of every round come back to who had them, in their order and
//! place, the redacted and the wordless too, and nothing that a client carries grows from round to round. A client here is
//! one that keeps what its vendor's reference says that a message has, and nothing else.

use ai::{
    canon::{Answer, Finish, Part, Proof, ProofKind},
    dialect::{Dialect, Telling},
};
use serde_json::{Value, json};

use super::{
    KEY, Named, config,
    parrot::heard,
    post,
    rounds::{
        IN_JAVASCRIPT, IN_PYTHON, PROVIDERS, dialect_of, in_javascript, in_python, of, sent_back, written,
    },
};
use crate::harness::{Answer as Http, Gateway, Peer, Upstream};

/// Those that prove their thoughts.
const PROVING: &[(&str, &str, &str)] = PROVIDERS.split_at(4).0;

/// Rounds before the last word.
const ROUNDS: usize = 5;

/// The proof of a round: bytes, as some dialects have them in base64.
fn value(round: usize, at: usize) -> String {
    format!("EqQBCkgIBhABGAIi{round:02}{at:02}")
}

/// What a model says in a round: it thinks and calls, sometimes twice, sometimes with a word before. In every second
/// round part of its thoughts is nothing that anybody may read.
fn answer(dialect: Dialect, round: usize) -> Answer {
    let proof = |issuer: &str, kind, at, id: Option<String>| Proof {
        issuer: issuer.to_owned(),
        kind,
        value: value(round, at),
        id,
    };
    let thought = |text: &str, at: usize| {
        let text = text.to_owned();
        let proof = match dialect {
            Dialect::Gemini => return Part::Thinking { text, proof: None },
            Dialect::OpenAiResponses => {
                proof("openai", ProofKind::Encrypted, at, Some(format!("rs_{round}_{at}")))
            }
            _ if text.is_empty() => proof("anthropic", ProofKind::Encrypted, at, None),
            _ => proof("anthropic", ProofKind::Signature, at, None),
        };
        Part::Thinking { text, proof: Some(proof) }
    };
    let mark = |at| (dialect == Dialect::Gemini).then(|| proof("gemini", ProofKind::Mark, at, None));
    let call = |at: usize, proof| Part::ToolCall {
        id: format!("call_{round}_{at}"),
        name: "get_tide".to_owned(),
        arguments: json!({"port": format!("port {round}")}).to_string(),
        custom: false,
        proof,
        cache: None,
    };
    let mut parts = vec![thought("The moon is full.", 0)];
    if round.is_multiple_of(2) && dialect != Dialect::Gemini {
        parts.push(thought("", 1));
    }
    if !round.is_multiple_of(3) {
        parts.push(Part::text("I shall look."));
    }
    parts.push(call(0, mark(0)));
    if round % 2 == 1 {
        parts.push(call(1, None));
    }
    of(parts, Finish::ToolCalls)
}

/// What the request after so many rounds says of them.
fn wanted(dialect: Dialect, rounds: usize) -> Vec<String> {
    let mut words = Vec::new();
    for round in 1..=rounds {
        let proven = |word: &str, at| format!("{word} {}", value(round, at));
        let [signed, redacted, text, call] = match dialect {
            Dialect::Anthropic => ["thinking", "redacted_thinking", "text", "tool_use"],
            Dialect::Bedrock => ["reasoningContent", "redacted", "text", "toolUse"],
            Dialect::OpenAiResponses => ["reasoning", "reasoning", "message", "function_call"],
            _ => ["", "", "text", "call"],
        };
        let is_gemini = dialect == Dialect::Gemini;
        if !is_gemini {
            words.push(proven(signed, 0));
            words.extend((round % 2 == 0).then(|| proven(redacted, 1)));
        }
        words.extend((round % 3 != 0).then(|| text.to_owned()));
        words.push(if is_gemini { proven(call, 0) } else { call.to_owned() });
        words.extend((round % 2 == 1).then(|| call.to_owned()));
    }
    words
}

/// How far a provider is asked by its own count: results of tools that it was told.
fn rounds_in(dialect: Dialect, body: &Value) -> usize {
    let calls = sent_back(dialect, body).0;
    let calls = calls.iter().filter(|word| {
        ["tool_use", "toolUse", "call", "function_call"]
            .iter()
            .any(|call| word.split(' ').next() == Some(call))
    });
    let calls = calls.count();
    (0..=ROUNDS)
        .find(|rounds| (1..=*rounds).map(|round| 1 + round % 2).sum::<usize>() == calls)
        .expect("whole rounds")
}

fn provider() -> Upstream {
    Upstream::scripted(|seen| {
        let dialect = dialect_of(seen);
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        let next = rounds_in(dialect, &body) + 1;
        let said = match next > ROUNDS {
            true => of(vec![Part::text("At noon.")], Finish::Stop),
            false => answer(dialect, next),
        };
        written(dialect, seen, said)
    })
}

/// A client: its path and its conversation, which grows.
struct Client {
    dialect: Dialect,
    path: String,
    body: Value,
}

impl Client {
    fn new(dialect: Dialect, model: &str) -> Self {
        let port =
            json!({"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]});
        let ask = "When is high water in Brest?";
        let function = json!({"name": "get_tide", "parameters": port});
        let thinking = json!({"type": "enabled", "budget_tokens": 2000});
        let (path, body) = match dialect {
            Dialect::OpenAiChat => (
                "/v1/chat/completions".to_owned(),
                json!({"model": model, "reasoning_effort": "low", "messages": [{"role": "user", "content": ask}],
                       "tools": [{"type": "function", "function": function}]}),
            ),
            Dialect::OpenAiResponses => (
                "/v1/responses".to_owned(),
                json!({"model": model, "reasoning": {"effort": "low"}, "store": false, "include": ["reasoning.encrypted_content"],
                       "input": [{"role": "user", "content": ask}],
                       "tools": [{"type": "function", "name": "get_tide", "parameters": port, "strict": false}]}),
            ),
            Dialect::Anthropic => (
                "/v1/messages".to_owned(),
                json!({"model": model, "max_tokens": 4000, "thinking": thinking, "messages": [{"role": "user", "content": ask}],
                       "tools": [{"name": "get_tide", "input_schema": port}]}),
            ),
            Dialect::Gemini => (
                format!("/v1beta/models/{model}:generateContent"),
                json!({"contents": [{"role": "user", "parts": [{"text": ask}]}], "tools": [{"functionDeclarations": [function]}],
                       "generationConfig": {"thinkingConfig": {"thinkingBudget": 2000, "includeThoughts": true}}}),
            ),
            Dialect::Bedrock => (
                format!("/model/{model}/converse"),
                json!({"messages": [{"role": "user", "content": [{"text": ask}]}],
                       "toolConfig": {"tools": [{"toolSpec": {"name": "get_tide", "inputSchema": {"json": port}}}]},
                       "additionalModelRequestFields": {"thinking": thinking}}),
            ),
            Dialect::Cohere => (
                "/v2/chat".to_owned(),
                json!({"model": model, "thinking": {"type": "enabled", "token_budget": 2000},
                       "messages": [{"role": "user", "content": ask}], "tools": [{"type": "function", "function": function}]}),
            ),
        };
        Self { dialect, path: format!("/ai{path}"), body }
    }

    /// The same, asking for streams.
    fn streaming(dialect: Dialect, model: &str) -> Self {
        let mut client = Self::new(dialect, model);
        match dialect {
            Dialect::Gemini => {
                client.path = client.path.replace(":generateContent", ":streamGenerateContent?alt=sse")
            }
            Dialect::Bedrock => client.path += "-stream",
            _ => client.body["stream"] = true.into(),
        }
        client
    }

    /// An answer as the client has it when it has all of it: a stream's pieces put together, each as it came.
    fn whole(&self, answer: &Http) -> Value {
        let is_whole = answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
        if is_whole {
            return answer.json();
        }
        let telling = Telling { model: "m".into(), id: "a".into(), ..Telling::default() };
        let told = self.dialect.write_answer(heard(self.dialect, answer), &telling);
        serde_json::from_slice(&told).expect("JSON")
    }

    /// Keeps an answer and gives its calls' results; the ids of the calls, and the text where nothing was called.
    fn take(&mut self, told: &Value) -> (Vec<String>, String) {
        let list =
            |pointer: &str| told.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
        let id = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let kept = |message: &Value, names: &[&str]| {
            let members = message.as_object().expect("a message").iter();
            let kept = members.filter(|(name, _)| names.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
        };
        let noon = "at noon";
        let (mut ids, mut text, mut more) = (Vec::new(), String::new(), Vec::new());
        match self.dialect {
            Dialect::OpenAiChat => {
                let message = told.pointer("/choices/0/message").expect("a message");
                text += message["content"].as_str().unwrap_or_default();
                ids.extend(list("/choices/0/message/tool_calls").iter().map(|call| id(&call["id"])));
                more.push(kept(message, &["role", "content", "tool_calls"]));
                more.extend(
                    ids.iter().map(|id| json!({"role": "tool", "tool_call_id": id, "content": noon})),
                );
            }
            Dialect::OpenAiResponses => {
                for item in list("/output") {
                    text += item.pointer("/content/0/text").and_then(Value::as_str).unwrap_or_default();
                    ids.extend((item["type"] == "function_call").then(|| id(&item["call_id"])));
                    more.push(item);
                }
                let result = |id| json!({"type": "function_call_output", "call_id": id, "output": noon});
                more.extend(ids.iter().map(result));
            }
            Dialect::Anthropic => {
                let blocks = list("/content");
                for block in &blocks {
                    text += block["text"].as_str().unwrap_or_default();
                    ids.extend((block["type"] == "tool_use").then(|| id(&block["id"])));
                }
                let results: Vec<Value> = (ids.iter())
                    .map(|id| json!({"type": "tool_result", "tool_use_id": id, "content": noon}))
                    .collect();
                more.push(json!({"role": "assistant", "content": blocks}));
                more.push(json!({"role": "user", "content": results}));
            }
            Dialect::Gemini => {
                let parts = list("/candidates/0/content/parts");
                let mut results = Vec::new();
                for part in &parts {
                    if part["thought"] != true {
                        text += part["text"].as_str().unwrap_or_default();
                    }
                    if let Some(call) = part.get("functionCall") {
                        ids.push(id(&call["id"]));
                        results.push(json!({"functionResponse": {"id": call["id"], "name": call["name"], "response": {"result": noon}}}));
                    }
                }
                more.push(json!({"role": "model", "parts": parts}));
                more.push(json!({"role": "user", "parts": results}));
            }
            Dialect::Bedrock => {
                let blocks = list("/output/message/content");
                for block in &blocks {
                    text += block["text"].as_str().unwrap_or_default();
                    ids.extend(block.get("toolUse").map(|used| id(&used["toolUseId"])));
                }
                let results: Vec<Value> = (ids.iter())
                    .map(|id| json!({"toolResult": {"toolUseId": id, "content": [{"text": noon}]}}))
                    .collect();
                more.push(json!({"role": "assistant", "content": blocks}));
                more.push(json!({"role": "user", "content": results}));
            }
            Dialect::Cohere => {
                let message = told.get("message").expect("a message");
                for block in list("/message/content") {
                    text += block["text"].as_str().unwrap_or_default();
                }
                ids.extend(list("/message/tool_calls").iter().map(|call| id(&call["id"])));
                more.push(kept(message, &["role", "content", "tool_plan", "tool_calls"]));
                more.extend(
                    ids.iter().map(|id| json!({"role": "tool", "tool_call_id": id, "content": noon})),
                );
            }
        }
        let turns = match self.dialect {
            Dialect::OpenAiResponses => "input",
            Dialect::Gemini => "contents",
            _ => "messages",
        };
        self.body[turns].as_array_mut().expect("turns").extend(more);
        (ids, text)
    }
}

/// Those that prove their thoughts, each behind the model of its name.
fn proving() -> (Gateway, Vec<Upstream>) {
    let upstreams: Vec<Upstream> = PROVING.iter().map(|_| provider()).collect();
    let bases: Vec<(&str, &str, String)> = (PROVING.iter().zip(&upstreams))
        .map(|((kind, path, _), upstream)| (*kind, *kind, format!("http://{}{path}", upstream.address)))
        .collect();
    let targets: Vec<_> = PROVING.iter().map(|(kind, _, model)| [(*kind, *model, 1)]).collect();
    let models: Vec<Named<'_>> =
        PROVING.iter().zip(&targets).map(|((kind, ..), target)| (*kind, &target[..])).collect();
    (Gateway::start(&config(&bases, &models, "")), upstreams)
}

#[test]
fn thoughts_of_five_rounds_come_back_in_their_order_in_every_dialect_and_ids_do_not_grow() {
    let (gateway, upstreams) = proving();
    let mut wrong = Vec::new();
    for (caller, streams) in Dialect::ALL.into_iter().flat_map(|caller| [(caller, false), (caller, true)]) {
        for ((kind, ..), upstream) in PROVING.iter().zip(&upstreams) {
            let mut client =
                if streams { Client::streaming(caller, kind) } else { Client::new(caller, kind) };
            let way = format!("{} to {kind}, {}", caller.name(), if streams { "streamed" } else { "whole" });
            let mut lengths = Vec::new();
            for round in 1..=ROUNDS + 1 {
                let body = client.body.to_string();
                let answer = post(&gateway, &client.path, "\nanthropic-version: 2023-06-01", &body);
                assert_eq!(answer.status, 200, "{way}, round {round}: {}", answer.text());
                let seen = upstream.seen().pop().expect("a request");
                let sent: Value = serde_json::from_slice(&seen.body).expect("JSON");
                let (words, thinks) = sent_back(dialect_of(&seen), &sent);
                let want = wanted(dialect_of(&seen), round - 1);
                if words != want || !thinks {
                    wrong.push(format!("{way}, round {round}: {words:?} for {want:?}, thinks: {thinks}"));
                }
                let (ids, text) = client.take(&client.whole(&answer));
                lengths.push(ids.iter().map(String::len).max().unwrap_or_default());
                if round > ROUNDS {
                    assert_eq!((ids.len(), text.as_str()), (0, "At noon."), "{way}: {}", answer.text());
                }
            }
            // A round's own proofs may ride on its ids, and no earlier round's.
            if lengths[4] > lengths[0] + 4 || lengths[3] > lengths[1] + 4 {
                wrong.push(format!("{way}: ids grow: {lengths:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn thoughts_of_five_rounds_come_back_through_every_sdk_whole_and_streamed() {
    through_sdks(in_python, &IN_PYTHON);
}

#[test]
fn thoughts_of_five_rounds_come_back_through_every_sdk_of_javascripts_whole_and_streamed() {
    through_sdks(in_javascript, &IN_JAVASCRIPT);
}

fn through_sdks(program: super::sdk::Program, sdks: &[&str]) {
    let (gateway, upstreams) = proving();
    let base = format!("http://{}/ai", gateway.address);
    let mut wrong = Vec::new();
    for sdk in sdks {
        let mut arguments = vec![*sdk, base.as_str(), KEY];
        arguments.extend(PROVING.iter().map(|(kind, ..)| *kind));
        let before: Vec<usize> = upstreams.iter().map(|upstream| upstream.seen().len()).collect();
        let (well, output) = Peer::start(program(&arguments)).finish();
        assert!(well, "{output}");
        for line in output.lines().filter(|line| !line.ends_with("\"At noon.\"]")) {
            wrong.push(format!("{sdk}: {line}"));
        }
        for (((kind, ..), upstream), before) in PROVING.iter().zip(&upstreams).zip(before) {
            let seen = upstream.seen().split_off(before);
            if seen.len() != 2 * (ROUNDS + 1) {
                wrong.push(format!("{sdk} to {kind}: {} turns", seen.len()));
            }
            for (at, seen) in seen.iter().enumerate() {
                let (streams, rounds) = (at > ROUNDS, at % (ROUNDS + 1));
                let way = if streams { "streamed" } else { "whole" };
                let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
                let dialect = dialect_of(seen);
                let (mut words, thinks) = sent_back(dialect, &body);
                let mut want = wanted(dialect, rounds);
                // It lays the proof of a thought without words over that of the one before it. Signatures tell the two apart;
                // of what is encrypted both, as OpenAI's are, the order of those two is lost.
                if *sdk == "vercel:gemini" && *kind == "openai" && !streams {
                    words.sort();
                    want.sort();
                }
                if words != want || !thinks {
                    wrong.push(format!(
                        "{sdk} to {kind}, {way}, {rounds}: {words:?} for {want:?}, thinks: {thinks}"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
