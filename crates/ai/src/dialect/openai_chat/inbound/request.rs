//! Reads a request to `/v1/chat/completions`.

use serde_json::Value;

use super::message::{cache_mark, read_messages};
use crate::{
    canon::{
        AudioOutput, Effort, Error, Extra, Format, Modality, Reasoning, Request, Sampling, Tool, ToolChoice,
        ToolKind, Verbosity,
    },
    dialect::{
        Spoken,
        openai_chat::ISSUER,
        openai_responses::{self, is_hosted},
    },
    fields::Fields,
};

pub(in crate::dialect) fn read_request(_: &Spoken, body: &[u8]) -> Result<Request, Error> {
    let mut fields = Fields::document(body)?;
    let mut extra = Extra::new();
    let mut request = Request {
        model: fields.required_text("model")?,
        stream: fields.flag("stream")?.unwrap_or(false),
        sampling: read_sampling(&mut fields)?,
        max_output_tokens: read_max_tokens(&mut fields)?,
        choices: fields.count("n")?.map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
        parallel_tool_calls: fields.flag("parallel_tool_calls")?,
        tier: fields.text("service_tier")?,
        metadata: fields.map("metadata")?,
        cache_key: fields.text("prompt_cache_key")?,
        store: fields.flag("store")?,
        ..Request::default()
    };
    let user = fields.text("user")?;
    request.user = fields.text("safety_identifier")?.or(user);
    if !fields.has("messages") {
        return Err(fields.missing("messages"));
    }
    request.messages = read_messages(&mut fields, &mut extra)?;
    request.tools = read_tools(&mut fields, &mut extra)?;
    request.tool_choice = read_tool_choice(&mut fields)?;
    request.format = read_format(&mut fields, &mut extra)?;
    request.log_probabilities = read_log_probabilities(&mut fields)?;
    request.modalities = read_modalities(&mut fields)?;
    request.reasoning = read_reasoning(&mut fields)?;
    request.verbosity = match fields.text("verbosity")?.as_deref() {
        None => None,
        Some("low") => Some(Verbosity::Low),
        Some("medium") => Some(Verbosity::Medium),
        Some("high") => Some(Verbosity::High),
        Some(other) => return Err(fields.unknown("verbosity", other, "low, medium or high")),
    };
    if let Some(mut audio) = fields.object("audio")? {
        let voice = match audio.take("voice") {
            Some(Value::Object(voice)) => voice.get("id").and_then(Value::as_str).map(str::to_owned),
            Some(Value::String(voice)) => Some(voice),
            _ => None,
        };
        request.audio = Some(AudioOutput { voice, format: audio.text("format")? });
        audio.rest(&mut extra);
    }
    if let Some(mut options) = fields.object("stream_options")? {
        request.include_usage = options.flag("include_usage")?.unwrap_or(false);
        options.rest(&mut extra);
    }
    fields.rest(&mut extra);
    request.extra = extra;
    Ok(request)
}

fn read_sampling(fields: &mut Fields) -> Result<Sampling, Error> {
    Ok(Sampling {
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        presence_penalty: fields.number("presence_penalty")?,
        seed: fields.integer("seed")?,
        stop: fields.texts("stop")?,
        logit_bias: fields.map("logit_bias")?,
    })
}

/// `max_completion_tokens`, or `max_tokens` as it was called before.
fn read_max_tokens(fields: &mut Fields) -> Result<Option<u64>, Error> {
    let old = fields.count("max_tokens")?;
    Ok(fields.count("max_completion_tokens")?.or(old))
}

fn read_log_probabilities(fields: &mut Fields) -> Result<Option<u32>, Error> {
    let wanted = fields.flag("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs")?;
    Ok((wanted || top.is_some()).then(|| u32::try_from(top.unwrap_or(0)).unwrap_or(u32::MAX)))
}

fn read_modalities(fields: &mut Fields) -> Result<Vec<Modality>, Error> {
    let words = fields.texts("modalities")?;
    let read = |word: String| match word.as_str() {
        "text" => Ok(Modality::Text),
        "audio" => Ok(Modality::Audio),
        "image" => Ok(Modality::Image),
        other => Err(fields.unknown("modalities", other, "text, audio or image")),
    };
    words.into_iter().map(read).collect()
}

