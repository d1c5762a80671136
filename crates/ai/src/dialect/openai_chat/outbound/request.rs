//! Writes a request to `/chat/completions`.

use serde_json::{Map, Value, json};

use super::message::write_messages;
use crate::{
    canon::{
        Effort, Error, Feature, Format, Losses, Modality, Reasoning, Request, Tool, ToolChoice, ToolKind,
        Verbosity,
    },
    dialect::Outgoing,
    rules::{MaxTokensField, ReasoningRule, Rules, Target, nearest},
};

pub(in crate::dialect) fn write_request(request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
    let rules = target.rules;
    let mut losses = Losses::default();
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    body.insert("messages".into(), write_messages(&request.messages, rules, &mut losses)?);
    write_tools(request, &mut body, &mut losses);
    write_limits(request, rules, &mut body, &mut losses);
    write_sampling(request, rules, &mut body, &mut losses);
    write_format(&request.format, rules, &mut body, &mut losses);
    if let Some(reasoning) = &request.reasoning {
        write_reasoning(reasoning, rules, &mut body, &mut losses);
    }
    write_rest(request, rules, &mut body, &mut losses);
    if request.conversation.is_some() {
        losses.feature(Feature::Conversation);
    }
    if request.stream {
        body.insert("stream".into(), true.into());
        // The usage is always read, whether the caller wants it or not.
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    losses.fields(&request.extra);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(Outgoing { path: "/chat/completions".to_owned(), headers: Vec::new(), body, losses })
}

/// Writes a parameter, or reports it where the target refuses it.
fn put(
    body: &mut Map<String, Value>,
    key: &str,
    value: Option<impl Into<Value>>,
    feature: Feature,
    rules: &Rules,
    losses: &mut Losses,
) {
    let Some(value) = value else { return };
    if rules.refuses(feature) {
        losses.feature(feature);
    } else {
        body.insert(key.into(), value.into());
    }
}

fn write_limits(request: &Request, rules: &Rules, body: &mut Map<String, Value>, losses: &mut Losses) {
    let key = match rules.max_tokens_field {
        MaxTokensField::MaxTokens => "max_tokens",
        MaxTokensField::MaxCompletionTokens => "max_completion_tokens",
    };
    if let Some(asked) = request.max_output_tokens {
        let most = rules.max_output_tokens.unwrap_or(u64::MAX);
        if asked > most {
            losses.feature(Feature::MaxOutputTokens);
        }
        body.insert(key.into(), asked.min(most).into());
    }
    put(body, "n", request.choices.filter(|choices| *choices != 1), Feature::Choices, rules, losses);
}

fn write_sampling(request: &Request, rules: &Rules, body: &mut Map<String, Value>, losses: &mut Losses) {
    let sampling = &request.sampling;
    put(body, "temperature", sampling.temperature, Feature::Temperature, rules, losses);
    put(body, "top_p", sampling.top_p, Feature::TopP, rules, losses);
    put(body, "top_k", sampling.top_k, Feature::TopK, rules, losses);
    put(body, "frequency_penalty", sampling.frequency_penalty, Feature::FrequencyPenalty, rules, losses);
    put(body, "presence_penalty", sampling.presence_penalty, Feature::PresencePenalty, rules, losses);
    put(body, "seed", sampling.seed, Feature::Seed, rules, losses);
    let bias = (!sampling.logit_bias.is_empty()).then(|| sampling.logit_bias.clone());
    put(body, "logit_bias", bias, Feature::LogitBias, rules, losses);
    let mut stop = sampling.stop.clone();
    if rules.stop_sequences.is_some_and(|most| stop.len() > most) {
        losses.feature(Feature::Stop);
        stop.truncate(rules.stop_sequences.unwrap_or(0));
    }
    put(body, "stop", (!stop.is_empty()).then_some(stop), Feature::Stop, rules, losses);
    if let Some(top) = request.log_probabilities {
        put(body, "logprobs", Some(true), Feature::LogProbabilities, rules, losses);
        put(body, "top_logprobs", Some(top).filter(|top| *top > 0), Feature::LogProbabilities, rules, losses);
    }
}

fn write_rest(request: &Request, rules: &Rules, body: &mut Map<String, Value>, losses: &mut Losses) {
    put(body, "service_tier", request.tier.clone(), Feature::Tier, rules, losses);
    put(body, "user", request.user.clone(), Feature::User, rules, losses);
    let metadata = (!request.metadata.is_empty()).then(|| request.metadata.clone());
    put(body, "metadata", metadata, Feature::Metadata, rules, losses);
    put(body, "prompt_cache_key", request.cache_key.clone(), Feature::CacheKey, rules, losses);
    put(body, "store", request.store, Feature::Store, rules, losses);
    let verbosity = request.verbosity.map(|verbosity| match verbosity {
        Verbosity::Low => "low",
        Verbosity::Medium => "medium",
        Verbosity::High => "high",
    });
    put(body, "verbosity", verbosity, Feature::Verbosity, rules, losses);
    let modalities: Vec<&str> = request
        .modalities
        .iter()
        .map(|modality| match modality {
            Modality::Text => "text",
            Modality::Audio => "audio",
            Modality::Image => "image",
        })
        .collect();
    if modalities != ["text"] {
        put(
            body,
            "modalities",
            (!modalities.is_empty()).then_some(modalities),
            Feature::Modalities,
            rules,
            losses,
        );
    }
    let audio = request.audio.as_ref().map(|audio| json!({"voice": audio.voice, "format": audio.format}));
    put(body, "audio", audio, Feature::Modalities, rules, losses);
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
    let custom = |name: &str| {
        request.tools.iter().any(|tool| tool.name == name && matches!(tool.kind, ToolKind::Custom { .. }))
    };
    let named = |name: &str| {
        let kind = if custom(name) { "custom" } else { "function" };
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
        ToolKind::Vendor(_) => {
            losses.feature_at(Feature::VendorTool, format_args!("tools.{}", tool.name));
            None
        }
    }
}

fn write_format(format: &Format, rules: &Rules, body: &mut Map<String, Value>, losses: &mut Losses) {
    let value = match format {
        Format::Text => None,
        Format::Json => Some((json!({"type": "json_object"}), Feature::JsonMode)),
        Format::Schema { name, description, schema, strict } => {
            let name = if name.is_empty() { "answer" } else { name };
            let mut inner = json!({"name": name, "schema": schema});
            if let Some(description) = description {
                inner["description"] = description.as_str().into();
            }
            if let Some(strict) = strict {
                inner["strict"] = (*strict).into();
            }
            Some((json!({"type": "json_schema", "json_schema": inner}), Feature::JsonSchema))
        }
    };
    if let Some((value, feature)) = value {
        put(body, "response_format", Some(value), feature, rules, losses);
    }
}

fn write_reasoning(reasoning: &Reasoning, rules: &Rules, body: &mut Map<String, Value>, losses: &mut Losses) {
    let off = reasoning.enabled == Some(false);
    let wish =
        if off { Some(Effort::None) } else { reasoning.effort.or(reasoning.budget.map(Effort::of_budget)) };
    // Who tells thoughts at all tells them unasked.
    if reasoning.visible == Some(true) && rules.thoughts.is_none() && rules.reasoning != ReasoningRule::None {
        losses.feature(Feature::ReasoningSummary);
    }
    match (&rules.reasoning, wish) {
        (ReasoningRule::None, _) if off => {}
        (ReasoningRule::None, _) => losses.feature(Feature::Reasoning),
        (ReasoningRule::AsAsked, Some(effort)) => {
            body.insert("reasoning_effort".into(), effort.word().into());
        }
        (ReasoningRule::Effort(known), Some(effort)) => {
            if let Some(effort) = nearest(effort, known) {
                body.insert("reasoning_effort".into(), effort.word().into());
            }
        }
        (ReasoningRule::Budget { least, most, can_be_off }, Some(effort)) => {
            let budget = match reasoning.budget.unwrap_or(effort.budget()) {
                0 if *can_be_off => 0,
                budget => budget.clamp(*least, *most),
            };
            body.insert("reasoning".into(), json!({"max_tokens": budget}));
        }
        // Thinking is on of its own, and nobody said how much.
        (_, None) => {}
    }
}
