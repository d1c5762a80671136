//! Brokers: one connection to each, shared by all workers.
//!
//! It belongs to the background runtime. No call ever waits for one: while a broker is away whoever publishes is told so
//! at once, and somebody in the background connects again. What waits for its confirmation has a bound, and a broken
//! connection ends all of it: whether such a message is kept nobody knows.

pub(crate) mod feed;
#[cfg(feature = "kafka")]
mod kafka;
mod link;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod report;
pub(crate) mod subscription;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use events::subject::Rules;
use model::{
    Snapshot,
    resource::{broker::BrokerKind, tls::UpstreamTls as TlsSettings, upstream::Protocol},
};
use resilience::Bulkhead;
use rustls::ClientConfig;
use telemetry::Histogram;
use tokio::{runtime::Handle, sync::Notify};

pub(crate) use self::link::{Confirmed, Outgoing, Unconfirmed};
use self::link::{Dial, Link};
pub use self::report::BrokerStatus;
pub(crate) use self::report::Report;
use crate::{compiled::Building, tls::client::UpstreamTls};

/// The first pause before connecting again; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether a connection is still one.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is told that nothing keeps some messages.
const UNKEPT_AGAIN: Duration = Duration::from_secs(60);

/// What is said where there is no connection.
const AWAY: &str = "there is no connection to the broker";
/// Reasons that are remembered; more of them are not told.
const REASONS_MAX: usize = 16;

/// Reasons that were told: each is a line of the log, once, until it works again.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    /// Whether a reason is to be told.
    fn is_new(&mut self, why: &str) -> bool {
        let is_new = self.0.len() < REASONS_MAX && !self.0.iter().any(|known| known == why);
        if is_new {
            self.0.push(why.to_owned());
        }
        is_new
    }
}

/// Brokers by name.
pub(crate) type Brokers = HashMap<Arc<str>, Arc<Broker>>;

/// The connection of now; `ArcSwap` wants something of a known size.
struct Current(Arc<dyn Link>);

