//! Guardrails: the rules of `guardrails` policies over one call to a model.
//!
//! [`request`] runs before anything is sent: the body's texts are masked where they stand, so that the request goes on
//! as it came otherwise. Answers that a rule reads, or that may hold placeholders, are read into events and told anew
//! ([`filter`]); others pass. [`outside`] asks those who judge elsewhere, [`schema`] judges the form of answers.

mod filter;
mod outside;
mod pieces;
mod schema;
mod settings;

use std::{rc::Rc, sync::Arc};

use ai::{
    canon::{Answer, Error, ErrorKind},
    dialect::Dialect,
    guard::{
        leaves::{self, Part, Voice},
        rule::{Action, Fired, Rules},
        screen::Screen,
    },
    peek::Peek,
};
use http::Response;
use model::{AiRecord, GuardFired};

pub(super) use self::filter::Filter;
pub(super) use self::outside::Judge;
use self::{outside::Outside, schema::Form};
use super::{AiGateway, answer, models::Target, prepare::Conversation};
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    worker::Worker,
};

/// The code of every refusal.
const CODE: &str = "guardrail_blocked";
/// The code of requests that are too long to be judged.
const TOO_LONG: &str = "too_long_to_judge";

/// The compiled rules of one policy.
pub(crate) struct Guard {
    rules: Arc<Rules>,
    outside: Vec<Outside>,
    forms: Vec<Form>,
    record_text: bool,
    message: Option<String>,
    /// Bytes of text that others are asked about.
    judge_at_most: usize,
}

/// The rules at work on one call.
#[derive(Default)]
pub(super) struct Watch {
    /// Outermost first.
    screens: Vec<(Arc<Guard>, Screen)>,
    /// What those fired who judge elsewhere, and forms.
    others: Vec<GuardFired>,
}

/// What an answer came to.
pub(super) enum Judged {
    /// It goes on.
    Good(Box<Answer>),
    /// It is refused.
    Refused(Box<Response<Body>>),
}

impl Watch {
    /// Whether answers must be read.
    pub(super) fn reads_answers(&self) -> bool {
        self.screens.iter().any(|(guard, screen)| screen.reads_answers() || guard.needs_whole_answers())
    }

    /// Whether an answer can only be judged when all of it is there.
    pub(super) fn needs_whole_answers(&self) -> bool {
        self.screens.iter().any(|(guard, _)| guard.needs_whole_answers())
    }

    /// Whether a whole answer, as it came, is sure to hold nothing for any rule.
    pub(super) fn clears(&mut self, body: &[u8]) -> bool {
        self.screens.iter_mut().all(|(_, screen)| screen.clears(body))
    }

    /// Runs the rules over a text that was answered, JSON or not; why it may not go on.
    pub(super) fn read_text(&mut self, text: &mut String) -> Option<Error> {
        for (guard, screen) in self.screens.iter_mut().rev().filter(|(_, screen)| screen.reads_answers()) {
            screen.written(text);
            if let Some(rule) = screen.blocked() {
                return Some(guard.refusal(&rule.name));
            }
        }
        None
    }

    /// What fired until now.
    pub(super) fn fired(&self) -> Vec<GuardFired> {
        let screens = self.screens.iter().flat_map(|(_, screen)| screen.fired());
        screens.map(told).chain(self.others.iter().cloned()).collect()
    }

    /// The rules over the pieces of a stream.
    pub(super) fn into_filter(self, told: Arc<AiRecord>) -> Filter {
        // What was masked last is unmasked first.
        Filter::new(self.screens.into_iter().rev().map(|(_, screen)| screen).collect(), self.others, told)
    }

    fn note(&mut self, outside: &str, kind: &'static str, action: Action, in_answer: bool) {
        let (mode, side) = (mode(action), side(in_answer));
        self.others.push(GuardFired { rule: outside.into(), kind, mode, side, count: 1, texts: Vec::new() });
    }
}

/// What the rules of a screen fired.
pub(super) fn fired(screen: &Screen) -> impl Iterator<Item = GuardFired> + '_ {
    screen.fired().iter().map(told)
}

impl Guard {
    /// Whether somebody else may be asked, or the model once more.
    pub(super) fn asks_others(&self) -> bool {
        !self.outside.is_empty() || self.mends()
    }

    /// Its rules without what others judge; `None` where some are asked.
    pub(super) fn alone(&self) -> Option<Screen> {
        let is_alone = self.forms.is_empty() && self.outside.is_empty();
        is_alone.then(|| Screen::new(self.rules.clone(), self.record_text))
    }

