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
        "response.output_text.delta"
        | "response.text.delta"
        | "response.output_audio_transcript.delta"
        | "response.audio_transcript.delta"
        | "response.function_call_arguments.delta"
        | "response.mcp_call_arguments.delta" => (0, 1),
        _ => (0, 0),
    }
}

/// How long an answer may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Longest {
    /// So many tokens.
    Tokens(u64),
    /// As long as the model can (`"inf"`).
    Model,
}

/// How long an answer may become by an event, where it says so: a `response.create` for itself, an event about the
/// session for all that come.
pub fn longest(event: &Event, text: &[u8]) -> Option<Longest> {
    #[derive(Deserialize)]
    struct Wanted {
        #[serde(default)]
        max_output_tokens: Value,
        #[serde(default)]
        max_response_output_tokens: Value,
    }
    #[derive(Deserialize)]
    struct Top {
        #[serde(default)]
        response: Option<Wanted>,
        #[serde(default)]
        session: Option<Wanted>,
    }
    let top = serde_json::from_slice::<Top>(text).ok()?;
    let wanted = if event.asks() { top.response } else { top.session }?;
    [wanted.max_output_tokens, wanted.max_response_output_tokens].iter().find_map(|one| match one {
        Value::String(word) if word == "inf" => Some(Longest::Model),
        Value::Number(number) => number.as_u64().map(Longest::Tokens),
        _ => None,
    })
}

/// The answer that an event of the model's is of: the `id` of its `response`, or the one that it names.
pub fn answer_of(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(default)]
        id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Top {
        #[serde(default)]
        response: Option<Response>,
        #[serde(default)]
        response_id: Option<String>,
    }
    let top = serde_json::from_slice::<Top>(text).ok()?;
    top.response.and_then(|response| response.id).or(top.response_id)
}

/// The client's event that an `error` of the provider's is about, where it says so.
pub fn error_about(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(default)]
        event_id: Option<String>,
    }
    #[derive(Deserialize)]
    struct Top {
        error: Told,
    }
    serde_json::from_slice::<Top>(text).ok()?.error.event_id
}

/// How an answer ended, as its `response.done` tells.
#[derive(Debug, Default)]
pub struct Done {
    /// What it used, where that is told.
    pub usage: Option<Usage>,
    /// It failed.
    pub has_failed: bool,
    /// It is part of no conversation: the next answers do not read it.
    pub is_aside: bool,
}

/// Reads a `response.done`.
pub fn done(text: &[u8]) -> Done {
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
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
        input_token_details: Option<Details>,
        output_token_details: Option<Details>,
    }
    #[derive(Deserialize)]
    struct Response {
        #[serde(default)]
        usage: Option<Told>,
        #[serde(default)]
        status: Option<String>,
        #[serde(default, deserialize_with = "there")]
        conversation_id: Option<Option<String>>,
    }
    #[derive(Deserialize)]
    struct Top {
        response: Response,
    }
    /// Tells `null` from nothing.
    fn there<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
        Option::deserialize(from).map(Some)
    }
    let Ok(Top { response }) = serde_json::from_slice::<Top>(text) else { return Done::default() };
    let told = response.usage.filter(|told| told.input_tokens.is_some() || told.output_tokens.is_some());
    let usage = told.map(|told| {
        let read = told.input_token_details.unwrap_or_default();
        let cached = read.cached_tokens_details.unwrap_or_default();
        Usage {
            input: told.input_tokens.unwrap_or_default(),
            cache_read: read.cached_tokens,
            // What is read from the cache costs the same whatever it is.
            input_audio: read.audio_tokens.saturating_sub(cached.audio_tokens),
            input_image: read.image_tokens.saturating_sub(cached.image_tokens),
            output: told.output_tokens.unwrap_or_default(),
            output_audio: told.output_token_details.unwrap_or_default().audio_tokens,
            ..Usage::default()
        }
    });
    Done {
        usage,
        has_failed: response.status.as_deref() == Some("failed"),
        is_aside: response.conversation_id == Some(None),
    }
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
        let usage = super::done(done).usage.expect("a usage");
        assert_eq!((usage.input, usage.cache_read, usage.input_audio), (132, 64, 9));
        assert_eq!((usage.output, usage.output_audio), (121, 91));
        for untold in [r#"{"response":{"usage":null}}"#, r#"{"response":{"usage":{}}}"#, "{}"] {
            assert_eq!(super::done(untold.as_bytes()).usage, None, "{untold}");
        }
        let failed = super::done(br#"{"response":{"status":"failed","conversation_id":null}}"#);
        assert!(failed.has_failed && failed.is_aside);
        assert!(!super::done(br#"{"response":{"conversation_id":"conv"}}"#).is_aside);
    }

    #[test]
    fn the_longest_answer_is_told_by_the_response_or_the_session() {
        let longest = |text: &str| {
            let event = Event::of(text.as_bytes()).expect("an event");
            super::longest(&event, text.as_bytes())
        };
        let seven = r#"{"type":"response.create","response":{"max_output_tokens":7}}"#;
        assert_eq!(longest(seven), Some(Longest::Tokens(7)));
        let nine = r#"{"type":"session.update","session":{"max_response_output_tokens":9}}"#;
        assert_eq!(longest(nine), Some(Longest::Tokens(9)));
        let all = r#"{"type":"session.update","session":{"max_output_tokens":"inf"}}"#;
        assert_eq!(longest(all), Some(Longest::Model));
        assert_eq!(longest(r#"{"type":"response.create"}"#), None);
        let strange = r#"{"type":"response.create","session":{"max_output_tokens":1}}"#;
        assert_eq!(longest(strange), None, "a bound that nobody keeps");
    }

    #[test]
    fn events_name_the_answer_that_they_are_of() {
        assert_eq!(answer_of(br#"{"response":{"id":"r1"}}"#).as_deref(), Some("r1"));
        assert_eq!(answer_of(br#"{"response_id":"r2","delta":"x"}"#).as_deref(), Some("r2"));
        assert_eq!(answer_of(b"{}"), None);
        assert_eq!(error_about(br#"{"error":{"event_id":"e1"}}"#).as_deref(), Some("e1"));
        assert_eq!(error_about(br#"{"error":{"event_id":null}}"#), None);
    }
}
