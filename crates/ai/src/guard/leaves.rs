//! The texts of a request, whatever its dialect, found and changed where they stand: everything else of the body stays
//! as it came, byte for byte, fields that nobody here knows included.
//!
//! Read are all strings of the conversation (its messages, standing instructions, documents, what tools and schemas of
//! answers say) but those under names that are the dialects' own machinery: roles, ids, addresses, media, signatures.
//! Below a tool's arguments and results, in schemas and in texts that are JSON themselves, names are the caller's: every
//! name, string and long number is read there. Data in base64 is not.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::leaf_walk::{Step, Token, walk, walk_knowing};
use crate::canon::Error;

/// Whose words a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Voice {
    /// Whoever runs the application.
    System,
    /// The model, earlier.
    Model,
    /// Whoever asks, and what tools and documents say: nobody vouches for it.
    Caller,
}

/// A text of a request.
#[derive(Debug)]
pub struct Leaf<'t> {
    /// The text.
    pub text: Cow<'t, str>,
    /// Whose words it is.
    pub voice: Voice,
    /// Where it is from.
    pub part: Part,
}

/// What a text is of that which a model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole of it.
    Whole,
    /// A name, a string or a number of a text that is JSON.
    Piece,
    /// The text itself whose pieces were shown before, signs of JSON and all: what is made of several pieces is seen in
    /// it alone. It stays as it is.
    Frame,
}

/// Digits from which a number may be somebody's.
const NUMBER_BYTES_MIN: usize = 9;

/// Whether a name is one of what is not a text. Compared by length first, as the compiler does it for a match.
fn is_machinery(name: &str) -> bool {
    matches!(
        name,
        "type"
            | "role"
            | "id"
            | "name"
            | "model"
            | "tool_use_id"
            | "tool_call_id"
            | "toolUseId"
            | "call_id"
            | "item_id"
            | "format"
            | "mimeType"
            | "mime_type"
            | "media_type"
            | "mediaType"
            | "url"
            | "image_url"
            | "imageUrl"
            | "file_id"
            | "file_uri"
            | "fileUri"
            | "uri"
            | "s3Location"
            | "detail"
            | "cache_control"
            | "cachePoint"
            | "signature"
            | "thoughtSignature"
            | "thought_signature"
            | "encrypted_content"
            | "redactedContent"
            | "status"
            | "index"
            | "language"
            | "server_label"
            | "phase"
    )
}

/// Names below which every name is the caller's own.
const FREE: [&str; 7] = ["input", "args", "response", "json", "arguments", "parameters", "variables"];
/// What a tool says of itself beside its schema.
const OF_TOOLS: [&str; 5] = ["description", "title", "definition", "instructions", "server_description"];
/// Whole arguments that a tool shows.
const EXAMPLES: &str = "input_examples";
/// Schemas, whose names, values and descriptions a model reads.
const SCHEMAS: [&str; 9] = [
    "parameters",
    "parametersJsonSchema",
    "parameters_json_schema",
    "input_schema",
    "inputSchema",
    "schema",
    "responseSchema",
    "responseJsonSchema",
    "response_schema",
];
/// Words of JSON Schema, which say nothing of their own.
const WORDS_OF_SCHEMAS: [&str; 16] = [
    "object",
    "string",
    "number",
    "integer",
    "boolean",
    "array",
    "null",
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "description",
    "OBJECT",
    "STRING",
    "ARRAY",
];

/// What a part of the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    /// Nothing to read.
    Outside,
    /// The list of messages.
    Conversation,
    /// Text.
    Text,
    /// Arguments and results of tools.
    Free,
    /// What the model may call, and the form of its answers: what is said of them is read, and their schemas.
    Tools,
    /// A schema.
    Schema,
}

/// What is known of a place.
#[derive(Debug, Clone, Copy)]
struct Known {
    area: Area,
    /// Texts there may be JSON themselves.
    is_arguments: bool,
}

