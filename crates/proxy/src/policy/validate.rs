//! `validate`: judges requests and answers by an OpenAPI document or by JSON Schemas.
//!
//! The documents are compiled by [`crate::openapi`]; here a call is brought to them, its bodies within their bounds.
//! Bodies that are judged are held and go on as they came. What takes long is judged beside the workers.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use model::{
    ContentRecord, Finding, Phase, PolicyUse,
    policy::validate::{SchemaSource, Unknown, ValidateMode, ValidateSchemas},
};

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    held::Held,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    jq,
    openapi::{
        self,
        api::{Api, Found, Objects, Operation, Reading, Wanted, Whole},
        check::{self, Fault},
        fitting::Fitting,
        media,
    },
    schema::{Beside, Schema},
};

/// Bytes of a body that is judged beside the workers, so that others do not wait for it.
const ASIDE_BYTES_MIN: usize = 16 * 1024;

const VALID: usize = 0;
const INVALID: usize = 1;
const UNKNOWN: usize = 2;
const UNREAD: usize = 3;
const OUTCOMES: &[&str] = &["valid", "invalid", "unknown", "unread"];

static REQUESTS: Metric = Metric {
    name: "tidegate_validate_requests_total",
    help: "Requests that were judged by a document or schemas, by what came of it.",
    outcomes: OUTCOMES,
    gauges: &[],
};

static ANSWERS: Metric = Metric {
    name: "tidegate_validate_answers_total",
    help: "Answers that were judged by a document or schemas, by what came of it.",
    outcomes: OUTCOMES,
    gauges: &[],
};

/// The compiled policy.
pub(crate) struct Validate {
    known: Known,
    requests: ValidateMode,
    answers: ValidateMode,
    refuses_unknown: bool,
    refuses_parameters: bool,
    body_bytes_max: usize,
    answer_bytes_max: usize,
    counted: Arc<Counted>,
    counted_answers: Arc<Counted>,
}

/// What it judges by.
enum Known {
    Api(Box<Api>),
    Schemas(Arc<Operation>),
}

/// Documents of routes' policies that know none of their requests.
pub(crate) fn unfit(fitting: &mut Fitting<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let snapshot = fitting.snapshot;
    for route in &snapshot.config.routes {
        for (place, used) in route.policies.iter().enumerate() {
            let Some(model::Policy::Validate(settings)) = snapshot.policy(used) else { continue };
            let Some(document) = &settings.openapi else { continue };
            let key = match used {
                PolicyUse::Inline(_) => "validate.openapi",
                // It may be meant for other routes, and let the requests of this one be.
                PolicyUse::Shared(_) if settings.unknown_operations == Unknown::Pass => continue,
                PolicyUse::Shared(_) => "use",
            };
            let document = (&document.file, document.base_path.as_deref());
            if let Some(wrong) = fitting.wrong(document, route, Phase::Validation) {
                let key = format!("policies[{place}].{key}");
                found.push(Finding::new(format!("routes/{}", route.name), key, wrong));
            }
        }
    }
    found
}

impl Validate {
    pub(crate) fn compile(settings: &model::policy::Validate, cx: &Building<'_>) -> Result<Self, String> {
        if cx.owner.starts_with("upstreams/") && settings.answers != ValidateMode::Off {
            return Err("`answers` are judged on a route, a listener or globally, not on an upstream".into());
        }
        let wanted = Wanted {
            requests: settings.requests != ValidateMode::Off,
            answers: settings.answers != ValidateMode::Off,
        };
        let known = match (&settings.openapi, &settings.schemas) {
            (Some(openapi), _) => {
                let wrong = |error: String| format!("`openapi.file`: `{}`: {error}", openapi.file);
                let document = openapi::read(&openapi.file, &openapi.with, cx.snapshot).map_err(wrong)?;
                Known::Api(Box::new(
                    Api::compile(&document, openapi.base_path.as_deref(), wanted).map_err(wrong)?,
                ))
            }
            (None, Some(schemas)) => Known::Schemas(Arc::new(of_schemas(schemas, wanted, cx)?)),
            (None, None) => return Err("expected `openapi` or `schemas`".into()),
        };
        Ok(Self {
            known,
            requests: settings.requests,
            answers: settings.answers,
            refuses_unknown: settings.unknown_operations == Unknown::Refuse,
            refuses_parameters: settings.unknown_parameters == Unknown::Refuse,
            body_bytes_max: settings.max_body_size.get(),
            answer_bytes_max: settings.max_answer_size.get(),
            counted: Counted::of(&REQUESTS, cx),
            counted_answers: Counted::of(&ANSWERS, &cx.of(&format!("{}/answers", cx.owner))),
        })
    }