/// A broker and the connection to it.
pub(crate) struct Broker {
    name: Arc<str>,
    kind: BrokerKind,
    dial: Box<dyn Dial>,
    places: Arc<Bulkhead>,
    link: ArcSwapOption<Current>,
    started: AtomicBool,
    looked: Arc<Notify>,
    /// Why it is away, for the status.
    trouble: Mutex<Option<String>>,
    /// When it was last told that nothing there keeps some messages.
    told_unkept: Mutex<Option<Instant>>,
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

impl Broker {
    /// Builds a broker, or goes on with one whose settings are the same. Nothing is connected to yet.
    pub(crate) fn compile(
        settings: &model::resource::broker::Broker,
        cx: &Building<'_>,
    ) -> Result<Arc<Self>, String> {
        let kind = settings.kinds().first().copied().ok_or("expected a kind of broker")?;
        let dial = dial(kind, settings, cx.snapshot)?;
        let identity = (settings, identity(settings, cx.snapshot));
        Ok(cx.of("brokers").keep(&settings.name, &identity, || Self {
            name: settings.name.as_str().into(),
            kind,
            dial,
            places: Bulkhead::new(settings.max_in_flight(), Duration::ZERO),
            link: ArcSwapOption::empty(),
            started: AtomicBool::new(false),
            looked: Arc::new(Notify::new()),
            trouble: Mutex::default(),
            told_unkept: Mutex::default(),
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

    /// What its subjects may be.
    pub(crate) fn rules(&self) -> Rules {
        match self.kind {
            BrokerKind::Nats => Rules::Nats,
            BrokerKind::Rabbitmq => Rules::Rabbitmq,
            BrokerKind::Kafka => Rules::Kafka,
        }
    }

    /// Whether a message can wait there until it is tried again.
    fn keeps_for_later(&self) -> bool {
        self.kind == BrokerKind::Nats
    }

    /// Where a client goes on that shows an id; nothing when that is none. Where nobody can go on it begins anew.
    pub(crate) fn place(&self, shown: String) -> Option<feed::From> {
        let is_one = match self.kind {
            BrokerKind::Nats => shown.parse::<u64>().is_ok(),
            BrokerKind::Rabbitmq => return Some(feed::From::New),
            BrokerKind::Kafka => feed::positions(&shown).is_some(),
        };
        is_one.then_some(feed::From::After(shown))
    }

    /// The connection, while it is one.
    fn link(&self) -> Option<Arc<dyn Link>> {
        self.link.load_full().map(|current| current.0.clone()).filter(|link| link.is_up())
    }

    /// Bytes of a message that the server takes, headers included; all while nobody knows.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.link().map_or(usize::MAX, |link| link.message_bytes_max())
    }

    /// Sends a message, and waits until it is kept.
    pub(crate) async fn publish(
        &self,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> Result<Confirmed, Unconfirmed> {
        let began = Instant::now();
        let subject = outgoing.subject.clone();
        let result = self.sent(outgoing, timeout).await;
        if matches!(result, Err(Unconfirmed::NoStream)) {
            self.tell_unkept(&subject, began);
        }
        let numbers = &self.numbers;
        let count = match &result {
            Ok(confirmed) => {
                numbers
                    .confirmed_after
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .observe(began.elapsed());
                if confirmed.is_duplicate == Some(true) { &numbers.duplicate } else { &numbers.stored }
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

    /// Says in the process's log that nothing keeps some messages, once in a while: others may be kept all the time.
    fn tell_unkept(&self, subject: &str, now: Instant) {
        let mut told = self.told_unkept.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|before| now.saturating_duration_since(before) < UNKEPT_AGAIN) {
            return;
        }
        *told = Some(now);
        drop(told);
        let (broker, missing) = (&*self.name, self.kind.keeper());
        tracing::warn!(
            broker,
            subject,
            "nothing at the broker `{broker}` keeps messages of `{subject}`: there is no {missing} for it"
        );
    }

    async fn sent(&self, outgoing: Outgoing, timeout: Duration) -> Result<Confirmed, Unconfirmed> {
        let link = self.link().ok_or(Unconfirmed::Away)?;
        if outgoing.size() > link.message_bytes_max() {
            return Err(Unconfirmed::TooLarge);
        }
        let _permit = self.places.try_acquire().ok_or(Unconfirmed::Full)?;
        link.publish(outgoing, timeout).await
    }
}

/// How a broker of a kind is connected to; an error begins with the key under the kind.
#[allow(unused_variables, reason = "there may be no kind in this build")]
fn dial(
    kind: BrokerKind,
    settings: &model::resource::broker::Broker,
    snapshot: &Snapshot,
) -> Result<Box<dyn Dial>, String> {
    #[cfg(feature = "nats")]
    if let Some(nats) = &settings.nats {
        return Ok(Box::new(nats::Connecting::of(nats, snapshot)?));
    }
    #[cfg(feature = "rabbitmq")]
    if let Some(rabbitmq) = &settings.rabbitmq {
        return Ok(Box::new(rabbitmq::Connecting::of(rabbitmq, snapshot)?));
    }
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &settings.kafka {
        return Ok(Box::new(kafka::Connecting::of(kafka, snapshot)?));
    }
    let kind = kind.as_str();
    Err(format!("this build has no such brokers: it was made without the feature `{kind}`"))
}

/// TLS towards a broker, which has no protocols to choose from.
#[cfg_attr(
    not(any(feature = "nats", feature = "rabbitmq", feature = "kafka")),
    allow(dead_code, reason = "no broker")
)]
fn tls(settings: Option<&TlsSettings>, snapshot: &Snapshot) -> Result<Option<Arc<ClientConfig>>, String> {
    let Some(settings) = settings else { return Ok(None) };
    let compiled = UpstreamTls::compile(settings, Protocol::Http1, snapshot)?;
    let mut config = (**compiled.connector(false).config()).clone();
    config.alpn_protocols.clear();
    Ok(Some(Arc::new(config)))
}

/// What a connection is kept by over reloads: what its secrets are now.
fn identity(settings: &model::resource::broker::Broker, snapshot: &Snapshot) -> Vec<u8> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for secret in settings.secrets() {
        let text = snapshot.secret(secret);
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    settings.files().into_iter().for_each(|path| context.update(&snapshot.file(path)));
    context.finish().as_ref().to_vec()
}

/// Connects, and connects again.
async fn keep(broker: Weak<Broker>) {
    let mut pause = PAUSE_FIRST;
    let mut told = Told::default();
    loop {
        let Some(strong) = broker.upgrade() else { return };
        match strong.dial.connect(&strong.looked).await {
            Ok(link) => {
                strong.numbers.connects.fetch_add(1, Ordering::Relaxed);
                *strong.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
                strong.link.store(Some(Arc::new(Current(link))));
                tracing::info!("connected to the broker `{}`", strong.name);
                (pause, told) = (PAUSE_FIRST, Told::default());
                drop(strong);
                if !watch(&broker).await {
                    return;
                }
                // One that takes connections and drops them is not asked without end.
                tokio::time::sleep(PAUSE_FIRST).await;
            }
            Err(error) => {
                if told.is_new(&error) {
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

/// Looks after a connection until it is given up. Some mend themselves after a break. False when nobody needs the broker
/// any more.
async fn watch(broker: &Weak<Broker>) -> bool {
    let mut was_up = true;
    loop {
        let Some(strong) = broker.upgrade() else { return false };
        let Some(link) = strong.link.load_full().map(|current| current.0.clone()) else { return true };
        let is_up = link.is_up();
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
        if !is_up && link.is_lost().await {
            strong.link.store(None);
            return true;
        }
        let looked = strong.looked.clone();
        drop((link, strong));
        tokio::select! {
            () = looked.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_and_so_is_the_next() {
        let mut told = Told::default();
        let all = ["refused", "refused", "no such user", "refused", "no such user"];
        assert_eq!(all.map(|why| told.is_new(why)), [true, false, true, false, false]);
        let others = (0..100).filter(|number| told.is_new(&number.to_string())).count();
        assert_eq!(others, REASONS_MAX - 2, "a reason that is another each time fills no log");
    }
}
