//! Writes tools, and which of them to call.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{
    canon::{Tool, ToolChoice, ToolKind, unscoped},
    dialect::openai_responses::content::flat_format,
};

/// Adds a tool, in its namespace if it has one. `namespaces` says where each of them stands.
pub(super) fn add_tool<'t>(tool: &'t Tool, tools: &mut Vec<Value>, namespaces: &mut HashMap<&'t str, usize>) {
    let value = tool_value(tool);
    let Some(namespace) = unscoped(&tool.name).0.filter(|_| !tool.is_vendors()) else {
        return tools.push(value);
    };
    let there = namespaces.get(namespace).and_then(|at| tools.get_mut(*at));
    match there.and_then(|there| there["tools"].as_array_mut()) {
        Some(inner) => inner.push(value),
        None => {
            namespaces.insert(namespace, tools.len());
            tools.push(json!({
                "type": "namespace",
                "name": namespace,
                "description": "",
                "tools": [value],
            }));
        }
    }
}

/// A tool; other vendors' have gone before.
fn tool_value(tool: &Tool) -> Value {
    let name = unscoped(&tool.name).1;
    let mut value = match &tool.kind {
        ToolKind::Function { parameters } => {
            // Nothing said would be strict here, and change the schema.
            let strict = tool.strict.unwrap_or(false);
            json!({"type": "function", "name": name, "parameters": parameters, "strict": strict})
        }
        ToolKind::Custom { format } => {
            let mut value = json!({"type": "custom", "name": name});
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

fn by_name(kind: &str, name: &str) -> Value {
    let (namespace, name) = unscoped(name);
    let mut value = json!({"type": kind, "name": name});
    if let Some(namespace) = namespace {
        value["namespace"] = namespace.into();
    }
    value
}

/// Which tools must be called.
pub(super) fn choice_value(choice: &ToolChoice, tools: &[Tool]) -> Option<Value> {
    let mut kinds: HashMap<&str, &ToolKind> = HashMap::new();
    if matches!(choice, ToolChoice::Named(_) | ToolChoice::Among { .. }) {
        for tool in tools {
            kinds.entry(&tool.name).or_insert(&tool.kind);
        }
    }
    let named = |name: &String| match kinds.get(name.as_str()) {
        Some(ToolKind::Vendor { value, .. }) => {
            let kind = value.get("type").cloned().unwrap_or_default();
            match value.get("server_label") {
                Some(label) => json!({"type": kind, "server_label": label}),
                None => json!({"type": kind}),
            }
        }
        Some(ToolKind::Custom { .. }) => by_name("custom", name),
        Some(ToolKind::Function { .. }) | None => by_name("function", name),
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
