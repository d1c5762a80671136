//! Reads the messages of a request, and the documents beside them.

use serde_json::{Map, Value};

use super::request::text_of;
use crate::{
    canon::{Error, Extra, Message, Part, Proof, Role, Source, dismount},
    dialect::cohere::citation::{citations_of, content_index},
    fields::Fields,
};

pub(super) fn read_messages(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Message>, Error> {
    fields.objects("messages")?.into_iter().map(|message| read_message(message, extra)).collect()
}

fn read_message(mut fields: Fields, extra: &mut Extra) -> Result<Message, Error> {
    let role = fields.required_text("role")?;
    let (role, parts) = match role.as_str() {
        "system" => (Role::System, read_content(&mut fields, extra)?),
        "developer" => (Role::Developer, read_content(&mut fields, extra)?),
        "user" => (Role::User, read_content(&mut fields, extra)?),
        "assistant" => (Role::Assistant, assistant(&mut fields, extra)?),
        "tool" => (Role::Tool, vec![result(&mut fields, extra)?]),
        other => return Err(fields.unknown("role", other, "system, user, assistant or tool")),
    };
    fields.rest(extra);
    Ok(Message { role, name: None, parts })
}

/// `content`: a text, or a list of parts.
fn read_content(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Part>, Error> {
    if fields.peek_text("content").is_some() {
        return Ok(vec![Part::text(fields.text("content")?.unwrap_or_default())]);
    }
    if !fields.has("content") {
        return Err(fields.missing("content"));
    }
    fields.objects("content")?.into_iter().map(|part| read_part(part, extra)).collect()
}

fn read_part(mut part: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let kind = part.required_text("type")?;
    let read = match kind.as_str() {
        "text" => Part::text(part.required_text("text")?),
        "thinking" => Part::Thinking { text: part.required_text("thinking")?, proof: None },
        "image_url" => {
            let mut image = part.object("image_url")?.ok_or_else(|| part.missing("image_url"))?;
            let source = source_of(image.required_text("url")?);
            let read = Part::Image { source, detail: image.text("detail")?, cache: None };
            image.rest(extra);
            read
        }
        "document" => {
            let document = part.object("document")?.ok_or_else(|| part.missing("document"))?;
            read_document(document, true, extra)?
        }
        other => return Err(part.unknown("type", other, "text, thinking, image_url or document")),
    };
    part.rest(extra);
    Ok(read)
}

fn source_of(url: String) -> Source {
    match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((media_type, data)) => {
            Source::Inline { media_type: media_type.to_owned(), data: data.to_owned() }
        }
        None => Source::Url { url, media_type: None },
    }
}

/// `{"id": …, "data": {…}}`. The title, or else the id, is its name.
fn read_document(mut document: Fields, citable: bool, extra: &mut Extra) -> Result<Part, Error> {
    let id = document.text("id")?;
    let mut data = match document.take("data") {
        Some(Value::String(text)) => Map::from_iter([("text".to_owned(), text.into())]),
        Some(Value::Object(data)) => data,
        _ => return Err(document.missing("data")),
    };
    document.rest(extra);
    let mut text = |key: &str| match data.get(key) {
        Some(Value::String(_)) => data.shift_remove(key).and_then(|text| text.as_str().map(str::to_owned)),
        _ => None,
    };
    let (name, context) = (text("title").or(id), text("context"));
    let source = Source::Text { text: text_of(data) };
    Ok(Part::Document { source, name, context, citable, cache: None })
}

/// `documents` beside the messages: they come before what the user says first.
pub(super) fn read_documents(
    fields: &mut Fields,
    messages: &mut Vec<Message>,
    extra: &mut Extra,
) -> Result<(), Error> {
    let mut citable = true;
    if let Some(mut options) = fields.object("citation_options")? {
        match options.text("mode")? {
            Some(mode) if matches!(mode.to_ascii_uppercase().as_str(), "OFF" | "DISABLED") => citable = false,
            Some(mode) => options.put("mode", mode.into()),
            None => {}
        }
        options.rest(extra);
    }
    let mut documents = Vec::new();
    for (index, document) in fields.list("documents")?.into_iter().enumerate() {
        documents.push(match document {
            Value::String(text) => {
                let source = Source::Text { text };
                Part::Document { source, name: None, context: None, citable, cache: None }
            }
            other => read_document(Fields::at(other, &format!("documents[{index}]"))?, citable, extra)?,
        });
    }
    if documents.is_empty() {
        return Ok(());
    }
    match messages.iter_mut().find(|message| message.role == Role::User) {
        Some(first) => {
            first.parts.splice(0..0, documents);
        }
        None => messages.push(Message { role: Role::User, name: None, parts: documents }),
    }
    Ok(())
}

fn assistant(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Part>, Error> {
    let mut parts = if fields.has("content") { read_content(fields, extra)? } else { Vec::new() };
    for citation in fields.list("citations")? {
        cite(&mut parts, &citation);
    }
    parts.retain(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
    if let Some(text) = fields.text("tool_plan")?.filter(|text| !text.is_empty()) {
        parts.push(Part::Thinking { text, proof: None });
    }
    for call in fields.objects("tool_calls")? {
        parts.push(read_call(call, extra)?);
    }
    Ok(dismount(parts))
}

/// Puts a citation on its text: the block that it names, else the first text.
fn cite(parts: &mut [Part], citation: &Value) {
    let named = content_index(citation).filter(|at| matches!(parts.get(*at), Some(Part::Text { .. })));
    let first = || parts.iter().position(|part| matches!(part, Part::Text { .. }));
    if let Some(Part::Text { citations, .. }) = named.or_else(first).and_then(|at| parts.get_mut(at)) {
        citations.extend(citations_of(citation));
    }
}

/// A call; on its id ride proofs.
fn read_call(mut call: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let id = call.required_text("id")?;
    call.take("type");
    let mut function = call.object("function")?.ok_or_else(|| call.missing("function"))?;
    let name = function.required_text("name")?;
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.rest(extra);
    call.rest(extra);
    Ok(Part::ToolCall { id, name, arguments, custom: false, proof: None, cache: None })
}

fn result(fields: &mut Fields, extra: &mut Extra) -> Result<Part, Error> {
    let id = fields.required_text("tool_call_id")?;
    let id = Proof::dismount(&id).0.to_owned();
    let content = if fields.has("content") { read_content(fields, extra)? } else { Vec::new() };
    Ok(Part::ToolResult { id, name: None, content, is_error: false, custom: false, cache: None })
}
