//! Steps that a body goes through: jq, patches, templates, and XML to JSON and back.
//!
//! Each is compiled once. What takes long runs on the threads that programs of jq have, within bounds of time and size.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use model::policy::transform::TransformStep;
use serde_json::Value;

use super::{mask::Hidden, patch, xml};
use crate::{jq, jq::Jq, openapi::media::MediaRange};

/// What programs may ask for.
const VARIABLES: &[&str] = &["$request", "$status"];
/// Steps of a program.
const JQ_STEPS_MAX: u32 = 1_000_000;
/// Values in one body.
const NODES_MAX: u64 = 500_000;
/// Steps of a rendering.
const FUEL: u64 = 500_000;
/// How deep loops and conditions of a template nest.
const TEMPLATE_DEPTH_MAX: usize = 64;
/// Bytes from which a body is worked on beside the workers.
const ASIDE_BYTES_MIN: usize = 16 * 1024;
/// How long all steps may take.
const TIME_MAX: Duration = Duration::from_secs(2);

/// What a body must be for the steps to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    Json,
    Xml,
    /// JSON, or text of any kind.
    Texts,
    Any,
}

/// Compiled steps.
pub(crate) struct Steps {
    all: Vec<Step>,
    pub(crate) reads: Reads,
    /// The media type of what comes out, where it is another.
    pub(crate) makes: Option<Box<str>>,
    pub(crate) bytes_max: usize,
}

enum Step {
    Jq(Jq),
    Template(Box<Environment<'static>>),
    Patch(Vec<patch::Operation>),
    Merge(Value),
    XmlToJson,
    JsonToXml(Option<String>),
    Hide(Arc<Hidden>),
}

/// Why there is nothing that comes out.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// The body is not what it says it is.
    Malformed(String),
    /// A step failed.
    Failed(String),
    /// Too many others wait.
    Full,
}

/// What a body is between two steps.
enum State {
    Raw(Bytes),
    Json(Value),
    Text(String),
}

impl Steps {
    /// Compiles them. An error is a sentence for the operator.
    pub(crate) fn compile(settings: &[TransformStep], bytes_max: usize) -> Result<Arc<Self>, String> {
        let mut all = Vec::with_capacity(settings.len());
        let (mut reads, mut makes) = (None, None::<Box<str>>);
        for (at, one) in settings.iter().enumerate() {
            let wrong = |error: String| format!("body[{at}]: {error}");
            let step = Step::compile(one).map_err(wrong)?;
            let needs = match &step {
                Step::XmlToJson => Reads::Xml,
                Step::Template(_) => Reads::Any,
                _ => Reads::Json,
            };
            match (&makes, needs) {
                (Some(makes), needs) if &**makes != JSON && needs != Reads::Any => {
                    return Err(wrong("the step before it makes a text; it must be the last".to_owned()));
                }
                (Some(_), Reads::Xml) => return Err(wrong("the step before it makes no XML".to_owned())),
                _ => {}
            }
            reads.get_or_insert(needs);
            match &step {
                Step::XmlToJson => makes = Some(JSON.into()),
                Step::JsonToXml(_) => makes = Some("application/xml".into()),
                Step::Template(_) => {
                    let kind = one.content_type.as_deref().unwrap_or("text/plain; charset=utf-8");
                    MediaRange::parse(kind)
                        .ok_or_else(|| wrong(format!("contentType: `{kind}` is no media type")))?;
                    makes = Some(kind.into());
                }
                _ => {}
            }
            all.push(step);
        }
        Ok(Arc::new(Self { all, reads: reads.unwrap_or(Reads::Any), makes, bytes_max }))
    }

    /// The one step that hides what is to be hidden.
    pub(crate) fn hiding(hidden: Arc<Hidden>, bytes_max: usize) -> Arc<Self> {
        let reads = if hidden.looks_at_texts() { Reads::Texts } else { Reads::Json };
        Arc::new(Self { all: vec![Step::Hide(hidden)], reads, makes: None, bytes_max })
    }

    /// Whether a body of this type goes through them.
    pub(crate) fn fits(&self, kind: Option<&MediaRange>) -> bool {
        match (self.reads, kind) {
            (Reads::Any, _) => true,
            (Reads::Json, Some(kind)) => kind.is_json(),
            (Reads::Xml, Some(kind)) => kind.is_xml(),
            (Reads::Texts, Some(kind)) => kind.is_json() || kind.is_text(),
            (_, None) => false,
        }
    }

