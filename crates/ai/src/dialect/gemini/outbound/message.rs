//! Writes the contents of a request.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    canon::{CacheMark, Error, ErrorKind, Feature, Losses, Message, Part, Proof, ProofKind, Role, Source},
    dialect::{
        anthropic::input_value,
        gemini::{DIALECT, ISSUER, part::media_value},
    },
    rules::{ReasoningRule, Rules},
};

/// What stands for the mark on a call that another model made, by Google's documentation: models that think by level
/// refuse a call of the current turn without one.
const UNMARKED: &str = "skip_thought_signature_validator";

/// What a user says who says nothing: contents begin with a user.
const NOTHING: &str = " ";

pub(super) fn write_contents(
    messages: &[Message],
    rules: &Rules,
    body: &mut Map<String, Value>,
    losses: &mut Losses,
) -> Result<(), Error> {
    let mut writer = Contents { system: Vec::new(), contents: Vec::new(), names: BTreeMap::new(), losses };
    let turn = messages.iter().rposition(|message| message.role == Role::User).unwrap_or(0);
    let marks = matches!(rules.reasoning, ReasoningRule::Effort(_));
    for (index, message) in messages.iter().enumerate() {
        if message.name.is_some() {
            writer.losses.feature_at(Feature::SpeakerName, format_args!("messages[{index}]"));
        }
        match message.role {
            Role::System | Role::Developer => {
                let parts = writer.said(message, index);
                writer.system.extend(parts);
            }
            Role::User => {
                let parts = writer.said(message, index);
                writer.push(Turn::User, parts);
            }
            Role::Assistant => {
                let parts = writer.assistant(message, index, marks && index >= turn);
                writer.push(Turn::Model, parts);
            }
            Role::Tool => {
                let parts = writer.results(message, index)?;
                writer.push(Turn::Results, parts);
            }
        }
    }
    let Contents { mut system, mut contents, .. } = writer;
    match contents.first() {
        Some((Turn::User, _)) => {}
        // Instructions alone are what the user says.
        None if !system.is_empty() => contents.push((Turn::User, std::mem::take(&mut system))),
        Some(_) | None => contents.insert(0, (Turn::User, vec![json!({"text": NOTHING})])),
    }
    let contents: Vec<Value> = contents
        .into_iter()
        .map(|(turn, parts)| json!({"role": if turn == Turn::Model { "model" } else { "user" }, "parts": parts}))
        .collect();
    body.insert("contents".into(), contents.into());
    if !system.is_empty() {
        body.insert("systemInstruction".into(), json!({"parts": system}));
    }
    Ok(())
}

/// Whose turn it is. Results are the user's, but stand apart from what the user says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    User,
    Model,
    Results,
}

struct Contents<'a> {
    system: Vec<Value>,
    contents: Vec<(Turn, Vec<Value>)>,
    /// Names of tools by the ids of their calls.
    names: BTreeMap<String, String>,
    losses: &'a mut Losses,
}

