//! Reads the messages of a request.

use serde_json::Value;

use crate::{
    canon::{CacheMark, Error, Extra, Message, Part, Proof, ProofKind, Request, Role, Source},
    dialect::anthropic::{DIALECT, ISSUER, citation::citation_of, turns::fold_marks},
    fields::Fields,
};

/// `system`: a text, or blocks of text.
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

/// Results of calls are a user's here, and a tool's in the canonical form.
pub(in crate::dialect) fn split(role: Role, parts: Vec<Part>, messages: &mut Vec<Message>) {
    if role != Role::User {
        let parts = if role == Role::Assistant { fold_marks(parts) } else { parts };
        return messages.push(Message { role, name: None, parts });
    }
    let begin = messages.len();
    for part in parts {
        let role = if matches!(part, Part::ToolResult { .. }) { Role::Tool } else { Role::User };
        match messages.get_mut(begin..).and_then(<[Message]>::last_mut) {
            Some(message) if message.role == role => message.parts.push(part),
            _ => messages.push(Message { role, name: None, parts: vec![part] }),
        }
    }
}

/// A text, or a list of blocks.
fn read_content(fields: &mut Fields, key: &str, extra: &mut Extra) -> Result<Vec<Part>, Error> {
    if fields.peek_text(key).is_some() {
        return Ok(fields.text(key)?.map(Part::text).into_iter().collect());
    }
    fields.objects(key)?.into_iter().map(|block| read_block(block, extra)).collect()
}

/// `cache_control`.
pub(super) fn cache_mark(value: Value) -> CacheMark {
    CacheMark { ttl: value.get("ttl").and_then(Value::as_str).map(str::to_owned) }
}

fn read_block(mut block: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let Some(kind) = block.peek_text("type").map(str::to_owned) else { return Err(block.missing("type")) };
    if kind == "tool_reference" {
        // What a search of the caller's own has found: the tool itself is among the request's.
        let name = block.required_text("tool_name")?;
        return Ok(Part::text(format!("The tool `{name}` can be called now.")));
    }
    let known = [
        "text",
        "image",
        "document",
        "search_result",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
    ];
    if !known.contains(&kind.as_str()) || (kind == "document" && is_mixed(&block)) {
        // What one of the vendor's own tools said or gave, or a kind that is newer than this.
        return Ok(Part::Vendor { dialect: DIALECT, value: block.into_value() });
    }
    block.take("type");
    let cache = block.take("cache_control").map(cache_mark);
    let part = match kind.as_str() {
        "text" => Part::Text {
            text: block.required_text("text")?,
            citations: block.list("citations")?.iter().filter_map(citation_of).collect(),
            cache,
            proof: None,
        },
        "image" => Part::Image { source: read_source(&mut block, extra)?, detail: None, cache },
        "document" => Part::Document {
            source: read_source(&mut block, extra)?,
            name: block.text("title")?,
            context: block.text("context")?,
            citable: read_citable(&mut block)?,
            cache,
        },
        "search_result" => Part::Document {
            source: Source::Text { text: joined(&block.list("content")?) },
            context: block.text("source")?,
            name: block.text("title")?,
            citable: read_citable(&mut block)?,
            cache,
        },
        "thinking" => {
            let signature = block.text("signature")?.filter(|signature| !signature.is_empty());
            let proof = signature.map(|text| Proof::received(text, ISSUER, ProofKind::Signature));
            Part::Thinking { text: block.required_text("thinking")?, proof }
        }
        "redacted_thinking" => {
            let proof = Proof::received(block.required_text("data")?, ISSUER, ProofKind::Encrypted);
            Part::Thinking { text: String::new(), proof: Some(proof) }
        }
        "tool_use" => Part::ToolCall {
            id: block.required_text("id")?,
            name: block.required_text("name")?,
            arguments: Value::Object(block.map("input")?).to_string(),
            custom: false,
            proof: None,
            cache,
        },
        _ => Part::ToolResult {
            id: block.required_text("tool_use_id")?,
            name: None,
            content: read_content(&mut block, "content", extra)?,
            is_error: block.flag("is_error")?.unwrap_or(false),
            custom: false,
            cache,
        },
    };
    block.rest(extra);
    Ok(part)
}

fn read_citable(block: &mut Fields) -> Result<bool, Error> {
    let Some(mut citations) = block.object("citations")? else { return Ok(false) };
    Ok(citations.flag("enabled")?.unwrap_or(false))
}

/// A document of blocks that are not all text: no other dialect has it.
fn is_mixed(block: &Fields) -> bool {
    let content = block.peek("source").and_then(|source| source.get("content")).and_then(Value::as_array);
    content.is_some_and(|blocks| blocks.iter().any(|block| block.get("text").is_none()))
}

/// The texts of blocks, a line apart.
fn joined(blocks: &[Value]) -> String {
    let texts: Vec<&str> =
        blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
    texts.join("\n")
}

fn read_source(block: &mut Fields, extra: &mut Extra) -> Result<Source, Error> {
    let mut source = block.object("source")?.ok_or_else(|| block.missing("source"))?;
    let kind = source.required_text("type")?;
    let read = match kind.as_str() {
        "base64" => Source::Inline {
            media_type: source.required_text("media_type")?,
            data: source.required_text("data")?,
        },
        "url" => Source::Url { url: source.required_text("url")?, media_type: None },
        "file" => Source::File { id: source.required_text("file_id")? },
        "text" => {
            source.take("media_type");
            Source::Text { text: source.required_text("data")? }
        }
        "content" if source.peek_text("content").is_some() => {
            Source::Text { text: source.required_text("content")? }
        }
        "content" => Source::Text { text: joined(&source.list("content")?) },
        other => return Err(source.unknown("type", other, "base64, url, file, text or content")),
    };
    source.rest(extra);
    Ok(read)
}
