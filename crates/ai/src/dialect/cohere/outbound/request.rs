//! Writes a request to `/v2/chat`.

use serde_json::{Map, Value, json};

use super::message::{Prompt, write_messages};
use crate::{
    canon::{
        Effort, Error, Feature, Format, Losses, Modality, Reasoning, Request, Tool, ToolChoice, ToolKind,
    },
    dialect::Outgoing,
    fit::Wanted,
    rules::{ReasoningRule, Rules, Target, nearest},
};

/// Most stop sequences.
const STOP_SEQUENCES_MAX: usize = 5;

pub(in crate::dialect) fn write_request(request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
    let rules = target.rules;
    let mut losses = Losses::default();
    let mut body = Map::new();
    body.insert("model".into(), target.model.into());
    let formatted = request.format != Format::Text;
    // Without thinking, what is thought before calls is a plan.
    let plans = rules.reasoning == ReasoningRule::None || request.reasoning.is_none();
    let prompt = Prompt { plans, documents_apart: !formatted };
    write_messages(&request.messages, &prompt, &mut body, &mut losses)?;
    write_tools(request, &mut body, &mut losses);
    write_sampling(request, &mut body, &mut losses);
    write_format(&request.format, &mut body, &mut losses);
    if let Some(reasoning) = &request.reasoning {
        write_thinking(reasoning, request.max_output_tokens, rules, &mut body, &mut losses);
    }
    note_rest(request, &mut losses);
    if request.stream {
        body.insert("stream".into(), true.into());
    }
    losses.fields(&request.extra);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    Ok(Outgoing { path: "/v2/chat".to_owned(), headers: Vec::new(), body, losses })
}

/// Writes a parameter, if there is one.
fn put(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    body.extend(value.map(|value| (key.to_owned(), value.into())));
}

/// A number within its bounds, and a report if it was not.
fn within(value: Option<f64>, least: f64, most: f64, feature: Feature, losses: &mut Losses) -> Option<f64> {
    let value = value?;
    let bounded = value.clamp(least, most);
    if bounded != value {
        losses.feature(feature);
    }
    Some(bounded)
}

fn write_sampling(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    let sampling = &request.sampling;
    put(body, "max_tokens", request.max_output_tokens);
    put(body, "temperature", sampling.temperature);
    // A `p` of 1 means all tokens; 0.99 is the most that is taken.
    put(body, "p", sampling.top_p.map(|p| p.clamp(0.01, 0.99)));
    put(body, "k", sampling.top_k.map(|k| k.min(500)));
    let frequency = within(sampling.frequency_penalty, 0.0, 1.0, Feature::FrequencyPenalty, losses);
    put(body, "frequency_penalty", frequency);
    put(
        body,
        "presence_penalty",
        within(sampling.presence_penalty, 0.0, 1.0, Feature::PresencePenalty, losses),
    );
    put(body, "seed", sampling.seed);
    let mut stop = sampling.stop.clone();
    if stop.len() > STOP_SEQUENCES_MAX {
        losses.feature(Feature::Stop);
        stop.truncate(STOP_SEQUENCES_MAX);
    }
    put(body, "stop_sequences", (!stop.is_empty()).then_some(stop));
    if request.log_probabilities.is_some_and(|top| top > 0) {
        losses.feature(Feature::LogProbabilities);
    }
    put(body, "logprobs", request.log_probabilities.map(|_| true));
}

/// A form for the answer excludes tools.
fn write_format(format: &Format, body: &mut Map<String, Value>, losses: &mut Losses) {
    let (value, feature) = match format {
        Format::Text => return,
        Format::Json => (json!({"type": "json_object"}), Feature::JsonMode),
        Format::Schema { schema, .. } => {
            (json!({"type": "json_object", "json_schema": schema}), Feature::JsonSchema)
        }
    };
    if body.contains_key("tools") {
        losses.feature(feature);
    } else {
        put(body, "response_format", Some(value));
    }
}

