//! One version of a prompt: the conversation that it makes of an input.

use std::sync::Arc;

use ai::{
    canon::{
        Effort, Feature, Format, Message, Reasoning, Request, Role, Sampling, Tool, ToolChoice, ToolKind,
    },
    dialect::Dialect,
    rules::{Rules, Target},
};
use bytes::Bytes;
use http::HeaderValue;
use model::resource::prompt::{Edition as Settings, Parameters, Prompt, PromptRole, PromptTool};
use serde_json::{Map, Value};

use super::{
    input::Input,
    output::{Output, Unfit},
    template::Templates,
};
use crate::{
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::ai::AiGateway,
};

/// A compiled version.
pub(super) struct Edition {
    pub(super) name: Option<Arc<str>>,
    /// Its name as callers choose it.
    pub(super) header: Option<HeaderValue>,
    pub(super) gateway: AiGateway,
    /// What does not depend on the input.
    frame: Request,
    /// Roles of the messages, in their order.
    roles: Vec<Role>,
    /// How many of them are standing instructions at the beginning: what follows here comes after them.
    leading: usize,
    /// The schema of the answer in words, for models that cannot be given it, and the examples.
    between: Vec<Message>,
    templates: Templates,
}

impl Edition {
    /// Compiles a version. An error begins with the place in it.
    pub(super) fn compile(
        prompt: &Prompt,
        settings: &Settings<'_>,
        route: &str,
        input: &Input,
        output: &Output,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let gateway = AiGateway::for_prompt(settings.model, prompt.strict, cx)
            .map_err(|error| format!("model: {error}"))?;
        let texts = settings.messages.iter().map(|message| message.content.as_str());
        let templates = Templates::compile(texts, &input.names())?;
        let roles: Vec<Role> = settings.messages.iter().map(|message| role(message.role)).collect();
        let is_leading = |role: &&Role| matches!(role, Role::System | Role::Developer);
        let leading = roles.iter().take_while(is_leading).count();
        let mut frame = Request {
            model: settings.model.to_owned(),
            tools: settings.tools.iter().map(tool).collect(),
            tool_choice: prompt.tool_choice.as_deref().map(choice),
            ..Request::default()
        };
        parameters(settings.parameters, &mut frame);
        let mut between = Vec::new();
        if let Some(schema) = output.schema() {
            let description = Some(prompt.description.clone()).filter(|text| !text.is_empty());
            let name = schema_name(route);
            let strict = is_exact(schema).then_some(true);
            frame.format = Format::Schema { name, description, schema: schema.clone(), strict };
            if !gateway.takes(settings.model, Feature::JsonSchema) {
                between.push(Message::text(Role::System, in_words(output.schema_text())));
            }
        }
        for tool in settings.tools {
            if let Some(parameters) = &tool.parameters {
                crate::schema::Schema::compile(parameters)
                    .map_err(|error| format!("tools.{}.parameters: {error}", tool.name))?;
            }
        }
        let name = settings.name.map(Arc::from);
        let header = settings.name.and_then(|name| HeaderValue::from_str(name).ok());
        let mut edition = Self { name, header, gateway, frame, roles, leading, between, templates };
        edition.show(settings, input, output)?;
        Ok(edition)
    }

    /// Adds the examples as turns that have been.
    fn show(&mut self, settings: &Settings<'_>, input: &Input, output: &Output) -> Result<(), String> {
        for (index, example) in settings.examples.iter().enumerate() {
            let wrong = |key: &str, what: &str| format!("examples[{index}].{key}: {what}");
            let given = example.input.as_object().cloned().unwrap_or_default();
            let given =
                input.judged(given).map_err(|failure| wrong("input", failure.hint().unwrap_or_default()))?;
            let text = match (&example.output, output.schema()) {
                (Value::String(text), None) => text.clone(),
                (_, None) => return Err(wrong("output", "expected a text, for there is no `output`")),
                (value, Some(_)) => {
                    let faults = output.faults(value);
                    if !faults.is_empty() {
                        return Err(wrong("output", &faults.join("; ")));
                    }
                    value.to_string()
                }
            };
            let turns = self
                .rendered(self.leading, self.roles.len(), &given)
                .map_err(|error| wrong("input", &error))?;
            self.between.extend(turns);
            self.between.push(Message::text(Role::Assistant, text));
        }
        Ok(())
    }

