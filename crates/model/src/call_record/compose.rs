//! Of an answer that is made of several calls.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode};

use super::TrySpan;

/// The calls of a composed answer, in the order in which they ended.
#[derive(Debug, Default)]
pub struct ComposeRecord {
    calls: Mutex<Vec<ComposedCall>>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct ComposedCall {
    /// Its name.
    pub name: Arc<str>,
    /// The place of its item, where it is made for each of a list.
    pub index: Option<usize>,
    /// The upstream that it goes to.
    pub upstream: Arc<str>,
    /// The endpoint that gave the final answer or the final failure.
    pub endpoint: Option<Arc<str>>,
    /// Its method.
    pub method: Method,
    /// Id of its span.
    pub span_id: [u8; 8],
    /// From the start of the whole to its own.
    pub started: Duration,
    /// How long it took, its body included.
    pub duration: Duration,
    /// Of the last try: from the connection to the head of the answer.
    pub first_byte: Option<Duration>,
    /// The status of its answer.
    pub status: Option<StatusCode>,
    /// Why it failed, by a stable reason; `cut-off` when the whole ended first.
    pub failed: Option<&'static str>,
    /// Bytes of its answer.
    pub bytes: u64,
    /// Tries.
    pub attempts: u16,
    /// Those that were started beside a slow one.
    pub hedges: u16,
    /// Whether one of those gave the answer.
    pub hedge_won: bool,
    /// Every try, where traces are exported; they start with the call.
    pub tries: Vec<TrySpan>,
}

impl ComposeRecord {
    /// Notes a call that has ended.
    pub fn ended(&self, call: ComposedCall) {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Looks at all that have ended.
    pub fn with<R>(&self, look: impl FnOnce(&[ComposedCall]) -> R) -> R {
        look(&self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
