//! `opa`: the Open Policy Agent says who is let in.
//!
//! It is asked over its Data API as any upstream is, when authentication is through. Nothing lets in but a decision that
//! says so: one that is undefined does not.

mod decision;
mod input;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use model::policy::{ext_auth::OnError, opa::OpaShape};
use serde_json::{Map, Value};

use self::{decision::Decision, input::Shown};
use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    decided::{self, Decided},
    errand,
    facts::facts,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    expression::{Expression, Scope},
    failure::{Failure, Problem, Stage},
    protected::of_expression,
};

/// Bytes of an agent's answer that are read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

static METRIC: Metric = Metric {
    name: "tidegate_opa_total",
    help: "Calls that the Open Policy Agent was asked about, by what it said: `kept` is what it said before, `undefined` \
           that nothing of its policies fits, `error` nothing at all.",
    outcomes: &["allowed", "refused", "undefined", "kept", "error"],
    gauges: &[],
};
const ALLOWED: usize = 0;
const REFUSED: usize = 1;
const UNDEFINED: usize = 2;
const KEPT: usize = 3;
const ERROR: usize = 4;

/// The compiled policy.
pub(crate) struct Opa {
    upstream: String,
    target: Uri,
    shape: OpaShape,
    with: Vec<(String, Expression)>,
    shown: Option<Vec<HeaderName>>,
    body: Option<(usize, bool)>,
    to_upstream: Vec<HeaderName>,
    with_refusal: Vec<HeaderName>,
    kept: Option<Arc<Decided<Decision>>>,
    timeout: Duration,
    passes_errors: bool,
    counted: Arc<Counted>,
}

impl Opa {
    pub(crate) fn compile(settings: &model::policy::Opa, cx: &Building<'_>) -> Result<Self, String> {
        let names = |names: &[model::HeaderName]| names.iter().map(model::HeaderName::to_http).collect();
        let with = settings.with.iter().map(|(name, text)| {
            let compiled = Expression::scalar(text, Scope::Call);
            Ok((name.clone(), compiled.map_err(|error| format!("`with.{name}`: {error}"))?))
        });
        // What was decided under other settings is no decision under these.
        let whole = serde_json::to_value(settings).unwrap_or_default();
        let target = format!("/v1/data/{}", settings.decision);
        Ok(Self {
            upstream: settings.upstream.clone(),
            target: target.parse().map_err(|error| format!("`decision`: {error}"))?,
            shape: settings.shape,
            with: with.collect::<Result<_, String>>()?,
            shown: settings.request_headers.as_deref().map(names),
            body: settings.body.as_ref().map(|body| (body.max_size.get(), body.partial)),
            to_upstream: names(&settings.upstream_headers),
            with_refusal: names(&settings.refusal_headers),
            kept: settings.cache.as_ref().map(|cache| {
                let (ttl, negative_ttl) = (cache.ttl.get(), cache.negative_ttl.get());
                let terms = decided::Terms { ttl, negative_ttl, max: cache.max_entries };
                cx.keep("kept", &whole, || Decided::new(terms))
            }),
            timeout: settings.timeout.get(),
            passes_errors: settings.on_error == OnError::Allow,
            counted: Counted::of(&METRIC, cx),
        })
    }

    async fn decide(&self, call: &mut Call, body: &mut Body) -> Verdict {
        let shown = match self.body {
            None => None,
            Some((limit, in_part)) => match errand::shown(call, body, limit, in_part).await {
                Ok((bytes, is_whole)) => Some(Shown { bytes, is_whole }),
                Err(failure) => return Verdict::Fail(failure),
            },
        };
        let mut input = input::document(call, self.shape, self.shown.as_deref(), shown.as_ref());
        self.add(call, &mut input);
        let question = Value::Object(Map::from_iter([("input".to_owned(), Value::Object(input))]));
        let question = Bytes::from(question.to_string());
        let key = self.kept.as_ref().map(|_| key(&question));
        if let (Some(kept), Some(key)) = (&self.kept, &key)
            && let Some(decision) = kept.get(key)
        {
            self.counted.note(KEPT);
            return self.follow(call, decision);
        }
        let asked = Box::pin(self.ask(call, question));
        let decided = match tokio::time::timeout(self.timeout, asked).await {
            Ok(decided) => decided,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        };
        match decided {
            Ok(decision) => {
                self.counted.note(match &decision {
                    Decision::Allowed { .. } => ALLOWED,
                    Decision::Refused { .. } => REFUSED,
                    Decision::Undefined => UNDEFINED,
                });
                if let (Some(kept), Some(key)) = (&self.kept, key) {
                    kept.put(key, &decision, matches!(decision, Decision::Allowed { .. }));
                }
                self.follow(call, decision)
            }
            Err(error) => {
                self.counted.note(ERROR);
                if self.passes_errors {
                    tracing::warn!(
                        upstream = self.upstream,
                        error,
                        "a call goes on that the agent did not decide"
                    );
                    return Verdict::Continue;
                }
                Verdict::Fail(
                    Failure::gateway(Stage::Policy, Problem::Unavailable)
                        .with_hint("who says what is let in cannot be asked now")
                        .with_detail(error),
                )
            }
        }
    }