/// What is known of what stands behind a step from a place.
fn below(of: Known, way: &[Step<'_>], step: &Step<'_>) -> Known {
    let key = match step {
        Step::Key(key) => &**key,
        // Items are what their list is; the top of a body is none.
        Step::Item(_) => {
            let area = match of.area {
                Area::Conversation => Area::Text,
                _ if way.is_empty() => Area::Outside,
                other => other,
            };
            return Known { area, ..of };
        }
    };
    let area = match of.area {
        Area::Outside if way.is_empty() => top(key),
        Area::Outside | Area::Free | Area::Schema => of.area,
        Area::Tools if SCHEMAS.contains(&key) => Area::Schema,
        Area::Tools if key == EXAMPLES => Area::Free,
        Area::Tools if OF_TOOLS.contains(&key) => Area::Text,
        Area::Tools => Area::Tools,
        Area::Conversation | Area::Text if FREE.contains(&key) => Area::Free,
        Area::Text if key == EXAMPLES && are_tools(way) => Area::Free,
        Area::Text if SCHEMAS.contains(&key) && are_tools(way) => Area::Schema,
        // The grammar of a tool, which it is called by.
        Area::Text if key == "format" && are_tools(way) => Area::Text,
        Area::Conversation | Area::Text if is_machinery(key) => Area::Outside,
        Area::Conversation | Area::Text => Area::Text,
    };
    Known { area, is_arguments: matches!(key, "arguments" | "output" | "content" | "text" | "input") }
}

/// Whether a place is one of tools that are named in the conversation: they say there what others say beside it.
fn are_tools(way: &[Step<'_>]) -> bool {
    way.iter().any(|step| matches!(step, Step::Key(key) if key == "tools"))
}

/// What stands under a name of the body's own.
fn top(key: &str) -> Area {
    match key {
        "messages" | "contents" => Area::Conversation,
        // The conversation of Responses, or the texts of embeddings.
        "input" => Area::Conversation,
        "system" | "instructions" | "systemInstruction" | "system_instruction" | "prompt" | "prediction"
        | "documents" | "texts" | "inputs" | "content" | "query" | "message" | "suffix" => Area::Text,
        // What a client says in a Realtime conversation.
        "item" | "session" => Area::Text,
        "response" => Area::Text,
        "tools" | "functions" | "toolConfig" | "tool_config" => Area::Tools,
        // The form of the answer, in all dialects' words.
        "response_format" | "text" | "generationConfig" | "generation_config" | "output_config"
        | "output_format" | "outputConfig" => Area::Tools,
        _ => Area::Outside,
    }
}

/// A text that was found, not yet read.
struct Spot {
    at: std::ops::Range<usize>,
    message: Option<usize>,
    is_system: bool,
    /// Text that is itself JSON.
    is_arguments: bool,
    kind: Token,
}

/// Shows every text of a body to `each`, and puts what it answers in its place. `None` when nothing was changed.
pub fn edit(body: &[u8], each: impl FnMut(&Leaf<'_>) -> Option<String>) -> Result<Option<Vec<u8>>, Error> {
    Ok(Leaves::of(body)?.edit(each))
}

/// The texts of a body, found.
pub struct Leaves<'b> {
    body: &'b str,
    spots: Vec<Spot>,
    /// Whose the messages are.
    roles: Vec<Option<Voice>>,
}

impl<'b> Leaves<'b> {
    /// Finds the texts of a body.
    pub fn of(body: &'b [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(body).map_err(|_| Error::invalid("", "the body is not UTF-8"))?;
        let mut spots = Vec::new();
        let mut roles: Vec<Option<Voice>> = Vec::new();
        let outside = Known { area: Area::Outside, is_arguments: false };
        walk_knowing(text, outside, below, |steps, known, value| {
            let message = match steps {
                [Step::Key(list), Step::Item(index), ..] if is_list(list) => Some(*index),
                _ => None,
            };
            if let [_, Step::Item(index), Step::Key(key)] = steps
                && message.is_some()
                && value.kind == Token::Text
                && key == "role"
            {
                // A list has no more items than the body has bytes.
                roles.resize(roles.len().max(index + 1), None);
                roles[*index] = Some(voice(&text[value.at.clone()]));
            }
            let is_long = || value.at.len() >= NUMBER_BYTES_MIN;
            let wanted = match (known.area, value.kind) {
                (Area::Outside | Area::Tools, _) => false,
                (Area::Text | Area::Conversation, kind) => kind == Token::Text,
                (Area::Free, Token::Number) => is_long(),
                (Area::Free, Token::Text | Token::Name) => true,
                (Area::Schema, Token::Number) => is_long(),
                (Area::Schema, Token::Text | Token::Name) => !is_word_of_schemas(&text[value.at.clone()]),
            };
            if wanted {
                spots.push(Spot {
                    at: value.at,
                    message,
                    is_system: message.is_none()
                        && matches!(steps.first(), Some(Step::Key(top)) if is_standing(top)),
                    is_arguments: known.is_arguments && value.kind == Token::Text,
                    kind: value.kind,
                });
            }
        })
        .ok_or_else(|| Error::invalid("", "the body's values lie too deep in each other"))?;
        Ok(Self { body: text, spots, roles })
    }

    /// Shows every text to `each`, and puts what it answers in its place. `None` when nothing was changed.
    pub fn edit(&self, mut each: impl FnMut(&Leaf<'_>) -> Option<String>) -> Option<Vec<u8>> {
        let text = self.body;
        let mut out: Vec<u8> = Vec::new();
        let mut from = 0;
        for spot in &self.spots {
            let known = spot.message.and_then(|index| self.roles.get(index).copied().flatten());
            let voice = known.unwrap_or(if spot.is_system { Voice::System } else { Voice::Caller });
            if let Some(written) = changed(&text[spot.at.clone()], spot, voice, &mut each) {
                out.extend_from_slice(&text.as_bytes()[from..spot.at.start]);
                out.extend_from_slice(written.as_bytes());
                from = spot.at.end;
            }
        }
        if from == 0 {
            return None;
        }
        out.extend_from_slice(&text.as_bytes()[from..]);
        Some(out)
    }
}

/// Whether a string, in its quotes, is a word of JSON Schema.
fn is_word_of_schemas(raw: &str) -> bool {
    raw.get(1..raw.len().saturating_sub(1)).is_some_and(|word| WORDS_OF_SCHEMAS.contains(&word))
}

fn is_list(key: &str) -> bool {
    matches!(key, "messages" | "contents" | "input")
}

fn is_standing(key: &str) -> bool {
    matches!(
        key,
        "system"
            | "instructions"
            | "systemInstruction"
            | "system_instruction"
            | "tools"
            | "functions"
            | "response_format"
            | "text"
    )
}

fn voice(role: &str) -> Voice {
    match role.trim_matches('"') {
        "system" | "developer" => Voice::System,
        "assistant" | "model" => Voice::Model,
        _ => Voice::Caller,
    }
}

/// What is to stand in the place of a value, as JSON.
fn changed(
    raw: &str,
    spot: &Spot,
    voice: Voice,
    each: &mut impl FnMut(&Leaf<'_>) -> Option<String>,
) -> Option<String> {
    let part = Part::Whole;
    if spot.kind == Token::Number {
        let leaf = Leaf { text: Cow::Borrowed(raw), voice, part };
        return each(&leaf).map(|text| quoted(&text));
    }
    let text = unquoted(raw)?;
    if is_base64(&text) {
        return None;
    }
    if spot.is_arguments
        && let Some(edited) = edit_json(&text, voice, each)
    {
        return edited.map(|text| quoted(&text));
    }
    each(&Leaf { text, voice, part }).map(|text| quoted(&text))
}

/// Shows every name, text and long number of a JSON text to `each`, and puts what it answers in its place; then the text
/// as it was. `None` when the text is no object or list; `Some(None)` when nothing was changed.
pub fn edit_json(
    text: &str,
    voice: Voice,
    each: &mut impl FnMut(&Leaf<'_>) -> Option<String>,
) -> Option<Option<String>> {
    let is_container = text.trim_start().starts_with(['{', '[']);
    if !is_container || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return None;
    }
    let mut out = String::new();
    let mut from = 0;
    walk(text, |_, value| {
        let raw = &text[value.at.clone()];
        let leaf = match value.kind {
            Token::Text | Token::Name => unquoted(raw),
            Token::Number => (raw.len() >= NUMBER_BYTES_MIN).then_some(Cow::Borrowed(raw)),
        };
        let Some(leaf) = leaf else { return };
        if let Some(changed) = each(&Leaf { text: leaf, voice, part: Part::Piece }) {
            out.push_str(&text[from..value.at.start]);
            out.push_str(&quoted(&changed));
            from = value.at.end;
        }
    })?;
    each(&Leaf { text: Cow::Borrowed(text), voice, part: Part::Frame });
    if from == 0 {
        return Some(None);
    }
    out.push_str(&text[from..]);
    Some(Some(out))
}

/// Shows every name, string and long number of a JSON body to `each`; `None` is one that cannot be read. Tells whether the
/// body is JSON.
pub fn strings(body: &[u8], mut each: impl FnMut(Option<&str>)) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return false;
    }
    let walked = walk(text, |_, value| {
        let Some(raw) = text.get(value.at.clone()) else { return };
        match value.kind {
            Token::Text | Token::Name => each(unquoted(raw).as_deref()),
            Token::Number if raw.len() >= NUMBER_BYTES_MIN => each(Some(raw)),
            Token::Number => {}
        }
    });
    walked.is_some()
}

fn unquoted(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_some() {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Bytes from which a text without a space may be data.
const BASE64_BYTES_MIN: usize = 512;

fn is_base64(text: &str) -> bool {
    let data = match text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((kind, data)) if kind.len() <= KIND_BYTES_MAX && kind.bytes().all(is_kind) => data,
        Some(_) => return false,
        None => text,
    };
    // Words have small letters alone, and are parted by lines or hyphens where not by spaces.
    let has = |wanted: fn(&u8) -> bool| data.as_bytes().iter().any(wanted);
    data.len() >= BASE64_BYTES_MIN
        && data.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte))
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
}

/// Bytes of a media type in a data URL, at most.
const KIND_BYTES_MAX: usize = 127;

fn is_kind(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&-^_.+/;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Vec<(String, Voice)> {
        let mut all = Vec::new();
        edit(body.as_bytes(), |leaf| {
            all.push((leaf.text.clone().into_owned(), leaf.voice));
            None
        })
        .expect("JSON");
        all
    }

    fn shouted(body: &str) -> String {
        let edited = edit(body.as_bytes(), |leaf| {
            leaf.text.contains("me@x.org").then(|| leaf.text.replace("me@x.org", "\"M\""))
        });
        edited.expect("JSON").map_or_else(|| body.to_owned(), |body| String::from_utf8(body).expect("text"))
    }

    #[test]
    fn texts_of_every_dialect_are_found_and_its_machinery_is_not() {
        for (dialect, body, want) in [
            (
                "openai-chat",
                r#"{"model":"m","user":"u","messages":[{"role":"system","content":"s"},{"content":[{"type":"text","text":"t"},{"type":"image_url","image_url":{"url":"http://u"}}],"role":"user"},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":\"arg\",\"n\":4111111111111111}"}}]},{"role":"tool","tool_call_id":"c","content":"r"}],"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}]}"#,
                &[
                    "s/System",
                    "t/Caller",
                    "a/Model",
                    "arg/Model",
                    "n/Model",
                    "4111111111111111/Model",
                    "{\"a\":\"arg\",\"n\":4111111111111111}/Model",
                    "r/Caller",
                    "d/System",
                ][..],
            ),
            (
                "openai-responses",
                r#"{"instructions":"s","input":[{"role":"user","content":[{"type":"input_text","text":"t"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{\"a\":\"arg\"}"},{"type":"function_call_output","call_id":"c","output":"r"}]}"#,
                &["s/System", "t/Caller", "a/Caller", "arg/Caller", "{\"a\":\"arg\"}/Caller", "r/Caller"],
            ),
            ("openai-responses", r#"{"input":"t"}"#, &["t/Caller"]),
            (
                "anthropic",
                r#"{"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"r"}]},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"doc text"},"title":"ti"}]},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"name":"arg","deep":[{"url":"u"}]}},{"type":"thinking","thinking":"th","signature":"sig"}]}]}"#,
                &[
                    "s/System",
                    "r/Caller",
                    "doc text/Caller",
                    "ti/Caller",
                    "name/Model",
                    "arg/Model",
                    "deep/Model",
                    "url/Model",
                    "u/Model",
                    "th/Model",
                ],
            ),
            (
                "gemini",
                r#"{"systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"t"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":"arg"}},"thoughtSignature":"x"}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"id":"r"}}}]}]}"#,
                &["s/System", "t/Caller", "AA==/Caller", "a/Model", "arg/Model", "id/Caller", "r/Caller"],
            ),
            (
                "bedrock",
                r#"{"system":[{"text":"s"}],"messages":[{"role":"user","content":[{"toolResult":{"toolUseId":"c","content":[{"json":{"type":"r"}},{"text":"t"}],"status":"success"}}]},{"role":"assistant","content":[{"toolUse":{"toolUseId":"c","name":"f","input":{"a":"arg"}}}]}]}"#,
                &["s/System", "type/Caller", "r/Caller", "t/Caller", "a/Model", "arg/Model"],
            ),
            (
                "cohere",
                r#"{"messages":[{"role":"assistant","tool_plan":"p","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":\"arg\"}"}}]},{"role":"user","content":"t"}],"documents":[{"data":{"title":"doc"},"id":"1"}]}"#,
                &["p/Model", "a/Model", "arg/Model", "{\"a\":\"arg\"}/Model", "t/Caller", "doc/Caller"],
            ),
            (
                "schemas",
                r#"{"tools":[{"function":{"name":"f","parameters":{"type":"object","properties":{"p":{"enum":["e"],"default":"de"}}}}}],"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"const":4111111111111111}}},"generationConfig":{"responseMimeType":"m","responseSchema":{"title":"ti"}}}"#,
                &[
                    "p/System",
                    "e/System",
                    "default/System",
                    "de/System",
                    "d/System",
                    "const/System",
                    "4111111111111111/System",
                    "title/Caller",
                    "ti/Caller",
                ],
            ),
            (
                "tools of the conversation",
                r#"{"input":[{"type":"additional_tools","tools":[{"type":"custom","name":"t","format":{"type":"grammar","syntax":"lark","definition":"g"}},{"type":"function","name":"f","parameters":{"type":"object","properties":{"p":{}}}},{"input_schema":{"properties":{"q":{"type":"string"}}},"input_examples":[{"k":"v"}]}]}]}"#,
                &[
                    "lark/Caller",
                    "g/Caller",
                    "type/Caller",
                    "object/Caller",
                    "properties/Caller",
                    "p/Caller",
                    "q/Caller",
                    "k/Caller",
                    "v/Caller",
                ],
            ),
            (
                "what tools say beside their schemas",
                r#"{"tools":[{"name":"t","input_schema":{"type":"object"},"input_examples":[{"city":"c"}]},{"type":"mcp","server_label":"l","server_url":"u","server_description":"sd"}]}"#,
                &["city/System", "c/System", "sd/System"],
            ),
            (
                "others",
                r#"{"query":"q","prompt":{"id":"i","variables":{"url":"v"}},"suffix":"su"}"#,
                &["q/Caller", "url/Caller", "v/Caller", "su/Caller"],
            ),
        ] {
            let found: Vec<String> =
                texts(body).into_iter().map(|(text, voice)| format!("{text}/{voice:?}")).collect();
            assert_eq!(found, want, "{dialect}");
        }
    }

    #[test]
    fn only_what_is_changed_is_written_anew() {
        let body = r#" {"odd" : 1.50,"messages":[ {"role":"user","content":"to me\u0040x.org \u00e9","new":{ }} , {"role":"assistant","tool_calls":[{"function":{"arguments":"{ \"to\" : \"me@x.org\", \"n\":1.0 }"}}]}] } "#;
        let want = r#" {"odd" : 1.50,"messages":[ {"role":"user","content":"to \"M\" é","new":{ }} , {"role":"assistant","tool_calls":[{"function":{"arguments":"{ \"to\" : \"\\\"M\\\"\", \"n\":1.0 }"}}]}] } "#;
        assert_eq!(shouted(body), want);
        let clean = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
        assert!(edit(clean.as_bytes(), |_| None).is_ok_and(|edited| edited.is_none()));
    }

    #[test]
    fn deep_bodies_are_refused() {
        let body = format!("{{\"messages\":{}{}}}", "[".repeat(300), "]".repeat(300));
        assert!(edit(body.as_bytes(), |_| None).is_err());
    }
}
