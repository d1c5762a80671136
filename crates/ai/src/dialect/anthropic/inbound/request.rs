//! Reads a request to `/v1/messages`, or to `/v1/messages/count_tokens`, which is the same without an answer's fields.

use serde_json::Value;

use super::{
    message::{read_messages, read_system},
    tool::{read_tool_choice, read_tools, referenced},
};
use crate::{
    canon::{Effort, Error, Extra, Format, Reasoning, Request, Sampling, Unasked},
    dialect::Spoken,
    fields::Fields,
};

pub(in crate::dialect) fn read_request(_: &Spoken, body: &[u8]) -> Result<Request, Error> {
    let mut fields = Fields::document(body)?;
    let mut extra = Extra::new();
    let mut request = Request {
        model: fields.required_text("model")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        // Anthropic demands it but for counting; a target that demands it has a default.
        max_output_tokens: fields.count("max_tokens")?,
        sampling: Sampling {
            temperature: fields.number("temperature")?,
            top_p: fields.number("top_p")?,
            top_k: fields.count("top_k")?,
            stop: fields.texts("stop_sequences")?,
            ..Sampling::default()
        },
        tier: fields
            .text("service_tier")?
            .map(|word| if word == "standard_only" { "default".to_owned() } else { word }),
        include_usage: true,
        ..Request::default()
    };
    if !fields.has("messages") {
        return Err(fields.missing("messages"));
    }
    request.messages.extend(read_system(&mut fields, &mut extra)?);
    let found = fields.peek("messages").map(referenced).unwrap_or_default();
    read_messages(&mut fields, &mut request, &mut extra)?;
    request.tools = read_tools(&mut fields, &found, &mut extra)?;
    (request.tool_choice, request.parallel_tool_calls) = read_tool_choice(&mut fields, &mut extra)?;
    let mut reasoning = read_thinking(&mut fields, &mut extra)?;
    if let Some(mut config) = fields.object("output_config")? {
        reasoning.effort = read_effort(&mut config)?;
        request.format = read_format(&mut config, "format", &mut extra)?;
        config.rest(&mut extra);
    }
    if fields.has("output_format") {
        // Its name while structured outputs were in beta.
        request.format = read_format(&mut fields, "output_format", &mut extra)?;
    }
    request.reasoning = (reasoning != Reasoning::default()).then_some(reasoning);
    if let Some(mut metadata) = fields.object("metadata")? {
        request.user = metadata.text("user_id")?;
        metadata.rest(&mut extra);
    }
    fields.rest(&mut extra);
    request.extra = extra;
    Ok(request)
}

/// `thinking`.
pub(in crate::dialect) fn read_thinking(fields: &mut Fields, extra: &mut Extra) -> Result<Reasoning, Error> {
    let mut reasoning = Reasoning::default();
    let Some(mut thinking) = fields.object("thinking")? else { return Ok(reasoning) };
    let kind = thinking.required_text("type")?;
    match kind.as_str() {
        "enabled" => {
            reasoning.enabled = Some(true);
            reasoning.budget = thinking.count("budget_tokens")?;
            // Thoughts of a budget are shown if nothing else is said.
            reasoning.visible = Some(true);
            reasoning.unasked = Unasked(true);
        }
        "adaptive" => reasoning.enabled = Some(true),
        "disabled" => reasoning.enabled = Some(false),
        // A mode that another dialect cannot say.
        "between_tools" => {
            reasoning.enabled = Some(true);
            extra.push((thinking.place("type"), kind.into()));
        }
        other => return Err(thinking.unknown("type", other, "enabled, adaptive or disabled")),
    }
    match thinking.text("display")?.as_deref() {
        None => {}
        Some("summarized") => {
            reasoning.visible = Some(true);
            reasoning.unasked = Unasked(false);
        }
        Some("omitted") => reasoning.visible = Some(false),
        Some(other) => return Err(thinking.unknown("display", other, "summarized or omitted")),
    }
    thinking.rest(extra);
    Ok(reasoning)
}

/// `effort`.
pub(in crate::dialect) fn read_effort(fields: &mut Fields) -> Result<Option<Effort>, Error> {
    let Some(word) = fields.text("effort")? else { return Ok(None) };
    let effort = Effort::from_word(&word);
    effort.map(Some).ok_or_else(|| fields.unknown("effort", &word, "low, medium, high, xhigh or max"))
}

fn read_format(fields: &mut Fields, key: &str, extra: &mut Extra) -> Result<Format, Error> {
    let Some(mut format) = fields.object(key)? else { return Ok(Format::Text) };
    let kind = format.required_text("type")?;
    if kind != "json_schema" {
        return Err(format.unknown("type", &kind, "json_schema"));
    }
    let schema = format.take("schema").unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    format.rest(extra);
    Ok(Format::Schema { name: String::new(), description: None, schema, strict: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Request, Error> {
        read_request(&Spoken::default(), body.as_bytes())
    }

    #[test]
    fn a_request_to_count_tokens_is_read_as_any_other() {
        let request =
            read(r#"{"model": "m", "system": "s", "messages": [{"role": "user", "content": "a"}]}"#);
        assert!(
            request.is_ok_and(|request| request.max_output_tokens.is_none() && request.messages.len() == 2)
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (body, param) in [
            (r#"{"messages": []}"#, "model"),
            (r#"{"model": "m"}"#, "messages"),
            (r#"{"model": "m", "messages": [{"role": "user"}]}"#, "messages[0].content"),
            (r#"{"model": "m", "messages": [{"role": "tool", "content": "a"}]}"#, "messages[0].role"),
            (
                r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}"#,
                "messages[0].content[0].text",
            ),
            (r#"{"model": "m", "messages": [], "thinking": {"type": "sometimes"}}"#, "thinking.type"),
            (
                r#"{"model": "m", "messages": [], "output_config": {"effort": "huge"}}"#,
                "output_config.effort",
            ),
            (r#"{"model": "m", "messages": [], "tool_choice": {"type": "tool"}}"#, "tool_choice.name"),
        ] {
            let param_found = read(body).err().and_then(|error| error.param);
            assert_eq!(param_found.as_deref(), Some(param), "{body}");
        }
    }
}
