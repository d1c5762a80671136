//! Rules of prompts as APIs. What only the templates and the schemas themselves tell is judged when they are compiled.

use std::collections::BTreeSet;

use serde_json::Value;

use super::World;
use crate::{
    Config, Route,
    load::{Context, nearest::nearest, scope::Named},
    resource::{
        handler::Settings,
        prompt::{Example, Parameters, Prompt, PromptMessage, PromptRole, PromptTool},
        route_match::PathMatch,
    },
};

/// Most messages, examples and tools of a prompt.
const ITEMS_MAX: usize = 256;

impl Settings for Prompt {
    fn validate(&self, route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        check(self, route, world.config(), at);
    }

    fn is_for_models(&self) -> bool {
        true
    }
}

fn check(prompt: &Prompt, route: &Route, config: &Config, at: &mut Context<'_, '_>) {
    if prompt.versions.is_empty() || !prompt.model.is_empty() {
        at.field("model", |at| model(&prompt.model, config, at));
    }
    let has_versions = !prompt.versions.is_empty();
    match (prompt.messages.is_empty(), has_versions) {
        (true, false) => at.error("expected `messages`, or `versions` with messages"),
        (false, true) => at.field("messages", |at| {
            at.error_with(
                "a prompt with `versions` has its messages there",
                "make them a version of their own",
            )
        }),
        _ => {}
    }
    let messages = |messages: &[PromptMessage], at: &mut Context<'_, '_>| self::messages(messages, at);
    if !prompt.messages.is_empty() {
        messages(&prompt.messages, at);
    }
    if let Some(name) = &prompt.version {
        at.field("version", |at| {
            version_name(name, at);
            if has_versions {
                at.error_with("a prompt with `versions` names them there", "give `default` the one to use");
            }
        });
    }
    versions(prompt, config, at);
    examples(&prompt.examples, at);
    parameters("parameters", &prompt.parameters, at);
    tools(&prompt.tools, at);
    tool_choice(prompt, at);
    at.field("input", |at| {
        object_schema(&prompt.input, at);
        required(&prompt.input, at);
    });
    if let Some(output) = &prompt.output {
        at.field("output", |at| object_schema(output, at));
    }
    if let Some(path) = &prompt.openapi_path {
        at.field("openapiPath", |at| openapi(path, route, at));
    }
}

pub(super) fn model(name: &str, config: &Config, at: &mut Context<'_, '_>) {
    let Some(ai) = config.ai.as_ref().filter(|ai| !ai.models.is_empty()) else {
        at.error_with("there are no models", "give `ai.models` at the top");
        return;
    };
    let fits = |known: &str| match known.strip_suffix('*') {
        Some(begin) => name.starts_with(begin) && name.len() > begin.len() && !name.contains('*'),
        None => known == name,
    };
    if name.is_empty() {
        at.error_with("expected the name of a model", "one of `ai.models`");
    } else if !ai.models.iter().any(|model| fits(&model.name)) {
        at.refer(Named::Model, name);
    }
}

fn messages(messages: &[PromptMessage], at: &mut Context<'_, '_>) {
    bounded("messages", messages.len(), at);
    if messages.iter().all(|message| matches!(message.role, PromptRole::System | PromptRole::Developer)) {
        at.field("messages", |at| {
            at.error("expected at least one message of the role `user`: models answer to that")
        });
    }
    at.each("messages", messages, |at, message| {
        if message.content.is_empty() {
            at.field("content", |at| at.error("expected a text"));
        }
    });
}

fn bounded(key: &str, count: usize, at: &mut Context<'_, '_>) {
    if count > ITEMS_MAX {
        at.field(key, |at| at.error(format!("expected at most {ITEMS_MAX}, found {count}")));
    }
}

fn versions(prompt: &Prompt, config: &Config, at: &mut Context<'_, '_>) {
    at.field("versions", |at| {
        for (name, version) in &prompt.versions {
            at.field(name, |at| {
                version_name(name, at);
                match &version.model {
                    Some(name) => at.field("model", |at| model(name, config, at)),
                    None if prompt.model.is_empty() => {
                        at.error_with("this version has no model", "give `model` here or beside `versions`");
                    }
                    None => {}
                }
                if version.messages.is_empty() {
                    at.error("expected `messages`");
                } else {
                    messages(&version.messages, at);
                }
                examples(version.examples.as_deref().unwrap_or_default(), at);
                if let Some(own) = &version.parameters {
                    parameters("parameters", own, at);
                }
                tools(version.tools.as_deref().unwrap_or_default(), at);
            });
        }
    });
    let names: Vec<&str> = prompt.versions.keys().map(String::as_str).collect();
    match &prompt.default {
        Some(default) if !names.contains(&default.as_str()) => at.field("default", |at| {
            at.error(match names.is_empty() {
                true => "there are no `versions` to choose from".to_owned(),
                false => format!("expected one of {}", names.join(", ")),
            });
        }),
        None if names.len() > 1 => {
            at.error_with("nothing says which version is served", "name one in `default`");
        }
        _ => {}
    }
}

