//! Writes messages.

use serde_json::{Map, Value, json};

use crate::{
    canon::{CacheMark, Error, ErrorKind, Feature, Losses, Message, Part, Proof, ProofKind, Role, Source},
    dialect::openai_chat::ISSUER,
    rules::{Rules, ThoughtsField},
};

pub(super) fn write_messages(
    messages: &[Message],
    rules: &Rules,
    losses: &mut Losses,
) -> Result<Value, Error> {
    let mut written = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        match message.role {
            Role::System => written.push(said("system", message, index, losses)?),
            Role::Developer if rules.developer_role => {
                written.push(said("developer", message, index, losses)?)
            }
            Role::Developer => written.push(said("system", message, index, losses)?),
            Role::User => written.push(said("user", message, index, losses)?),
            Role::Assistant => written.push(assistant(message, index, rules, losses)),
            Role::Tool => results(message, index, &mut written, losses)?,
        }
    }
    Ok(written.into())
}

fn said(role: &str, message: &Message, index: usize, losses: &mut Losses) -> Result<Value, Error> {
    let mut value = json!({"role": role, "content": content(&message.parts, index, losses)?});
    if let Some(name) = &message.name {
        value["name"] = name.as_str().into();
    }
    Ok(value)
}

/// Parts of a message: one text alone is written as such, for some providers take nothing else.
fn content(parts: &[Part], index: usize, losses: &mut Losses) -> Result<Value, Error> {
    if let [Part::Text { text, cache, .. }] = parts {
        if cache.is_some() {
            losses.feature_at(Feature::CacheMark, format_args!("messages[{index}]"));
        }
        return Ok(text.as_str().into());
    }
    let mut written = Vec::with_capacity(parts.len());
    for part in parts {
        written.extend(part_value(part, index, losses)?);
    }
    Ok(written.into())
}

fn note_cache(cache: &Option<CacheMark>, index: usize, losses: &mut Losses) {
    if cache.is_some() {
        losses.feature_at(Feature::CacheMark, format_args!("messages[{index}]"));
    }
}

/// Marks on texts and calls are another vendor's.
fn note_mark(proof: Option<&Proof>, index: usize, losses: &mut Losses) {
    if proof.is_some() {
        losses.feature_at(Feature::ForeignThoughts, format_args!("messages[{index}]"));
    }
}

