//! Of a call about whose way something decided: which service, in which class, when, and how fast.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How a call was sent on its way.
#[derive(Debug, Clone, Default)]
pub struct TrafficRecord {
    /// On which side of a move from one system to another.
    pub moved: Option<Moved>,
    /// In which class it came to places that are divided.
    pub class: Option<Classed>,
    /// How long it was held for an upstream that was not there yet.
    pub held: Option<Duration>,
    /// How long its bytes waited for their turn.
    pub paced: Option<Arc<Paced>>,
    /// Why its WebSocket was closed, when it was the gateway that did; that comes long after its answer.
    pub socket_end: Option<Arc<OnceLock<&'static str>>>,
}

/// On which side of a move a call was.
#[derive(Debug, Clone)]
pub struct Moved {
    /// The rule.
    pub rule: Arc<str>,
    /// `new` or `old`.
    pub side: &'static str,
    /// Why: `share`, `override`, `forced`, or `returned` for one that would be on the new side.
    pub why: &'static str,
}

/// In which class a call was.
#[derive(Debug, Clone)]
pub struct Classed {
    /// The class.
    pub class: Arc<str>,
    /// How long it waited for a place.
    pub waited: Duration,
}

/// How long bytes waited; they still do while the record is made.
#[derive(Debug, Default)]
pub struct Paced {
    request: AtomicU64,
    response: AtomicU64,
}

impl Paced {
    /// The request's body waited.
    pub fn request_waited(&self, time: Duration) {
        add(&self.request, time);
    }

    /// The answer's body waited.
    pub fn response_waited(&self, time: Duration) {
        add(&self.response, time);
    }

    /// How long the bodies of request and answer have waited.
    pub fn waited(&self) -> (Duration, Duration) {
        let of = |time: &AtomicU64| Duration::from_nanos(time.load(Ordering::Relaxed));
        (of(&self.request), of(&self.response))
    }
}

fn add(to: &AtomicU64, time: Duration) {
    to.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}
