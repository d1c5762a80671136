//! An agent: where it is, how it shows as an upstream, and one exchange with it.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use model::resource::{a2a::A2aAgent as Settings, upstream::Upstream as UpstreamSettings};

use super::card::Kept;
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    guard::X_REQUEST_ID,
    handler::{backends::Target, posing::Posing, remote},
    upstream::{Effort, tries},
    worker::Worker,
};

/// The version that a message is of.
pub(super) const VERSION: &str = "a2a-version";
/// Header fields of the protocol's that go on to an agent.
const PASSED_ON: [&str; 3] = [VERSION, "a2a-extensions", "x-a2a-extensions"];

/// A compiled agent.
pub(super) struct Agent {
    pub(super) name: Arc<str>,
    /// Of its endpoint.
    path: String,
    pub(super) card_path: Option<String>,
    target: Target,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Its card as it was last read; goes on over reloads.
    pub(super) card: Arc<Kept>,
}

/// An agent as an upstream: it is connected to, pooled, guarded and seen like any other.
pub(crate) fn upstream(route: &str, settings: &Settings) -> Result<UpstreamSettings, String> {
    let name = settings.upstream(route);
    let defaults = remote::timeouts(60, 10);
    let upstream = remote::upstream(name, &settings.url, &settings.tls, &settings.timeouts, &defaults)?;
    Ok(UpstreamSettings {
        outlier_detection: settings.outlier_detection.clone(),
        circuit_breaker: settings.circuit_breaker.clone(),
        bulkhead: settings.bulkhead.clone(),
        pool: settings.pool.clone(),
        ..upstream
    })
}

impl Agent {
    pub(super) fn compile(route: &str, settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        let name = settings.upstream(route);
        let upstream =
            cx.upstreams.get(name.as_str()).ok_or_else(|| format!("no upstream `{name}`"))?.clone();
        let effort = Effort::new(&upstream.settings.timeouts, &upstream.settings.retry, None);
        let headers = remote::headers(&settings.headers, cx.snapshot)
            .map_err(|error| format!("`agents.{}.headers.{error}", settings.name))?;
        let identity = (&settings.name, &settings.url, &settings.card_path);
        Ok(Self {
            name: settings.name.as_str().into(),
            path: remote::parts(&settings.url)?.2,
            card_path: settings.card_path.clone(),
            target: Target { upstream, effort, weight: 1 },
            headers,
            card: cx.keep(&format!("a2a-card-{}", settings.name), &identity, Kept::default),
        })
    }

    /// Sends a message, of this version where the client names none; what comes back is the agent's own.
    pub(super) async fn send(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        text: String,
        is_stream: bool,
        version: Option<&'static str>,
    ) -> Result<Response<Body>, Failure> {
        let mut headers = HeaderMap::with_capacity(12);
        for name in PASSED_ON {
            for value in call.head.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if let (Some(version), false) = (version, headers.contains_key(VERSION)) {
            headers.insert(VERSION, HeaderValue::from_static(version));
        }
        let accept = if is_stream { "text/event-stream" } else { "application/json" };
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        let path = self.path.clone();
        self.ask(worker, call, Method::POST, &path, headers, Body::Full(text.into())).await
    }

    /// Asks for a file of the agent's.
    pub(super) async fn get(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        path: &str,
    ) -> Result<Response<Body>, Failure> {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.ask(worker, call, Method::GET, path, headers, Body::Empty).await
    }

    async fn ask(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Body>, Failure> {
        headers.insert(X_REQUEST_ID, call.record.request_id.clone());
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        let uri = path.parse().map_err(|_| {
            Failure::gateway(Stage::Pick, Problem::Internal).with_detail("`url` has no good path")
        })?;
        call.record.upstream = Some(self.target.upstream.name.clone());
        let posing = Posing::new(call, method, uri, headers);
        let response =
            tries::forward(worker, posing.call, &self.target, &tries::Wish::default(), body).await?;
        drop(posing);
        match response.headers().get(header::CONTENT_ENCODING) {
            Some(coding) if coding != "identity" => {
                Err(bad("the agent compressed its answer, which it was not asked for"))
            }
            _ => Ok(response),
        }
    }
}

/// An answer that is none.
pub(super) fn bad(why: impl std::fmt::Display) -> Failure {
    Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why)
}

/// The bytes of a text, which must be UTF-8.
pub(super) fn text_of(bytes: &Bytes) -> Result<&str, Failure> {
    std::str::from_utf8(bytes).map_err(|_| bad("the agent's answer is no UTF-8"))
}
