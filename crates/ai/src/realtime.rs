//! Events of a Realtime conversation (OpenAI's): what the gateway must know of those that pass, and those that it says
//! itself.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::canon::Usage;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type.
    pub kind: String,
    /// The id that its sender gave it.
    pub id: Option<String>,
}

/// Characters of base64 that a token of sound is about, as the models hear it: a tenth of a second, 24,000 samples a
/// second, two bytes each.
const HEARD_CHARACTERS: u64 = 6400;
/// The same of what they say: a twentieth of a second.
const SPOKEN_CHARACTERS: u64 = 3200;

impl Event {
    /// Reads an event over. `None` when it is none, or could be read in two ways.
    pub fn of(text: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Top<'a> {
            #[serde(borrow, rename = "type")]
            kind: Cow<'a, str>,
            #[serde(borrow, default)]
            event_id: Option<Cow<'a, str>>,
        }
        let top: Top<'_> = serde_json::from_slice(text).ok()?;
        Some(Self { kind: top.kind.into_owned(), id: top.event_id.map(Cow::into_owned) })
    }

    /// Whether a model is asked to answer by it.
    pub fn asks(&self) -> bool {
        self.kind == "response.create"
    }

    /// Whether it has words that a rule may read.
    pub fn has_words(&self) -> bool {
        matches!(
            &*self.kind,
            "response.create"
                | "conversation.item.create"
                | "session.update"
                | "transcription_session.update"
        )
    }
}

/// Tokens of the prompt that a client's event may add.
pub fn heard(event: &Event, text: &[u8]) -> u64 {
    let length = text.len() as u64;
    match &*event.kind {
        // Other codings have fewer bytes for the same time.
        "input_audio_buffer.append" => length.div_ceil(HEARD_CHARACTERS / 6),
        _ => length.div_ceil(3),
    }
}

/// Tokens of sound and of text that an event of the model's answer holds, about.
pub fn said(event: &Event, text: &[u8]) -> (u64, u64) {
    match &*event.kind {
        "response.output_audio.delta" | "response.audio.delta" => {
            ((text.len() as u64).div_ceil(SPOKEN_CHARACTERS), 0)
        }
        "response.output_text.delta" | "response.text.delta" | "response.function_call_arguments.delta" => {
            (0, 1)
        }
        _ => (0, 0),
    }
}

/// The longest answer that an event asks for, where it says so.
pub fn max_output(text: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Wanted {
        #[serde(default)]
        max_output_tokens: Value,
        #[serde(default)]
        max_response_output_tokens: Value,
    }
    #[derive(Deserialize)]
    struct Top {
        #[serde(alias = "session")]
        response: Wanted,
    }
    let wanted = serde_json::from_slice::<Top>(text).ok()?.response;
    let tokens = wanted.max_output_tokens.as_u64();
    tokens.or_else(|| wanted.max_response_output_tokens.as_u64())
}

/// What a `response.done` tells of its usage.
pub fn usage(text: &[u8]) -> Option<Usage> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Details {
        cached_tokens: u64,
        audio_tokens: u64,
        image_tokens: u64,
        cached_tokens_details: Option<Box<Details>>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Told {
        input_tokens: u64,
        output_tokens: u64,
        input_token_details: Details,
        output_token_details: Details,
    }
    #[derive(Deserialize)]
    struct Response {
        #[serde(default)]
        usage: Option<Told>,
    }
    #[derive(Deserialize)]
    struct Top {
        response: Response,
    }
    let told = serde_json::from_slice::<Top>(text).ok()?.response.usage?;
    let cached = told.input_token_details.cached_tokens_details.unwrap_or_default();
    Some(Usage {
        input: told.input_tokens,
        cache_read: told.input_token_details.cached_tokens,
        // What is read from the cache costs the same whatever it is.
        input_audio: told.input_token_details.audio_tokens.saturating_sub(cached.audio_tokens),
        input_image: told.input_token_details.image_tokens.saturating_sub(cached.image_tokens),
        output: told.output_tokens,
        output_audio: told.output_token_details.audio_tokens,
        ..Usage::default()
    })
}

/// An event that tells the client what the gateway refuses. `about` is the id of the client's event.
pub fn error(kind: &str, code: &str, message: &str, about: Option<&str>) -> Vec<u8> {
    let error = json!({"type": kind, "code": code, "message": message, "param": null, "event_id": about});
    json!({"type": "error", "event_id": "event_tidegate", "error": error}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_known_by_their_type() {
        let event = Event::of(br#"{"a":{"type":"x"},"type":"response.cre\u0061te","event_id":"e1"}"#);
        let event = event.expect("an event");
        assert!(event.asks() && event.has_words());
        assert_eq!(event.id.as_deref(), Some("e1"));
        for odd in ["", "{}", "[]", r#"{"type":1}"#, r#"{"type":"a","type":"response.create"}"#] {
            assert_eq!(Event::of(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn usage_tells_sound_and_what_came_from_the_cache() {
        let done = br#"{"type":"response.done","response":{"usage":{"total_tokens":253,"input_tokens":132,"output_tokens":121,"input_token_details":{"text_tokens":119,"audio_tokens":13,"image_tokens":0,"cached_tokens":64,"cached_tokens_details":{"text_tokens":60,"audio_tokens":4}},"output_token_details":{"text_tokens":30,"audio_tokens":91}}}}"#;
        let usage = usage(done).expect("a usage");
        assert_eq!((usage.input, usage.cache_read, usage.input_audio), (132, 64, 9));
        assert_eq!((usage.output, usage.output_audio), (121, 91));
        assert_eq!(super::usage(br#"{"type":"response.done","response":{"usage":null}}"#), None);
    }

    #[test]
    fn the_longest_answer_is_told_by_the_response_or_the_session() {
        assert_eq!(max_output(br#"{"type":"response.create","response":{"max_output_tokens":7}}"#), Some(7));
        assert_eq!(max_output(br#"{"session":{"max_response_output_tokens":9}}"#), Some(9));
        assert_eq!(max_output(br#"{"session":{"max_output_tokens":"inf"}}"#), None);
        assert_eq!(max_output(br#"{"type":"response.create"}"#), None);
    }
}