    /// Takes a body through them.
    pub(crate) async fn run(
        self: &Arc<Self>,
        body: Bytes,
        is_json: bool,
        facts: &Value,
    ) -> Result<Bytes, Wrong> {
        let until = Instant::now() + TIME_MAX;
        let is_large = body.len() >= ASIDE_BYTES_MIN;
        let mut state = State::Raw(body);
        for (at, step) in self.all.iter().enumerate() {
            state = match step {
                Step::Jq(program) => {
                    let input = self.aside(is_large, until, move |_| state.json()).await?;
                    let variable = |name: &str| facts.get(name).cloned().unwrap_or_default();
                    let variables = vec![variable("request"), variable("status")];
                    let made = program.run_on(input, variables, self.bytes_max, until).await;
                    let made = made.map_err(|stopped| match stopped {
                        jq::Stopped::Full => Wrong::Full,
                        stopped => Wrong::Failed(format!("body[{at}]: jq: {stopped}")),
                    })?;
                    let read = serde_json::from_slice(&made);
                    State::Json(read.map_err(|error| Wrong::Failed(format!("body[{at}]: {error}")))?)
                }
                _ => {
                    let facts = facts.clone();
                    self.aside(is_large, until, move |steps| steps.one(at, state, is_json, facts)).await?
                }
            };
        }
        let bytes: Bytes = match state {
            State::Raw(bytes) => bytes,
            State::Text(text) => text.into(),
            State::Json(value) => value.to_string().into(),
        };
        match bytes.len() > self.bytes_max {
            true => Err(Wrong::Failed(format!("what came out has more than {} bytes", self.bytes_max))),
            false => Ok(bytes),
        }
    }

    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        is_large: bool,
        until: Instant,
        work: impl FnOnce(&Self) -> Result<T, Wrong> + Send + 'static,
    ) -> Result<T, Wrong> {
        if !is_large {
            return work(self);
        }
        let steps = self.clone();
        let done = jq::aside_until(until, move || work(&steps)).await;
        done.map_err(|stopped| match stopped {
            jq::Stopped::Time => Wrong::Failed(stopped.to_string()),
            _ => Wrong::Full,
        })?
    }

    fn one(&self, at: usize, state: State, is_json: bool, facts: Value) -> Result<State, Wrong> {
        let failed = |error: String| Wrong::Failed(format!("body[{at}]: {error}"));
        Ok(match self.all.get(at) {
            Some(Step::Patch(operations)) => {
                let mut value = state.json()?;
                patch::apply(&mut value, operations).map_err(failed)?;
                State::Json(value)
            }
            Some(Step::Merge(merged)) => {
                let mut value = state.json()?;
                patch::merge(&mut value, merged);
                State::Json(value)
            }
            Some(Step::Hide(hidden)) => match (&state, is_json) {
                (State::Raw(_), true) | (State::Json(_), _) => {
                    let mut value = state.json()?;
                    hidden.hide(&mut value);
                    State::Json(value)
                }
                _ => {
                    let text = state.text()?;
                    State::Text(hidden.text(&text).unwrap_or(text))
                }
            },
            Some(Step::XmlToJson) => State::Json(xml::read(&state.text()?).map_err(Wrong::Malformed)?),
            Some(Step::JsonToXml(root)) => {
                let value = state.json()?;
                State::Text(xml::write(&value, root.as_deref(), self.bytes_max).map_err(failed)?)
            }
            Some(Step::Template(environment)) => {
                let body = match (&state, is_json) {
                    (State::Raw(_), true) | (State::Json(_), _) => state.json()?,
                    _ => state.text()?.into(),
                };
                let mut input = facts;
                if let Value::Object(members) = &mut input {
                    members.insert("body".to_owned(), body);
                }
                State::Text(rendered(environment, input, self.bytes_max).map_err(failed)?)
            }
            Some(Step::Jq(_)) | None => state,
        })
    }
}

const JSON: &str = "application/json";

impl State {
    fn json(self) -> Result<Value, Wrong> {
        match self {
            Self::Json(value) => Ok(value),
            Self::Text(text) => Ok(text.into()),
            Self::Raw(bytes) => {
                if jq::nodes(&bytes) > NODES_MAX {
                    return Err(Wrong::Malformed("it has too many values".to_owned()));
                }
                let error = |error: serde_json::Error| {
                    format!("it is no JSON (line {}, column {})", error.line(), error.column())
                };
                serde_json::from_slice(&bytes).map_err(|wrong| Wrong::Malformed(error(wrong)))
            }
        }
    }

    fn text(self) -> Result<String, Wrong> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Json(value) => Ok(value.to_string()),
            Self::Raw(bytes) => {
                let text = std::str::from_utf8(&bytes).map(str::to_owned);
                text.map_err(|_| Wrong::Malformed("it is no UTF-8".to_owned()))
            }
        }
    }
}

impl Step {
    fn compile(settings: &TransformStep) -> Result<Self, String> {
        if let Some(program) = &settings.jq {
            return Jq::compile(program, VARIABLES, JQ_STEPS_MAX)
                .map(Self::Jq)
                .map_err(|error| format!("jq: {error}"));
        }
        if let Some(operations) = &settings.patch {
            return patch::read(operations).map(Self::Patch).map_err(|error| format!("patch{error}"));
        }
        if let Some(merged) = &settings.merge_patch {
            return Ok(Self::Merge(merged.clone()));
        }
        if settings.makes_json() {
            return Ok(Self::XmlToJson);
        }
        if let Some(json_to_xml) = settings.makes_xml() {
            return Ok(Self::JsonToXml(json_to_xml.root));
        }
        let text = settings.template.as_ref().ok_or("expected one step")?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(TEMPLATE_DEPTH_MAX);
        environment.add_template_owned(TEMPLATE, text.clone()).map_err(|error| {
            let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
            format!("template: {line}{}", error.detail().unwrap_or("not a template"))
        })?;
        Ok(Self::Template(Box::new(environment)))
    }
}

const TEMPLATE: &str = "body";

fn rendered(environment: &Environment<'static>, input: Value, bytes_max: usize) -> Result<String, String> {
    let told = |error: minijinja::Error| {
        format!("template: {}", error.detail().map_or_else(|| error.kind().to_string(), str::to_owned))
    };
    let template = environment.get_template(TEMPLATE).map_err(told)?;
    let mut out = Bounded { bytes: Vec::new(), bytes_max };
    template
        .render_captured_to(minijinja::Value::from(minijinja::value::Serde(input)), &mut out)
        .map(drop)
        .map_err(told)?;
    String::from_utf8(out.bytes).map_err(|error| error.to_string())
}

/// Takes so many bytes and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(more.len()) > self.bytes_max {
            return Err(io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
