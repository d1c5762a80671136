//! One signal's way out: items wait in a bounded queue, leave in batches, and are sent again while that may help.
//!
//! Nothing is lost without being counted: what finds the queue full, what the receiver refuses, and what it does not
//! take within a minute.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    proto::Response,
    settings::{Settings, Signal},
    transport::{Exchange, Transport},
};
use crate::{
    metrics::{Metrics, Reason},
    receiver::gzip,
};

/// How long a batch is sent again before it is given up.
pub(super) const KEPT: Duration = Duration::from_secs(60);
/// The first pause between two requests with one batch, doubled each time up to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_LAST: Duration = Duration::from_secs(5);
/// The pause when the process is about to end.
const PAUSE_ENDING: Duration = Duration::from_millis(200);
/// The longest that a receiver may ask for; beyond it the queue has long been full.
const ASKED_MAX: Duration = Duration::from_secs(300);

/// Items that wait for the receiver.
pub(super) struct Queue<T> {
    items: RefCell<VecDeque<T>>,
    came: Notify,
    max: usize,
    signal: Signal,
    metrics: Arc<Metrics>,
}

impl<T> Queue<T> {
    pub(super) fn new(signal: Signal, max: usize, metrics: Arc<Metrics>) -> Rc<Self> {
        Rc::new(Self { items: RefCell::default(), came: Notify::new(), max, signal, metrics })
    }

    /// Takes what fits; the rest is lost and counted.
    pub(super) fn extend(&self, new: impl IntoIterator<Item = T>) {
        let mut items = self.items.borrow_mut();
        let mut lost = 0;
        for item in new {
            if items.len() < self.max {
                items.push_back(item);
            } else {
                lost += 1;
            }
        }
        self.metrics.flow.lost(self.signal.sink(), Reason::QueueFull, lost);
        self.metrics.flow.waiting(self.signal.sink(), items.len());
        self.came.notify_one();
    }

    fn take(&self, max: usize) -> Vec<T> {
        let mut items = self.items.borrow_mut();
        let count = items.len().min(max);
        let taken = items.drain(..count).collect();
        self.metrics.flow.waiting(self.signal.sink(), items.len());
        taken
    }

    fn len(&self) -> usize {
        self.items.borrow().len()
    }
}

/// When the process ends: none while it does not, then the moment until which things may still be sent.
#[derive(Clone)]
pub(super) struct Ending(pub(super) watch::Receiver<Option<Instant>>);

impl Ending {
    fn deadline(&self) -> Option<Instant> {
        *self.0.borrow()
    }

    /// Waits for the end to begin.
    pub(super) async fn begun(&mut self) -> Instant {
        match self.0.wait_for(Option::is_some).await.map(|deadline| *deadline) {
            Ok(Some(deadline)) => deadline,
            _ => Instant::now(),
        }
    }

    /// Waits for the end to be over.
    async fn over(&mut self) {
        sleep_until(self.begun().await).await;
    }
}

/// Sends what a queue holds until the end.
pub(super) async fn drain<T>(
    queue: Rc<Queue<T>>,
    mut courier: Courier,
    encode: impl Fn(&Settings, Vec<T>) -> Vec<u8>,
) {
    let settings = courier.settings.clone();
    loop {
        fill(&queue, &settings, &mut courier.ending).await;
        let batch = queue.take(settings.max_batch);
        let count = batch.len();
        if count > 0 {
            courier.deliver(encode(&settings, batch), count, KEPT).await;
        }
        match courier.ending.deadline() {
            Some(deadline) if Instant::now() >= deadline => {
                let left = queue.take(usize::MAX).len();
                return courier.lose(Reason::Shutdown, left);
            }
            Some(_) if queue.len() == 0 => return,
            _ => {}
        }
    }
}

/// Waits for a whole batch, for the interval to pass, or for the end.
async fn fill<T>(queue: &Queue<T>, settings: &Settings, ending: &mut Ending) {
    let due = sleep(settings.interval);
    tokio::pin!(due);
    while queue.len() < settings.max_batch {
        tokio::select! {
            () = queue.came.notified() => {}
            () = &mut due => return,
            _ = ending.begun() => return,
        }
    }
}

