//! Writes tools and what is said of their choice.

use serde_json::{Map, Value, json};

use super::message::Blocks;
use crate::{
    canon::{Feature, Losses, Request, Tool, ToolChoice, ToolKind, flat},
    dialect::{
        anthropic::{outbound::schema, turns::called},
        bedrock::{DIALECT, ISSUER},
    },
    fit::Wanted,
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
    // There is no list of allowed tools, so the others are left out.
    let among = Wanted::among(request.tool_choice.as_ref());
    let mut tools = Vec::new();
    for tool in request.tools.iter().filter(|tool| among.has(&tool.name)) {
        write_tool(tool, &mut tools, blocks);
    }
    if tools.is_empty() && request.tool_choice.as_ref().is_some_and(ToolChoice::is_forced) {
        // What Claude has of its own stands elsewhere, where nothing can be said of its choice.
        blocks.losses.feature(Feature::ToolChoice);
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
    config["toolChoice"] = choice;
    Some(config)
}

fn write_tool(tool: &Tool, tools: &mut Vec<Value>, blocks: &mut Blocks<'_>) {
    let place = format!("tools.{}", flat(&tool.name));
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
            if let Some(strict) = tool.strict {
                spec["strict"] = strict.into();
            }
            tools.push(json!({"toolSpec": spec}));
            tools.extend(blocks.mark(tool.cache.as_ref(), &place));
        }
        ToolKind::Vendor { vendor: DIALECT, value } => tools.push(value.clone()),
        // They have gone before, and Claude's own stand elsewhere.
        ToolKind::Custom { .. } | ToolKind::Vendor { .. } => {}
    }
}

/// Claude's own tools, as Bedrock's guide has them: beside the fields that all models know.
pub(super) fn write_claude_tools(
    request: &Request,
    is_claude: bool,
    beside: &mut Map<String, Value>,
    losses: &mut Losses,
) {
    let mut tools = Vec::new();
    for tool in &request.tools {
        match &tool.kind {
            ToolKind::Vendor { vendor: ISSUER, value } if is_claude => tools.push(value.clone()),
            ToolKind::Vendor { vendor: ISSUER, .. } => {
                losses.feature_at(Feature::VendorTool, format_args!("tools.{}", flat(&tool.name)));
            }
            _ => {}
        }
    }
    if tools.is_empty() {
        return;
    }
    let betas: Vec<String> = tools.iter().filter_map(beta_of).collect();
    if !betas.is_empty() {
        beside.insert("anthropic_beta".into(), json!(betas));
    }
    beside.insert("tools".into(), tools.into());
}

/// The beta that a tool belongs to: `computer_20250124` to `computer-use-2025-01-24`.
fn beta_of(tool: &Value) -> Option<String> {
    let date = tool.get("type")?.as_str()?.strip_prefix("computer_")?;
    let (year, month, day) = (date.get(..4)?, date.get(4..6)?, date.get(6..8)?);
    Some(format!("computer-use-{year}-{month}-{day}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claudes_own_tools_stand_beside_the_others_for_claude_alone() {
        let value = json!({"type": "computer_20250124", "name": "computer", "display_width_px": 800});
        let tool = Tool {
            kind: ToolKind::Vendor { vendor: ISSUER, value: value.clone() },
            name: "computer".to_owned(),
            description: None,
            strict: None,
            cache: None,
        };
        let request = Request { tools: vec![tool], ..Request::default() };
        for (is_claude, want) in [
            (true, json!({"anthropic_beta": ["computer-use-2025-01-24"], "tools": [value]})),
            (false, json!({})),
        ] {
            let (mut beside, mut losses) = (Map::new(), Losses::default());
            write_claude_tools(&request, is_claude, &mut beside, &mut losses);
            assert_eq!((Value::Object(beside), losses.is_empty()), (want, is_claude));
        }
    }
}
