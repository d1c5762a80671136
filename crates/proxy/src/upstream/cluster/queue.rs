//! Calls that are held while an upstream is on its way up: who ticks [the line](resilience::cold), and who is told that it began.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use model::{Snapshot, resource::request_queue::RequestQueue as Settings};
use resilience::cold::{Cold, Phase};
use serde::Serialize;
use tokio::sync::Notify;

use super::Cluster;
use crate::policy::jwt::fetch::Target;

/// How often an address is called in vain.
const ACTIVATION_TRIES: u32 = 3;
/// How long until it is called again.
const ACTIVATION_PAUSE: Duration = Duration::from_secs(1);

/// Calls that are held.
pub(crate) struct RequestQueue {
    pub(crate) line: Arc<Cold>,
    pub(crate) counts: Counts,
    probe_interval: Duration,
    activation: Option<Arc<Activation>>,
    /// The beginning that is ticked, that somebody ticks, and how that one is told of a new beginning.
    generation: AtomicU64,
    is_ticked: AtomicBool,
    begun: Arc<Notify>,
}

/// What came of calls that were held.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    held: AtomicU64,
    released: AtomicU64,
    timed_out: AtomicU64,
    full: AtomicU64,
    waited_nanos: AtomicU64,
    activated: AtomicU64,
    not_activated: AtomicU64,
}

/// What came of a call that was to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    Held,
    Released,
    TimedOut,
    Full,
}

/// Who is told that calls begin to wait.
struct Activation {
    target: Target,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    min_interval: Duration,
    last: Mutex<Option<Instant>>,
}

/// The state of a queue.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueStatus {
    /// `OPEN` (nobody is held), `COLD` or `DRAINING`.
    pub state: &'static str,
    /// Calls that wait.
    pub waiting: usize,
    /// Calls that were held.
    pub held: u64,
    /// Calls that were let go and found the upstream there.
    pub released: u64,
    /// Calls that waited in vain.
    pub timed_out: u64,
    /// Calls that found no room.
    pub full: u64,
    /// How long calls have been held, altogether.
    pub waited_seconds: f64,
    /// How often somebody was told to start the upstream.
    pub activations: u64,
    /// How often that was in vain.
    pub failed_activations: u64,
}

