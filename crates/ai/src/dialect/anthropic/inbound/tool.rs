//! Reads tools and what is said of their choice.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    canon::{Error, Extra, Tool, ToolChoice, ToolKind},
    dialect::anthropic::{ISSUER, inbound::message::cache_mark},
    fields::Fields,
};

/// Claude's own tools as Bedrock has them, beside the others.
pub(in crate::dialect) fn read_vendor_tools(fields: &mut Fields) -> Result<Vec<Tool>, Error> {
    Ok(fields.objects("tools")?.into_iter().map(vendors).collect())
}

fn vendors(tool: Fields) -> Tool {
    let name = tool.peek_text("name").or(tool.peek_text("type")).unwrap_or_default().to_owned();
    let kind = ToolKind::Vendor { vendor: ISSUER, value: tool.into_value() };
    Tool { kind, name, description: None, strict: None, cache: None }
}

/// Names of tools that a search of the caller's own has found: results of calls refer to them.
pub(super) fn referenced(messages: &Value) -> BTreeSet<String> {
    fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
        value.get(key).and_then(Value::as_array).into_iter().flatten()
    }
    let results = messages.as_array().into_iter().flatten().flat_map(|message| items(message, "content"));
    let name = |block: &Value| {
        let is_reference = block.get("type").is_some_and(|kind| kind == "tool_reference");
        block.get("tool_name").and_then(Value::as_str).filter(|_| is_reference).map(str::to_owned)
    };
    results.flat_map(|result| items(result, "content")).filter_map(name).collect()
}

/// The tools. Those that are to be loaded later (`defer_loading`) are there for other vendors when a search has found them,
/// or when Claude's own would have to, which others have not.
pub(super) fn read_tools(
    fields: &mut Fields,
    found: &BTreeSet<String>,
    extra: &mut Extra,
) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    let list = fields.objects("tools")?;
    let is_search =
        |tool: &Fields| tool.peek_text("type").is_some_and(|kind| kind.starts_with("tool_search_tool"));
    let is_searched = list.iter().any(is_search);
    for mut tool in list {
        if tool.peek("defer_loading").and_then(Value::as_bool) == Some(true) {
            let is_there = is_searched || tool.peek_text("name").is_some_and(|name| found.contains(name));
            let place = tool.place("defer_loading");
            tool.take("defer_loading");
            if !is_there {
                extra.push((place, true.into()));
                continue;
            }
        }
        match tool.peek_text("type").map(str::to_owned) {
            Some(kind) if kind != "custom" => tools.push(vendors(tool)),
            _ => {
                tool.take("type");
                tools.push(Tool {
                    name: tool.required_text("name")?,
                    description: tool.text("description")?,
                    kind: ToolKind::Function { parameters: tool.take("input_schema") },
                    strict: tool.flag("strict")?,
                    cache: tool.take("cache_control").map(cache_mark),
                });
                tool.rest(extra);
            }
        }
    }
    Ok(tools)
}

/// `tool_choice`, and whether several calls at once are welcome.
pub(super) fn read_tool_choice(
    fields: &mut Fields,
    extra: &mut Extra,
) -> Result<(Option<ToolChoice>, Option<bool>), Error> {
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok((None, None)) };
    let kind = choice.required_text("type")?;
    let read = match kind.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_text("name")?),
        other => return Err(choice.unknown("type", other, "auto, any, tool or none")),
    };
    let parallel = choice.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    choice.rest(extra);
    Ok((Some(read), parallel))
}
