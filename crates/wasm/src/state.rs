//! What an instance's host functions work on: the call that it serves, and what it may have.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot};
use wasmtime::ResourceLimiter;

use crate::{
    engine::TABLE_MAX,
    host::{types::Answer, wasi::Wasi},
    meter::Meter,
    plugin::{Limits, Uses},
    stopped::Stopped,
};

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For whoever looks for an error.
    Debug,
    /// Worth knowing.
    Info,
    /// Odd.
    Warn,
    /// Wrong.
    Error,
}

/// The request of a call, as a component is shown it and may change it.
#[derive(Debug, Default)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// The head.
    pub headers: HeaderMap,
    /// The body, when it was read.
    pub body: Option<Bytes>,
    /// Whether the body is another than came.
    pub has_new_body: bool,
    /// Whether its body is one half of a switched protocol: then neither that nor the method is changed.
    pub is_tunnel: bool,
}

/// The answer to a call, as a component is shown it and may change it.
#[derive(Debug, Default)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The head.
    pub headers: HeaderMap,
    /// The body, when it was read.
    pub body: Option<Bytes>,
    /// Whether the body is another than came.
    pub has_new_body: bool,
}

/// A call.
#[derive(Debug)]
pub struct Subject {
    /// Its request.
    pub request: Request,
    /// Its answer, when there is one to judge.
    pub response: Option<Response>,
    /// Where the client is.
    pub client: IpAddr,
    /// Who calls.
    pub consumer: Option<Arc<str>>,
    /// The route.
    pub route: Option<Arc<str>>,
    /// The request's id.
    pub id: HeaderValue,
}

impl Default for Subject {
    fn default() -> Self {
        Self {
            request: Request::default(),
            response: None,
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            consumer: None,
            route: None,
            id: HeaderValue::from_static(""),
        }
    }
}

/// A request to an upstream.
#[derive(Debug)]
pub struct Fetch {
    /// The upstream.
    pub upstream: Arc<str>,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: Uri,
    /// The head.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A request to an upstream, and where its answer goes.
pub(crate) struct Ask {
    pub(crate) fetch: Fetch,
    pub(crate) reply: oneshot::Sender<Result<Answer, String>>,
}

/// What an instance's host functions work on.
pub(crate) struct State {
    pub(crate) subject: Subject,
    pub(crate) uses: Uses,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) wasi: Wasi,
    /// Requests to upstreams that this call may still make.
    pub(crate) fetches_left: u32,
    /// Lines of the log that this call may still write.
    pub(crate) lines_left: u32,
    fetches_max: u32,
    memory: usize,
    memory_max: usize,
    pub(crate) meter: Arc<Meter>,
    cpu: Duration,
}

/// Lines of the log for one call.
const LINES_MAX: u32 = 100;

impl State {
    pub(crate) fn new(limits: &Limits, uses: &Uses, asks: mpsc::Sender<Ask>) -> Self {
        Self {
            subject: Subject::default(),
            uses: uses.clone(),
            asks,
            wasi: Wasi::default(),
            fetches_left: limits.fetches,
            lines_left: LINES_MAX,
            fetches_max: limits.fetches,
            memory: 0,
            memory_max: limits.memory,
            meter: Arc::default(),
            cpu: limits.cpu,
        }
    }

    /// Begins to serve a call.
    pub(crate) fn enter(&mut self, subject: Subject) {
        self.subject = subject;
        self.meter.reset();
        self.fetches_left = self.fetches_max;
        self.lines_left = LINES_MAX;
    }

    /// A tick of the clock while it computed.
    pub(crate) fn tick(&mut self) -> Result<(), Stopped> {
        if self.meter.pause() > self.cpu { Err(Stopped::Cpu(self.cpu)) } else { Ok(()) }
    }

    /// Writes a line to the log, when this call may still do so.
    pub(crate) fn log(&mut self, level: Level, line: &str) {
        if self.lines_left > 0 {
            self.lines_left -= 1;
            (self.uses.log)(level, line);
        }
    }

    /// Makes the answer one that can be read.
    pub(crate) fn response(&mut self) -> Result<&mut Response, Stopped> {
        self.subject.response.as_mut().ok_or_else(no_answer)
    }
}

/// There is no answer to read.
pub(crate) fn no_answer() -> Stopped {
    Stopped::Wrong("it asked for the answer where there is none yet".to_owned())
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let grown = self.memory.saturating_add(desired.saturating_sub(current));
        if grown > self.memory_max {
            return Err(Stopped::Memory(self.memory_max).into());
        }
        self.memory = grown;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_MAX)
    }
}
