//! Writes a request to `/v1/messages`.

use serde_json::{Map, Value, json};

use super::{
    message::{Blocks, write_system, write_turns},
    tool::write_tools,
};
use crate::{
    canon::{Error, Feature, Format, Losses, Modality, Reasoning, Request, Sampling},
    dialect::{
        Outgoing,
        anthropic::{
            thinking::{Mode, Plan, plan},
            turns::turns,
        },
    },
    rules::Target,
};

/// The version of the dialect that is spoken here.
const VERSION: &str = "2023-06-01";

pub(in crate::dialect) fn write_request(request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
    let rules = target.rules;
    let mut losses = Losses::default();
    let ordered = turns(&request.messages, rules, &mut losses);
    let plan = plan(request, &ordered.turns, rules, &mut losses);
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    body.insert("max_tokens".into(), plan.max_tokens.into());
    let mut blocks = Blocks::new(&mut losses);
    let (tools, choice) = write_tools(request, &mut blocks);
    let system = write_system(&ordered.system, &mut blocks);
    let messages = write_turns(&ordered.turns, &mut blocks);
    for (key, value) in
        [("system", system), ("messages", Some(messages)), ("tools", tools), ("tool_choice", choice)]
    {
        body.extend(value.map(|value| (key.to_owned(), value)));
    }
    write_sampling(&request.sampling, plan, &mut body, &mut losses);
    if let Some(reasoning) = &request.reasoning {
        write_thinking(reasoning, plan, &mut body, &mut losses);
    }
    write_output(&request.format, plan, &mut body, &mut losses);
    write_rest(request, &mut body, &mut losses);
    note_unsaid(request, &mut losses);
    if !request.metadata.is_empty() {
        losses.feature(Feature::Metadata);
    }
    if request.stream {
        body.insert("stream".into(), true.into());
    }
    losses.fields(&request.extra);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let headers = vec![("anthropic-version", VERSION.to_owned())];
    Ok(Outgoing { path: "/v1/messages".to_owned(), headers, body, losses })
}

fn write_sampling(sampling: &Sampling, plan: Plan, body: &mut Map<String, Value>, losses: &mut Losses) {
    let mut put = |key: &str, value: Option<Value>, feature: Feature, taken: bool| {
        let Some(value) = value else { return };
        if taken {
            body.insert(key.into(), value);
        } else {
            losses.feature(feature);
        }
    };
    let thinks = plan.thinks();
    let temperature = sampling.temperature.map(|temperature| temperature.clamp(0.0, 1.0));
    let fits = temperature == sampling.temperature;
    // Thinking goes with a temperature of 1 alone, which is what it is when nothing is said.
    put("temperature", temperature.filter(|_| !thinks).map(Value::from), Feature::Temperature, true);
    // Of the second Claude takes only a wide one when it thinks.
    let top_p = sampling.top_p.filter(|top_p| (0.0..=1.0).contains(top_p));
    let wide = !thinks || top_p.is_some_and(|top_p| top_p >= 0.95);
    put("top_p", sampling.top_p.map(Value::from), Feature::TopP, wide && top_p.is_some());
    put("top_k", sampling.top_k.map(Value::from), Feature::TopK, !thinks);
    if !fits || (thinks && temperature.is_some_and(|temperature| temperature < 1.0)) {
        losses.feature(Feature::Temperature);
    }
    // Sequences of nothing but white space are refused.
    let stop: Vec<&String> = sampling.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if stop.len() < sampling.stop.len() {
        losses.feature(Feature::Stop);
    }
    if !stop.is_empty() {
        body.insert("stop_sequences".into(), json!(stop));
    }
}

fn write_thinking(reasoning: &Reasoning, plan: Plan, body: &mut Map<String, Value>, losses: &mut Losses) {
    let mut thinking = match plan.mode {
        Mode::Unsaid => return,
        Mode::Off => json!({"type": "disabled"}),
        Mode::Budget(budget) => json!({"type": "enabled", "budget_tokens": budget}),
        Mode::Adaptive => json!({"type": "adaptive"}),
    };
    let shown = reasoning.visible.or(reasoning.summary.is_some().then_some(true));
    match (plan.mode, shown) {
        (Mode::Off, _) | (_, None) => {}
        (_, Some(false)) => thinking["display"] = "omitted".into(),
        // Thoughts of a budget are shown if nothing else is said.
        (Mode::Adaptive, Some(true)) => thinking["display"] = "summarized".into(),
        (_, Some(true)) => {}
    }
    if reasoning.summary.as_deref().is_some_and(|summary| summary != "auto") {
        losses.feature(Feature::ReasoningSummary);
    }
    body.insert("thinking".into(), thinking);
}

/// `output_config`: effort, and the form of the answer.
fn write_output(format: &Format, plan: Plan, body: &mut Map<String, Value>, losses: &mut Losses) {
    let mut config = Map::new();
    if let Some(effort) = plan.effort {
        config.insert("effort".into(), effort.word().into());
    }
    match format {
        Format::Text => {}
        Format::Json => losses.feature(Feature::JsonMode),
        Format::Schema { schema, description, .. } => {
            let mut schema = schema.clone();
            // There is no other place for it.
            if let (Some(description), Some(object)) = (description, schema.as_object_mut()) {
                object.entry("description").or_insert_with(|| description.as_str().into());
            }
            config.insert("format".into(), json!({"type": "json_schema", "schema": schema}));
        }
    }
    if !config.is_empty() {
        body.insert("output_config".into(), config.into());
    }
}

fn write_rest(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    if let Some(user) = &request.user {
        body.insert("metadata".into(), json!({"user_id": user}));
    }
    let tier = match request.tier.as_deref() {
        None => return,
        Some("auto") => "auto",
        // What was paid for in advance is used, if there is any: that is the nearest.
        Some("priority") => {
            losses.feature(Feature::Tier);
            "auto"
        }
        Some("default") => "standard_only",
        Some(_) => return losses.feature(Feature::Tier),
    };
    body.insert("service_tier".into(), tier.into());
}

/// What neither Claude's dialect nor Bedrock's has a place for.
pub(in crate::dialect) fn note_unsaid(request: &Request, losses: &mut Losses) {
    let sampling = &request.sampling;
    let speech =
        request.modalities.iter().any(|modality| *modality != Modality::Text) || request.audio.is_some();
    for (said, feature) in [
        (sampling.frequency_penalty.is_some_and(|penalty| penalty != 0.0), Feature::FrequencyPenalty),
        (sampling.presence_penalty.is_some_and(|penalty| penalty != 0.0), Feature::PresencePenalty),
        (sampling.seed.is_some(), Feature::Seed),
        (!sampling.logit_bias.is_empty(), Feature::LogitBias),
        (request.choices.is_some_and(|choices| choices > 1), Feature::Choices),
        (request.log_probabilities.is_some(), Feature::LogProbabilities),
        (speech, Feature::Modalities),
        (request.verbosity.is_some(), Feature::Verbosity),
        (request.cache_key.is_some(), Feature::CacheKey),
        // Nothing is kept, so only a wish that something be is not met.
        (request.store == Some(true), Feature::Store),
        (request.conversation.is_some(), Feature::Conversation),
    ] {
        if said {
            losses.feature(feature);
        }
    }
}