fn part_value(part: &Part, index: usize, losses: &mut Losses) -> Result<Option<Value>, Error> {
    let place = format_args!("messages[{index}]");
    Ok(match part {
        Part::Text { text, cache, .. } => {
            note_cache(cache, index, losses);
            Some(json!({"type": "text", "text": text}))
        }
        Part::Image { source, detail, cache } => {
            note_cache(cache, index, losses);
            let Some(url) = url_of(source) else {
                losses.feature_at(Feature::File, place);
                return Ok(None);
            };
            let mut image = json!({"url": url});
            if let Some(detail) = detail {
                image["detail"] = detail.as_str().into();
            }
            Some(json!({"type": "image_url", "image_url": image}))
        }
        Part::Document { source, name, context, citable, cache } => {
            note_cache(cache, index, losses);
            if context.is_some() {
                losses.feature_at(Feature::DocumentContext, place);
            }
            if *citable {
                losses.feature_at(Feature::Citations, place);
            }
            document(source, name.as_deref(), index, losses)?
        }
        Part::Audio { source: Source::Inline { media_type, data }, .. } => {
            let format = match media_type.as_str() {
                "audio/mpeg" | "audio/mp3" => "mp3",
                other => other.strip_prefix("audio/").unwrap_or(other).trim_start_matches("x-"),
            };
            Some(json!({"type": "input_audio", "input_audio": {"data": data, "format": format}}))
        }
        Part::Audio { .. } => {
            losses.feature_at(Feature::Audio, place);
            None
        }
        Part::Video { source } => match url_of(source) {
            Some(url) => Some(json!({"type": "video_url", "video_url": {"url": url}})),
            None => {
                losses.feature_at(Feature::Video, place);
                None
            }
        },
        Part::Refusal { text } => Some(json!({"type": "refusal", "refusal": text})),
        Part::Vendor { .. } => {
            losses.feature_at(Feature::VendorPart, place);
            None
        }
        // Thoughts and calls are an assistant's, results a tool's: the readers of requests see to that.
        Part::Thinking { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => None,
    })
}

fn document(
    source: &Source,
    name: Option<&str>,
    index: usize,
    losses: &mut Losses,
) -> Result<Option<Value>, Error> {
    let mut file = Map::new();
    match source {
        Source::Inline { media_type, data } => {
            file.insert("filename".into(), name.unwrap_or("document.pdf").into());
            file.insert("file_data".into(), format!("data:{media_type};base64,{data}").into());
        }
        // A stored file has its name.
        Source::File { id } => {
            if name.is_some() {
                losses.feature_at(Feature::DocumentContext, format_args!("messages[{index}]"));
            }
            file.insert("file_id".into(), id.as_str().into());
        }
        // A document of plain text is a text with its title.
        Source::Text { text } => {
            let text = name.map_or(text.clone(), |name| format!("{name}\n\n{text}"));
            return Ok(Some(json!({"type": "text", "text": text})));
        }
        Source::Url { .. } => {
            losses.feature_at(Feature::Document, format_args!("messages[{index}]"));
            return Ok(None);
        }
    }
    Ok(Some(json!({"type": "file", "file": file})))
}

fn url_of(source: &Source) -> Option<String> {
    match source {
        Source::Inline { media_type, data } => Some(format!("data:{media_type};base64,{data}")),
        Source::Url { url, .. } => Some(url.clone()),
        Source::File { .. } | Source::Text { .. } => None,
    }
}

fn assistant(message: &Message, index: usize, rules: &Rules, losses: &mut Losses) -> Value {
    let mut value = json!({"role": "assistant"});
    let (mut text, mut spoken, mut thoughts) = (String::new(), false, String::new());
    let (mut refusal, mut details, mut calls) = (String::new(), Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { text: more, cache, citations, proof } => {
                note_cache(cache, index, losses);
                note_mark(proof.as_ref(), index, losses);
                if !citations.is_empty() {
                    losses.feature_at(Feature::Citations, format_args!("messages[{index}]"));
                }
                text.push_str(more);
                spoken = true;
            }
            Part::Thinking { text: more, proof } => {
                thoughts.push_str(more);
                let own = proof.as_ref().filter(|proof| proof.issuer == ISSUER);
                if rules.thoughts.is_none() || (own.is_none() && more.is_empty()) {
                    losses.feature_at(Feature::ForeignThoughts, format_args!("messages[{index}]"));
                } else if let Some(proof) = own {
                    let (kind, key) = match proof.kind {
                        ProofKind::Encrypted => ("reasoning.encrypted", "data"),
                        ProofKind::Signature | ProofKind::Mark => ("reasoning.text", "signature"),
                    };
                    let mut detail = json!({"type": kind, "text": more});
                    detail[key] = proof.value.as_str().into();
                    details.push(detail);
                }
            }
            Part::ToolCall { id, name, arguments, custom, cache, proof } => {
                note_cache(cache, index, losses);
                note_mark(proof.as_ref(), index, losses);
                let (kind, key) = if *custom { ("custom", "input") } else { ("function", "arguments") };
                let arguments = if arguments.is_empty() && !custom { "{}" } else { arguments };
                let mut call = json!({"id": id, "type": kind});
                call[kind] = json!({"name": name});
                call[kind][key] = arguments.into();
                calls.push(call);
            }
            Part::Refusal { text: more } => refusal.push_str(more),
            Part::Audio { id: Some(id), .. } => value["audio"] = json!({"id": id}),
            Part::Image { .. } => losses.feature_at(Feature::Image, format_args!("messages[{index}]")),
            Part::Audio { .. } => losses.feature_at(Feature::Audio, format_args!("messages[{index}]")),
            Part::Document { .. } => losses.feature_at(Feature::Document, format_args!("messages[{index}]")),
            Part::Video { .. } => losses.feature_at(Feature::Video, format_args!("messages[{index}]")),
            Part::Vendor { .. } | Part::ToolResult { .. } => {
                losses.feature_at(Feature::VendorPart, format_args!("messages[{index}]"));
            }
        }
    }
    value["content"] = if spoken { text.into() } else { Value::Null };
    if !refusal.is_empty() {
        value["refusal"] = refusal.into();
    }
    if let Some(name) = &message.name {
        value["name"] = name.as_str().into();
    }
    if !calls.is_empty() {
        value["tool_calls"] = calls.into();
    }
    match rules.thoughts {
        Some(ThoughtsField::Reasoning) if !thoughts.is_empty() => value["reasoning"] = thoughts.into(),
        Some(ThoughtsField::ReasoningContent) if !thoughts.is_empty() => {
            value["reasoning_content"] = thoughts.into();
        }
        Some(ThoughtsField::ReasoningDetails) if !thoughts.is_empty() || !details.is_empty() => {
            value["reasoning"] = thoughts.into();
            value["reasoning_details"] = details.into();
        }
        _ => {}
    }
    value
}

/// Every result is a message of its own, and takes text alone: pictures in it follow in a user's message.
fn results(
    message: &Message,
    index: usize,
    written: &mut Vec<Value>,
    losses: &mut Losses,
) -> Result<(), Error> {
    let mut beside = Vec::new();
    for part in &message.parts {
        let Part::ToolResult { id, content, is_error, cache, .. } = part else {
            return Err(Error::new(ErrorKind::Invalid, format!("messages[{index}] must hold results alone")));
        };
        note_cache(cache, index, losses);
        let mut text = String::new();
        for part in content {
            match part {
                Part::Text { text: more, cache, .. } => {
                    note_cache(cache, index, losses);
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text.push_str(more);
                }
                other => beside.extend(part_value(other, index, losses)?),
            }
        }
        // There is no mark for a failure; the model reads it.
        if *is_error {
            losses.feature_at(Feature::ToolError, format_args!("messages[{index}]"));
            text.insert_str(0, "Error: ");
        }
        written.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
    }
    if !beside.is_empty() {
        written.push(json!({"role": "user", "content": beside}));
    }
    Ok(())
}
