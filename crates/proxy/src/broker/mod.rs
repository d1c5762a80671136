//! Brokers: one connection to each, shared by all workers.
//!
//! It belongs to the background runtime. No call ever waits for one: while a broker is away whoever publishes is told so
//! at once, and somebody in the background connects again. What waits for its confirmation has a bound, and a broken
//! connection ends all of it: whether such a message is kept nobody knows.

mod connect;
pub(crate) mod feed;
mod report;
pub(crate) mod subscription;

use std::{
    collections::HashMap,
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use async_nats::{
    Client, HeaderMap, HeaderName, HeaderValue, Message, StatusCode, Subscriber, connection::State,
};
use bytes::Bytes;
use futures_util::StreamExt;
use resilience::Bulkhead;
use serde::Deserialize;
use telemetry::Histogram;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    task::AbortHandle,
};

use self::connect::Connecting;
pub use self::report::BrokerStatus;
pub(crate) use self::report::Report;
use crate::compiled::Building;

/// The first pause before connecting again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether a connection is still one.
const LOOK: Duration = Duration::from_secs(1);
/// How long that may take.
const LOOK_WAIT: Duration = Duration::from_millis(100);

/// Brokers by name.
pub(crate) type Brokers = HashMap<Arc<str>, Arc<Broker>>;

/// A message that is to be kept.
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    /// All headers, those of the broker's own included.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// Its size as the broker counts it.
    pub(crate) fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        self.payload.len() + headers + 12
    }
}

/// What a broker says of a message that it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Confirmed {
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    /// It was there before.
    pub(crate) is_duplicate: bool,
}

/// Why a message is not confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// Nothing was sent: there is no connection.
    Away,
    /// Nothing was sent: too many wait.
    Full,
    /// It is larger than the broker takes.
    TooLarge,
    /// Nothing keeps messages of that subject.
    NoStream,
    /// It was sent, and nobody knows.
    Unknown(&'static str),
    /// The broker does not want it.
    Refused { code: u64, why: String },
}

/// A broker and the connection to it.
pub(crate) struct Broker {
    name: Arc<str>,
    connecting: Connecting,
    places: Arc<Bulkhead>,
    link: ArcSwapOption<Link>,
    started: AtomicBool,
    looked: Arc<Notify>,
    /// Why it is away, for the status.
    trouble: Mutex<Option<String>>,
    /// Of the messages that its subscriptions have given back.
    tries: subscription::Tries,
    numbers: Numbers,
}

/// What is counted of a broker.
#[derive(Default)]
struct Numbers {
    confirmed_after: Mutex<Histogram>,
    stored: AtomicU64,
    duplicate: AtomicU64,
    away: AtomicU64,
    full: AtomicU64,
    too_large: AtomicU64,
    no_stream: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
    connects: AtomicU64,
    /// Clients that are fed now.
    feeds: AtomicUsize,
    fed: AtomicU64,
    left_out: AtomicU64,
    cut: AtomicU64,
}

/// A connection, which the client itself makes anew when it breaks.
pub(crate) struct Link {
    pub(crate) client: Client,
    inbox: String,
    waiting: Arc<Waiting>,
    answers: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        // It holds the connection open otherwise.
        self.answers.abort();
    }
}

/// Those who wait for a confirmation, by their numbers.
#[derive(Default)]
struct Waiting {
    next: AtomicU64,
    all: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
}

impl Waiting {
    fn join(self: &Arc<Self>) -> (Place, oneshot::Receiver<Message>) {
        let (sender, receiver) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all().insert(number, sender);
        (Place { waiting: self.clone(), number }, receiver)
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Message>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection broke: what was not answered will not be.
    fn clear(&self) {
        self.all().clear();
    }
}

/// A place among those who wait, given back however that ends.
struct Place {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.all().remove(&self.number);
    }
}

impl Broker {
    /// Builds a broker, or goes on with one whose settings are the same. Nothing is connected to yet.
    pub(crate) fn compile(
        settings: &model::resource::broker::Broker,
        cx: &Building<'_>,
    ) -> Result<Arc<Self>, String> {
        let connecting = Connecting::of(settings, cx.snapshot)?;
        let identity = (settings, connecting.identity(settings, cx.snapshot));
        Ok(cx.of("brokers").keep(&settings.name, &identity, || Self {
            name: settings.name.as_str().into(),
            connecting,
            places: Bulkhead::new(settings.nats.max_in_flight, Duration::ZERO),
            link: ArcSwapOption::empty(),
            started: AtomicBool::new(false),
            looked: Arc::new(Notify::new()),
            trouble: Mutex::default(),
            tries: subscription::Tries::default(),
            numbers: Numbers::default(),
        }))
    }

    /// Starts to connect, once.
    pub(crate) fn start(this: &Arc<Self>, background: &Handle) {
        if !this.started.swap(true, Ordering::Relaxed) {
            background.spawn(keep(Arc::downgrade(this)));
        }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The domain of JetStream, where it is another than that of the servers.
    fn domain(&self) -> Option<&str> {
        self.connecting.domain.as_deref()
    }

    /// How often it was connected to.
    fn connects(&self) -> u64 {
        self.numbers.connects.load(Ordering::Relaxed)
    }

    /// The connection, while it is one.
    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.load_full().filter(|link| link.client.connection_state() == State::Connected)
    }

