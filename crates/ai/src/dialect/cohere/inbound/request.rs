//! Reads a request to `/v2/chat`.

use serde_json::{Map, Value};

use super::message::{read_documents, read_messages};
use crate::{
    canon::{Error, Extra, Format, Reasoning, Request, Sampling, Tool, ToolChoice, ToolKind},
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
            top_p: fields.number("p")?,
            top_k: fields.count("k")?,
            frequency_penalty: fields.number("frequency_penalty")?,
            presence_penalty: fields.number("presence_penalty")?,
            seed: fields.integer("seed")?,
            stop: fields.texts("stop_sequences")?,
            logit_bias: Map::new(),
        },
        max_output_tokens: fields.count("max_tokens")?,
        log_probabilities: fields.flag("logprobs")?.unwrap_or(false).then_some(0),
        // Usage is told with every answer.
        include_usage: true,
        ..Request::default()
    };
    if !fields.has("messages") {
        return Err(fields.missing("messages"));
    }
    request.messages = read_messages(&mut fields, &mut extra)?;
    read_documents(&mut fields, &mut request.messages, &mut extra)?;
    request.tools = read_tools(&mut fields, &mut extra)?;
    request.tool_choice = read_tool_choice(&mut fields)?;
    request.format = read_format(&mut fields, &mut extra)?;
    request.reasoning = read_thinking(&mut fields, &mut extra)?;
    fields.rest(&mut extra);
    request.extra = extra;
    Ok(request)
}

fn read_tools(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Tool>, Error> {
    let strict = fields.flag("strict_tools")?;
    let mut tools = Vec::new();
    for mut tool in fields.objects("tools")? {
        let kind = tool.text("type")?.unwrap_or_else(|| "function".to_owned());
        if kind != "function" {
            return Err(tool.unknown("type", &kind, "function"));
        }
        let mut function = tool.object("function")?.ok_or_else(|| tool.missing("function"))?;
        tools.push(Tool {
            name: function.required_text("name")?,
            description: function.text("description")?,
            kind: ToolKind::Function { parameters: function.take("parameters") },
            strict,
            cache: None,
        });
        function.rest(extra);
        tool.rest(extra);
    }
    Ok(tools)
}

fn read_tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, Error> {
    Ok(match fields.text("tool_choice")?.as_deref() {
        None => None,
        Some("REQUIRED") => Some(ToolChoice::Required),
        Some("NONE") => Some(ToolChoice::None),
        Some(other) => return Err(fields.unknown("tool_choice", other, "REQUIRED or NONE")),
    })
}

fn read_format(fields: &mut Fields, extra: &mut Extra) -> Result<Format, Error> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(Format::Text) };
    let kind = format.required_text("type")?;
    let read = match kind.as_str() {
        "text" => Format::Text,
        // `schema` is what it was called at first.
        "json_object" => match format.take("json_schema").or_else(|| format.take("schema")) {
            Some(schema) => Format::Schema { name: String::new(), description: None, schema, strict: None },
            None => Format::Json,
        },
        other => return Err(format.unknown("type", other, "text or json_object")),
    };
    format.rest(extra);
    Ok(read)
}

/// `thinking`. What is thought is always told.
fn read_thinking(fields: &mut Fields, extra: &mut Extra) -> Result<Option<Reasoning>, Error> {
    let Some(mut thinking) = fields.object("thinking")? else { return Ok(None) };
    let kind = thinking.text("type")?.unwrap_or_else(|| "enabled".to_owned());
    let budget = thinking.count("token_budget")?;
    let reasoning = match kind.as_str() {
        "enabled" => Reasoning { enabled: Some(true), budget, visible: Some(true), ..Reasoning::default() },
        "disabled" => Reasoning { enabled: Some(false), ..Reasoning::default() },
        other => return Err(thinking.unknown("type", other, "enabled or disabled")),
    };
    thinking.rest(extra);
    Ok(Some(reasoning))
}

/// The text of a document's data: its own text if that and a title are all, else every field on a line.
pub(super) fn text_of(data: Map<String, Value>) -> String {
    const OWN: [&str; 2] = ["text", "snippet"];
    if let [(key, Value::String(text))] = data.iter().collect::<Vec<_>>().as_slice()
        && OWN.contains(&key.as_str())
    {
        return text.clone();
    }
    let line = |(key, value): (String, Value)| match value {
        Value::String(text) => format!("{key}: {text}"),
        other => format!("{key}: {other}"),
    };
    data.into_iter().map(line).collect::<Vec<_>>().join("\n")
}