impl Counts {
    pub(crate) fn note(&self, came: Came) {
        let count = match came {
            Came::Held => &self.held,
            Came::Released => &self.released,
            Came::TimedOut => &self.timed_out,
            Came::Full => &self.full,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.waited_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

impl RequestQueue {
    pub(super) fn new(settings: &Settings, snapshot: &Snapshot) -> Result<Arc<Self>, String> {
        let activation = settings.activate.as_ref().map(|activate| {
            let target = Target::parse(&activate.url)
                .map_err(|error| format!("requestQueue.activate.url: {error}"))?;
            let secret = activate.authorization.as_ref().map(|secret| snapshot.secret(secret));
            let authorization = secret.map(HeaderValue::from_str).transpose().map(|value| {
                value.map(|mut value| {
                    value.set_sensitive(true);
                    value
                })
            });
            Ok::<_, String>(Arc::new(Activation {
                target,
                authorization: authorization.map_err(|_| {
                    "requestQueue.activate.authorization: it holds bytes that no header can".to_owned()
                })?,
                timeout: activate.timeout.get(),
                min_interval: activate.min_interval.get(),
                last: Mutex::default(),
            }))
        });
        Ok(Arc::new(Self {
            line: Cold::new(usize::try_from(settings.max_waiting).unwrap_or(usize::MAX)),
            counts: Counts::default(),
            probe_interval: settings.probe_interval.get(),
            activation: activation.transpose()?,
            generation: AtomicU64::new(0),
            is_ticked: AtomicBool::new(false),
            begun: Arc::default(),
        }))
    }

    /// Whether whoever ticks may go: no line has begun meanwhile, or another ticks it.
    fn rests(&self) -> bool {
        self.is_ticked.store(false, Ordering::SeqCst);
        self.line.phase() == Phase::Open || self.is_ticked.swap(true, Ordering::SeqCst)
    }

    pub(super) fn status(&self) -> QueueStatus {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        QueueStatus {
            state: self.line.phase().name(),
            waiting: self.line.waiting(),
            held: count(&counts.held),
            released: count(&counts.released),
            timed_out: count(&counts.timed_out),
            full: count(&counts.full),
            waited_seconds: Duration::from_nanos(count(&counts.waited_nanos)).as_secs_f64(),
            activations: count(&counts.activated),
            failed_activations: count(&counts.not_activated),
        }
    }
}

impl Activation {
    /// Whether it is time to tell somebody; it counts as told then.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= self.min_interval);
        if is_due {
            *last = Some(now);
        }
        is_due
    }

    async fn tell(&self, upstream: &str) -> Result<(), String> {
        let body = serde_json::json!({"upstream": upstream}).to_string();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let mut last = String::new();
        for again in 0..ACTIVATION_TRIES {
            if again > 0 {
                tokio::time::sleep(ACTIVATION_PAUSE).await;
            }
            let asked = self.target.post(headers.clone(), Bytes::from(body.clone()));
            match tokio::time::timeout(self.timeout, asked).await {
                Ok(Ok((status, _))) if status.is_success() => return Ok(()),
                Ok(Ok((status, _))) => last = format!("it answered {status}"),
                Ok(Err(error)) => last = error,
                Err(_) => last = "it did not answer in time".to_owned(),
            }
        }
        Err(last)
    }
}

impl Cluster {
    /// Calls begin to wait: from now on the line is ticked until it is over, and who is to start the upstream is told.
    pub(crate) fn hold(self: &Arc<Self>, generation: u64) {
        let Some(queue) = self.queue.clone() else { return };
        let place = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).place.clone();
        let Some(place) = place else { return };
        let name = self.name.clone();
        if let Some(activation) =
            queue.activation.clone().filter(|activation| activation.is_due(Instant::now()))
        {
            let (name, queue) = (name.clone(), queue.clone());
            place.spawn(async move {
                match activation.tell(&name).await {
                    Ok(()) => {
                        queue.counts.activated.fetch_add(1, Ordering::Relaxed);
                        tracing::info!(upstream = %name, "told `{}` to start it", activation.target);
                    }
                    Err(error) => {
                        queue.counts.not_activated.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(upstream = %name, "cannot tell `{}` to start it: {error}", activation.target);
                    }
                }
            });
        }
        queue.generation.store(generation, Ordering::SeqCst);
        queue.begun.notify_one();
        // One is enough, however often clients come and leave.
        if !queue.is_ticked.swap(true, Ordering::SeqCst) {
            tracing::warn!(upstream = %name, "it is not there: calls are held");
            place.spawn(tick(Arc::downgrade(&queue), queue.begun.clone(), queue.probe_interval, name));
        }
    }

    /// Whether checks find some endpoint well; true without any checks, while there is an endpoint.
    pub(crate) fn is_any_healthy(&self) -> bool {
        self.set.load().endpoints().any(|endpoint| endpoint.is_healthy())
    }

    /// An endpoint that was set aside for refusing connections has answered.
    pub(crate) fn welcome(&self, label: &str, now: Instant) {
        if let Some(slot) = self.set.load().by_label(label) {
            slot.endpoint.forgive(now);
        }
    }
}

/// Lets the first of a line try, at once and then from time to time, until nobody is held when it is time. It ends with its queue.
async fn tick(queue: Weak<RequestQueue>, begun: Arc<Notify>, every: Duration, name: Arc<str>) {
    loop {
        match queue.upgrade() {
            None => return,
            Some(queue) => {
                let is_held = queue.line.tick(queue.generation.load(Ordering::SeqCst));
                if !is_held && queue.rests() {
                    tracing::info!(upstream = %name, "nobody is held any more");
                    return;
                }
            }
        }
        let _ = tokio::time::timeout(every, begun.notified()).await;
    }
}