    /// The models that judge for it.
    pub(super) fn judges(&self) -> impl Iterator<Item = Judge<'_>> {
        self.outside.iter().filter_map(Outside::model)
    }

    /// Whether a model may be asked to mend its answer.
    pub(super) fn mends(&self) -> bool {
        self.forms.iter().any(Form::mends)
    }

    /// Its rules over a text of its own.
    pub(super) fn screen(&self) -> Screen {
        Screen::new(self.rules.clone(), false)
    }

    fn needs_whole_answers(&self) -> bool {
        !self.forms.is_empty() || self.outside.iter().any(|outside| outside.on_answer)
    }

    fn refusal(&self, rule: &str) -> Error {
        let message = match &self.message {
            Some(message) => message.clone(),
            None => format!("refused by the rule `{rule}` of this gateway"),
        };
        Error { code: Some(CODE.to_owned()), ..Error::new(ErrorKind::ContentFilter, message) }
    }
}

fn mode(action: Action) -> &'static str {
    match action {
        Action::Block => "block",
        Action::Mask => "mask",
        Action::Flag => "flag",
    }
}

fn side(in_answer: bool) -> &'static str {
    if in_answer { "answer" } else { "request" }
}

fn told(fired: &Fired) -> GuardFired {
    GuardFired {
        rule: fired.rule.clone(),
        kind: fired.kind,
        mode: mode(fired.action),
        side: side(fired.in_answer),
        count: fired.count,
        texts: fired.texts.clone(),
    }
}

/// Runs the rules over a request. What is answered instead of sending it, when a rule refuses.
pub(super) async fn request(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    name: &str,
) -> Result<Option<Response<Body>>, Failure> {
    let guards = std::mem::take(&mut call.ai.guards);
    for guard in guards {
        let mut screen = Screen::new(guard.rules.clone(), guard.record_text);
        let edited = screen.request(&conversation.body).map_err(answer::refused)?;
        if let Some(edited) = edited {
            conversation.body = edited.into();
            conversation.peek = Peek::of(&conversation.body).map_err(answer::refused)?;
        }
        let blocked = screen.blocked().map(|rule| rule.name.clone());
        screen.turn();
        conversation.watch.screens.push((guard.clone(), screen));
        if let Some(rule) = blocked {
            return Ok(Some(refuse(call, conversation, name, &guard, &rule)));
        }
        if !guard.outside.iter().any(|outside| outside.on_request) {
            continue;
        }
        let text = asked(&conversation.body)?;
        if text.len() > guard.judge_at_most {
            return Ok(Some(too_long(call, conversation, name, guard.judge_at_most)));
        }
        for outside in guard.outside.iter().filter(|outside| outside.on_request) {
            let judging = outside.judge_all(gateway, worker, call, conversation, &text, false);
            let verdict = Box::pin(judging).await;
            if fires(call, outside, verdict)? {
                conversation.watch.note(&outside.name, outside.kind(), outside.action, false);
                if outside.action == Action::Block {
                    return Ok(Some(refuse(call, conversation, name, &guard, &outside.name)));
                }
            }
        }
    }
    Ok(None)
}

/// Whether a rule fires, when whoever is asked for it has answered; what happens when not is the operator's choice.
fn fires(call: &Call, outside: &Outside, verdict: Result<bool, String>) -> Result<bool, Failure> {
    let error = match verdict {
        Ok(fires) => return Ok(fires),
        Err(error) => error,
    };
    let request_id = call.record.request_id.to_str().unwrap_or_default();
    tracing::warn!(rule = %outside.name, %error, request_id, "guardrail `{}` could not judge: {error}", outside.name);
    if outside.passes_errors {
        return Ok(false);
    }
    Err(Failure::refused(Problem::Unavailable)
        .with_hint("what judges this request is not within reach")
        .with_detail(format!("guardrail `{}`: {error}", outside.name)))
}

/// What a caller, or a tool or a document, says.
fn asked(body: &[u8]) -> Result<String, Failure> {
    let mut text = String::new();
    leaves::edit(body, |leaf| {
        if leaf.voice == Voice::Caller && leaf.part != Part::Piece {
            text.push_str(&leaf.text);
            text.push('\n');
        }
        None
    })
    .map_err(answer::refused)?;
    Ok(text)
}

/// Tells the caller that nothing was sent, since nobody could judge all of it.
fn too_long(call: &mut Call, conversation: &Conversation<'_>, name: &str, most: usize) -> Response<Body> {
    note(call, conversation, name);
    let message = format!("the texts of this request are more than the {most} bytes that are judged here");
    let error = Error { code: Some(TOO_LONG.to_owned()), ..Error::new(ErrorKind::TooLarge, message) };
    answer::response(conversation.endpoint.dialect, &error)
}

/// Tells the caller, in its dialect, that nothing was sent.
fn refuse(
    call: &mut Call,
    conversation: &Conversation<'_>,
    name: &str,
    guard: &Guard,
    rule: &str,
) -> Response<Body> {
    note(call, conversation, name);
    blocked(conversation.endpoint.dialect, &guard.refusal(rule))
}

/// Tells the caller, in its dialect, that what was answered does not go on.
pub(super) fn refused(conversation: &Conversation<'_>, why: &Error) -> Response<Body> {
    blocked(conversation.endpoint.dialect, why)
}

/// Marks a refusal that is a rule's, and nobody else's words.
#[derive(Debug, Clone, Copy)]
pub(in crate::handler) struct Blocked;

