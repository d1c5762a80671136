//! Writes tools, and which of them to call.

use serde_json::{Value, json};

use crate::{
    canon::{Tool, ToolChoice, ToolKind},
    dialect::openai_responses::content::flat_format,
};

/// A tool; other vendors' have gone before.
pub(super) fn tool_value(tool: &Tool) -> Value {
    let mut value = match &tool.kind {
        ToolKind::Function { parameters } => {
            // Nothing said would be strict here, and change the schema.
            let strict = tool.strict.unwrap_or(false);
            json!({"type": "function", "name": tool.name, "parameters": parameters, "strict": strict})
        }
        ToolKind::Custom { format } => {
            let mut value = json!({"type": "custom", "name": tool.name});
            if let Some(format) = format {
                value["format"] = flat_format(format);
            }
            value
        }
        ToolKind::Vendor { value, .. } => return value.clone(),
    };
    if let Some(description) = &tool.description {
        value["description"] = description.as_str().into();
    }
    value
}

/// Which tools must be called.
pub(super) fn choice_value(choice: &ToolChoice, tools: &[Tool]) -> Option<Value> {
    let named = |name: &String| {
        let kind = tools.iter().find(|tool| tool.name == *name).map(|tool| &tool.kind);
        match kind {
            Some(ToolKind::Vendor { value, .. }) => {
                let kind = value.get("type").cloned().unwrap_or_default();
                match value.get("server_label") {
                    Some(label) => json!({"type": kind, "server_label": label}),
                    None => json!({"type": kind}),
                }
            }
            Some(ToolKind::Custom { .. }) => json!({"type": "custom", "name": name}),
            Some(ToolKind::Function { .. }) | None => json!({"type": "function", "name": name}),
        }
    };
    Some(match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => named(name),
        ToolChoice::Among { names, required } => {
            let mode = if *required { "required" } else { "auto" };
            let tools: Vec<Value> = names.iter().map(named).collect();
            json!({"type": "allowed_tools", "mode": mode, "tools": tools})
        }
    })
}