    /// Judges a head. What is to be done with the body is said, when something is.
    fn head(&self, call: &mut Call, has_body: bool) -> Result<Option<Arc<Operation>>, Failure> {
        let (operation, mut faults) = match self.find(call) {
            Ok(found) => found,
            Err(None) => return Ok(None),
            Err(Some(failure)) => {
                self.counted.note(UNKNOWN);
                note(call, None, |content| content.request = Some("unknown"));
                return match self.refuses_unknown && self.requests == ValidateMode::Enforce {
                    true => Err(failure),
                    false => Ok(None),
                };
            }
        };
        if self.answers != ValidateMode::Off && operation.judges_answers() {
            // What is looked at must be readable, and whole where it must fit: nobody gets past a schema in ranges.
            call.head.headers.remove(header::ACCEPT_ENCODING);
            if self.answers == ValidateMode::Enforce && !operation.gives_ranges() {
                call.head.headers.remove(header::RANGE);
                call.head.headers.remove(header::IF_RANGE);
            }
            call.keep(self, operation.clone());
        }
        if self.requests == ValidateMode::Off {
            return Ok(None);
        }
        let is_bodiless =
            matches!(call.head.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS)
                && matches!(self.known, Known::Schemas(_));
        let mut wants_body = false;
        if !is_bodiless || has_body {
            match operation.reading(&call.head.headers, has_body) {
                Ok(Reading::No) => {}
                Ok(Reading::Yes(_)) if media::is_plain(&call.head.headers) => wants_body = true,
                Ok(Reading::Yes(_)) => {
                    self.unread(call, &operation, "the body is encoded; `decompress` before it undoes that")?;
                    return Ok(None);
                }
                Ok(Reading::Unsupported(types)) if faults.is_empty() => {
                    let told = format!("expected a body of {types}");
                    let failure = Failure::refused(Problem::UnsupportedMedia).with_hint(told.clone());
                    let failure = match HeaderValue::from_str(&types) {
                        Ok(types) => failure.with_header(header::ACCEPT, types),
                        Err(_) => failure,
                    };
                    self.invalid(call, &operation, &[Fault::body("", told)]);
                    return if self.requests == ValidateMode::Enforce { Err(failure) } else { Ok(None) };
                }
                Ok(Reading::Unsupported(_)) => {}
                Err(fault) => faults.push(fault),
            }
        }
        match faults.is_empty() {
            true if wants_body => Ok(Some(operation)),
            true => {
                self.counted.note(VALID);
                Ok(None)
            }
            false => self.refuse(call, &operation, &faults).map(|()| None),
        }
    }

    /// The operation that a request is, and what is wrong with its head. An error is a request of none; one without a
    /// failure is let alone.
    fn find(&self, call: &Call) -> Result<(Arc<Operation>, Vec<Fault>), Option<Failure>> {
        if call.head.method == Method::CONNECT {
            return Err(None);
        }
        let query = call.head.uri.query().unwrap_or_default();
        let headers = &call.head.headers;
        let judges = self.requests != ValidateMode::Off;
        let api = match &self.known {
            Known::Schemas(operation) => {
                let faults =
                    if judges { operation.head(&Vec::new(), query, headers, None) } else { Vec::new() };
                return Ok((operation.clone(), faults));
            }
            Known::Api(api) => api,
        };
        match api.find(&call.head.method, call.path()) {
            Found::Operation(operation, captured) => {
                let known = self.refuses_parameters.then(|| api.credentials());
                let faults =
                    if judges { operation.head(&captured, query, headers, known) } else { Vec::new() };
                Ok((operation.clone(), faults))
            }
            Found::Method(allow) => {
                let failure =
                    Failure::refused(Problem::MethodNotAllowed).with_header(header::ALLOW, allow.clone());
                Err(Some(failure))
            }
            Found::Nothing => {
                Err(Some(Failure::refused(Problem::NoRoute).with_hint("the API has no such path")))
            }
        }
    }

