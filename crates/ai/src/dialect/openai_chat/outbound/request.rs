//! Writes a request to `/chat/completions`.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{message::write_messages, thinking::write_reasoning};
use crate::{
    canon::{
        AudioOutput, Error, Feature, Format, Losses, Modality, Request, Tool, ToolChoice, ToolKind, Verbosity,
    },
    dialect::{
        Outgoing,
        openai_responses::{tier_word, user_word},
    },
    rules::{MaxTokensField, Rules, SeedField, Target},
};

pub(in crate::dialect) fn write_request(request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
    let rules = target.rules;
    let mut losses = Losses::default();
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    body.insert("messages".into(), write_messages(&request.messages, rules, &mut losses)?);
    write_tools(request, &mut body, &mut losses);
    write_sampling(request, rules, &mut body);
    write_format(&request.format, &mut body);
    if let Some(reasoning) = &request.reasoning {
        write_reasoning(reasoning, rules, &mut body, &mut losses);
    }
    write_rest(request, &mut body, &mut losses);
    if request.stream {
        body.insert("stream".into(), true.into());
        // The usage is always read, whether the caller wants it or not.
        if !rules.no_stream_options {
            body.insert("stream_options".into(), json!({"include_usage": true}));
        }
    }
    losses.fields(&request.extra);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(Outgoing { path: "/chat/completions".to_owned(), headers: Vec::new(), body, losses })
}

/// Writes a parameter, if there is one.
fn put(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    body.extend(value.map(|value| (key.to_owned(), value.into())));
}

fn write_sampling(request: &Request, rules: &Rules, body: &mut Map<String, Value>) {
    let key = match rules.max_tokens_field {
        MaxTokensField::MaxTokens => "max_tokens",
        MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
    };
    put(body, key, request.max_output_tokens);
    put(body, "n", request.choices.filter(|choices| *choices != 1));
    let sampling = &request.sampling;
    put(body, "temperature", sampling.temperature);
    put(body, "top_p", sampling.top_p);
    put(body, "top_k", sampling.top_k);
    put(body, "frequency_penalty", sampling.frequency_penalty);
    put(body, "presence_penalty", sampling.presence_penalty);
    let key = match rules.seed_field {
        SeedField::Seed => "seed",
        SeedField::RandomSeed => "random_seed",
    };
    put(body, key, sampling.seed);
    put(body, "logit_bias", Some(&sampling.logit_bias).filter(|bias| !bias.is_empty()).cloned());
    put(body, "stop", Some(&sampling.stop).filter(|stop| !stop.is_empty()).cloned());
    put(body, "logprobs", request.log_probabilities.map(|_| true));
    put(body, "top_logprobs", request.log_probabilities.filter(|top| *top > 0));
}

fn write_rest(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    match request.tier.as_deref() {
        Some(tier) if tier_word(tier) == tier => put(body, "service_tier", Some(tier)),
        Some(_) => losses.feature(Feature::Tier),
        None => {}
    }
    put(body, "user", request.user.as_deref().map(user_word));
    put(body, "metadata", Some(&request.metadata).filter(|map| !map.is_empty()).cloned());
    put(body, "prompt_cache_key", request.cache_key.clone());
    put(body, "store", request.store);
    let verbosity = request.verbosity.map(|verbosity| match verbosity {
        Verbosity::Low => "low",
        Verbosity::Medium => "medium",
        Verbosity::High => "high",
    });
    put(body, "verbosity", verbosity);
    let word = |modality: &Modality| match modality {
        Modality::Text => "text",
        Modality::Audio => "audio",
        Modality::Image => "image",
    };
    let modalities: Vec<&str> = request.modalities.iter().map(word).collect();
    if modalities != ["text"] {
        put(body, "modalities", (!modalities.is_empty()).then_some(modalities));
    }
    if let Some(audio) = &request.audio {
        body.insert("audio".into(), speech(audio, request.stream, losses));
    }
    if request.conversation.is_some() {
        losses.feature(Feature::Conversation);
    }
}

/// `audio`, of which both fields must be there. Streams come as bare samples alone.
fn speech(audio: &AudioOutput, stream: bool, losses: &mut Losses) -> Value {
    const VOICE: &str = "alloy";
    let voice = match audio.voice.as_deref() {
        // Google's voices are named after stars, with a capital.
        Some(voice) if voice.starts_with(|first: char| first.is_uppercase()) => {
            losses.feature(Feature::Modalities);
            VOICE
        }
        voice => voice.unwrap_or(VOICE),
    };
    let format = audio.format.as_deref().unwrap_or(if stream { "pcm16" } else { "wav" });
    json!({"voice": voice, "format": format})
}

fn write_tools(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    let tools: Vec<Value> = request.tools.iter().filter_map(|tool| tool_value(tool, losses)).collect();
    if tools.is_empty() {
        return;
    }
    body.insert("tools".into(), tools.into());
    if let Some(parallel) = request.parallel_tool_calls {
        body.insert("parallel_tool_calls".into(), parallel.into());
    }
    let is_custom = |tool: &&Tool| matches!(tool.kind, ToolKind::Custom { .. });
    let custom: HashSet<&str> =
        request.tools.iter().filter(is_custom).map(|tool| tool.name.as_str()).collect();
    let named = |name: &str| {
        let kind = if custom.contains(name) { "custom" } else { "function" };
        let mut value = json!({"type": kind});
        value[kind] = json!({"name": name});
        value
    };
    let choice = match &request.tool_choice {
        None => return,
        Some(ToolChoice::Auto) => "auto".into(),
        Some(ToolChoice::None) => "none".into(),
        Some(ToolChoice::Required) => "required".into(),
        Some(ToolChoice::Named(name)) => named(name),
        Some(ToolChoice::Among { names, required }) => {
            let mode = if *required { "required" } else { "auto" };
            let tools: Vec<Value> = names.iter().map(|name| named(name)).collect();
            json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
        }
    };
    body.insert("tool_choice".into(), choice);
}

fn tool_value(tool: &Tool, losses: &mut Losses) -> Option<Value> {
    if tool.cache.is_some() {
        losses.feature(Feature::CacheMark);
    }
    match &tool.kind {
        ToolKind::Function { parameters } => {
            let mut function = json!({"name": tool.name});
            if let Some(description) = &tool.description {
                function["description"] = description.as_str().into();
            }
            if let Some(parameters) = parameters {
                function["parameters"] = parameters.clone();
            }
            if let Some(strict) = tool.strict {
                function["strict"] = strict.into();
            }
            Some(json!({"type": "function", "function": function}))
        }
        ToolKind::Custom { format } => {
            let mut custom = json!({"name": tool.name});
            if let Some(description) = &tool.description {
                custom["description"] = description.as_str().into();
            }
            if let Some(format) = format {
                custom["format"] = format.clone();
            }
            Some(json!({"type": "custom", "custom": custom}))
        }
        // They have gone before.
        ToolKind::Vendor { .. } => None,
    }
}

fn write_format(format: &Format, body: &mut Map<String, Value>) {
    let value = match format {
        Format::Text => return,
        Format::Json => json!({"type": "json_object"}),
        Format::Schema { name, description, schema, strict } => {
            let name = if name.is_empty() { "answer" } else { name };
            let mut inner = json!({"name": name, "schema": schema});
            if let Some(description) = description {
                inner["description"] = description.as_str().into();
            }
            if let Some(strict) = strict {
                inner["strict"] = (*strict).into();
            }
            json!({"type": "json_schema", "json_schema": inner})
        }
    };
    body.insert("response_format".into(), value);
}
