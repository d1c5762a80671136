//! Reads tools and what is said of their choice.

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

pub(super) fn read_tools(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    for mut tool in fields.objects("tools")? {
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