    async fn body(&self, call: &mut Call, body: &mut Body, operation: Arc<Operation>) -> Result<(), Failure> {
        let held = Held::read(body, self.body_bytes_max).await?;
        call.has_been_sent();
        if !held.is_whole() {
            *body = held.into_body();
            let told = format!("the body has more than the {} bytes that are judged", self.body_bytes_max);
            if self.requests == ValidateMode::Enforce {
                self.invalid(call, &operation, &[Fault::body("", told.clone())]);
                return Err(Failure::refused(Problem::BodyTooLarge).with_hint(told));
            }
            return self.unread(call, &operation, &told);
        }
        let bytes = held.beginning(self.body_bytes_max);
        *body = held.into_body();
        let own = operation.clone();
        let judge = move |headers: &HeaderMap, bytes: &Bytes| match own.reading(headers, !bytes.is_empty()) {
            Ok(Reading::Yes(judged)) => judged.faults(bytes),
            Ok(_) => Vec::new(),
            Err(fault) => vec![fault],
        };
        let faults = aside(&call.head.headers, bytes, judge).await?;
        if faults.is_empty() {
            self.counted.note(VALID);
            return Ok(());
        }
        self.refuse(call, &operation, &faults)
    }

    fn refuse(&self, call: &mut Call, operation: &Arc<Operation>, faults: &[Fault]) -> Result<(), Failure> {
        self.invalid(call, operation, faults);
        match self.requests {
            ValidateMode::Enforce => Err(Failure::refused(Problem::Invalid).with_errors(check::told(faults))),
            ValidateMode::Report | ValidateMode::Off => Ok(()),
        }
    }

    fn invalid(&self, call: &mut Call, operation: &Arc<Operation>, faults: &[Fault]) {
        self.counted.note(INVALID);
        note(call, Some(operation), |content| {
            content.request = Some("invalid");
            content.faults.extend(faults.iter().take(check::FAULTS_MAX).map(Fault::line));
        });
    }

    /// What cannot be read is refused where requests must fit.
    fn unread(&self, call: &mut Call, operation: &Arc<Operation>, why: &str) -> Result<(), Failure> {
        self.counted.note(UNREAD);
        note(call, Some(operation), |content| {
            content.request = Some("unread");
            content.faults.push(format!("body: {why}"));
        });
        match self.requests {
            ValidateMode::Enforce => Err(Failure::refused(Problem::UnsupportedMedia)
                .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
                .with_hint("the body must not be encoded")),
            ValidateMode::Report | ValidateMode::Off => Ok(()),
        }
    }

    async fn answer(
        &self,
        call: &mut Call,
        operation: Arc<Operation>,
        answer: &mut Response<Body>,
    ) -> Result<(), Failure> {
        let status = answer.status();
        let is_bodiless = call.head.method == Method::HEAD
            || status.is_informational()
            || matches!(
                status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
            );
        let (mut faults, reading) = operation.answer_head(status, answer.headers(), !is_bodiless);
        let mut unread = None;
        match reading {
            Reading::No => {}
            Reading::Unsupported(types) if !answer.body().is_empty() => {
                faults.push(Fault::body("", format!("expected a body of {types}")));
            }
            Reading::Unsupported(_) => {}
            Reading::Yes(_) if !media::is_plain(answer.headers()) => {
                unread = Some("the body is encoded".to_owned())
            }
            Reading::Yes(_) => {
                let held = Held::read(answer.body_mut(), self.answer_bytes_max).await?;
                if held.is_whole() {
                    let bytes = held.beginning(self.answer_bytes_max);
                    let own = operation.clone();
                    let judge = move |headers: &HeaderMap, bytes: &Bytes| match own
                        .answer_head(status, headers, true)
                        .1
                    {
                        Reading::Yes(judged) => judged.faults(bytes),
                        _ => Vec::new(),
                    };
                    faults.extend(aside(answer.headers(), bytes, judge).await?);
                } else {
                    unread = Some(format!("the body has more than {} bytes", self.answer_bytes_max));
                }
                *answer.body_mut() = held.into_body();
            }
        }
        let (outcome, lines): (usize, Vec<String>) = match (faults.is_empty(), unread) {
            (true, None) => {
                self.counted_answers.note(VALID);
                return Ok(());
            }
            (true, Some(why)) => (UNREAD, vec![format!("answer body: {why}")]),
            (false, _) => (
                INVALID,
                faults
                    .iter()
                    .take(check::FAULTS_MAX)
                    .map(|fault| format!("answer {}", fault.line()))
                    .collect(),
            ),
        };
        self.counted_answers.note(outcome);
        let detail = lines.join("; ");
        note(call, Some(&operation), |content| {
            content.answer = OUTCOMES.get(outcome).copied();
            content.faults.extend(lines);
        });
        match self.answers {
            ValidateMode::Enforce => {
                let detail = format!("the answer does not fit `{}`: {detail}", operation.name);
                Err(Failure::upstream(Stage::Policy, Problem::BadUpstreamAnswer, detail))
            }
            ValidateMode::Report | ValidateMode::Off => Ok(()),
        }
    }
}

