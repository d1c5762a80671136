//! Reads tools, and which of them the model must call.

use serde_json::{Map, Value};

use crate::{
    canon::{Error, Extra, Tool, ToolChoice, ToolKind},
    dialect::gemini::{ISSUER, schema::json_schema},
    fields::Fields,
};

/// Every entry holds declarations of functions, tools that Google runs, or both.
pub(super) fn read_tools(fields: &mut Fields, extra: &mut Extra) -> Result<Vec<Tool>, Error> {
    let mut tools = Vec::new();
    for mut entry in fields.objects("tools")? {
        for mut declaration in entry.objects("functionDeclarations")? {
            tools.push(read_declaration(&mut declaration)?);
            declaration.rest(extra);
        }
        let Value::Object(own) = entry.into_value() else { continue };
        for (name, settings) in own.into_iter().filter(|(_, settings)| !settings.is_null()) {
            let name = camel_case(&name);
            let value = Value::Object(Map::from_iter([(name.clone(), settings)]));
            tools.push(Tool {
                kind: ToolKind::Vendor { vendor: ISSUER, value },
                name,
                description: None,
                strict: None,
                cache: None,
            });
        }
    }
    Ok(tools)
}

fn read_declaration(declaration: &mut Fields) -> Result<Tool, Error> {
    let open_api = declaration.take("parameters").map(json_schema);
    let parameters = declaration.take("parametersJsonSchema").or(open_api);
    Ok(Tool {
        name: declaration.required_text("name")?,
        description: declaration.text("description")?,
        kind: ToolKind::Function { parameters },
        strict: None,
        cache: None,
    })
}

/// `google_search` as `googleSearch`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// `toolConfig.functionCallingConfig`. `VALIDATED` is `AUTO` with calls that fit their schemas exactly.
pub(super) fn read_tool_choice(
    fields: &mut Fields,
    tools: &mut [Tool],
    extra: &mut Extra,
) -> Result<Option<ToolChoice>, Error> {
    let Some(mut config) = fields.object("toolConfig")? else { return Ok(None) };
    let mut choice = None;
    if let Some(mut calling) = config.object("functionCallingConfig")? {
        let mut names = calling.texts("allowedFunctionNames")?;
        let mode = calling.text("mode")?.unwrap_or_default().to_ascii_uppercase();
        choice = match mode.as_str() {
            "" | "MODE_UNSPECIFIED" => None,
            "NONE" => Some(ToolChoice::None),
            "AUTO" | "VALIDATED" => {
                if mode == "VALIDATED" {
                    let functions =
                        tools.iter_mut().filter(|tool| matches!(tool.kind, ToolKind::Function { .. }));
                    functions.for_each(|tool| tool.strict = Some(true));
                }
                let some = !names.is_empty();
                Some(if some { ToolChoice::Among { names, required: false } } else { ToolChoice::Auto })
            }
            "ANY" if names.len() > 1 => Some(ToolChoice::Among { names, required: true }),
            "ANY" => Some(names.pop().map_or(ToolChoice::Required, ToolChoice::Named)),
            other => return Err(calling.unknown("mode", other, "AUTO, ANY, NONE or VALIDATED")),
        };
        calling.rest(extra);
    }
    config.rest(extra);
    Ok(choice)
}
