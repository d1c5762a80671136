//! Writes tools and what is said of their choice.

use serde_json::{Value, json};

use super::message::Blocks;
use crate::{
    canon::{Feature, Request, Tool, ToolChoice, ToolKind},
    dialect::anthropic::{outbound::schema, turns::called},
};

/// `toolConfig`.
pub(super) fn write_tools(request: &Request, blocks: &mut Blocks<'_>) -> Option<Value> {
    let known = called(&request.messages);
    if request.tool_choice == Some(ToolChoice::None) {
        if known.is_empty() {
            // To call nothing cannot be said, but where nothing was called tools can be left out.
            return None;
        }
        blocks.losses.feature(Feature::ToolChoice);
    }
    let among = |name: &str| match &request.tool_choice {
        // There is no list of allowed tools, so the others are left out.
        Some(ToolChoice::Among { names, .. }) => names.iter().any(|allowed| allowed == name),
        _ => true,
    };
    let mut tools = Vec::new();
    for tool in request.tools.iter().filter(|tool| among(&tool.name)) {
        write_tool(tool, &mut tools, blocks);
    }
    if tools.is_empty() {
        // Calls of earlier turns are refused when there are no tools.
        tools.extend(
            known
                .into_iter()
                .map(|name| json!({"toolSpec": {"name": name, "inputSchema": {"json": schema(None)}}})),
        );
        return (!tools.is_empty()).then(|| json!({"tools": tools}));
    }
    if request.parallel_tool_calls == Some(false) {
        blocks.losses.feature(Feature::ParallelToolCalls);
    }
    let mut config = json!({"tools": tools});
    let choice = match &request.tool_choice {
        None | Some(ToolChoice::None) => return Some(config),
        Some(ToolChoice::Auto | ToolChoice::Among { required: false, .. }) => json!({"auto": {}}),
        Some(ToolChoice::Required | ToolChoice::Among { required: true, .. }) => json!({"any": {}}),
        Some(ToolChoice::Named(name)) => json!({"tool": {"name": name}}),
    };
    if blocks.rules.refuses(Feature::ToolChoice) {
        blocks.losses.feature(Feature::ToolChoice);
    } else {
        config["toolChoice"] = choice;
    }
    Some(config)
}

fn write_tool(tool: &Tool, tools: &mut Vec<Value>, blocks: &mut Blocks<'_>) {
    let place = format!("tools.{}", tool.name);
    match &tool.kind {
        ToolKind::Function { parameters } => {
            let mut spec = json!({"name": tool.name});
            // An empty one is refused.
            if let Some(description) =
                tool.description.as_deref().filter(|description| !description.is_empty())
            {
                spec["description"] = description.into();
            }
            spec["inputSchema"] = json!({"json": schema(parameters.as_ref())});
            match tool.strict {
                Some(_) if blocks.rules.refuses(Feature::Strict) => {
                    blocks.losses.feature_at(Feature::Strict, &place)
                }
                Some(strict) => spec["strict"] = strict.into(),
                None => {}
            }
            tools.push(json!({"toolSpec": spec}));
            tools.extend(blocks.mark(tool.cache.as_ref(), &place));
        }
        ToolKind::Custom { .. } => blocks.losses.feature_at(Feature::CustomTool, place),
        ToolKind::Vendor(value) if value.get("systemTool").is_some() => tools.push(value.clone()),
        ToolKind::Vendor(_) => blocks.losses.feature_at(Feature::VendorTool, place),
    }
}
