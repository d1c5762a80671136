//! `extAuth`: a service of the operator's own says who is let in.
//!
//! It is asked as any upstream is, with a head and a record of its own, and told no more than the settings name. Of what it
//! says nothing goes further that they do not name.

#[cfg(feature = "transcode")]
mod envoy;
mod plain;
mod question;

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use model::policy::ext_auth::{ExtAuthProtocol, OnError};
use serde_json::{Map, Value};

use super::{
    Flow, Needs, NeedsOf, Policy, Verdict,
    counted::{Counted, Metric},
    credentials,
    decided::{self, Decided},
    errand,
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    consumer::{Consumer, Consumers},
    failure::{Failure, Problem, Stage},
};

/// Bytes of a refusal that the client gets.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

static METRIC: Metric = Metric {
    name: "tidegate_ext_auth_total",
    help: "Calls that a service was asked about, by what it said: `kept` is what it said before, `error` nothing at all.",
    outcomes: &["allowed", "refused", "kept", "error"],
    gauges: &[],
};

const ALLOWED: usize = 0;
const REFUSED: usize = 1;
const KEPT: usize = 2;
const ERROR: usize = 3;

/// The compiled policy.
pub(crate) struct ExtAuth {
    upstream: String,
    protocol: ExtAuthProtocol,
    target: Uri,
    method: Method,
    shown: Vec<HeaderName>,
    to_upstream: Vec<HeaderName>,
    to_client: Vec<HeaderName>,
    with_refusal: Vec<HeaderName>,
    consumer_header: Option<HeaderName>,
    /// Bytes of a body that are shown, and whether larger ones are shown in part.
    body: Option<(usize, bool)>,
    kept: Option<Arc<Decided<Said>>>,
    /// Whether questions about different targets are different ones.
    by_target: bool,
    timeout: Duration,
    passes_errors: bool,
    consumers: Arc<Consumers>,
    counted: Arc<Counted>,
}

/// What a service says.
#[derive(Debug, Clone)]
enum Said {
    Allowed {
        /// For upstreams.
        headers: HeaderMap,
        /// Of the client's, those that do not go on.
        removed: Vec<HeaderName>,
        /// For the client.
        answer: HeaderMap,
    },
    Refused {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
}

impl ExtAuth {
    pub(crate) fn compile(settings: &model::policy::ExtAuth, cx: &Building<'_>) -> Result<Self, String> {
        if cfg!(not(feature = "transcode")) && settings.protocol == ExtAuthProtocol::Grpc {
            return Err("`protocol: grpc` is not in this build".into());
        }
        let names = |names: &[model::HeaderName]| names.iter().map(model::HeaderName::to_http).collect();
        let default = if settings.body.is_some() { "POST" } else { "GET" };
        let method = settings.method.as_deref().unwrap_or(default);
        // What was said under other settings is no answer to a question of these.
        let whole = serde_json::to_value(settings).unwrap_or_default();
        let kept = settings.cache.as_ref().map(|cache| {
            let (ttl, negative_ttl) = (cache.ttl.get(), cache.negative_ttl.get());
            let terms = decided::Terms { ttl, negative_ttl, max: cache.max_entries };
            cx.keep("kept", &whole, || Decided::new(terms))
        });
        Ok(Self {
            upstream: settings.upstream.clone(),
            protocol: settings.protocol,
            target: settings.path.parse().map_err(|error| format!("`path`: {error}"))?,
            method: method.parse().map_err(|error| format!("`method`: {error}"))?,
            shown: names(&settings.request_headers),
            to_upstream: names(&settings.upstream_headers),
            to_client: names(&settings.answer_headers),
            with_refusal: names(&settings.refusal_headers),
            consumer_header: settings.consumer_header.as_ref().map(model::HeaderName::to_http),
            body: settings.body.as_ref().map(|body| (body.max_size.get(), body.partial)),
            kept,
            by_target: settings.cache.as_ref().is_none_or(|cache| !cache.ignore_target),
            timeout: settings.timeout.get(),
            passes_errors: settings.on_error == OnError::Allow,
            consumers: credentials::consumers(cx)?,
            counted: Counted::of(&METRIC, cx),
        })
    }

    async fn decide(&self, call: &mut Call, body: &mut Body) -> Verdict {
        let key = self.kept.as_ref().map(|_| question::key(call, &self.shown, self.by_target));
        if let (Some(kept), Some(key)) = (&self.kept, &key)
            && let Some(said) = kept.get(key)
        {
            self.counted.note(KEPT);
            return self.follow(call, said);
        }
        let shown = match self.shown_of(call, body).await {
            Ok(shown) => shown,
            Err(failure) => return Verdict::Fail(failure),
        };
        let asked = Box::pin(self.ask(call, shown));
        let said = match tokio::time::timeout(self.timeout, asked).await {
            Ok(said) => said,
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        };
        match said {
            Ok(said) => {
                let outcome = if matches!(said, Said::Allowed { .. }) { ALLOWED } else { REFUSED };
                self.counted.note(outcome);
                if let (Some(kept), Some(key)) = (&self.kept, key) {
                    keep(kept, key, &said);
                }
                self.follow(call, said)
            }
            Err(error) => {
                self.counted.note(ERROR);
                if self.passes_errors {
                    // It goes on as nobody's.
                    self.forget(call, &|_| false);
                    tracing::warn!(
                        upstream = self.upstream,
                        error,
                        "a call goes on that nobody was asked about"
                    );
                    return Verdict::Continue;
                }
                Verdict::Fail(
                    Failure::gateway(Stage::Policy, Problem::Unavailable)
                        .with_hint("the service that says who is let in cannot be asked now")
                        .with_detail(error),
                )
            }
        }
    }