    /// What the settings add to the input; an expression that has no value adds nothing.
    fn add(&self, call: &Call, input: &mut Map<String, Value>) {
        if self.with.is_empty() {
            return;
        }
        let facts = facts(call);
        for (name, expression) in &self.with {
            if let Some(value) = expression.eval_string(&facts) {
                input.insert(name.clone(), Value::from(value));
            }
        }
    }

    /// Asks the agent. The error is for the log.
    async fn ask(&self, call: &Call, question: Bytes) -> Result<Decision, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let asking =
            errand::Asking { method: Method::POST, target: self.target.clone(), headers, body: question };
        let (head, body) = errand::ask(call, &self.upstream, asking).await?.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("it answered {}", head.status));
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("its answer: {error}"))?.to_bytes();
        decision::read(&body)
    }

    /// What follows from a decision.
    fn follow(&self, call: &mut Call, decision: Decision) -> Verdict {
        match decision {
            Decision::Undefined => {
                Verdict::Fail(Failure::refused(Problem::Forbidden).with_detail("the decision is undefined"))
            }
            Decision::Allowed { headers } => {
                for name in &self.to_upstream {
                    for value in headers.get_all(name) {
                        call.head.headers.append(name, value.clone());
                    }
                }
                Verdict::Continue
            }
            Decision::Refused { status, headers, body, message } => {
                let status = status.unwrap_or(StatusCode::FORBIDDEN);
                let told = self.with_refusal.iter().flat_map(|name| {
                    headers.get_all(name).iter().map(move |value| (name.clone(), value.clone()))
                });
                let Some(body) = body else {
                    // Without a body of its own it is a problem document like any other.
                    let failure = Failure::refused(Problem::Forbidden).with_status(status);
                    let failure = match message {
                        Some(message) => failure.with_hint(message),
                        None => failure,
                    };
                    return Verdict::Fail(
                        told.filter(|(name, _)| *name != header::CONTENT_TYPE)
                            .fold(failure, |failure, (name, value)| failure.with_header(name, value)),
                    );
                };
                let is_head = call.head.method == Method::HEAD;
                let (length, is_json) = (body.len(), body.first().is_some_and(|byte| b"{[".contains(byte)));
                let mut response = Response::new(if is_head { Body::Empty } else { Body::Full(body) });
                *response.status_mut() = status;
                let answer = response.headers_mut();
                let kind = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
                answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                for (name, value) in told {
                    answer.insert(name, value);
                }
                answer.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Verdict::Answer(Box::new(response))
            }
        }
    }
}

/// What a question is known by: all of it.
fn key(question: &[u8]) -> decided::Key {
    let mut key = decided::Key::default();
    key.copy_from_slice(digest::digest(&digest::SHA256, question).as_ref());
    key
}

impl NeedsOf for model::policy::Opa {
    fn needs(&self) -> Needs {
        let identity: Vec<_> = self.upstream_headers.iter().map(model::HeaderName::to_http).collect();
        let read = self.with.values().flat_map(|text| of_expression(text));
        let shown = self.request_headers.iter().flatten().map(model::HeaderName::to_http);
        Needs {
            headers: identity.iter().cloned().chain(read).chain(shown).collect(),
            identity,
            ..Needs::default()
        }
    }
}

impl Policy for Opa {
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        // Whatever is decided, these headers say only that.
        for name in &self.to_upstream {
            call.head.headers.remove(name);
        }
        Flow::Wait(Box::pin(self.decide(call, body)))
    }
}