    /// The conversation for an input.
    pub(super) fn request(&self, input: &Map<String, Value>) -> Result<Request, Failure> {
        let refused = |hint| Failure::refused(Problem::Invalid).with_hint(hint);
        let mut request = self.frame.clone();
        request.messages = self.rendered(0, self.leading, input).map_err(refused)?;
        request.messages.extend(self.between.iter().cloned());
        request.messages.extend(self.rendered(self.leading, self.roles.len(), input).map_err(refused)?);
        Ok(request)
    }

    fn rendered(&self, from: usize, to: usize, input: &Map<String, Value>) -> Result<Vec<Message>, String> {
        let input = minijinja::Value::from(minijinja::value::Serde(input));
        let messages = self.roles.iter().enumerate().take(to).skip(from);
        messages
            .map(|(index, role)| Ok(Message::text(*role, self.templates.render(index, &input)?)))
            .collect()
    }

    /// A conversation as the machinery of `ai` routes takes it.
    pub(super) fn written(&self, request: &Request) -> Result<Bytes, Failure> {
        let rules = Rules { developer_role: true, ..Rules::default() };
        let target = Target { model: &request.model, rules: &rules };
        let written = Dialect::OpenAiChat.write_request(request, target);
        written
            .map(|written| written.body.into())
            .map_err(|error| Failure::gateway(Stage::Pick, Problem::Internal).with_detail(error.message))
    }
}

/// Asks once more: what was said, and why it will not do.
pub(super) fn ask_again(request: &mut Request, said: String, unfit: &Unfit, schema: &str) {
    let why = format!(
        "That answer cannot be used: {}. Answer again with nothing but a JSON object that fits this JSON Schema: {schema}",
        unfit.why
    );
    if !said.is_empty() {
        request.messages.push(Message::text(Role::Assistant, said));
    }
    request.messages.push(Message::text(Role::User, why));
}

fn in_words(schema: &str) -> String {
    format!("Answer with nothing but a JSON object that fits this JSON Schema: {schema}")
}

fn role(role: PromptRole) -> Role {
    match role {
        PromptRole::System => Role::System,
        PromptRole::Developer => Role::Developer,
        PromptRole::User => Role::User,
        PromptRole::Assistant => Role::Assistant,
    }
}

fn tool(tool: &PromptTool) -> Tool {
    Tool {
        kind: ToolKind::Function { parameters: tool.parameters.clone() },
        name: tool.name.clone(),
        description: Some(tool.description.clone()).filter(|text| !text.is_empty()),
        strict: tool.strict,
        cache: None,
    }
}

fn choice(word: &str) -> ToolChoice {
    match word {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "required" => ToolChoice::Required,
        name => ToolChoice::Named(name.to_owned()),
    }
}

fn parameters(settings: &Parameters, request: &mut Request) {
    request.max_output_tokens = settings.max_tokens;
    request.sampling = Sampling {
        temperature: settings.temperature,
        top_p: settings.top_p,
        frequency_penalty: settings.frequency_penalty,
        presence_penalty: settings.presence_penalty,
        seed: settings.seed,
        stop: settings.stop.clone(),
        ..Sampling::default()
    };
    request.reasoning =
        settings.reasoning_effort.and_then(|effort| Effort::from_word(effort.word())).map(|effort| {
            let enabled = (effort == Effort::None).then_some(false);
            Reasoning { enabled, effort: Some(effort), ..Reasoning::default() }
        });
}

/// A name that all providers take: letters, digits, `_` and `-`, at most 64.
fn schema_name(route: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    route.chars().take(64).map(plain).collect()
}

/// Whether a schema leaves nothing open, which providers demand of one that is kept to exactly: every object names all
/// of its properties as required and allows no others.
fn is_exact(schema: &Value) -> bool {
    match schema {
        Value::Object(map) => {
            let is_object = map.get("type").and_then(Value::as_str) == Some("object");
            let closed = map.get("additionalProperties") == Some(&Value::Bool(false));
            let required: Vec<&str> = map
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let names = map.get("properties").and_then(Value::as_object);
            let all = names.is_some_and(|names| names.keys().all(|name| required.contains(&name.as_str())));
            (!is_object || closed && all) && map.values().all(is_exact)
        }
        Value::Array(items) => items.iter().all(is_exact),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_schema_that_leaves_nothing_open_is_exact() {
        let closed = json!({"type": "object", "required": ["a"], "additionalProperties": false,
                            "properties": {"a": {"type": "string"}}});
        assert!(is_exact(&closed));
        assert!(!is_exact(&json!({"type": "object", "properties": {"a": {"type": "string"}}})));
        let outer = json!({"type": "object", "required": [], "additionalProperties": false, "properties": {"in": closed}});
        assert!(!is_exact(&outer), "`in` is not required");
    }
}