    /// The part of the body that is shown; all of it goes on as it came.
    async fn shown_of(&self, call: &mut Call, body: &mut Body) -> Result<Bytes, Failure> {
        let Some((limit, in_part)) = self.body else { return Ok(Bytes::new()) };
        errand::shown(call, body, limit, in_part).await.map(|(shown, _)| shown)
    }

    /// Asks the service. The error is for the log.
    async fn ask(&self, call: &Call, shown: Bytes) -> Result<Said, String> {
        match self.protocol {
            ExtAuthProtocol::Http => self.ask_plainly(call, shown).await,
            #[cfg(feature = "transcode")]
            ExtAuthProtocol::Grpc => self.ask_envoy(call, shown).await,
            #[cfg(not(feature = "transcode"))]
            ExtAuthProtocol::Grpc => Err("gRPC is not in this build".to_owned()),
        }
    }

    /// Sends a request of its own to the service.
    async fn send(
        &self,
        call: &Call,
        method: Method,
        target: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Body>, String> {
        errand::ask(call, &self.upstream, errand::Asking { method, target, headers, body }).await
    }

    /// What follows from what was said.
    fn follow(&self, call: &mut Call, said: Said) -> Verdict {
        match said {
            Said::Refused { status, headers, body } => {
                let is_head = call.head.method == Method::HEAD;
                let length = body.len();
                let mut response = Response::new(if is_head { Body::Empty } else { Body::Full(body) });
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Verdict::Answer(Box::new(response))
            }
            Said::Allowed { headers, removed, answer } => {
                if let Err(failure) = self.enter(call, &headers) {
                    return Verdict::Fail(failure);
                }
                for name in removed.iter().chain(&self.consumer_header) {
                    call.head.headers.remove(name);
                }
                // What a token has said stays as it was said.
                let mut claims = call.claims.as_ref().map_or_else(Map::new, |claims| (**claims).clone());
                for name in &self.to_upstream {
                    // Also where the service was shown one of the client's own.
                    call.head.headers.remove(name);
                    let mut values = headers.get_all(name).iter().peekable();
                    if let Some(text) = values.peek().and_then(|value| value.to_str().ok()) {
                        claims.entry(name.as_str()).or_insert_with(|| Value::from(text));
                    }
                    for value in values {
                        call.head.headers.append(name, value.clone());
                    }
                }
                // Whoever it is, it is somebody: what they get is nobody else's.
                call.claims = Some(Rc::new(claims));
                if !answer.is_empty() {
                    call.keep(self, answer);
                }
                Verdict::Continue
            }
        }
    }

    /// Takes out of a request what only the service may say.
    fn forget(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool) {
        for name in self.to_upstream.iter().chain(&self.consumer_header).filter(|name| !stays(name)) {
            call.head.headers.remove(name);
        }
    }

    fn enter(&self, call: &mut Call, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(name) = &self.consumer_header else {
            Consumer::step_aside(call);
            return Ok(());
        };
        let named = headers.get(name).and_then(|value| value.to_str().ok());
        let found = named.and_then(|named| self.consumers.named(named));
        let found = found.ok_or_else(|| {
            Failure::refused(Problem::Forbidden).with_detail("the service names no consumer that there is")
        })?;
        credentials::enter(call, found, &HeaderValue::from_static("Bearer"))
    }

    /// Of a head, the fields with these names.
    fn named(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
        let mut found = HeaderMap::new();
        for name in names {
            for value in headers.get_all(name) {
                found.append(name, value.clone());
            }
        }
        found
    }
}

/// Keeps what was said, unless it is for one person, who is not yet told from others.
fn keep(kept: &Decided<Said>, key: decided::Key, said: &Said) {
    let (Said::Allowed { answer: told, .. } | Said::Refused { headers: told, .. }) = said;
    if !told.contains_key(header::SET_COOKIE) {
        kept.put(key, said, matches!(said, Said::Allowed { .. }));
    }
}

impl NeedsOf for model::policy::ExtAuth {
    fn needs(&self) -> Needs {
        let told = self.upstream_headers.iter().chain(&self.consumer_header);
        let identity: Vec<_> = told.map(model::HeaderName::to_http).collect();
        Needs { headers: identity.clone(), identity, ..Needs::default() }
    }
}

impl Policy for ExtAuth {
    fn is_shown(&self, call: &Call) -> bool {
        self.shown.iter().any(|name| call.head.headers.contains_key(name))
    }

    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, _: &dyn Fn(&str) -> bool) {
        self.forget(call, stays);
        for name in self.shown.iter().filter(|name| !stays(name)) {
            call.head.headers.remove(name);
        }
    }

    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        // Whatever is said, these headers say only that. What is shown to the service is what the client has sent.
        self.forget(call, &|name| self.shown.contains(name));
        Flow::Wait(Box::pin(self.decide(call, body)))
    }

    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let Some(headers) = call.take::<Self, HeaderMap>(self) else { return };
        if headers.contains_key(header::SET_COOKIE) {
            // Whoever keeps the answer would give one person's cookie to others.
            answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        for name in headers.keys().filter(|name| **name != header::SET_COOKIE) {
            answer.headers_mut().remove(name);
        }
        for (name, value) in &headers {
            answer.headers_mut().append(name, value.clone());
        }
    }
}