/// What a rule refuses, in the caller's dialect.
fn blocked(dialect: Dialect, why: &Error) -> Response<Body> {
    let mut response = answer::response(dialect, why);
    response.extensions_mut().insert(Blocked);
    response
}

/// Runs the rules over the `prompt` of a form, which is files above all, and has them ready for the answer. What is answered
/// instead of sending it, when a rule refuses.
pub(super) fn form(
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    name: &str,
) -> Result<Option<Response<Body>>, Failure> {
    for guard in std::mem::take(&mut call.ai.guards) {
        let mut screen = Screen::new(guard.rules.clone(), guard.record_text);
        if let Some(at) = conversation.peek.prompt() {
            let prompt = String::from_utf8_lossy(conversation.body.get(at).unwrap_or_default()).into_owned();
            let asked = serde_json::json!({"prompt": prompt}).to_string();
            let edited = screen.request(asked.as_bytes()).map_err(answer::refused)?;
            let edited: Option<serde_json::Value> =
                edited.and_then(|edited| serde_json::from_slice(&edited).ok());
            let masked = edited.as_ref().and_then(|edited| edited.get("prompt")?.as_str());
            if let (Some(masked), Some(kind)) = (masked, &conversation.form) {
                conversation.body = conversation.peek.with_prompt(&conversation.body, masked).into();
                conversation.peek = Peek::of_form(kind, &conversation.body).map_err(answer::refused)?;
            }
        }
        let blocked = screen.blocked().map(|rule| rule.name.clone());
        screen.turn();
        conversation.watch.screens.push((guard.clone(), screen));
        if let Some(rule) = blocked {
            return Ok(Some(refuse(call, conversation, name, &guard, &rule)));
        }
    }
    Ok(None)
}

/// Writes into the record that rules stopped a request.
fn note(call: &mut Call, conversation: &Conversation<'_>, name: &str) {
    let endpoint = conversation.endpoint;
    let mut record = AiRecord::new(endpoint.operation.name(), endpoint.dialect.name(), name.into());
    record.is_stream = conversation.stream;
    record.alias = call.ai.wanted.alias.clone().unwrap_or_default();
    record.guard(conversation.watch.fired());
    call.record.ai = Some(Arc::new(record));
    call.record.stopped_by = Some("guardrails");
}

/// Runs the rules over a whole answer. `target`: who can be asked to mend it.
pub(super) async fn judge(
    gateway: &AiGateway,
    worker: &Rc<Worker>,
    call: &mut Call,
    conversation: &mut Conversation<'_>,
    target: Option<(&Target, &str)>,
    mut given: Answer,
    record: &AiRecord,
) -> Result<Judged, Failure> {
    let guards: Vec<Arc<Guard>> =
        conversation.watch.screens.iter().rev().map(|(guard, _)| guard.clone()).collect();
    let caller = conversation.endpoint.dialect;
    let mut refused: Option<(Arc<Guard>, Arc<str>)> = None;
    'all: for guard in &guards {
        for form in &guard.forms {
            let ok = form.mend(worker, call, conversation, target, &mut given, record).await;
            if !ok {
                conversation.watch.note(&form.name, "json-schema", form.action, true);
                if form.action == Action::Block {
                    refused = Some((guard.clone(), form.name.clone()));
                    break 'all;
                }
            }
        }
        for outside in guard.outside.iter().filter(|outside| outside.on_answer) {
            let text = schema::text_of(&given);
            if text.is_empty() {
                continue;
            }
            // What nobody can judge whole is not passed on unseen.
            let is_too_long = text.len() > guard.judge_at_most;
            let fired = is_too_long || {
                let verdict = outside.judge_all(gateway, worker, call, conversation, &text, true).await;
                fires(call, outside, verdict)?
            };
            if fired {
                conversation.watch.note(&outside.name, outside.kind(), outside.action, true);
                if outside.action == Action::Block {
                    refused = Some((guard.clone(), outside.name.clone()));
                    break 'all;
                }
            }
        }
    }
    if refused.is_none() {
        for (guard, screen) in conversation.watch.screens.iter_mut().rev() {
            if screen.reads_answers() {
                screen.answer(&mut given);
            }
            if let Some(rule) = screen.blocked() {
                refused = Some((guard.clone(), rule.name.clone()));
                break;
            }
        }
    }
    record.guard(conversation.watch.fired());
    Ok(match refused {
        None => Judged::Good(Box::new(given)),
        Some((guard, rule)) => {
            call.record.stopped_by = Some("guardrails");
            // A stream ends as one that a filter cut; nothing of it has been told.
            if conversation.stream {
                let finish = Some(ai::canon::Finish::ContentFilter);
                for choice in &mut given.choices {
                    choice.parts.clear();
                    choice.log_probabilities.clear();
                    choice.finish.clone_from(&finish);
                }
                return Ok(Judged::Good(Box::new(given)));
            }
            Judged::Refused(Box::new(blocked(caller, &guard.refusal(&rule))))
        }
    })
}
