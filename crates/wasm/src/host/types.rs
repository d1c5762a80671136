//! The types of the world, as they pass between gateway and component.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::{head, messages};
use crate::stopped::Stopped;

/// A field of a head.
pub(crate) type Field = (String, String);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The head.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// An answer as components are told it. What frames it, and its connection's fields, are left out.
    pub fn of(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Self {
        let mut headers = head::all(headers);
        headers.retain(|(name, _)| !head::is_gateways(name));
        Self { status: status.as_u16(), headers, body: body.to_vec() }
    }

    /// What a component has answered, as it can be sent. What frames it is left out: the gateway knows better.
    pub fn into_parts(self) -> Result<(StatusCode, HeaderMap, Bytes), Stopped> {
        let wrong = |wrong: String| Stopped::Wrong(format!("its answer cannot be sent: {wrong}"));
        let status = messages::status(self.status).map_err(wrong)?;
        Ok((status, head::make(&self.headers).map_err(wrong)?, self.body.into()))
    }
}

/// What becomes of a request or of an answer.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift)]
#[component(variant)]
pub enum Verdict {
    /// It goes on.
    #[component(name = "next")]
    Next,
    /// This is the answer.
    #[component(name = "answer")]
    Answer(Answer),
    /// It is seen again with its body.
    #[component(name = "read-body")]
    ReadBody,
}

/// A request to an upstream.
#[derive(Debug, Clone, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Outgoing {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, ComponentType, Lift)]
#[component(enum)]
#[allow(dead_code, reason = "the derived code makes them of their numbers")]
#[repr(u8)]
pub(crate) enum LogLevel {
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
