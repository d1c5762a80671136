//! Writes a request to `generateContent`.

use serde_json::{Map, Value, json};

use super::{super::model_path, config::write_config, message::write_contents};
use crate::{
    canon::{Error, Feature, Losses, Request, Tool, ToolChoice, ToolKind},
    dialect::Outgoing,
    rules::Target,
};

pub(in crate::dialect) fn write_request(request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
    let mut losses = Losses::default();
    let mut body = Map::new();
    write_contents(&request.messages, target.rules, &mut body, &mut losses)?;
    write_tools(request, &mut body, &mut losses);
    let config = write_config(request, target.rules, &mut losses);
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    write_rest(request, &mut body, &mut losses);
    losses.fields(&request.extra);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    Ok(Outgoing { path: model_path(target.model, method)?, headers: Vec::new(), body, losses })
}

fn write_rest(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    match request.tier.as_deref() {
        None | Some("auto") => {}
        Some("default") => {
            body.insert("serviceTier".into(), "standard".into());
        }
        Some(tier @ ("flex" | "priority")) => {
            body.insert("serviceTier".into(), tier.into());
        }
        Some(_) => losses.feature(Feature::Tier),
    }
    let labels: Map<String, Value> = request
        .metadata
        .iter()
        .filter(|(key, value)| is_label(key, value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if labels.len() < request.metadata.len() {
        losses.feature(Feature::Metadata);
    }
    if !labels.is_empty() {
        body.insert("labels".into(), labels.into());
    }
    let lost = [
        (request.user.is_some(), Feature::User),
        (request.cache_key.is_some(), Feature::CacheKey),
        // Vertex does not know it.
        (request.store == Some(true), Feature::Store),
        (request.verbosity.is_some(), Feature::Verbosity),
        (request.conversation.is_some(), Feature::Conversation),
    ];
    lost.into_iter().filter(|(set, _)| *set).for_each(|(_, feature)| losses.feature(feature));
}

/// Google's labels are short and of few letters.
fn is_label(key: &str, value: &Value) -> bool {
    const LETTERS_MAX: usize = 63;
    let fits = |text: &str| {
        text.chars().count() <= LETTERS_MAX
            && text.chars().all(|letter| {
                letter == '_'
                    || letter == '-'
                    || letter.is_numeric()
                    || (letter.is_alphabetic() && !letter.is_uppercase())
            })
    };
    key.starts_with(|first: char| first.is_lowercase()) && fits(key) && value.as_str().is_some_and(fits)
}

fn write_tools(request: &Request, body: &mut Map<String, Value>, losses: &mut Losses) {
    let mut declarations = Vec::new();
    let mut tools = Vec::new();
    for tool in &request.tools {
        if tool.cache.is_some() {
            losses.feature(Feature::CacheMark);
        }
        match &tool.kind {
            ToolKind::Function { parameters } => declarations.push(declaration(tool, parameters.as_ref())),
            // Custom tools have gone before, and those of other vendors.
            ToolKind::Custom { .. } => {}
            ToolKind::Vendor { value, .. } => tools.push(value.clone()),
        }
    }
    let functions = !declarations.is_empty();
    if functions {
        tools.insert(0, json!({"functionDeclarations": declarations}));
    }
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
    if request.parallel_tool_calls == Some(false) {
        losses.feature(Feature::ParallelToolCalls);
    }
    match calling(request) {
        Some(calling) if functions => {
            body.insert("toolConfig".into(), json!({"functionCallingConfig": calling}));
        }
        // Google's own tools it uses as it likes.
        Some(_) if request.tool_choice.as_ref().is_some_and(ToolChoice::is_forced) => {
            losses.feature(Feature::ToolChoice);
        }
        _ => {}
    }
}

fn declaration(tool: &Tool, parameters: Option<&Value>) -> Value {
    let mut value = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        value["description"] = description.as_str().into();
    }
    if let Some(parameters) = parameters {
        value["parametersJsonSchema"] = parameters.clone();
    }
    value
}

/// `functionCallingConfig`. Where calls must fit their schemas, the mode says so: `VALIDATED`, and `ANY` always.
fn calling(request: &Request) -> Option<Value> {
    let strict = request.tools.iter().any(|tool| tool.strict == Some(true));
    Some(match &request.tool_choice {
        None if strict => json!({"mode": "VALIDATED"}),
        None => return None,
        Some(ToolChoice::Auto) if strict => json!({"mode": "VALIDATED"}),
        Some(ToolChoice::Auto) => json!({"mode": "AUTO"}),
        Some(ToolChoice::None) => json!({"mode": "NONE"}),
        Some(ToolChoice::Required) => json!({"mode": "ANY"}),
        Some(ToolChoice::Named(name)) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        Some(ToolChoice::Among { names, required }) => {
            let mode = if *required { "ANY" } else { "VALIDATED" };
            json!({"mode": mode, "allowedFunctionNames": names})
        }
    })
}
