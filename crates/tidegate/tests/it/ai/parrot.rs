//! A provider of any dialect that answers what a test makes of the request, streams letter by letter; and callers of
//! any dialect.

use ai::{
    canon::{
        Answer, Assembler, Choice, Delta, Event, Finish, Message, Part, Request, Role, Usage, events_of,
    },
    dialect::{Dialect, Spoken, Telling},
    endpoint::{Endpoint, Operation},
    rules::{Rules, Target},
    stream::FrameReader,
};

use super::KEY;
use crate::harness::{Answer as Http, Gateway, Seen, Upstream};

/// A kind of provider for each dialect, the path of its base address, and a model that speaks the dialect alone.
pub(super) const KINDS: [(Dialect, &str, &str, &str); 6] = [
    (Dialect::OpenAiChat, "openai-compatible", "/v1", "m"),
    (Dialect::OpenAiResponses, "openai", "/v1", "gpt-5-codex"),
    (Dialect::Anthropic, "anthropic", "", "claude-sonnet-4-5"),
    (Dialect::Gemini, "gemini", "/v1beta", "gemini-2.5-flash"),
    (Dialect::Bedrock, "bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Dialect::Cohere, "cohere", "", "command-a-03-2025"),
];

/// An answer of one text that came to its end.
pub(crate) fn says(text: &str) -> Answer {
    let choice =
        Choice { parts: vec![Part::text(text)], finish: Some(Finish::Stop), log_probabilities: Vec::new() };
    Answer {
        id: "a1".into(),
        model: "m-1".into(),
        choices: vec![choice],
        usage: Some(Usage { input: 3, output: 2, ..Usage::default() }),
        ..Answer::default()
    }
}

/// What a provider was asked.
pub(super) fn asked(dialect: Dialect, seen: &Seen) -> (Request, bool) {
    let path = seen.target().split('?').next().unwrap_or_default();
    let endpoint = Endpoint::of(path, dialect == Dialect::Anthropic).expect("an endpoint");
    let spoken = Spoken { model: endpoint.model.clone(), stream: endpoint.stream };
    let request = dialect.read_request(&spoken, &seen.body).expect("a request");
    let stream = request.stream || endpoint.stream;
    (request, stream)
}

/// A provider that answers with what `reply` makes of a request.
pub(crate) fn provider(
    dialect: Dialect,
    reply: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Upstream {
    Upstream::scripted(answering(dialect, reply))
}

/// What such a provider does.
pub(super) fn answering(
    dialect: Dialect,
    reply: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Option<Vec<u8>> + Send + Sync + 'static {
    move |seen| {
        let (request, stream) = asked(dialect, seen);
        let answer = reply(&request);
        let telling =
            Telling { model: "m-1".into(), id: "a1".into(), include_usage: true, ..Telling::default() };
        if !stream {
            return Some(http("application/json", &dialect.write_answer(answer, &telling)));
        }
        let mut writer = dialect.stream_writer(telling);
        let mut out = Vec::new();
        for event in events_of(answer) {
            match event {
                Event::Delta { choice, part, delta: Delta::Text(text) } => {
                    for letter in text.chars() {
                        let delta = Delta::Text(letter.to_string());
                        writer.write(Event::Delta { choice, part, delta }, &mut out);
                    }
                }
                other => writer.write(other, &mut out),
            }
        }
        Some(http(dialect.caller_framing(Some("alt=sse")).media_type(), &out))
    }
}

pub(super) fn http(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// What a caller asks, in its dialect.
pub(super) fn question(text: &str, stream: bool) -> Request {
    Request {
        stream,
        messages: vec![Message::text(Role::User, text)],
        sampling: ai::canon::Sampling { temperature: Some(0.0), ..Default::default() },
        ..Request::default()
    }
}

/// Asks, in a dialect, with a key and further header lines.
pub(super) fn ask_with(
    gateway: &Gateway,
    dialect: Dialect,
    model: &str,
    request: &Request,
    key: &str,
    headers: &str,
) -> Http {
    let rules = Rules::default();
    let written = dialect.write_request(request, Target { model, rules: &rules }).expect("written");
    let version = if dialect == Dialect::Anthropic { "\nanthropic-version: 2023-06-01" } else { "" };
    let path = match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses => format!("/v1{}", written.path),
        Dialect::Gemini => format!("/v1beta{}", written.path),
        Dialect::Anthropic | Dialect::Bedrock | Dialect::Cohere => {
            dialect.path(Operation::Chat, model, request.stream).expect("a path")
        }
    };
    let head = format!(
        "POST /ai{path} HTTP/1.1\nhost: gw\nx-api-key: {key}\ncontent-type: application/json{version}{headers}\ncontent-length: {}",
        written.body.len()
    );
    gateway.send(&head, &written.body)
}

/// Asks, and reads what is answered.
pub(super) fn ask(gateway: &Gateway, dialect: Dialect, model: &str, request: &Request) -> Answer {
    let answer = ask_with(gateway, dialect, model, request, KEY, "");
    assert_eq!(answer.status, 200, "{dialect:?}: {}", answer.text());
    heard(dialect, &answer)
}

/// What an answer says, whole or as a stream.
pub(super) fn heard(dialect: Dialect, answer: &Http) -> Answer {
    let kind = answer.header("content-type").unwrap_or_default();
    if kind.starts_with("application/json") {
        return dialect.read_answer(&answer.body).expect("an answer");
    }
    assert!(kind.starts_with(dialect.caller_framing(Some("alt=sse")).media_type()), "{kind}");
    let (mut frames, mut events) = (Vec::new(), Vec::new());
    FrameReader::new(dialect.caller_framing(Some("alt=sse")))
        .push(&answer.body, &mut frames)
        .expect("framed");
    let mut reader = dialect.stream_reader();
    frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
    reader.end(&mut events);
    let mut assembler = Assembler::default();
    events.into_iter().for_each(|event| assembler.push(event));
    assembler.finish().expect("a whole stream")
}

/// The texts of an answer.
pub(super) fn text(answer: &Answer) -> String {
    let parts = answer.choices.iter().flat_map(|choice| &choice.parts);
    parts
        .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
        .collect()
}

/// A gateway with these policies on its route, and a model `m` on each of these providers, named by their dialects.
pub(super) fn gateway(providers: &[(Dialect, &Upstream)], policies: &str, rest: &str) -> Gateway {
    let mut text = format!(
        "consumers: [{{name: app, keys: [{KEY}]}}, {{name: other, keys: [the-others-own-key]}}]\naccessLog: [{{kind: stdout, format: json}}]\nroutes:\n  - name: models\n    match: [{{path: {{prefix: /ai}}}}]\n    policies:\n      - keyAuth: {{headers: [x-api-key, authorization, x-goog-api-key]}}\n{policies}    ai: {{stripPrefix: /ai}}\n{rest}ai:\n  providers:\n"
    );
    let kind = |dialect: Dialect| KINDS.iter().find(|(known, ..)| *known == dialect).expect("a kind");
    for (dialect, upstream) in providers {
        let (_, kind, path, _) = kind(*dialect);
        text.push_str(&format!(
            "    - {{name: {}, kind: {kind}, baseUrl: \"http://{}{path}\", keys: [provider-key-of-the-test]}}\n",
            dialect.name(),
            upstream.address
        ));
    }
    text.push_str("  models:\n");
    for (dialect, _) in providers {
        let (.., model) = kind(*dialect);
        let name = dialect.name();
        text.push_str(&format!(
            "    - {{name: {name}, targets: [{{provider: {name}, model: \"{model}\"}}]}}\n"
        ));
    }
    Gateway::start(&text)
}