/// Judges a body here, or beside the workers when it is large.
async fn aside(
    headers: &HeaderMap,
    bytes: Bytes,
    judge: impl FnOnce(&HeaderMap, &Bytes) -> Vec<Fault> + Send + 'static,
) -> Result<Vec<Fault>, Failure> {
    if bytes.len() < ASIDE_BYTES_MIN {
        return Ok(judge(headers, &bytes));
    }
    let headers = headers.clone();
    let done = jq::aside(move || judge(&headers, &bytes)).await;
    done.map_err(|why| Failure::gateway(Stage::Policy, Problem::Overloaded).with_detail(why))
}

fn note(call: &mut Call, operation: Option<&Arc<Operation>>, tell: impl FnOnce(&mut ContentRecord)) {
    let content = call.record.content.get_or_insert_default();
    if let Some(operation) = operation {
        content.operation = Some(operation.name.clone());
    }
    tell(content);
}

/// The schemas of a route, as its one operation.
fn of_schemas(settings: &ValidateSchemas, wanted: Wanted, cx: &Building<'_>) -> Result<Operation, String> {
    let compiled = |key: &str, source: &Option<SchemaSource>, is_wanted: bool| {
        let Some(source) = source.as_ref().filter(|_| is_wanted) else { return Ok(None) };
        schema(source, cx).map(Some).map_err(|error| format!("`schemas.{key}`: {error}"))
    };
    let whole = |key: &str, source: &Option<SchemaSource>| match compiled(key, source, wanted.requests)? {
        None => Ok(None),
        Some((written, schema)) => Whole::new(&written, schema).map(Some),
    };
    let object =
        Objects { query: whole("query", &settings.query)?, headers: whole("headers", &settings.headers)? };
    let body = compiled("body", &settings.body, wanted.requests)?;
    let answer = compiled("answer", &settings.answer, wanted.answers)?;
    Operation::of_schemas(body, object, answer)
}

/// A schema as it is written, and compiled.
fn schema(source: &SchemaSource, cx: &Building<'_>) -> Result<(serde_json::Value, Schema), String> {
    if let Some(written) = &source.schema {
        let compiled = Schema::judging(written).map_err(|error| format!("schema: {error}"))?;
        return Ok((written.clone(), compiled));
    }
    let file = source.file.as_ref().ok_or("expected `file` or `schema`")?;
    let wrong = |error: String| format!("`{file}`: {error}");
    let written = openapi::tree(file, cx.snapshot).map_err(wrong)?;
    let mut others = HashMap::new();
    for other in &source.with {
        let tree = openapi::tree(other, cx.snapshot).map_err(|error| format!("`{other}`: {error}"))?;
        others.insert(openapi::uri(other), tree);
    }
    let beside = Beside { own: openapi::uri(file), others };
    Ok((written.clone(), Schema::of_file(&written, beside).map_err(wrong)?))
}

impl NeedsOf for model::policy::Validate {
    fn needs(&self) -> Needs {
        Needs::headers([header::CONTENT_TYPE, header::CONTENT_ENCODING, header::COOKIE])
    }
}

impl Policy for Validate {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        // What goes on in both directions has no body that could be held.
        let has_body = !call.body_is_tunnel() && !body.is_empty();
        match self.head(call, has_body) {
            Ok(None) => Flow::Continue,
            Err(failure) => Flow::Fail(failure),
            Ok(Some(operation)) => Flow::Wait(Box::pin(async move {
                match self.body(call, body, operation).await {
                    Ok(()) => Verdict::Continue,
                    Err(failure) => Verdict::Fail(failure),
                }
            })),
        }
    }

    fn waits_for_answers(&self) -> bool {
        self.answers != ValidateMode::Off
    }

    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let Some(operation) = call.take::<Self, Arc<Operation>>(self) else { return Ok(()) };
            let is_tunnel = call.is_switched_by(answer);
            // What the gateway says itself is none of the API's answers.
            if is_tunnel || call.record.failure.is_some() || call.record.stopped_by.is_some() {
                return Ok(());
            }
            let judged = self.answer(call, operation, answer).await;
            if judged.is_err() {
                call.record.stopped_by = Some("validate");
            }
            judged
        })
    }
}