    /// Bytes of a message that the server takes, headers included; all while nobody knows.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.link().map_or(usize::MAX, |link| link.client.max_payload())
    }

    /// Sends a message, and waits until it is kept.
    pub(crate) async fn publish(
        &self,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> Result<Confirmed, Unconfirmed> {
        let began = Instant::now();
        let result = self.sent(outgoing, timeout).await;
        let numbers = &self.numbers;
        let count = match &result {
            Ok(confirmed) => {
                numbers
                    .confirmed_after
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .observe(began.elapsed());
                if confirmed.is_duplicate { &numbers.duplicate } else { &numbers.stored }
            }
            Err(Unconfirmed::Away) => &numbers.away,
            Err(Unconfirmed::Full) => &numbers.full,
            Err(Unconfirmed::TooLarge) => &numbers.too_large,
            Err(Unconfirmed::NoStream) => &numbers.no_stream,
            Err(Unconfirmed::Unknown(_)) => &numbers.unknown,
            Err(Unconfirmed::Refused { .. }) => &numbers.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        result
    }

    async fn sent(&self, outgoing: Outgoing, timeout: Duration) -> Result<Confirmed, Unconfirmed> {
        let link = self.link().ok_or(Unconfirmed::Away)?;
        if outgoing.size() > link.client.max_payload() {
            return Err(Unconfirmed::TooLarge);
        }
        let _permit = self.places.try_acquire().ok_or(Unconfirmed::Full)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &outgoing.headers {
            let refused = || Unconfirmed::Refused { code: 0, why: format!("`{name}` is no header") };
            let value = HeaderValue::from_str(value).map_err(|_| refused())?;
            headers.append(HeaderName::from_str(name).map_err(|_| refused())?, value);
        }
        let (place, answer) = link.waiting.join();
        let reply = format!("{}.{}", link.inbox, place.number);
        let Outgoing { subject, payload, .. } = outgoing;
        let told = async {
            let sending = link.client.publish_with_reply_and_headers(subject, reply, headers, payload);
            sending.await.map_err(|_| Unconfirmed::Away)?;
            answer
                .await
                .map_err(|_| Unconfirmed::Unknown("the connection broke before the broker had confirmed"))
        };
        match tokio::time::timeout(timeout, told).await {
            Ok(message) => confirmed(&message?),
            Err(_) => Err(Unconfirmed::Unknown("no confirmation in time")),
        }
    }
}

/// What the server says of a message.
#[derive(Deserialize)]
struct Answer {
    stream: Option<String>,
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    error: Option<AnswerError>,
}

#[derive(Deserialize)]
struct AnswerError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// A message is larger than its stream takes.
const TOO_LARGE_CODE: u64 = 10054;

fn confirmed(message: &Message) -> Result<Confirmed, Unconfirmed> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Unconfirmed::NoStream);
    }
    let answer = serde_json::from_slice::<Answer>(&message.payload);
    match answer.map(|answer| (answer.error, answer.stream, answer.seq, answer.duplicate)) {
        Ok((Some(AnswerError { err_code: TOO_LARGE_CODE, .. }), ..)) => Err(Unconfirmed::TooLarge),
        Ok((Some(error), ..)) => Err(Unconfirmed::Refused { code: error.err_code, why: error.description }),
        Ok((None, Some(stream), Some(sequence), is_duplicate)) => {
            Ok(Confirmed { stream, sequence, is_duplicate })
        }
        // Somebody who listens to the subject answered in place of JetStream.
        _ => Err(Unconfirmed::Unknown("what came is no confirmation of JetStream's")),
    }
}

/// Gives answers to those who wait for them.
async fn dispatch(mut answers: Subscriber, waiting: Arc<Waiting>) {
    while let Some(message) = answers.next().await {
        let number = message.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        if let Some(waits) = number.and_then(|number: u64| waiting.all().remove(&number)) {
            let _ = waits.send(message);
        }
    }
    waiting.clear();
}

/// Connects, and connects again.
async fn keep(broker: Weak<Broker>) {
    let mut pause = PAUSE_FIRST;
    let mut is_told = false;
    loop {
        let Some(strong) = broker.upgrade() else { return };
        match strong.connecting.connect(&strong.looked).await {
            Ok(link) => {
                strong.numbers.connects.fetch_add(1, Ordering::Relaxed);
                *strong.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                strong.link.store(Some(Arc::new(link)));
                tracing::info!("connected to the broker `{}`", strong.name);
                (pause, is_told) = (PAUSE_FIRST, false);
                drop(strong);
                if !watch(&broker).await {
                    return;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    let name = &strong.name;
                    tracing::warn!(%error, "cannot connect to the broker `{name}`, and it is tried again: {error}");
                }
                *strong.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                drop(strong);
                // All gateways lose a server at once: they do not come back in step.
                let share = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) % 50;
                tokio::time::sleep(pause.mul_f64(0.75 + share as f64 / 100.0)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Looks after a connection until it is given up. The client itself connects again after a break, but not when it was
/// told that it may not. False when nobody needs the broker any more.
async fn watch(broker: &Weak<Broker>) -> bool {
    let mut was_up = true;
    loop {
        let Some(strong) = broker.upgrade() else { return false };
        let Some(link) = strong.link.load_full() else { return true };
        let is_up = link.client.connection_state() == State::Connected;
        if is_up != was_up {
            match is_up {
                true => {
                    strong.numbers.connects.fetch_add(1, Ordering::Relaxed);
                    *strong.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    tracing::info!("connected to the broker `{}` again", strong.name);
                }
                false => {
                    let why = "the connection broke".to_owned();
                    *strong.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    tracing::warn!("the broker `{}` is away", strong.name);
                }
            }
            was_up = is_up;
        }
        if !is_up {
            let flushed = tokio::time::timeout(LOOK_WAIT, link.client.flush()).await;
            if matches!(flushed, Ok(Err(_))) {
                strong.link.store(None);
                return true;
            }
        }
        let looked = strong.looked.clone();
        drop((link, strong));
        tokio::select! {
            () = looked.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
