//! An agent: where it is, how it shows as an upstream, and one exchange with it.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use model::resource::{
    a2a::A2aAgent as Settings,
    tries::{Retry, RetryOn, Timeouts},
    upstream::{Endpoint, Protocol, Upstream as UpstreamSettings},
};

use super::card::Kept;
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    guard::X_REQUEST_ID,
    handler::{backends::Target, mcp::server::parts},
    upstream::{Effort, tries},
    worker::Worker,
};

/// Header fields of the protocol's that go on to an agent.
const PASSED_ON: [&str; 3] = ["a2a-version", "a2a-extensions", "x-a2a-extensions"];

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
    let (is_tls, address, _) = parts(&settings.url)?;
    let minutes = |minutes: u64| model::Duration::from_secs(minutes * 60);
    let defaults = Timeouts {
        connect: model::Duration::from_secs(5),
        request: minutes(60),
        idle: minutes(10),
        ..Timeouts::default()
    };
    Ok(UpstreamSettings {
        name: settings.upstream(route),
        protocol: Protocol::Auto,
        endpoints: vec![Endpoint { address, weight: 1, zone: None, backup: false }],
        discovery: None,
        load_balancing: Default::default(),
        health_check: None,
        outlier_detection: settings.outlier_detection.clone(),
        circuit_breaker: settings.circuit_breaker.clone(),
        bulkhead: settings.bulkhead.clone(),
        retry: Retry { on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream], ..Retry::default() },
        hedging: None,
        timeouts: settings.timeouts.apply(&defaults),
        tls: is_tls.then(|| settings.tls.clone()),
        pool: settings.pool.clone(),
        proxy_protocol: None,
        host_header: "upstream".to_owned(),
        policies: Vec::new(),
    })
}

impl Agent {
    pub(super) fn compile(route: &str, settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        let name = settings.upstream(route);
        let upstream =
            cx.upstreams.get(name.as_str()).ok_or_else(|| format!("no upstream `{name}`"))?.clone();
        let effort = Effort::new(&upstream.settings.timeouts, &upstream.settings.retry, None);
        let mut headers = Vec::new();
        for (name, secret) in &settings.headers {
            let mut value = HeaderValue::from_str(cx.snapshot.secret(secret)).map_err(|_| {
                format!("`agents.{}.headers.{name}` holds bytes that no header can", settings.name)
            })?;
            value.set_sensitive(true);
            headers.push((name.to_http().clone(), value));
        }
        let identity = (&settings.name, &settings.url, &settings.card_path);
        Ok(Self {
            name: settings.name.as_str().into(),
            path: parts(&settings.url)?.2,
            card_path: settings.card_path.clone(),
            target: Target { upstream, effort, weight: 1 },
            headers,
            card: cx.keep(&format!("a2a-card-{}", settings.name), &identity, Kept::default),
        })
    }

    /// Sends a message; what comes back is the agent's own.
    pub(super) async fn send(
        &self,
        worker: &Rc<Worker>,
        call: &mut Call,
        text: String,
        is_stream: bool,
    ) -> Result<Response<Body>, Failure> {
        let mut headers = HeaderMap::with_capacity(12);
        for name in PASSED_ON {
            for value in call.head.headers.get_all(name) {
                headers.append(name, value.clone());
            }
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
        call.head.method = method;
        call.head.headers = headers;
        call.head.uri = path.parse().map_err(|_| {
            Failure::gateway(Stage::Pick, Problem::Internal).with_detail("`url` has no good path")
        })?;
        call.host_from_endpoint = true;
        call.expects_continue = false;
        call.record.upstream = Some(self.target.upstream.name.clone());
        let response = tries::forward(worker, call, &self.target, &tries::Wish::default(), body).await?;
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
