//! Writes a request to `/model/{id}/converse` or `/converse-stream`.

use serde_json::{Map, Value, json};

use super::{
    message::{Blocks, write_system, write_turns},
    tool::{write_claude_tools, write_tools},
};
use crate::{
    canon::{Error, Feature, Format, Losses, Reasoning, Request},
    dialect::{
        Outgoing,
        anthropic::{
            outbound::note_unsaid,
            thinking::{Mode, Plan, effort_alone, plan},
            turns::turns,
        },
    },
    rules::Target,
};

pub(in crate::dialect) fn write_request(request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
    let rules = target.rules;
    let family = Family::of(target.model);
    let mut losses = Losses::default();
    let ordered = turns(&request.messages, rules, &mut losses);
    let plan = match family {
        Family::Claude => plan(request, &ordered.turns, rules, &mut losses),
        Family::Nova | Family::Other => effort_alone(request, rules, &mut losses),
    };
    let mut body = Map::new();
    let mut blocks = Blocks::new(&mut losses);
    let tools = write_tools(request, &mut blocks);
    let system = write_system(&ordered.system, &mut blocks);
    body.insert("messages".into(), write_turns(&ordered.turns, &mut blocks));
    let mut beside = Map::new();
    if let Some(reasoning) = &request.reasoning {
        write_thinking(reasoning, plan, &mut beside, &mut losses);
    }
    write_claude_tools(request, family == Family::Claude, &mut beside, &mut losses);
    write_top_k(request, plan, family, &mut beside, &mut losses);
    let inference = write_inference(request, plan, &mut losses);
    let output = write_output(&request.format, plan, &mut losses);
    for (key, value) in
        [("system", system), ("inferenceConfig", inference), ("toolConfig", tools), ("outputConfig", output)]
    {
        body.extend(value.map(|value| (key.to_owned(), value)));
    }
    if !beside.is_empty() {
        body.insert("additionalModelRequestFields".into(), beside.into());
    }
    write_rest(request, &mut body, &mut losses);
    note_unsaid(request, &mut losses);
    if request.user.is_some() {
        losses.feature(Feature::User);
    }
    losses.fields(&request.extra);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let method = if request.stream { "converse-stream" } else { "converse" };
    let path = format!("/model/{}/{method}", crate::name::segment(target.model)?);
    Ok(Outgoing { path, headers: Vec::new(), body, losses })
}

/// Whose model it is, as far as its parameters differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Claude,
    Nova,
    Other,
}

impl Family {
    /// By the model's id. An ARN that names no model is of a profile, most of which are of Claude's.
    fn of(model: &str) -> Self {
        if model.contains("claude") || model.contains("anthropic") {
            Self::Claude
        } else if model.contains("nova") {
            Self::Nova
        } else if model.contains("application-inference-profile") || model.contains("provisioned-model") {
            Self::Claude
        } else {
            Self::Other
        }
    }
}

/// Claude is told as at Anthropic.
fn write_thinking(reasoning: &Reasoning, plan: Plan, beside: &mut Map<String, Value>, losses: &mut Losses) {
    let mut thinking = match plan.mode {
        Mode::Unsaid => return,
        Mode::Off => json!({"type": "disabled"}),
        Mode::Budget(budget) => json!({"type": "enabled", "budget_tokens": budget}),
        Mode::Adaptive => json!({"type": "adaptive"}),
    };
    let shown = reasoning.visible.or(reasoning.summary.is_some().then_some(true));
    match (plan.mode, shown) {
        (Mode::Adaptive, Some(true)) => thinking["display"] = "summarized".into(),
        (Mode::Adaptive | Mode::Budget(_), Some(false)) => thinking["display"] = "omitted".into(),
        _ => {}
    }
    if reasoning.summary.as_deref().is_some_and(|summary| summary != "auto") {
        losses.feature(Feature::ReasoningSummary);
    }
    beside.insert("thinking".into(), thinking);
}

fn write_top_k(
    request: &Request,
    plan: Plan,
    family: Family,
    beside: &mut Map<String, Value>,
    losses: &mut Losses,
) {
    let Some(top_k) = request.sampling.top_k else { return };
    match family {
        _ if plan.thinks() => losses.feature(Feature::TopK),
        Family::Claude => {
            beside.insert("top_k".into(), top_k.into());
        }
        Family::Nova => {
            beside.insert("inferenceConfig".into(), json!({"topK": top_k}));
        }
        Family::Other => losses.feature(Feature::TopK),
    }
}

fn write_inference(request: &Request, plan: Plan, losses: &mut Losses) -> Option<Value> {
    let sampling = &request.sampling;
    let mut config = Map::new();
    if request.max_output_tokens.is_some() || plan.thinks() {
        config.insert("maxTokens".into(), plan.max_tokens.into());
    }
    let thinks = plan.thinks();
    let temperature = sampling.temperature.map(|temperature| temperature.clamp(0.0, 1.0));
    let fits =
        temperature == sampling.temperature && !(thinks && temperature.is_some_and(|value| value < 1.0));
    if !fits {
        losses.feature(Feature::Temperature);
    }
    // Thinking goes with a temperature of 1 alone, which is what it is when nothing is said.
    if let Some(temperature) = temperature.filter(|_| !thinks) {
        config.insert("temperature".into(), temperature.into());
    }
    if let Some(top_p) = sampling.top_p {
        // Claude takes only a wide one when it thinks.
        if (!thinks || top_p >= 0.95) && (0.0..=1.0).contains(&top_p) {
            config.insert("topP".into(), top_p.into());
        } else {
            losses.feature(Feature::TopP);
        }
    }
    // Sequences of nothing but white space are refused.
    let stop: Vec<&String> = sampling.stop.iter().filter(|stop| !stop.trim().is_empty()).collect();
    if stop.len() < sampling.stop.len() {
        losses.feature(Feature::Stop);
    }
    if !stop.is_empty() {
        config.insert("stopSequences".into(), json!(stop));
    }
    (!config.is_empty()).then(|| config.into())
}

/// `outputConfig`: effort, and the form of the answer. The schema is a text here.
fn write_output(format: &Format, plan: Plan, losses: &mut Losses) -> Option<Value> {
    let mut config = Map::new();
    match format {
        Format::Text => {}
        Format::Json => losses.feature(Feature::JsonMode),
        Format::Schema { name, description, schema, .. } => {
            let mut inner = json!({"schema": schema.to_string()});
            if !name.is_empty() {
                inner["name"] = name.as_str().into();
            }
            if let Some(description) = description {
                inner["description"] = description.as_str().into();
            }
            config.insert(
                "textFormat".into(),
                json!({"type": "json_schema", "structure": {"jsonSchema": inner}}),
            );
        }
    }
    if let Some(effort) = plan.effort {
        config.insert("effort".into(), effort.word().into());
    }
    (!config.is_empty()).then(|| config.into())
}

fn write_rest(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    let texts = request.metadata.iter().filter(|(_, value)| value.is_string());
    let metadata: Map<String, Value> = texts.map(|(key, value)| (key.clone(), value.clone())).collect();
    if metadata.len() < request.metadata.len() {
        losses.feature(Feature::Metadata);
    }
    if !metadata.is_empty() {
        body.insert("requestMetadata".into(), metadata.into());
    }
    match request.tier.as_deref() {
        None | Some("auto") => {}
        Some(tier @ ("priority" | "default" | "flex" | "reserved")) => {
            body.insert("serviceTier".into(), json!({"type": tier}));
        }
        Some(_) => losses.feature(Feature::Tier),
    }
}
