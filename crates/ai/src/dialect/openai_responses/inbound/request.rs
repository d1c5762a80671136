//! Reads a request to `/v1/responses`.

use serde_json::{Value, json};

use super::{
    input::{Said, read_input},
    tool::read_tools,
};
use crate::{
    canon::{
        Conversation, Effort, Error, Extra, Format, Message, Reasoning, Request, Role, Sampling, Tool,
        ToolChoice, Verbosity, scoped,
    },
    dialect::Spoken,
    fields::Fields,
};

pub(in crate::dialect) fn read_request(_: &Spoken, body: &[u8]) -> Result<Request, Error> {
    let mut fields = Fields::document(body)?;
    let mut extra = Extra::new();
    let mut request = Request {
        model: fields.required_text("model")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        sampling: Sampling {
            temperature: fields.number("temperature")?,
            top_p: fields.number("top_p")?,
            ..Sampling::default()
        },
        max_output_tokens: fields.count("max_output_tokens")?,
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        tier: fields.text("service_tier")?,
        metadata: fields.map("metadata")?,
        cache_key: fields.text("prompt_cache_key")?,
        store: fields.flag("store")?,
        // The dialect always tells it.
        include_usage: true,
        ..Request::default()
    };
    let user = fields.text("user")?;
    request.user = fields.text("safety_identifier")?.or(user);
    request.conversation = read_conversation(&mut fields)?;
    if let Some(instructions) = fields.text("instructions")? {
        request.messages.push(Message::text(Role::System, instructions));
        request.places.push("instructions".to_owned());
    }
    // A stored conversation or prompt may say everything.
    if fields.has("input") {
        let mut said: Said = read_input(&mut fields, &mut extra)?;
        request.messages.append(&mut said.messages);
        request.places.append(&mut said.places);
        request.tools.append(&mut said.tools);
    } else if request.conversation.is_none() && !fields.has("prompt") {
        return Err(fields.missing("input"));
    }
    // Those that are named at the top come first.
    let named = std::mem::take(&mut request.tools);
    request.tools = read_tools(&mut fields, &mut extra)?;
    if !named.is_empty() {
        request.tools.extend(named);
        once_each(&mut request.tools);
    }
    request.tool_choice = read_tool_choice(&mut fields)?;
    read_text(&mut fields, &mut request, &mut extra)?;
    request.reasoning = read_reasoning(&mut fields, &mut extra)?;
    let top = fields.count("top_logprobs")?.map(|top| u32::try_from(top).unwrap_or(u32::MAX));
    request.log_probabilities = top.filter(|top| *top > 0);
    read_include(&mut fields, &mut request, &mut extra)?;
    fields.rest(&mut extra);
    request.extra = extra;
    Ok(request)
}

fn read_conversation(fields: &mut Fields) -> Result<Option<Conversation>, Error> {
    if let Some(id) = fields.text("previous_response_id")? {
        return Ok(Some(Conversation::After(id)));
    }
    if fields.peek_text("conversation").is_some() {
        return Ok(fields.text("conversation")?.map(Conversation::Stored));
    }
    match fields.object("conversation")? {
        Some(mut conversation) => Ok(Some(Conversation::Stored(conversation.required_text("id")?))),
        None => Ok(None),
    }
}

/// `include`: what the canonical form knows of it, and the rest under its place.
fn read_include(fields: &mut Fields, request: &mut Request, extra: &mut Extra) -> Result<(), Error> {
    for (index, word) in fields.texts("include")?.into_iter().enumerate() {
        match word.as_str() {
            "reasoning.encrypted_content" => request.reasoning.get_or_insert_default().encrypted = true,
            "message.output_text.logprobs" => {
                request.log_probabilities.get_or_insert_default();
            }
            _ => extra.push((format!("include[{index}]"), word.into())),
        }
    }
    Ok(())
}

/// A tool that is named again is what it was named last: searches find what is there already.
fn once_each(tools: &mut Vec<Tool>) {
    let mut seen = std::collections::BTreeSet::new();
    let mut keeps: Vec<bool> =
        tools.iter().rev().map(|tool| tool.is_vendors() || seen.insert(tool.name.clone())).collect();
    keeps.reverse();
    let mut keeps = keeps.into_iter();
    tools.retain(|_| keeps.next().unwrap_or(true));
}

fn read_tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, Error> {
    const KNOWN: &str = "none, auto, required, or an object that names a tool";
    let name = |value: &Value| {
        let name = value.get("name").or_else(|| value.get("server_label")).or_else(|| value.get("type"));
        let namespace = value.get("namespace").and_then(Value::as_str);
        name.and_then(Value::as_str).map(|name| scoped(namespace, name))
    };
    match fields.take("tool_choice") {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Ok(Some(ToolChoice::None)),
            "auto" => Ok(Some(ToolChoice::Auto)),
            "required" => Ok(Some(ToolChoice::Required)),
            other => Err(fields.unknown("tool_choice", other, KNOWN)),
        },
        Some(value) if value.get("type").and_then(Value::as_str) == Some("allowed_tools") => {
            let tools = value.get("tools").and_then(Value::as_array);
            let names = tools.into_iter().flatten().filter_map(name).collect();
            let required = value.get("mode").and_then(Value::as_str) == Some("required");
            Ok(Some(ToolChoice::Among { names, required }))
        }
        Some(value) => match name(&value) {
            Some(name) => Ok(Some(ToolChoice::Named(name))),
            None => Err(fields.unknown("tool_choice", &value.to_string(), KNOWN)),
        },
    }
}

/// `text`: the form of the answer and its length.
fn read_text(fields: &mut Fields, request: &mut Request, extra: &mut Extra) -> Result<(), Error> {
    let Some(mut text) = fields.object("text")? else { return Ok(()) };
    request.verbosity = match text.text("verbosity")?.as_deref() {
        None => None,
        Some("low") => Some(Verbosity::Low),
        Some("medium") => Some(Verbosity::Medium),
        Some("high") => Some(Verbosity::High),
        Some(other) => return Err(text.unknown("verbosity", other, "low, medium or high")),
    };
    if let Some(mut format) = text.object("format")? {
        let kind = format.required_text("type")?;
        request.format = match kind.as_str() {
            "text" => Format::Text,
            "json_object" => Format::Json,
            "json_schema" => Format::Schema {
                name: format.text("name")?.unwrap_or_default(),
                description: format.text("description")?,
                schema: format.take("schema").unwrap_or_else(|| json!({})),
                strict: format.flag("strict")?,
            },
            other => return Err(format.unknown("type", other, "text, json_object or json_schema")),
        };
        format.rest(extra);
    }
    text.rest(extra);
    Ok(())
}

fn read_reasoning(fields: &mut Fields, extra: &mut Extra) -> Result<Option<Reasoning>, Error> {
    let Some(mut object) = fields.object("reasoning")? else { return Ok(None) };
    let old = object.text("generate_summary")?;
    let mut reasoning = Reasoning { summary: object.text("summary")?.or(old), ..Reasoning::default() };
    reasoning.visible = reasoning.summary.is_some().then_some(true);
    if let Some(word) = object.text("effort")? {
        let effort = Effort::from_word(&word);
        let unknown = || object.unknown("effort", &word, "none, minimal, low, medium, high, xhigh or max");
        reasoning.effort = Some(effort.ok_or_else(unknown)?);
        if effort == Some(Effort::None) {
            reasoning.enabled = Some(false);
        }
    }
    object.rest(extra);
    Ok((reasoning != Reasoning::default()).then_some(reasoning))
}
