//! Calls that wait for a key of a provider, where each key takes but so many at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use model::resource::ai::KeyQueue;
use resilience::turnstile::{Lanes, Place, Priority, Turnstile};
use serde::Serialize;

use super::keys::Away;
use crate::compiled::Building;

/// What callers are told to wait at least, and at most.
const HINTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The queue of a provider. What is known of it outlives the configuration while the numbers stay.
pub(crate) struct Queue {
    pub(super) turnstile: Arc<Turnstile>,
    timeout: Duration,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    waited: AtomicU64,
    waited_micros: AtomicU64,
    refused: AtomicU64,
}

impl Queue {
    /// Of a provider with so many keys; one without any is one lane.
    pub(super) fn compile(name: &str, settings: &KeyQueue, keys: usize, cx: &Building<'_>) -> Self {
        let own = |lane: usize| settings.per_key.get(lane).copied().unwrap_or(settings.max_concurrent);
        let most: Vec<usize> = (0..keys.max(1)).map(|lane| own(lane) as usize).collect();
        let numbers = (most, settings.size as usize);
        let turnstile =
            cx.keep(&format!("ai/queue/{name}"), &numbers, || Turnstile::of(numbers.0.clone(), numbers.1));
        let counts = cx.keep(&format!("ai/queue/{name}/counts"), &(), || Arc::new(Counts::default()));
        Self { turnstile: (*turnstile).clone(), timeout: settings.timeout.get(), counts: (*counts).clone() }
    }

    /// Waits for a place at any of some keys. The error says when to come again.
    pub(super) async fn wait(&self, lanes: Lanes, priority: Priority) -> Result<(Place, Duration), Away> {
        let began = Instant::now();
        let place = match self.turnstile.wait(lanes, priority) {
            Ok(turn) => tokio::time::timeout(self.timeout, turn).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        let took = began.elapsed();
        let counts = &*self.counts;
        let Some(place) = place else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Away { wait: self.timeout.clamp(HINTS.0, HINTS.1), limited: true, is_full: true });
        };
        counts.waited.fetch_add(1, Ordering::Relaxed);
        counts
            .waited_micros
            .fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok((place, took))
    }

    /// How it is at the moment.
    pub(super) fn status(&self) -> QueueStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QueueStatus {
            in_flight: self.turnstile.in_flight(),
            waiting: self.turnstile.waiting(),
            waited: count(&self.counts.waited),
            waited_seconds: count(&self.counts.waited_micros) as f64 / 1e6,
            refused: count(&self.counts.refused),
        }
    }
}

/// The state of the queue of a provider.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// Calls at its keys.
    pub in_flight: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// Calls that have waited and got one.
    pub waited: u64,
    /// How long these have waited together.
    pub waited_seconds: f64,
    /// Calls that got none: the queue was full, they waited too long, or somebody more urgent came.
    pub refused: u64,
}