fn write_thinking(
    reasoning: &Reasoning,
    max_output_tokens: Option<u64>,
    rules: &Rules,
    body: &mut Map<String, Value>,
    losses: &mut Losses,
) {
    let off = reasoning.enabled == Some(false)
        || reasoning.effort == Some(Effort::None)
        || reasoning.budget == Some(0);
    let asked = reasoning.budget.or(reasoning.effort.map(Effort::budget));
    let budget = match &rules.reasoning {
        ReasoningRule::None => {
            if !off {
                losses.feature(Feature::Reasoning);
            }
            return;
        }
        ReasoningRule::AsAsked => asked,
        ReasoningRule::Effort(known) => {
            let nearest = asked.and_then(|asked| nearest(Effort::of_budget(asked), known));
            nearest.map(Effort::budget).filter(|budget| *budget > 0)
        }
        ReasoningRule::Budget { least, most, .. } => {
            asked.map(|budget| budget.clamp(*least, (*most).max(*least)))
        }
    };
    if off {
        body.insert("thinking".into(), json!({"type": "disabled"}));
        return;
    }
    if reasoning.visible == Some(false)
        || reasoning.summary.as_deref().is_some_and(|summary| summary != "auto")
    {
        losses.feature(Feature::ReasoningSummary);
    }
    let mut thinking = json!({"type": "enabled"});
    // What the thoughts take, the answer lacks: of what nobody counted out, it keeps a quarter.
    let kept = |most: u64| if reasoning.budget.is_some() { 1 } else { (most / 4).max(1) };
    let room = max_output_tokens.map(|most| most.saturating_sub(kept(most))).filter(|room| *room > 0);
    if let Some(budget) = budget {
        let fitting = room.map_or(budget, |room| budget.min(room));
        if asked.is_some_and(|asked| Effort::of_budget(asked) != Effort::of_budget(fitting)) {
            losses.feature(Feature::Reasoning);
        }
        thinking["token_budget"] = fitting.into();
    }
    body.insert("thinking".into(), thinking);
}

fn note_rest(request: &Request, losses: &mut Losses) {
    let spoken =
        request.modalities.iter().any(|modality| *modality != Modality::Text) || request.audio.is_some();
    let lost = [
        (request.choices.is_some_and(|choices| choices != 1), Feature::Choices),
        (!request.sampling.logit_bias.is_empty(), Feature::LogitBias),
        (spoken, Feature::Modalities),
        (request.verbosity.is_some(), Feature::Verbosity),
        (request.tier.as_deref().is_some_and(|tier| !matches!(tier, "auto" | "default")), Feature::Tier),
        (request.user.is_some(), Feature::User),
        (!request.metadata.is_empty(), Feature::Metadata),
        (request.cache_key.is_some(), Feature::CacheKey),
        (request.store == Some(true), Feature::Store),
        (request.conversation.is_some(), Feature::Conversation),
    ];
    lost.into_iter().filter(|(set, _)| *set).for_each(|(_, feature)| losses.feature(feature));
}

/// Tools, and whether they must be called. Which one, this dialect cannot say: the others are not offered then.
fn write_tools(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    let among = Wanted::among(request.tool_choice.as_ref());
    let offered = |tool: &&Tool| match &request.tool_choice {
        Some(ToolChoice::Named(name)) => tool.name == *name,
        _ => among.has(&tool.name),
    };
    let mut tools = Vec::new();
    let mut strict = Vec::new();
    for tool in request.tools.iter().filter(offered) {
        if tool.cache.is_some() {
            losses.feature(Feature::CacheMark);
        }
        match &tool.kind {
            ToolKind::Function { parameters } => {
                strict.push((tool.strict, parameters.as_ref()));
                tools.push(tool_value(tool, parameters.as_ref()));
            }
            // They have gone before.
            ToolKind::Custom { .. } | ToolKind::Vendor { .. } => {}
        }
    }
    if request.parallel_tool_calls == Some(false) {
        losses.feature(Feature::ParallelToolCalls);
    }
    if tools.is_empty() {
        return;
    }
    body.insert("tools".into(), tools.into());
    write_strict(&strict, body, losses);
    let choice = match &request.tool_choice {
        None | Some(ToolChoice::Auto | ToolChoice::Among { required: false, .. }) => return,
        Some(ToolChoice::None) => "NONE",
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Among { required: true, .. }) => {
            "REQUIRED"
        }
    };
    body.insert("tool_choice".into(), choice.into());
}

/// `strict_tools` holds for all tools, and each must then demand a parameter.
fn write_strict(
    tools: &[(Option<bool>, Option<&Value>)],
    body: &mut Map<String, Value>,
    losses: &mut Losses,
) {
    let demands = |parameters: &Option<&Value>| {
        let required = parameters.and_then(|parameters| parameters.get("required")).and_then(Value::as_array);
        required.is_some_and(|required| !required.is_empty())
    };
    if !tools.iter().any(|(strict, _)| *strict == Some(true)) {
        if tools.iter().all(|(strict, _)| *strict == Some(false)) {
            body.insert("strict_tools".into(), false.into());
        }
    } else if tools.iter().all(|(strict, parameters)| *strict == Some(true) && demands(parameters)) {
        body.insert("strict_tools".into(), true.into());
    } else {
        losses.feature(Feature::Strict);
    }
}

fn tool_value(tool: &Tool, parameters: Option<&Value>) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = description.as_str().into();
    }
    function["parameters"] =
        parameters.cloned().unwrap_or_else(|| json!({"type": "object", "properties": {}}));
    json!({"type": "function", "function": function})
}