/// Brings requests of one signal to the receiver.
pub(super) struct Courier {
    pub(super) settings: Rc<Settings>,
    pub(super) ending: Ending,
    signal: Signal,
    metrics: Arc<Metrics>,
    transport: Transport,
    /// Whether the last request failed, so that a receiver that is away is reported once.
    is_failing: bool,
}

impl Courier {
    pub(super) fn new(settings: Rc<Settings>, signal: Signal, metrics: Arc<Metrics>, ending: Ending) -> Self {
        let transport = Transport::new(&settings);
        Self { settings, ending, signal, metrics, transport, is_failing: false }
    }

    /// Sends a request of `count` items until it is taken or given up; false when it was given up.
    pub(super) async fn deliver(&mut self, body: Vec<u8>, count: usize, kept: Duration) -> bool {
        let body = if self.settings.gzip { gzip(&body) } else { Bytes::from(body) };
        let mut ending = self.ending.clone();
        tokio::select! {
            biased;
            is_done = self.send(body, count, kept) => is_done,
            () = ending.over() => {
                self.lose(Reason::Shutdown, count);
                false
            }
        }
    }

    async fn send(&mut self, body: Bytes, count: usize, kept: Duration) -> bool {
        let began = Instant::now();
        let mut pause = PAUSE_FIRST;
        loop {
            let settings = self.settings.clone();
            let (asked, why) = match self.transport.export(&settings, self.signal, body.clone()).await {
                Exchange::Taken(answer) => {
                    self.taken(&answer, count);
                    return true;
                }
                Exchange::Refused(why) => {
                    self.fail(&why, "refuses");
                    self.lose(Reason::Refused, count);
                    return false;
                }
                Exchange::Again { after, why } => (after, why),
            };
            self.fail(&why, "does not take");
            // A receiver that names a time is asked once more then, even if that is later than it is kept.
            let (wait, counts) = match asked {
                Some(asked) => (asked.min(ASKED_MAX), Duration::ZERO),
                None => {
                    let wait = jittered(pause);
                    (wait, wait)
                }
            };
            pause = (pause * 2).min(PAUSE_LAST);
            if began.elapsed() + counts > kept {
                self.lose(Reason::Unreachable, count);
                return false;
            }
            match self.ending.deadline() {
                Some(_) => sleep(wait.min(PAUSE_ENDING)).await,
                None => tokio::select! {
                    () = sleep(wait) => {}
                    _ = self.ending.begun() => {}
                },
            }
            self.metrics.flow.retried(self.signal.sink());
        }
    }

    /// Counts what was taken, and what the receiver left of it.
    fn taken(&mut self, answer: &Bytes, count: usize) {
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(
                signal = self.signal.name(),
                "the OTLP receiver takes {} again",
                self.signal.name()
            );
        }
        let partial =
            Response::decode(answer.clone()).unwrap_or_default().partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected).unwrap_or_default().min(count as u64);
        if rejected > 0 || !partial.error_message.is_empty() {
            tracing::warn!(
                signal = self.signal.name(),
                rejected,
                "the OTLP receiver left {rejected} of {count} items: {}",
                partial.error_message
            );
        }
        self.metrics.flow.lost(self.signal.sink(), Reason::Partial, rejected);
        self.metrics.flow.taken(self.signal.sink(), count as u64 - rejected);
    }

    fn fail(&mut self, why: &str, what: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let receiver = &self.settings.endpoint.authority;
            tracing::warn!(
                signal = self.signal.name(),
                "the OTLP receiver at {receiver} {what} {}: {why}",
                self.signal.name()
            );
        }
    }

    /// Counts a loss.
    pub(super) fn lose(&self, reason: Reason, count: usize) {
        self.metrics.flow.lost(self.signal.sink(), reason, count as u64);
        if reason == Reason::Shutdown && count > 0 {
            tracing::warn!(
                signal = self.signal.name(),
                count,
                "{count} items could not be sent to the OTLP receiver before the end"
            );
        }
    }
}

/// Between half of a pause and the whole, so that many gateways do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0);
    pause.mul_f64(0.5 + (random >> 11) as f64 / (1u64 << 54) as f64)
}
