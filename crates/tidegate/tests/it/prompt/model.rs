//! A provider of any dialect whose model says what the test decides, told by the dialect's own writers.

use ai::{
    canon::{Answer, Choice, Finish, Message, Part, Request, Role, Usage, events_of},
    dialect::{Dialect, Spoken, Telling},
    endpoint::Endpoint,
};

use crate::harness::{Seen, Upstream};

/// A kind of provider for each dialect, the path of its base address, and a model that speaks the dialect alone.
pub const KINDS: [(Dialect, &str, &str, &str); 6] = [
    (Dialect::OpenAiChat, "openai-compatible", "/v1", "m"),
    (Dialect::OpenAiResponses, "openai", "/v1", "gpt-5-codex"),
    (Dialect::Anthropic, "anthropic", "", "claude-sonnet-4-5"),
    (Dialect::Gemini, "gemini", "/v1beta", "gemini-2.5-flash"),
    (Dialect::Bedrock, "bedrock", "", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
    (Dialect::Cohere, "cohere", "", "command-a-03-2025"),
];

/// A provider whose model answers as the function says; it speaks the dialect of the path that it is asked at.
pub fn says(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Upstream {
    Upstream::scripted(move |seen| {
        let (dialect, request) = read(seen);
        Some(written(dialect, &request, answer(&request)))
    })
}

/// A provider whose model answers with a text.
pub fn text(text: impl Fn(&Request) -> String + Send + Sync + 'static) -> Upstream {
    says(move |request| answer(vec![Part::text(text(request))], Finish::Stop))
}

/// An answer of these parts, for which 11 and 7 tokens were spent.
pub fn answer(parts: Vec<Part>, finish: Finish) -> Answer {
    Answer {
        id: "answer-1".to_owned(),
        model: "m".to_owned(),
        choices: vec![Choice { parts, finish: Some(finish), ..Choice::default() }],
        usage: Some(Usage { input: 11, output: 7, ..Usage::default() }),
        ..Answer::default()
    }
}

/// A request as the provider understands it, and the dialect in which it came.
pub fn read(seen: &Seen) -> (Dialect, Request) {
    let path = seen.target().split('?').next().unwrap_or_default();
    let endpoint = Endpoint::of(path, seen.header("anthropic-version").is_some());
    let endpoint = endpoint.unwrap_or_else(|| panic!("no vendor has {path}"));
    let spoken = Spoken { model: endpoint.model, stream: endpoint.stream };
    let request = endpoint.dialect.read_request(&spoken, &seen.body);
    (
        endpoint.dialect,
        request.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&seen.body))),
    )
}

/// The turns of a request as role and text.
pub fn turns(request: &Request) -> Vec<(Role, String)> {
    let text = |message: &Message| {
        message
            .parts
            .iter()
            .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
            .collect()
    };
    request.messages.iter().map(|message| (message.role, text(message))).collect()
}

/// What was said last.
pub fn last(request: &Request) -> String {
    turns(request).pop().map(|(_, text)| text).unwrap_or_default()
}

/// An answer as it is sent, in the dialect and the form in which it was asked for.
pub fn written(dialect: Dialect, request: &Request, answer: Answer) -> Vec<u8> {
    let telling = Telling { model: "m".to_owned(), include_usage: true, ..Telling::default() };
    let (kind, body) = if request.stream {
        let mut writer = dialect.stream_writer(telling);
        let mut out = Vec::new();
        events_of(answer).into_iter().for_each(|event| writer.write(event, &mut out));
        (dialect.caller_framing(Some("alt=sse")).media_type(), out)
    } else {
        ("application/json", dialect.write_answer(answer, &telling))
    };
    let mut out =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    out.extend_from_slice(&body);
    out
}

/// A response with a status and a body of JSON.
pub fn fails(status: u16, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
