//! A provider for tests: it answers from the fixtures of the dialects, by the case that the last message names.
//!
//! A prompt such as `case: tools` is answered with `answers/tools.json`, or with `streams/tools.jsonl` when a stream
//! is asked for. `case: 429-rate` is answered with that error.

use std::{fs, path::PathBuf};

use ai::{
    canon::{Answer, Assembler},
    dialect::Dialect,
    stream::{FrameReader, Framing, event_stream, sse},
};
use serde_json::Value;

use crate::harness::{Seen, Upstream};

fn fixtures(dialect: Dialect) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ai/tests/fixtures").join(dialect.name())
}

/// A provider of a dialect.
pub(crate) fn of(dialect: Dialect) -> Upstream {
    Upstream::scripted(move |seen| Some(answer(dialect, seen)))
}

/// The text of a fixture.
pub(super) fn fixture(dialect: Dialect, kind: &str, case: &str) -> String {
    let ending = if kind == "streams" { "jsonl" } else { "json" };
    let path = fixtures(dialect).join(kind).join(format!("{case}.{ending}"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The answer that a stream's fixture tells.
pub(super) fn told(dialect: Dialect, case: &str) -> Answer {
    let framing = dialect.provider_framing();
    let (mut frames, mut events) = (Vec::new(), Vec::new());
    FrameReader::new(framing)
        .push(&framed(&fixture(dialect, "streams", case), framing), &mut frames)
        .expect("framed");
    let mut reader = dialect.stream_reader();
    frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
    reader.end(&mut events);
    let mut assembler = Assembler::default();
    events.into_iter().for_each(|event| assembler.push(event));
    assembler.finish().expect("a whole stream")
}

/// The case that a request names, and whether it asks for a stream.
fn asked(seen: &Seen) -> (String, bool) {
    let body = String::from_utf8_lossy(&seen.body).into_owned();
    let case = body.rsplit("case: ").next().unwrap_or_default();
    let case = case.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').next();
    let target = seen.target();
    let stream = body.contains("\"stream\":true") || body.contains("\"stream\": true");
    (case.unwrap_or_default().to_owned(), stream || target.contains("stream"))
}

/// What a provider of a dialect answers to a request.
pub(crate) fn answer(dialect: Dialect, seen: &Seen) -> Vec<u8> {
    let (case, stream) = asked(seen);
    let folder = fixtures(dialect);
    if let Ok(text) = fs::read(folder.join("errors").join(format!("{case}.json"))) {
        let status = case.split('-').next().unwrap_or("500");
        return http(status, "application/json", &text);
    }
    if stream {
        let framing = dialect.provider_framing();
        return http("200", framing.media_type(), &framed(&fixture(dialect, "streams", &case), framing));
    }
    http("200", "application/json", fixture(dialect, "answers", &case).as_bytes())
}

fn http(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    out.extend_from_slice(body);
    out
}

/// A stream's fixture as its provider frames it.
pub(super) fn framed(text: &str, framing: Framing) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let frame: Value = serde_json::from_str(line).expect("a frame is JSON");
        let event = frame.get("event").and_then(Value::as_str);
        let data = match &frame["data"] {
            Value::String(text) => text.clone().into_bytes(),
            other => serde_json::to_vec(other).expect("JSON"),
        };
        match framing {
            Framing::EventStream => {
                let exception = frame.get("exception").and_then(Value::as_bool).unwrap_or(false);
                event_stream::write(event.expect("an event type"), exception, &data, &mut out);
            }
            Framing::Sse | Framing::JsonArray => sse::write(event, &data, &mut out),
        }
    }
    out
}