fn version_name(name: &str, at: &mut Context<'_, '_>) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        at.error("expected 1 to 64 letters, digits, `.`, `_` and `-`");
    }
}

fn examples(examples: &[Example], at: &mut Context<'_, '_>) {
    bounded("examples", examples.len(), at);
    at.each("examples", examples, |at, example| {
        if !example.input.is_object() {
            at.field("input", |at| at.error("expected an object, as a caller would send it"));
        }
    });
}

fn parameters(key: &str, parameters: &Parameters, at: &mut Context<'_, '_>) {
    at.field(key, |at| {
        for (name, value, least, most) in [
            ("temperature", parameters.temperature, 0.0, 2.0),
            ("topP", parameters.top_p, 0.0, 1.0),
            ("frequencyPenalty", parameters.frequency_penalty, -2.0, 2.0),
            ("presencePenalty", parameters.presence_penalty, -2.0, 2.0),
        ] {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                at.field(name, |at| at.error(format!("expected a number from {least} to {most}")));
            }
        }
        if parameters.max_tokens == Some(0) {
            at.field("maxTokens", |at| at.error("expected at least 1"));
        }
        if parameters.stop.iter().any(String::is_empty) {
            at.field("stop", |at| at.error("an empty text would end every answer at once"));
        }
    });
}

fn tools(tools: &[PromptTool], at: &mut Context<'_, '_>) {
    bounded("tools", tools.len(), at);
    let mut seen = BTreeSet::new();
    at.each("tools", tools, |at, tool| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        at.field("name", |at| {
            if tool.name.is_empty() || tool.name.len() > 64 || !tool.name.bytes().all(good) {
                at.error("expected 1 to 64 letters, digits, `_` and `-`, which all providers take");
            } else if !seen.insert(tool.name.as_str()) {
                at.error("the name is there twice");
            }
        });
        if let Some(parameters) = &tool.parameters {
            at.field("parameters", |at| object_schema(parameters, at));
        }
    });
}

fn tool_choice(prompt: &Prompt, at: &mut Context<'_, '_>) {
    let Some(choice) = prompt.tool_choice.as_deref() else { return };
    if matches!(choice, "auto" | "none" | "required") {
        return;
    }
    for edition in prompt.editions() {
        if edition.tools.iter().all(|tool| tool.name != choice) {
            let whose =
                edition.name.map(|name| format!("version `{name}`")).unwrap_or("the prompt".to_owned());
            at.field("toolChoice", |at| {
                at.error(format!("expected `auto`, `none`, `required` or a tool; {whose} has no `{choice}`"));
            });
        }
    }
}

/// A schema whose root is an object: what providers take, and what has fields to name.
fn object_schema(schema: &Value, at: &mut Context<'_, '_>) {
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        at.error_with("expected a JSON Schema of an object", "begin with `type: object`");
    }
    if schema.get("properties").is_some_and(|properties| !properties.is_object()) {
        at.field("properties", |at| at.error("expected the schema of each property by its name"));
    }
}

/// Words of a schema that may tell of further properties.
const TELLING: [&str; 10] = [
    "$dynamicRef",
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "dependentSchemas",
    "if",
    "oneOf",
    "patternProperties",
    "unevaluatedProperties",
];

/// What has to be there and is no property is of no use to a template: another name was meant.
fn required(schema: &Value, at: &mut Context<'_, '_>) {
    let (Some(Value::Object(properties)), Some(Value::Array(names))) =
        (schema.get("properties"), schema.get("required"))
    else {
        return;
    };
    if TELLING.iter().any(|word| schema.get(word).is_some_and(|told| *told != Value::Bool(false))) {
        return;
    }
    at.each("required", names, |at, name| {
        let Some(name) = name.as_str().filter(|name| !properties.contains_key(*name)) else { return };
        let help = match nearest(name, properties.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("add `{name}` to `properties`"),
        };
        at.warning_with(format!("callers must send `{name}`, which is none of the `properties`"), help);
    });
}

fn openapi(path: &str, route: &Route, at: &mut Context<'_, '_>) {
    let takes = |one: &crate::resource::route_match::Match| match &one.path {
        Some(PathMatch::Exact(known)) => known == path,
        Some(PathMatch::Prefix(prefix)) => path.starts_with(prefix.as_str()),
        // Judged when a request comes.
        Some(PathMatch::Template(_) | PathMatch::Regex(_)) | None => true,
    };
    let is_open = |one: &crate::resource::route_match::Match| {
        one.methods.is_empty() || one.methods.iter().any(|method| method == "GET")
    };
    let reached = |one: &crate::resource::route_match::Match| takes(one) && is_open(one);
    if !route.matches.is_empty() && !route.matches.iter().any(reached) {
        at.error_with(
            "no `match` of this route takes a GET of this path",
            format!("add {{path: {{exact: {path}}}, methods: [GET]}} to `match`"),
        );
    }
}
