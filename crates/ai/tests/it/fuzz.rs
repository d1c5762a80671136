//! Any bytes in every dialect's readers: what the fuzz targets run, and a short run of each.
//!
//! A target is a dialect. The first byte of its input says which reader gets the rest: `0` that of callers' requests,
//! `1` of whole answers, `2` of streams, `3` of errors.
#![allow(unreachable_pub, reason = "`fuzz/` exports them")]

use ai::{
    canon::{Error, Event, events_of},
    dialect::{Dialect, Spoken, Telling},
    peek::Peek,
    rules::{Rules, Target},
    stream::FrameReader,
};
use serde_json::Value;

/// OpenAI Chat Completions.
pub fn openai_chat(bytes: &[u8]) {
    run(Dialect::OpenAiChat, bytes);
}

/// OpenAI Responses.
pub fn openai_responses(bytes: &[u8]) {
    run(Dialect::OpenAiResponses, bytes);
}

/// Anthropic Messages.
pub fn anthropic(bytes: &[u8]) {
    run(Dialect::Anthropic, bytes);
}

/// Gemini.
pub fn gemini(bytes: &[u8]) {
    run(Dialect::Gemini, bytes);
}

/// Bedrock Converse.
pub fn bedrock(bytes: &[u8]) {
    run(Dialect::Bedrock, bytes);
}

/// Cohere Chat.
pub fn cohere(bytes: &[u8]) {
    run(Dialect::Cohere, bytes);
}

fn run(dialect: Dialect, bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind {
        b'0' => request(dialect, bytes),
        b'1' => answer(dialect, bytes),
        b'2' => stream(dialect, bytes),
        _ => error(&dialect.read_error(500, bytes)),
    }
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).is_ok()
}

/// What is read is written in every dialect as JSON, or refused; and what an earlier turn left in it comes out of a
/// body that is one still.
fn request(dialect: Dialect, bytes: &[u8]) {
    if let (Some((out, _)), true) = (ai::sealed::unsealed(dialect, bytes), is_json(bytes)) {
        assert!(is_json(&out), "what is unsealed is no JSON");
    }
    // A number that no reader can hold passes as it is.
    if let (Ok(peek), true) = (Peek::of(bytes), is_json(bytes)) {
        assert!(is_json(&peek.with_model_and_usage(bytes, "m\"")), "another model makes it no JSON");
    }
    let spoken = Spoken { model: Some("m".to_owned()), stream: false };
    let request = match dialect.read_request(&spoken, bytes) {
        Ok(request) => request,
        Err(refused) => return error(&refused),
    };
    let _ = dialect.echo(&request);
    for to in Dialect::ALL {
        match to.write_request(&request, Target { model: "m", rules: &Rules::default() }) {
            Ok(written) => assert!(is_json(&written.body)),
            Err(refused) => error(&refused),
        }
    }
}

/// What is read is told in every dialect, whole and as a stream.
fn answer(dialect: Dialect, bytes: &[u8]) {
    let _ = dialect.peek_usage(bytes);
    let answer = match dialect.read_answer(bytes) {
        Ok(answer) => answer,
        Err(refused) => return error(&refused),
    };
    for to in Dialect::ALL {
        assert!(is_json(&to.write_answer(answer.clone(), &Telling::default())));
    }
    tell(&events_of(answer));
}

/// A stream ends once, wherever its bytes are split, and is told in every dialect.
fn stream(dialect: Dialect, bytes: &[u8]) {
    let read = |pieces: &[&[u8]]| {
        let (mut frames, mut events) = (Vec::new(), Vec::new());
        let (mut splitter, mut reader) =
            (FrameReader::new(dialect.provider_framing()), dialect.stream_reader());
        let is_framed = pieces.iter().all(|piece| splitter.push(piece, &mut frames).is_ok());
        splitter.finish(&mut frames);
        frames.into_iter().for_each(|frame| reader.read(frame, &mut events));
        reader.end(&mut events);
        (is_framed, events)
    };
    let (is_framed, events) = read(&[bytes]);
    let last = events.iter().position(|event| matches!(event, Event::End | Event::Error(_)));
    assert_eq!(last.map(|last| last + 1), Some(events.len()), "{events:#?}");
    if is_framed {
        let (left, right) = bytes.split_at(bytes.len() / 2);
        assert_eq!(read(&[left, right]), (true, events.clone()), "split in the middle");
    }
    tell(&events);
}

fn tell(events: &[Event]) {
    for to in Dialect::ALL {
        let mut writer = to.stream_writer(Telling::default());
        let mut out = Vec::new();
        events.iter().cloned().for_each(|event| writer.write(event, &mut out));
    }
}

fn error(error: &Error) {
    for to in Dialect::ALL {
        assert!(is_json(&to.write_error(error)));
    }
}

#[cfg(test)]
mod short {
    macro_rules! short {
        ($($name:ident),+) => { $(
            #[test]
            fn $name() {
                mutate::fuzz(stringify!($name), super::$name);
            }
        )+ };
    }
    short!(openai_chat, openai_responses, anthropic, gemini, bedrock, cohere);
}