impl Contents<'_> {
    /// Adds a turn, or joins it with the one before; one without parts would be refused.
    fn push(&mut self, turn: Turn, mut parts: Vec<Value>) {
        match self.contents.last_mut() {
            _ if parts.is_empty() => {}
            Some((last, written)) if *last == turn => written.append(&mut parts),
            _ => self.contents.push((turn, parts)),
        }
    }

    fn note(&mut self, feature: Feature, index: usize) {
        self.losses.feature_at(feature, format_args!("messages[{index}]"));
    }

    fn note_cache(&mut self, cache: Option<&CacheMark>, index: usize) {
        if cache.is_some() {
            self.note(Feature::CacheMark, index);
        }
    }

    fn said(&mut self, message: &Message, index: usize) -> Vec<Value> {
        message.parts.iter().filter_map(|part| self.part(part, index)).collect()
    }

    fn part(&mut self, part: &Part, index: usize) -> Option<Value> {
        match part {
            Part::Text { text, cache, .. } => {
                self.note_cache(cache.as_ref(), index);
                (!text.is_empty()).then(|| json!({"text": text}))
            }
            Part::Refusal { text } => (!text.is_empty()).then(|| json!({"text": text})),
            Part::Image { source, detail, cache } => {
                self.note_cache(cache.as_ref(), index);
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.note(Feature::ImageDetail, index);
                }
                self.media(source, "image/jpeg", index)
            }
            Part::Document { source, name, context, citable, cache } => {
                self.note_cache(cache.as_ref(), index);
                if *citable {
                    self.note(Feature::Citations, index);
                }
                if let Source::Text { text } = source {
                    let title =
                        name.iter().chain(context).fold(String::new(), |title, line| title + line + "\n\n");
                    return Some(json!({"text": title + text}));
                }
                if name.is_some() || context.is_some() {
                    self.note(Feature::DocumentContext, index);
                }
                self.media(source, "application/pdf", index)
            }
            Part::Audio { source, .. } => self.media(source, "audio/mpeg", index),
            Part::Video { source } => self.media(source, "video/mp4", index),
            Part::Vendor { dialect: DIALECT, value } => Some(value.clone()),
            Part::Vendor { .. } => {
                self.note(Feature::VendorPart, index);
                None
            }
            // Thoughts and calls are an assistant's, results a tool's: the readers of requests see to that.
            Part::Thinking { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => None,
        }
    }

    fn media(&mut self, source: &Source, fallback: &str, index: usize) -> Option<Value> {
        let value = media_value(source, fallback);
        if value.is_none() {
            self.note(Feature::File, index);
        }
        value
    }

    /// An assistant's turn. Marks stand on the parts that carry them; one that came as a thought without words, for want
    /// of a place, goes back to the part that follows, or stands on an empty text.
    fn assistant(&mut self, message: &Message, index: usize, marks: bool) -> Vec<Value> {
        let mut written = Vec::new();
        let mut waiting: Option<&str> = None;
        let mut marked = !marks;
        for part in &message.parts {
            let (value, mark) = match part {
                Part::Thinking { text, proof } => {
                    let Some(own) = self.own(proof.as_ref(), index) else { continue };
                    let (mark, signature) = match own {
                        Some(proof) if proof.kind == ProofKind::Mark => (Some(proof.value.as_str()), None),
                        own => (None, own.map(|proof| proof.value.as_str())),
                    };
                    if !text.is_empty() || signature.is_some() {
                        written.push(marked_part(json!({"text": text, "thought": true}), signature));
                    }
                    if mark.is_some() {
                        written.extend(std::mem::replace(&mut waiting, mark).map(alone));
                    }
                    continue;
                }
                Part::Text { text, cache, proof, .. } => {
                    self.note_cache(cache.as_ref(), index);
                    let mark = own_mark(proof.as_ref());
                    if text.is_empty() && mark.is_none() {
                        continue;
                    }
                    (json!({"text": text}), mark)
                }
                Part::ToolCall { id, name, arguments, custom, proof, cache } => {
                    self.note_cache(cache.as_ref(), index);
                    self.names.insert(id.clone(), name.clone());
                    let call = json!({"id": id, "name": name, "args": input_value(arguments, *custom)});
                    let fallback = (!std::mem::replace(&mut marked, true)).then_some(UNMARKED);
                    let mark = own_mark(proof.as_ref()).or_else(|| waiting.take()).or(fallback);
                    (json!({"functionCall": call}), mark)
                }
                other => match self.part(other, index) {
                    Some(value) => (value, None),
                    None => continue,
                },
            };
            let mark = match mark {
                Some(mark) => {
                    written.extend(waiting.take().map(alone));
                    Some(mark)
                }
                None => waiting.take(),
            };
            written.push(marked_part(value, mark));
        }
        written.extend(waiting.map(alone));
        written
    }

    /// A thought's own proof, if any; `None` when the thought is another vendor's, whose signature would be refused.
    fn own<'p>(&mut self, proof: Option<&'p Proof>, index: usize) -> Option<Option<&'p Proof>> {
        if proof.is_some_and(|proof| proof.issuer != ISSUER) {
            self.note(Feature::ForeignThoughts, index);
            return None;
        }
        Some(proof)
    }

    fn results(&mut self, message: &Message, index: usize) -> Result<Vec<Value>, Error> {
        let mut written = Vec::with_capacity(message.parts.len());
        for part in &message.parts {
            let Part::ToolResult { id, name, content, is_error, cache, .. } = part else {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("messages[{index}] must hold results alone"),
                ));
            };
            self.note_cache(cache.as_ref(), index);
            let mut text = String::new();
            let mut beside = Vec::new();
            for part in content {
                let Some(value) = self.part(part, index) else { continue };
                match value.get("text").and_then(Value::as_str) {
                    Some(more) => {
                        if !text.is_empty() {
                            text.push('\n');
                        }
                        text.push_str(more);
                    }
                    None => beside.push(value),
                }
            }
            let name = name.as_ref().or_else(|| self.names.get(id)).unwrap_or(id);
            let mut response =
                json!({"id": id, "name": name, "response": response(text, *is_error, &beside)});
            if !beside.is_empty() {
                response["parts"] = beside.into();
            }
            written.push(json!({"functionResponse": response}));
        }
        Ok(written)
    }
}

fn marked_part(mut part: Value, mark: Option<&str>) -> Value {
    if let Some(mark) = mark {
        part["thoughtSignature"] = mark.into();
    }
    part
}

/// A mark without a part of its own, as it ends a stream.
fn alone(mark: &str) -> Value {
    json!({"text": "", "thoughtSignature": mark})
}

fn own_mark(proof: Option<&Proof>) -> Option<&str> {
    proof.filter(|proof| proof.issuer == ISSUER).map(|proof| proof.value.as_str())
}

/// `response` is an object: the tool's own, where it gave one, else a text under the name that Google has for it.
fn response(text: String, is_error: bool, beside: &[Value]) -> Value {
    if is_error {
        return json!({"error": text});
    }
    if text.is_empty() && !beside.is_empty() {
        return json!({});
    }
    match serde_json::from_str(&text) {
        Ok(Value::Object(own)) if !own.contains_key("output") && !own.contains_key("error") => own.into(),
        _ => json!({"output": text}),
    }
}
