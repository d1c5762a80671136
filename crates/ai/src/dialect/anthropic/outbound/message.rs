//! Writes turns, block by block.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    canon::{CacheMark, Citation, Feature, Losses, Part, Proof, ProofKind, Source},
    dialect::anthropic::{
        DIALECT, citation, input_value,
        thinking::is_dropped,
        turns::{Piece, Speaker, Turn, call_id, settled},
    },
};

/// Most cache marks in one request.
const CACHE_MARKS_MAX: usize = 4;

/// Writes blocks, and notes what they cannot hold.
pub(super) struct Blocks<'a> {
    pub(super) losses: &'a mut Losses,
    marks: usize,
}

pub(super) fn write_system(pieces: &[Piece<'_>], blocks: &mut Blocks<'_>) -> Option<Value> {
    let content = blocks.content(pieces, Speaker::System);
    (!content.is_empty()).then(|| plain(content))
}

pub(super) fn write_turns(turns: &[Turn<'_>], blocks: &mut Blocks<'_>) -> Value {
    let written =
        turns.iter().map(|turn| (turn.speaker, blocks.content(&turn.pieces, turn.speaker))).collect();
    let settled = settled(written, &json!({"type": "text", "text": "."}));
    let turn = |(speaker, content): (Speaker, Vec<Value>)| json!({"role": speaker.role(), "content": plain(content)});
    let mut written: Vec<Value> = settled.into_iter().map(turn).collect();
    trim_last(written.last_mut());
    written.into()
}

/// One text of which nothing else is said is written as such, anything else as blocks.
fn plain(mut content: Vec<Value>) -> Value {
    if let [Value::Object(block)] = content.as_mut_slice()
        && block.len() == 2
        && block.get("type").is_some_and(|kind| kind == "text")
        && let Some(text) = block.get_mut("text")
    {
        return text.take();
    }
    content.into()
}

/// What the model shall go on from must not end in white space.
pub(in crate::dialect) fn trim_last(last: Option<&mut Value>) {
    let Some(last) = last.filter(|last| last.get("role").is_some_and(|role| role == "assistant")) else {
        return;
    };
    let Some(content) = last.get_mut("content") else { return };
    let text = match content {
        Value::Array(blocks) => blocks.last_mut().and_then(|block| block.get_mut("text")),
        text => Some(text),
    };
    if let Some(Value::String(text)) = text {
        text.truncate(text.trim_end().len());
    }
}

impl<'a> Blocks<'a> {
    pub(super) fn new(losses: &'a mut Losses) -> Self {
        Self { losses, marks: 0 }
    }

    /// Marks a block for the prompt cache.
    pub(super) fn mark(&mut self, value: &mut Value, cache: Option<&CacheMark>, place: &str) {
        let Some(cache) = cache else { return };
        if self.marks >= CACHE_MARKS_MAX {
            return self.losses.feature_at(Feature::CacheMark, place);
        }
        self.marks += 1;
        value["cache_control"] = json!({"type": "ephemeral"});
        if let Some(ttl) = cache.ttl.as_deref().filter(|ttl| matches!(*ttl, "5m" | "1h")) {
            value["cache_control"]["ttl"] = ttl.into();
        }
    }

    fn content(&mut self, pieces: &[Piece<'_>], speaker: Speaker) -> Vec<Value> {
        let write = |(index, part): &Piece<'_>| self.block(part, speaker, &format!("messages[{index}]"));
        pieces.iter().filter_map(write).collect()
    }

    fn lost(&mut self, feature: Feature, place: &str) -> Option<Value> {
        self.losses.feature_at(feature, place);
        None
    }

    fn block(&mut self, part: &Part, speaker: Speaker, place: &str) -> Option<Value> {
        let system = speaker == Speaker::System;
        match part {
            Part::Text { text, cache, citations, .. } => {
                let mut value = json!({"type": "text", "text": text});
                self.cite(&mut value, citations, place);
                self.mark(&mut value, cache.as_ref(), place);
                Some(value)
            }
            Part::Refusal { text } => Some(json!({"type": "text", "text": text})),
            Part::Image { .. } if speaker != Speaker::User => self.lost(Feature::Image, place),
            Part::Document { .. } if speaker != Speaker::User => self.lost(Feature::Document, place),
            Part::Image { .. } | Part::Document { .. } => self.media(part, place),
            Part::Audio { transcript: Some(text), .. } if speaker == Speaker::Assistant => {
                Some(json!({"type": "text", "text": text}))
            }
            Part::Audio { .. } => self.lost(Feature::Audio, place),
            Part::Video { .. } => self.lost(Feature::Video, place),
            Part::Thinking { proof: Some(proof), text } if !is_dropped(part) => Some(thought(text, proof)),
            Part::Thinking { .. } => self.lost(Feature::ForeignThoughts, place),
            Part::ToolCall { id, name, arguments, custom, cache, .. } => {
                let input = input_value(arguments, *custom);
                let mut value = json!({"type": "tool_use", "id": call_id(id), "name": name, "input": input});
                self.mark(&mut value, cache.as_ref(), place);
                Some(value)
            }
            Part::ToolResult { .. } => self.result(part, place),
            Part::Vendor { dialect, value } if *dialect == DIALECT && !system => Some(value.clone()),
            Part::Vendor { .. } => self.lost(Feature::VendorPart, place),
        }
    }

    fn cite(&mut self, value: &mut Value, citations: &[Citation], place: &str) {
        let own: Vec<&Value> = citations.iter().filter_map(citation::own).collect();
        if own.len() < citations.len() {
            self.losses.feature_at(Feature::Citations, place);
        }
        if !own.is_empty() {
            value["citations"] = json!(own);
        }
    }

    fn result(&mut self, part: &Part, place: &str) -> Option<Value> {
        let Part::ToolResult { id, content, is_error, cache, .. } = part else { return None };
        let mut value = json!({"type": "tool_result", "tool_use_id": call_id(id)});
        match content.as_slice() {
            [] => {}
            [Part::Text { text, cache: None, .. }] => value["content"] = text.as_str().into(),
            parts => {
                let told =
                    parts.iter().filter(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
                let blocks: Vec<Value> =
                    told.filter_map(|part| self.block(part, Speaker::User, place)).collect();
                value["content"] = blocks.into();
            }
        }
        if *is_error {
            value["is_error"] = true.into();
        }
        self.mark(&mut value, cache.as_ref(), place);
        Some(value)
    }

    fn media(&mut self, part: &Part, place: &str) -> Option<Value> {
        match part {
            Part::Image { source, detail, cache } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.losses.feature_at(Feature::ImageDetail, place);
                }
                let Some(source) = image_source(source) else {
                    let feature =
                        if matches!(source, Source::File { .. }) { Feature::File } else { Feature::Image };
                    return self.lost(feature, place);
                };
                let mut value = json!({"type": "image", "source": source});
                self.mark(&mut value, cache.as_ref(), place);
                Some(value)
            }
            Part::Document { source, name, context, citable, cache } => {
                let Some(source) = document_source(source) else {
                    let feature =
                        if matches!(source, Source::File { .. }) { Feature::File } else { Feature::Document };
                    return self.lost(feature, place);
                };
                let mut value = json!({"type": "document", "source": source});
                if let Some(name) = name {
                    value["title"] = name.as_str().into();
                }
                if let Some(context) = context {
                    value["context"] = context.as_str().into();
                }
                if *citable {
                    value["citations"] = json!({"enabled": true});
                }
                self.mark(&mut value, cache.as_ref(), place);
                Some(value)
            }
            _ => None,
        }
    }
}

/// A thought of Claude's own.
fn thought(text: &str, proof: &Proof) -> Value {
    match proof.kind {
        ProofKind::Encrypted => json!({"type": "redacted_thinking", "data": proof.value}),
        ProofKind::Signature | ProofKind::Mark => {
            json!({"type": "thinking", "thinking": text, "signature": proof.value})
        }
    }
}

fn image_source(source: &Source) -> Option<Value> {
    match source {
        Source::Inline { media_type, data } => {
            let media_type = if media_type == "image/jpg" { "image/jpeg" } else { media_type };
            let taken = ["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&media_type);
            taken.then(|| json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        Source::Text { .. } => None,
        other => elsewhere(other),
    }
}

fn document_source(source: &Source) -> Option<Value> {
    let plain = |text: &str| json!({"type": "text", "media_type": "text/plain", "data": text});
    match source {
        Source::Inline { media_type, data } if media_type == "application/pdf" => {
            Some(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        // Every other document that can be read is plain text here.
        Source::Inline { media_type, data } => {
            let readable = media_type.starts_with("text/") || media_type == "application/json";
            let bytes = readable.then(|| STANDARD.decode(data).ok()).flatten()?;
            String::from_utf8(bytes).ok().map(|text| plain(&text))
        }
        Source::Text { text } => Some(plain(text)),
        other => elsewhere(other),
    }
}

/// What is on the web, or in Anthropic's own file store, whose ids begin with `file_`.
fn elsewhere(source: &Source) -> Option<Value> {
    match source {
        Source::Url { url, .. } if url.starts_with("https://") || url.starts_with("http://") => {
            Some(json!({"type": "url", "url": url}))
        }
        Source::File { id } if id.starts_with("file_") => Some(json!({"type": "file", "file_id": id})),
        _ => None,
    }
}
