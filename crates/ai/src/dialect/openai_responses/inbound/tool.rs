//! Reads tools: those at the top of a request, those that are named in its input, and those in namespaces.

use crate::{
    canon::{Error, Extra, Tool, ToolKind, scoped},
    dialect::openai_responses::{ISSUER, content::nested_format},
    fields::Fields,
};

/// The tools of a list. Those in a namespace bear its name in theirs; what is said of the namespace stands at the first
/// of them.
pub(super) fn read_tools(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    for mut tool in fields.objects("tools")? {
        if tool.peek_text("type") != Some("namespace") {
            tools.push(read_tool(tool, None, extra)?);
            continue;
        }
        tool.take("type");
        let namespace = tool.required_text("name")?;
        let mut about = tool.text("description")?.filter(|about| !about.trim().is_empty());
        for inner in tool.objects("tools")? {
            let mut read = read_tool(inner, Some(&namespace), extra)?;
            if let Some(about) = about.take() {
                let own = read.description.take();
                read.description = Some(own.map_or(about.clone(), |own| format!("{about}\n\n{own}")));
            }
            tools.push(read);
        }
        tool.rest(extra);
    }
    Ok(tools)
}

fn read_tool(mut tool: Fields, namespace: Option<&str>, extra: &mut Extra) -> Result<Tool, Error> {
    let Some(kind) = tool.peek_text("type").map(str::to_owned) else { return Err(tool.missing("type")) };
    if !matches!(kind.as_str(), "function" | "custom") {
        let label = tool.peek_text("server_label").unwrap_or(&kind);
        let name = tool.peek_text("name").unwrap_or(label).to_owned();
        let kind = ToolKind::Vendor { vendor: ISSUER, value: tool.into_value() };
        return Ok(Tool { kind, name, description: None, strict: None, cache: None });
    }
    tool.take("type");
    let name = scoped(namespace, &tool.required_text("name")?);
    let description = tool.text("description")?;
    // What is not strict here is what other dialects say by saying nothing.
    let strict = tool.flag("strict")?.filter(|strict| *strict);
    // Whether it is loaded later is between the caller and OpenAI's search: others are told all that is named.
    tool.take("defer_loading");
    let kind = match kind.as_str() {
        "function" => ToolKind::Function { parameters: tool.take("parameters") },
        _ => ToolKind::Custom { format: tool.take("format").map(nested_format) },
    };
    tool.rest(extra);
    Ok(Tool { kind, name, description, strict, cache: None })
}