/// `reasoning_effort`; OpenRouter's `reasoning` object says the same, or a budget.
fn read_reasoning(fields: &mut Fields) -> Result<Option<Reasoning>, Error> {
    let mut reasoning = Reasoning::default();
    let mut word = fields.text("reasoning_effort")?;
    if let Some(mut object) = fields.object("reasoning")? {
        word = object.text("effort")?.or(word);
        reasoning.budget = object.count("max_tokens")?;
        reasoning.enabled = object.flag("enabled")?;
        reasoning.visible = object.flag("exclude")?.map(|hidden| !hidden);
    }
    if let Some(word) = word {
        let effort = Effort::from_word(&word);
        let unknown =
            || fields.unknown("reasoning_effort", &word, "none, minimal, low, medium, high, xhigh or max");
        reasoning.effort = Some(effort.ok_or_else(unknown)?);
        if effort == Some(Effort::None) {
            reasoning.enabled = Some(false);
        }
    }
    Ok((reasoning != Reasoning::default()).then_some(reasoning))
}

fn read_tools(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    for mut tool in fields.objects("tools")? {
        let kind = tool.peek_text("type").unwrap_or("function").to_owned();
        let cache = tool.take("cache_control").map(cache_mark);
        match kind.as_str() {
            "function" => {
                tool.take("type");
                let mut function = tool.object("function")?.ok_or_else(|| tool.missing("function"))?;
                tools.push(read_function(&mut function, cache)?);
                function.rest(extra);
                tool.rest(extra);
            }
            "custom" => {
                tool.take("type");
                let mut custom = tool.object("custom")?.ok_or_else(|| tool.missing("custom"))?;
                tools.push(Tool {
                    name: custom.required_text("name")?,
                    description: custom.text("description")?,
                    kind: ToolKind::Custom { format: custom.take("format") },
                    strict: None,
                    cache,
                });
                custom.rest(extra);
                tool.rest(extra);
            }
            _ => {
                let name = tool.peek_text("name").unwrap_or(&kind).to_owned();
                let value = tool.into_value();
                // What is not OpenAI's own is of one compatible provider, and nobody knows of which.
                let vendor = if is_hosted(&value) { openai_responses::ISSUER } else { ISSUER };
                let kind = ToolKind::Vendor { vendor, value };
                tools.push(Tool { name, description: None, kind, strict: None, cache });
            }
        }
    }
    // Before `tools` there were `functions`.
    for mut function in fields.objects("functions")? {
        tools.push(read_function(&mut function, None)?);
        function.rest(extra);
    }
    Ok(tools)
}

fn read_function(function: &mut Fields, cache: Option<crate::canon::CacheMark>) -> Result<Tool, Error> {
    Ok(Tool {
        name: function.required_text("name")?,
        description: function.text("description")?,
        kind: ToolKind::Function { parameters: function.take("parameters") },
        strict: function.flag("strict")?,
        cache,
    })
}

fn read_tool_choice(fields: &mut Fields) -> Result<Option<ToolChoice>, Error> {
    const KNOWN: &str = "none, auto, required, or an object that names a tool";
    let key = if fields.has("tool_choice") { "tool_choice" } else { "function_call" };
    match fields.take(key) {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "none" => Ok(Some(ToolChoice::None)),
            "auto" => Ok(Some(ToolChoice::Auto)),
            "required" | "any" => Ok(Some(ToolChoice::Required)),
            other => Err(fields.unknown(key, other, KNOWN)),
        },
        Some(value) => {
            let name = |value: &Value| {
                let named = value.get("function").or_else(|| value.get("custom")).unwrap_or(value);
                named.get("name").and_then(Value::as_str).map(str::to_owned)
            };
            if let Some(name) = name(&value) {
                return Ok(Some(ToolChoice::Named(name)));
            }
            let allowed = value.get("allowed_tools").unwrap_or(&value);
            let tools = allowed.get("tools").and_then(Value::as_array);
            let names = tools.map(|tools| tools.iter().filter_map(name).collect());
            match names {
                Some(names) => {
                    let required = allowed.get("mode").and_then(Value::as_str) == Some("required");
                    Ok(Some(ToolChoice::Among { names, required }))
                }
                None => Err(fields.unknown(key, &value.to_string(), KNOWN)),
            }
        }
    }
}

fn read_format(fields: &mut Fields, extra: &mut Extra) -> Result<Format, Error> {
    let Some(mut format) = fields.object("response_format")? else { return Ok(Format::Text) };
    let kind = format.required_text("type")?;
    let read = match kind.as_str() {
        "text" => Format::Text,
        "json_object" => Format::Json,
        "json_schema" => {
            let mut schema = format.object("json_schema")?.ok_or_else(|| format.missing("json_schema"))?;
            let read = Format::Schema {
                name: schema.text("name")?.unwrap_or_default(),
                description: schema.text("description")?,
                schema: schema.take("schema").unwrap_or_else(|| Value::Object(serde_json::Map::new())),
                strict: schema.flag("strict")?,
            };
            schema.rest(extra);
            read
        }
        other => return Err(format.unknown("type", other, "text, json_object or json_schema")),
    };
    format.rest(extra);
    Ok(read)
}
