//! Reads the messages of a request.

use serde_json::Value;

use super::request::cache_mark;
use crate::{
    canon::{Error, Extra, Message, Part, Proof, ProofKind, Request, Role, Source},
    dialect::{
        anthropic::inbound::split,
        bedrock::{DIALECT, ISSUER, citation_of, media::Media, redacted_of},
    },
    fields::Fields,
};

pub(super) fn read_system(fields: &mut Fields, extra: &mut Extra) -> Result<Option<Message>, Error> {
    let parts = read_content(fields, "system", extra)?;
    Ok((!parts.is_empty()).then_some(Message { role: Role::System, name: None, parts }))
}

/// The messages after the ones that are there, each with its place.
pub(super) fn read_messages(
    fields: &mut Fields,
    request: &mut Request,
    extra: &mut Extra,
) -> Result<(), Error> {
    let Request { messages, places, .. } = request;
    places.resize(messages.len(), "system".to_owned());
    for (index, mut message) in fields.objects("messages")?.into_iter().enumerate() {
        let word = message.required_text("role")?;
        let role = match word.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            other => return Err(message.unknown("role", other, "user or assistant")),
        };
        if !message.has("content") {
            return Err(message.missing("content"));
        }
        let parts = read_content(&mut message, "content", extra)?;
        message.rest(extra);
        split(role, parts, messages);
        places.resize(messages.len(), format!("messages[{index}]"));
    }
    Ok(())
}

fn read_content(fields: &mut Fields, key: &str, extra: &mut Extra) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    for mut block in fields.objects(key)? {
        match block.take("cachePoint") {
            Some(point) => {
                if let Some(place) = parts.last_mut().and_then(Part::cache_mut) {
                    *place = Some(cache_mark(&point));
                }
            }
            None => parts.push(read_block(block, extra)?),
        }
    }
    Ok(parts)
}

/// A block is an object of one field, which says what it is.
fn read_block(mut block: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let server = block
        .peek("toolUse")
        .or_else(|| block.peek("toolResult"))
        .is_some_and(|call| call.get("type").is_some());
    if server {
        return Ok(Part::Vendor { dialect: DIALECT, value: block.into_value() });
    }
    if let Some(text) = block.text("text")? {
        return Ok(Part::text(text));
    }
    if let Some(mut image) = block.object("image")? {
        return Ok(Part::Image { source: Media::Image.read(&mut image)?, detail: None, cache: None });
    }
    if let Some(mut audio) = block.object("audio")? {
        return Ok(Part::Audio { source: Media::Audio.read(&mut audio)?, transcript: None, id: None });
    }
    if let Some(mut video) = block.object("video")? {
        return Ok(Part::Video { source: Media::Video.read(&mut video)? });
    }
    if let Some(document) = block.object("document")? {
        return read_document(document, extra);
    }
    if let Some(result) = block.object("searchResult")? {
        return read_search_result(result, extra);
    }
    if let Some(mut call) = block.object("toolUse")? {
        let part = Part::ToolCall {
            id: call.required_text("toolUseId")?,
            name: call.required_text("name")?,
            arguments: Value::Object(call.map("input")?).to_string(),
            custom: false,
            proof: None,
            cache: None,
        };
        call.rest(extra);
        return Ok(part);
    }
    if let Some(result) = block.object("toolResult")? {
        return read_result(result, extra);
    }
    if let Some(thought) = block.object("reasoningContent")? {
        return read_thought(thought);
    }
    if let Some(mut cited) = block.object("citationsContent")? {
        let texts = cited.list("content")?;
        let text = texts.iter().filter_map(|text| text.get("text").and_then(Value::as_str)).collect();
        let citations = cited.list("citations")?.iter().map(citation_of).collect();
        return Ok(Part::Text { text, citations, cache: None, proof: None });
    }
    if let Some(mut guarded) = block.object("guardContent")? {
        return read_guarded(&mut guarded, extra);
    }
    // What a tool of the vendor's own said or gave, or a kind that is newer than this.
    Ok(Part::Vendor { dialect: DIALECT, value: block.into_value() })
}

fn read_document(mut document: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let part = Part::Document {
        source: Media::Document.read(&mut document)?,
        name: document.text("name")?,
        context: document.text("context")?,
        citable: read_citable(&mut document)?,
        cache: None,
    };
    document.rest(extra);
    Ok(part)
}

fn read_citable(fields: &mut Fields) -> Result<bool, Error> {
    let Some(mut citations) = fields.object("citations")? else { return Ok(false) };
    Ok(citations.flag("enabled")?.unwrap_or(false))
}

fn read_search_result(mut result: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let blocks = result.list("content")?;
    let texts: Vec<&str> =
        blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
    let part = Part::Document {
        source: Source::Text { text: texts.join("\n") },
        name: result.text("title")?,
        context: result.text("source")?,
        citable: read_citable(&mut result)?,
        cache: None,
    };
    result.rest(extra);
    Ok(part)
}

fn read_result(mut result: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let mut content = Vec::new();
    for mut block in result.objects("content")? {
        match block.take("json") {
            Some(value) => content.push(Part::text(value.to_string())),
            None => content.push(read_block(block, extra)?),
        }
    }
    let part = Part::ToolResult {
        id: result.required_text("toolUseId")?,
        name: None,
        content,
        is_error: result.text("status")?.as_deref() == Some("error"),
        custom: false,
        cache: None,
    };
    result.rest(extra);
    Ok(part)
}

fn read_thought(mut thought: Fields) -> Result<Part, Error> {
    if let Some(data) = thought.text("redactedContent")? {
        return Ok(Part::Thinking { text: String::new(), proof: Some(redacted_of(data)) });
    }
    let mut said = thought.object("reasoningText")?.ok_or_else(|| thought.missing("reasoningText"))?;
    let signature = said.text("signature")?.filter(|signature| !signature.is_empty());
    let proof = signature.map(|text| Proof::received(text, ISSUER, ProofKind::Signature));
    Ok(Part::Thinking { text: said.text("text")?.unwrap_or_default(), proof })
}

/// What a guardrail shall look at is said to the model all the same; how it shall look is for Bedrock alone.
fn read_guarded(guarded: &mut Fields, extra: &mut Extra) -> Result<Part, Error> {
    if let Some(mut image) = guarded.object("image")? {
        return Ok(Part::Image { source: Media::Image.read(&mut image)?, detail: None, cache: None });
    }
    let mut text = guarded.object("text")?.ok_or_else(|| guarded.missing("text"))?;
    let part = Part::text(text.required_text("text")?);
    extra.push((guarded.place("text"), text.into_value()));
    Ok(part)
}
