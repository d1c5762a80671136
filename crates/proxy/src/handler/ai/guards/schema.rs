//! Answers that must be JSON of a schema, and one try to have one mended.

use std::{rc::Rc, sync::Arc, time::Duration};

use ai::{
    canon::{Answer, Format, Message, Part, Request, Role, Usage},
    dialect::Spoken,
    guard::rule::Action,
};
use model::{AiRecord, policy::guardrails::OutputSchema};
use serde_json::Value;

use super::{
    super::{aside, metered::spend},
    Conversation, Target,
};
use crate::{call::Call, worker::Worker};

/// What is wrong with an answer is told the model up to this many characters.
const WRONG_CHARS_MAX: usize = 2000;
/// How long a second answer may take.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a caller's own schema.
const SCHEMA_BYTES_MAX: usize = 256 * 1024;

/// A rule over the form of answers.
pub(super) struct Form {
    pub(super) name: Arc<str>,
    pub(super) action: Action,
    /// Without it, the request's own.
    schema: Option<jsonschema::Validator>,
    repair: bool,
}

fn validator(schema: &Value) -> Result<jsonschema::Validator, String> {
    // Its patterns are matched in linear time; references lead nowhere outside.
    jsonschema::options()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(schema)
        .map_err(|error| error.to_string())
}

impl Form {
    /// Whether a model may be asked to mend its answer.
    pub(super) fn mends(&self) -> bool {
        self.repair
    }

    pub(super) fn compile(name: &str, action: Action, settings: &OutputSchema) -> Result<Self, String> {
        let compile = |text: &String| {
            let schema = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
            validator(&schema)
        };
        let schema = settings.schema.as_ref().map(compile).transpose()?;
        Ok(Self { name: name.into(), action, schema, repair: settings.repair })
    }

    /// Whether an answer has the form, after it was mended where that is wanted.
    pub(super) async fn mend(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        conversation: &mut Conversation<'_>,
        target: Option<(&Target, &str)>,
        answer: &mut Answer,
        record: &AiRecord,
    ) -> bool {
        let endpoint = conversation.endpoint;
        if conversation.canonical.is_none() {
            let spoken = Spoken { model: endpoint.model.clone(), stream: endpoint.stream };
            conversation.canonical = endpoint.dialect.read_request(&spoken, &conversation.body).ok();
        }
        let own;
        let schema = match (&self.schema, &conversation.canonical) {
            (Some(schema), _) => schema,
            (None, Some(Request { format: Format::Schema { schema, .. }, .. })) => {
                if schema.to_string().len() > SCHEMA_BYTES_MAX {
                    return false;
                }
                match validator(schema) {
                    Ok(compiled) => own = compiled,
                    // The provider has taken it; what it means cannot be told here.
                    Err(_) => return true,
                }
                &own
            }
            (None, _) => return true,
        };
        let Some(wrong) = wrong(schema, answer) else { return true };
        let (true, Some((target, model)), Some(request)) = (self.repair, target, &conversation.canonical)
        else {
            return false;
        };
        let request = again(request, &text_of(answer), &wrong);
        match aside::of_target(worker, call, target, model, &request, REPAIR_TIMEOUT).await {
            Ok(mut second) => {
                let usage = sum(answer.usage, second.usage);
                if let Some(usage) = &usage {
                    spend(record, usage);
                }
                let good = self::wrong(schema, &second).is_none();
                if good {
                    second.usage = usage;
                    *answer = second;
                }
                good
            }
            Err(error) => {
                tracing::warn!(rule = %self.name, %error, "an answer could not be mended: {error}");
                false
            }
        }
    }
}

/// The text of an answer's first choice.
pub(super) fn text_of(answer: &Answer) -> String {
    let parts = answer.choices.iter().flat_map(|choice| &choice.parts);
    parts
        .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
        .collect()
}

/// What is wrong with an answer; nothing when it calls tools, and has not answered yet.
fn wrong(schema: &jsonschema::Validator, answer: &Answer) -> Option<String> {
    for choice in &answer.choices {
        if choice.parts.iter().any(|part| matches!(part, Part::ToolCall { .. })) {
            continue;
        }
        let text: String = choice
            .parts
            .iter()
            .filter_map(|part| if let Part::Text { text, .. } = part { Some(text.as_str()) } else { None })
            .collect();
        let value: Value = match serde_json::from_str(text.trim()) {
            Ok(value) => value,
            Err(error) => return Some(format!("it is no JSON: {error}")),
        };
        let errors: Vec<String> = schema
            .iter_errors(&value)
            .take(5)
            .map(|error| format!("at `{}`: {error}", error.instance_path()))
            .collect();
        if !errors.is_empty() {
            return Some(errors.join("; ").chars().take(WRONG_CHARS_MAX).collect());
        }
    }
    None
}

/// The conversation with the answer that is wrong, and what is wrong with it.
fn again(request: &Request, text: &str, wrong: &str) -> Request {
    let mut request = request.clone();
    request.stream = false;
    let complaint = format!(
        "Your answer does not have the form that was asked for: {wrong}. Answer again with the JSON document alone, \
         nothing before or behind it."
    );
    if !text.is_empty() {
        request.messages.push(Message::text(Role::Assistant, text));
    }
    request.messages.push(Message::text(Role::User, complaint));
    request
}

fn sum(one: Option<Usage>, two: Option<Usage>) -> Option<Usage> {
    match (one, two) {
        (Some(mut one), Some(two)) => {
            one.input = one.input.saturating_add(two.input);
            one.output = one.output.saturating_add(two.output);
            one.cache_read = one.cache_read.saturating_add(two.cache_read);
            one.cache_write = one.cache_write.saturating_add(two.cache_write);
            one.reasoning = one.reasoning.saturating_add(two.reasoning);
            Some(one)
        }
        (one, two) => one.or(two),
    }
}
