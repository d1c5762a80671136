//! Reads the messages of a request.

use serde_json::Value;

use crate::{
    canon::{CacheMark, Error, Extra, Message, Part, Proof, ProofKind, Role, Source, dismount},
    dialect::openai_chat::ISSUER,
    fields::Fields,
};

pub(super) fn read_messages(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Message>, Error> {
    fields.objects("messages")?.into_iter().map(|message| read_message(message, extra)).collect()
}

fn read_message(mut fields: Fields, extra: &mut Extra) -> Result<Message, Error> {
    let role = fields.required_text("role")?;
    let mut message = match role.as_str() {
        "system" => said(Role::System, &mut fields, extra)?,
        "developer" => said(Role::Developer, &mut fields, extra)?,
        "user" => said(Role::User, &mut fields, extra)?,
        "assistant" => assistant(&mut fields, extra)?,
        "tool" | "function" => result(&mut fields, extra)?,
        other => {
            return Err(fields.unknown("role", other, "system, developer, user, assistant or tool"));
        }
    };
    if message.role != Role::Tool {
        message.name = fields.text("name")?;
    }
    fields.rest(extra);
    Ok(message)
}

fn said(role: Role, fields: &mut Fields, extra: &mut Extra) -> Result<Message, Error> {
    if !fields.has("content") {
        return Err(fields.missing("content"));
    }
    Ok(Message { role, name: None, parts: read_content(fields, extra)? })
}

/// `content`: a text, or a list of parts.
fn read_content(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Part>, Error> {
    let cache = fields.take("cache_control").map(cache_mark);
    if fields.peek_text("content").is_some() {
        let text = fields.text("content")?.unwrap_or_default();
        return Ok(vec![Part::Text { text, citations: Vec::new(), cache, proof: None }]);
    }
    fields.objects("content")?.into_iter().map(|part| read_part(part, extra)).collect()
}

fn read_part(mut part: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let kind = part.required_text("type")?;
    let cache = part.take("cache_control").map(cache_mark);
    let read = match kind.as_str() {
        "text" | "input_text" | "output_text" => {
            Part::Text { text: part.required_text("text")?, citations: Vec::new(), cache, proof: None }
        }
        "refusal" => Part::Refusal { text: part.required_text("refusal")? },
        "image_url" => read_image(&mut part, cache, extra)?,
        "video_url" => {
            let mut video = part.object("video_url")?.ok_or_else(|| part.missing("video_url"))?;
            Part::Video { source: source_of_url(video.required_text("url")?) }
        }
        "input_audio" => {
            let mut audio = part.object("input_audio")?.ok_or_else(|| part.missing("input_audio"))?;
            let data = audio.required_text("data")?;
            let format = audio.text("format")?.unwrap_or_else(|| "wav".to_owned());
            let source = Source::Inline { media_type: audio_type(&format), data };
            Part::Audio { source, transcript: None, id: None }
        }
        "file" => read_file(&mut part, cache, extra)?,
        other => {
            let known = "text, image_url, input_audio, file or refusal";
            return Err(part.unknown("type", other, known));
        }
    };
    part.rest(extra);
    Ok(read)
}

fn read_image(part: &mut Fields, cache: Option<CacheMark>, extra: &mut Extra) -> Result<Part, Error> {
    // Some clients write the address alone.
    if part.peek_text("image_url").is_some() {
        let source = source_of_url(part.required_text("image_url")?);
        return Ok(Part::Image { source, detail: None, cache });
    }
    let mut image = part.object("image_url")?.ok_or_else(|| part.missing("image_url"))?;
    let read = Part::Image {
        source: source_of_url(image.required_text("url")?),
        detail: image.text("detail")?,
        cache,
    };
    image.rest(extra);
    Ok(read)
}

fn read_file(part: &mut Fields, cache: Option<CacheMark>, extra: &mut Extra) -> Result<Part, Error> {
    let mut file = part.object("file")?.ok_or_else(|| part.missing("file"))?;
    let name = file.text("filename")?;
    let source = match (file.text("file_data")?, file.text("file_id")?) {
        (Some(data), _) if data.starts_with("data:") => source_of_url(data),
        (Some(data), _) => Source::Inline { media_type: "application/pdf".to_owned(), data },
        (None, Some(id)) => Source::File { id },
        (None, None) => return Err(file.missing("file_data")),
    };
    file.rest(extra);
    Ok(Part::Document { source, name, context: None, citable: false, cache })
}

/// An address, or the data themselves in a `data:` address (RFC 2397).
pub(in crate::dialect) fn source_of_url(url: String) -> Source {
    let inline = url.strip_prefix("data:").and_then(|rest| rest.split_once(','));
    if let Some((head, data)) = inline
        && let Some(media_type) = head.strip_suffix(";base64")
    {
        let media_type = media_type.split(';').next().unwrap_or_default();
        return Source::Inline { media_type: media_type.to_owned(), data: data.to_owned() };
    }
    Source::Url { url, media_type: None }
}

fn audio_type(format: &str) -> String {
    match format {
        "mp3" => "audio/mpeg".to_owned(),
        other => format!("audio/{other}"),
    }
}

/// `cache_control`, as Anthropic writes it and compatible providers take it.
pub(super) fn cache_mark(value: Value) -> CacheMark {
    CacheMark { ttl: value.get("ttl").and_then(Value::as_str).map(str::to_owned) }
}

fn assistant(fields: &mut Fields, extra: &mut Extra) -> Result<Message, Error> {
    let mut parts = read_thoughts(fields)?;
    if fields.has("content") {
        // An empty text beside calls is how some SDKs write that there is none.
        let content = read_content(fields, extra)?;
        parts.extend(
            content.into_iter().filter(|part| !matches!(part, Part::Text { text, .. } if text.is_empty())),
        );
    }
    if let Some(text) = fields.text("refusal")? {
        parts.push(Part::Refusal { text });
    }
    if let Some(mut audio) = fields.object("audio")? {
        let id = audio.required_text("id")?;
        let source = Source::File { id: id.clone() };
        parts.push(Part::Audio { source, transcript: None, id: Some(id) });
    }
    for call in fields.objects("tool_calls")? {
        parts.push(read_call(call, extra)?);
    }
    if let Some(mut call) = fields.object("function_call")? {
        let name = call.required_text("name")?;
        let arguments = call.text("arguments")?.unwrap_or_default();
        parts.push(Part::ToolCall {
            id: name.clone(),
            name,
            arguments,
            custom: false,
            proof: None,
            cache: None,
        });
    }
    Ok(Message { role: Role::Assistant, name: None, parts: dismount(parts) })
}

/// Thoughts of an earlier answer, in the fields that [`write_answer`](super::write_answer) tells them in.
fn read_thoughts(fields: &mut Fields) -> Result<Vec<Part>, Error> {
    let short = fields.text("reasoning_content")?;
    let text = fields.text("reasoning")?.or(short);
    let mut parts = Vec::new();
    for mut detail in fields.objects("reasoning_details")? {
        let id = detail.text("id")?;
        let said = detail.text("text")?;
        let said = detail.text("summary")?.or(said).unwrap_or_default();
        let signature = detail.text("signature")?.map(|text| (text, ProofKind::Signature));
        let sealed = detail.text("data")?.map(|text| (text, ProofKind::Encrypted)).or(signature);
        let proof = sealed.map(|(text, kind)| {
            let mut proof = Proof::received(text, ISSUER, kind);
            proof.id = proof.id.or(id);
            proof
        });
        parts.push(Part::Thinking { text: said, proof });
    }
    if let (true, Some(text)) = (parts.is_empty(), text) {
        parts.push(Part::Thinking { text, proof: None });
    }
    Ok(parts)
}

/// A call; on its id ride proofs, for callers who keep nothing else of an answer.
fn read_call(mut call: Fields, extra: &mut Extra) -> Result<Part, Error> {
    let id = call.required_text("id")?;
    call.take("type");
    let custom = call.has("custom");
    let key = if custom { "custom" } else { "function" };
    let mut function = call.object(key)?.ok_or_else(|| call.missing(key))?;
    let name = function.required_text("name")?;
    let arguments = function.text(if custom { "input" } else { "arguments" })?.unwrap_or_default();
    function.rest(extra);
    // Some SDKs send back the place that a call had in a stream.
    call.take("index");
    call.rest(extra);
    Ok(Part::ToolCall { id, name, arguments, custom, proof: None, cache: None })
}

fn result(fields: &mut Fields, extra: &mut Extra) -> Result<Message, Error> {
    // The call tells the name already; in the old form the name is all that joins them.
    let name = fields.text("name")?;
    let id = match fields.text("tool_call_id")? {
        Some(id) => Proof::dismount(&id).0.to_owned(),
        None => name.ok_or_else(|| fields.missing("tool_call_id"))?,
    };
    let cache = fields.take("cache_control").map(cache_mark);
    let content = if fields.has("content") { read_content(fields, extra)? } else { Vec::new() };
    let part = Part::ToolResult { id, name: None, content, is_error: false, custom: false, cache };
    Ok(Message { role: Role::Tool, name: None, parts: vec![part] })
}
