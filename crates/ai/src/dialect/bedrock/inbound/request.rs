//! Reads a request to `/model/{id}/converse` or `/converse-stream`.

use serde_json::Value;

use super::message::{read_messages, read_system};
use crate::{
    canon::{CacheMark, Error, Extra, Format, Reasoning, Request, Sampling, Tool, ToolChoice, ToolKind},
    dialect::{
        Spoken,
        anthropic::{
            self,
            inbound::{read_effort, read_thinking},
        },
        bedrock::DIALECT,
    },
    fields::Fields,
    way::Way,
};

pub(in crate::dialect) fn read_request(spoken: &Spoken, body: &[u8]) -> Result<Request, Error> {
    let mut fields = Fields::document(body)?;
    let mut extra = Extra::new();
    let mut request = Request {
        model: spoken.model.clone().ok_or_else(|| fields.missing("modelId"))?,
        stream: spoken.stream,
        metadata: fields.map("requestMetadata")?,
        include_usage: true,
        ..Request::default()
    };
    // SDKs put it in the path, some clients in both.
    fields.take("modelId");
    request.messages.extend(read_system(&mut fields, &mut extra)?);
    read_messages(&mut fields, &mut request, &mut extra)?;
    if let Some(mut config) = fields.object("inferenceConfig")? {
        request.max_output_tokens = config.count("maxTokens")?;
        request.sampling = Sampling {
            temperature: config.number("temperature")?,
            top_p: config.number("topP")?,
            stop: config.texts("stopSequences")?,
            ..Sampling::default()
        };
        config.rest(&mut extra);
    }
    if let Some(mut config) = fields.object("toolConfig")? {
        request.tools = read_tools(&mut config, &mut extra)?;
        request.tool_choice = read_tool_choice(&mut config)?;
        config.rest(&mut extra);
    }
    if let Some(mut tier) = fields.object("serviceTier")? {
        request.tier = tier.text("type")?;
        tier.rest(&mut extra);
    }
    let mut reasoning = Reasoning::default();
    if let Some(mut beside) = fields.object("additionalModelRequestFields")? {
        reasoning = read_reasoning(&mut beside, &mut extra)?;
        request.sampling.top_k = beside.count("top_k")?;
        request.tools.append(&mut anthropic::inbound::read_vendor_tools(&mut beside)?);
        beside.rest(&mut extra);
    }
    if let Some(mut config) = fields.object("outputConfig")? {
        reasoning.effort = read_effort(&mut config)?.or(reasoning.effort);
        request.format = read_format(&mut config, &mut extra)?;
        config.rest(&mut extra);
    }
    request.reasoning = (reasoning != Reasoning::default()).then_some(reasoning);
    fields.rest(&mut extra);
    request.extra = extra;
    Ok(request)
}

/// What Claude is told of thinking: `thinking`, or `reasoning_config` as Bedrock's guide has it. Effort stands in
/// `output_config` where the caller took it from Anthropic, `reasoning_effort` where the model is OpenAI's.
fn read_reasoning(fields: &mut Fields, extra: &mut Extra) -> Result<Reasoning, Error> {
    if let Some(config) = fields.take("reasoning_config") {
        fields.put("thinking", config);
    }
    let mut reasoning = read_thinking(fields, extra)?;
    if let Some(mut config) = fields.object("output_config")? {
        reasoning.effort = read_effort(&mut config)?;
        config.rest(extra);
    }
    if let Some(word) = fields.text("reasoning_effort")? {
        let effort = crate::canon::Effort::from_word(&word);
        reasoning.effort =
            Some(effort.ok_or_else(|| fields.unknown("reasoning_effort", &word, "low, medium or high"))?);
    }
    Ok(reasoning)
}

fn read_tools(config: &mut Fields, extra: &mut Extra) -> Result<Vec<Tool>, Error> {
    let mut tools: Vec<Tool> = Vec::new();
    for mut tool in config.objects("tools")? {
        if let Some(point) = tool.take("cachePoint") {
            if let Some(last) = tools.last_mut() {
                last.cache = Some(cache_mark(&point));
            }
        } else if let Some(mut spec) = tool.object("toolSpec")? {
            let parameters = spec.object("inputSchema")?.and_then(|mut schema| schema.take("json"));
            tools.push(Tool {
                name: spec.required_text("name")?,
                description: spec.text("description")?,
                kind: ToolKind::Function { parameters },
                strict: spec.flag("strict")?,
                cache: None,
            });
            spec.rest(extra);
        } else {
            let value = tool.into_value();
            let name =
                value.at("/systemTool/name").and_then(Value::as_str).unwrap_or("systemTool").to_owned();
            tools.push(Tool {
                name,
                description: None,
                kind: ToolKind::Vendor { vendor: DIALECT, value },
                strict: None,
                cache: None,
            });
        }
    }
    Ok(tools)
}

/// `cachePoint`.
pub(super) fn cache_mark(point: &Value) -> CacheMark {
    CacheMark { ttl: point.get("ttl").and_then(Value::as_str).map(str::to_owned) }
}

fn read_tool_choice(config: &mut Fields) -> Result<Option<ToolChoice>, Error> {
    let Some(mut choice) = config.object("toolChoice")? else { return Ok(None) };
    if let Some(mut tool) = choice.object("tool")? {
        return Ok(Some(ToolChoice::Named(tool.required_text("name")?)));
    }
    match (choice.has("auto"), choice.has("any")) {
        (true, _) => Ok(Some(ToolChoice::Auto)),
        (_, true) => Ok(Some(ToolChoice::Required)),
        _ => Err(config.unknown("toolChoice", &choice.into_value().to_string(), "auto, any or tool")),
    }
}

fn read_format(config: &mut Fields, extra: &mut Extra) -> Result<Format, Error> {
    let Some(mut format) = config.object("textFormat")? else { return Ok(Format::Text) };
    format.take("type");
    let mut structure = format.object("structure")?.ok_or_else(|| format.missing("structure"))?;
    let mut schema = structure.object("jsonSchema")?.ok_or_else(|| structure.missing("jsonSchema"))?;
    let text = schema.required_text("schema")?;
    let read = Format::Schema {
        name: schema.text("name")?.unwrap_or_default(),
        description: schema.text("description")?,
        schema: serde_json::from_str(&text).map_err(|error| {
            Error::invalid(schema.place("schema"), format!("the schema is not JSON: {error}"))
        })?,
        strict: None,
    };
    schema.rest(extra);
    format.rest(extra);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field() {
        let spoken = Spoken { model: Some("m".to_owned()), stream: false };
        for (body, param) in [
            (r#"{"messages": [{"role": "tool", "content": []}]}"#, "messages[0].role"),
            (r#"{"messages": [{"role": "user"}]}"#, "messages[0].content"),
            (
                r#"{"messages": [{"role": "user", "content": [{"image": {"format": "png"}}]}]}"#,
                "messages[0].content[0].image.source",
            ),
            (r#"{"toolConfig": {"tools": [{"toolSpec": {}}]}}"#, "toolConfig.tools[0].toolSpec.name"),
            (r#"{"toolConfig": {"toolChoice": {"none": {}}}}"#, "toolConfig.toolChoice"),
        ] {
            let found = read_request(&spoken, body.as_bytes()).err().and_then(|error| error.param);
            assert_eq!(found.as_deref(), Some(param), "{body}");
        }
        let nameless = read_request(&Spoken::default(), b"{}").err().and_then(|error| error.param);
        assert_eq!(nameless.as_deref(), Some("modelId"));
    }
}
