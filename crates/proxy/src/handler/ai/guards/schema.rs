//! Answers that must be JSON of a schema, and one try to have one mended.

use std::{rc::Rc, sync::Arc, time::Duration};

use ai::{
    canon::{Answer, Format, Message, Part, Request, Role},
    dialect::Spoken,
    guard::rule::Action,
};
use model::{AiRecord, policy::guardrails::OutputSchema};
use serde_json::Value;

use super::{
    super::{aside, metered::spend},
    Conversation, Target,
};
use crate::{
    call::Call,
    schema::{Judged, Strange},
    worker::Worker,
};

/// What is wrong with an answer is told the model up to this many characters.
const WRONG_CHARS_MAX: usize = 2000;
/// How long a second answer may take.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a caller's own schema.
const SCHEMA_BYTES_MAX: usize = 64 * 1024;

/// A rule over the form of answers.
pub(super) struct Form {
    pub(super) name: Arc<str>,
    pub(super) action: Action,
    /// Without it, the request's own.
    schema: Option<Strange>,
    repair: bool,
}

impl Form {
    /// Whether a model may be asked to mend its answer.
    pub(super) fn mends(&self) -> bool {
        self.repair
    }

    pub(super) fn compile(name: &str, action: Action, settings: &OutputSchema) -> Result<Self, String> {
        let compile = |text: &String| {
            let schema = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
            Strange::of_operator(schema)
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
                match Strange::compile(schema.clone()) {
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
        // Both answers cost: as they tell, else as is counted here.
        let counted = |request: &Request, answer: &Answer| {
            record.guess();
            aside::counted(model, request, answer)
        };
        let first = answer.usage.unwrap_or_else(|| counted(request, answer));
        let request = again(request, &text_of(answer), &wrong);
        let unheard = || spend(record, &first.and(&counted(&request, &Answer::default())));
        let owed = aside::Owed::new(unheard);
        let told = owed.told();
        let mended = aside::of_target(worker, call, target, model, &request, REPAIR_TIMEOUT, told).await;
        owed.heard();
        match mended {
            Ok(mut second) => {
                let usage = first.and(&second.usage.unwrap_or_else(|| counted(&request, &second)));
                spend(record, &usage);
                let good = self::wrong(schema, &second).is_none();
                if good {
                    second.usage = Some(usage);
                    *answer = second;
                }
                good
            }
            Err(silent) => {
                if silent.is_due {
                    unheard();
                }
                let error = silent.text;
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
fn wrong(schema: &Strange, answer: &Answer) -> Option<String> {
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
        let said = match schema.judge(&value) {
            Judged::Fits => continue,
            Judged::Breaks(error) => format!("at `{}`: {error}", error.instance_path()),
            Judged::Tangled => "it has too much in it to say where it does not fit the schema".to_owned(),
        };
        return Some(said.chars().take(WRONG_CHARS_MAX).collect());
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
