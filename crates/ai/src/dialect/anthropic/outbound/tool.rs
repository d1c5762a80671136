//! Writes tools and what is said of their choice.

use serde_json::{Map, Value, json};

use super::message::Blocks;
use crate::{
    canon::{Request, Tool, ToolChoice, ToolKind, flat},
    dialect::anthropic::turns::called,
    fit::Wanted,
};

/// `tools` and `tool_choice`.
pub(super) fn write_tools(request: &Request, blocks: &mut Blocks<'_>) -> (Option<Value>, Option<Value>) {
    // There is no list of allowed tools, so the others are left out.
    let among = Wanted::among(request.tool_choice.as_ref());
    let offered = request.tools.iter().filter(|tool| among.has(&tool.name));
    let tools: Vec<Value> = offered.filter_map(|tool| tool_value(tool, blocks)).collect();
    if !tools.is_empty() {
        return (Some(tools.into()), write_choice(request));
    }
    // Calls of earlier turns are refused when there are no tools.
    let known: Vec<Value> = called(&request.messages)
        .into_iter()
        .map(|name| json!({"name": name, "input_schema": schema(None)}))
        .collect();
    if known.is_empty() {
        return (None, None);
    }
    (Some(known.into()), Some(json!({"type": "none"})))
}

fn write_choice(request: &Request) -> Option<Value> {
    let mut choice = match &request.tool_choice {
        None if request.parallel_tool_calls == Some(false) => json!({"type": "auto"}),
        None => return None,
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        Some(ToolChoice::Auto | ToolChoice::Among { required: false, .. }) => json!({"type": "auto"}),
        Some(ToolChoice::Required | ToolChoice::Among { required: true, .. }) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    if let Some(parallel) = request.parallel_tool_calls {
        choice["disable_parallel_tool_use"] = (!parallel).into();
    }
    Some(choice)
}

/// JSON Schema of an object: nothing else is taken.
pub(in crate::dialect) fn schema(parameters: Option<&Value>) -> Value {
    match parameters {
        Some(Value::Object(schema)) => {
            let mut schema = schema.clone();
            if !schema.contains_key("type") {
                schema.insert("type".into(), "object".into());
            }
            schema.into()
        }
        _ => json!({"type": "object", "properties": {}}),
    }
}

fn tool_value(tool: &Tool, blocks: &mut Blocks<'_>) -> Option<Value> {
    let place = format!("tools.{}", flat(&tool.name));
    match &tool.kind {
        ToolKind::Function { parameters } => {
            let mut value = Map::new();
            value.insert("name".into(), tool.name.as_str().into());
            if let Some(description) = &tool.description {
                value.insert("description".into(), description.as_str().into());
            }
            value.insert("input_schema".into(), schema(parameters.as_ref()));
            value.extend(tool.strict.map(|strict| ("strict".to_owned(), strict.into())));
            let mut value = Value::Object(value);
            blocks.mark(&mut value, tool.cache.as_ref(), &place);
            Some(value)
        }
        // They have gone before, and those of other vendors.
        ToolKind::Custom { .. } => None,
        ToolKind::Vendor { value, .. } => Some(value.clone()),
    }
}
