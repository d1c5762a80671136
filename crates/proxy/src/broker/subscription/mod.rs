//! `subscriptions`: what a broker keeps is delivered to an upstream.
//!
//! The broker's own [reader](crate::broker::link::Link::read) takes as many messages as there is room for; each is
//! [made](message) a request, [sent](send) by a worker through the upstream as any call is, and confirmed to the broker when
//! the answer is a 2xx. While a message is held here the broker knows, and whatever ends this process, it delivers the
//! message again. A message that fails comes again later: from the broker where that keeps it until then, else from here.

mod given_up;
mod message;
mod reader;
mod report;
mod send;
mod sign;
mod tries;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering as Atomic},
    },
    time::Duration,
};

use bytes::Bytes;
use model::resource::subscription::{Ordering, Subscription as Settings};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

pub(crate) use self::report::Report;
pub use self::report::SubscriptionStatus;
use self::{given_up::Why, send::Outcome, sign::Keys};
pub(super) use self::{reader::Reader, tries::Tries};
use super::{
    Broker,
    link::{Message, Receipt, Settled},
};
use crate::{compiled::Building, worker::Shared};

/// Subscriptions by name.
pub(crate) type Subscriptions = HashMap<Arc<str>, Arc<Subscription>>;

/// When what is given back may come again.
pub(super) const GIVEN_BACK: Duration = Duration::from_secs(2);
/// Messages that wait here, for others of their key or for their next try, for each delivery at a time.
const WAITING: usize = 4;
/// How often it is looked whether a message that waits for its next try is still to be held.
const LOOK: Duration = Duration::from_secs(5);

/// A subscription, from its start to its end.
pub(crate) struct Subscription {
    name: Arc<str>,
    /// Its place at the broker.
    place: String,
    settings: Settings,
    broker: Arc<Broker>,
    keys: Keys,
    started: AtomicBool,
    stopping: watch::Sender<bool>,
    /// The reader runs.
    reads: AtomicBool,
    /// The broker knows it, and it reads.
    is_up: AtomicBool,
    /// Messages that are held here, by their places.
    held: Mutex<HashMap<(i32, u64), Arc<dyn Receipt>>>,
    /// Messages that wait for one of their key.
    of_keys: Mutex<HashMap<Bytes, VecDeque<Held>>>,
    /// Places for deliveries.
    places: Arc<Semaphore>,
    /// Room for messages.
    room: Arc<Semaphore>,
    room_of_all: usize,
    in_flight: AtomicUsize,
    trouble: Mutex<Option<String>>,
    numbers: Numbers,
}

/// What is counted.
#[derive(Default)]
struct Numbers {
    delivered: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    dropped: AtomicU64,
    unreadable: AtomicU64,
}

/// A message that is held here.
struct Held {
    message: Message,
    /// Deliveries, this one included.
    deliveries: u32,
    owner: Arc<Subscription>,
    /// Its room.
    _permit: OwnedSemaphorePermit,
}

impl Held {
    /// Waits, but no longer than it is to be held here.
    async fn wait(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.owner.is_stopping() && !self.message.receipt.is_lost() {
            let step = left.min(LOOK);
            self.owner.pause_of(step).await;
            left -= step;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.owner.held();
        // Its place may be another's by now.
        if held.get(&self.message.place).is_some_and(|one| Arc::ptr_eq(one, &self.message.receipt)) {
            held.remove(&self.message.place);
        }
    }
}

impl Subscription {
    /// Builds a subscription, or goes on with one whose settings are the same. Nothing is read yet.
    pub(crate) fn compile(
        settings: &Settings,
        cx: &Building<'_>,
    ) -> Result<Arc<Self>, (&'static str, String)> {
        let broker = cx.brokers.and_then(|brokers| brokers.get(settings.broker.as_str()));
        let broker = broker.ok_or_else(|| ("broker", format!("no broker `{}`", settings.broker)))?;
        let secrets: Vec<&str> = settings.sign.iter().map(|secret| cx.snapshot.secret(secret)).collect();
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for secret in &secrets {
            context.update(&(secret.len() as u64).to_be_bytes());
            context.update(secret.as_bytes());
        }
        // A broker that was made anew is another one.
        let identity = (settings, context.finish().as_ref().to_vec(), Arc::as_ptr(broker) as usize);
        let keys = Keys::of(secrets.into_iter()).map_err(|error| ("sign", error))?;
        let places = match settings.ordering {
            Ordering::All => 1,
            Ordering::None | Ordering::Key => settings.concurrency.clamp(1, 1024),
        };
        let room = match settings.ordering {
            Ordering::All => places,
            // What fails has to leave room for others while it waits here.
            Ordering::None if broker.keeps_for_later() => places,
            Ordering::None | Ordering::Key => places * WAITING,
        };
        Ok(cx.of("subscriptions").keep(&settings.name, &identity, || Self {
            name: settings.name.as_str().into(),
            place: format!("{}/{}", settings.stream, settings.durable()),
            settings: settings.clone(),
            broker: broker.clone(),
            keys,
            started: AtomicBool::new(false),
            stopping: watch::Sender::new(false),
            reads: AtomicBool::new(false),
            is_up: AtomicBool::new(false),
            held: Mutex::default(),
            of_keys: Mutex::default(),
            places: Arc::new(Semaphore::new(places)),
            room: Arc::new(Semaphore::new(room)),
            room_of_all: room,
            in_flight: AtomicUsize::new(0),
            trouble: Mutex::default(),
            numbers: Numbers::default(),
        }))
    }

    /// Starts to read, once.
    pub(crate) fn start(this: &Arc<Self>, shared: &Arc<Shared>, background: &Handle) {
        if !this.started.swap(true, Atomic::Relaxed) {
            this.reads.store(true, Atomic::Relaxed);
            background.spawn(reader::run(this.clone(), Arc::downgrade(shared)));
        }
    }

    /// Reads no more. What is on its way ends; what only waits here is given back to the broker.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether everything that it held has come to an end.
    pub(crate) fn has_ended(&self) -> bool {
        !self.reads.load(Atomic::Relaxed) && self.held().is_empty()
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Ready when it is stopped.
    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // Its sender is this one's own.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    fn held(&self) -> MutexGuard<'_, HashMap<(i32, u64), Arc<dyn Receipt>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits, but no longer than it runs.
    async fn pause_of(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.stopped() => {}
        }
    }

    fn set_trouble(&self, why: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// The pause after this many deliveries: between half and all of what it has grown to.
    fn pause(&self, deliveries: u32, wanted: Option<Duration>) -> Duration {
        let backoff = &self.settings.backoff;
        let exponent = i32::try_from(deliveries.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = backoff.initial.get().as_secs_f64() * backoff.multiplier.powi(exponent);
        let most = backoff.max.get();
        let grown = if grown.is_finite() { grown.min(most.as_secs_f64()) } else { most.as_secs_f64() };
        let share = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0) % 1000;
        let pause = Duration::from_secs_f64(grown * (0.5 + share as f64 / 2000.0));
        wanted.map_or(pause, |wanted| pause.max(wanted.min(most)))
    }
}

/// Stops those that a new configuration has no more, or otherwise, and says which they are.
pub(crate) fn reloaded(before: &Subscriptions, live: &Subscriptions) -> Vec<Weak<Subscription>> {
    let is_gone = |(name, one): &(&Arc<str>, &Arc<Subscription>)| {
        !live.get(*name).is_some_and(|other| Arc::ptr_eq(one, other))
    };
    let mut gone = Vec::new();
    for (_, one) in before.iter().filter(is_gone) {
        one.stop();
        gone.push(Arc::downgrade(one));
    }
    gone
}

/// Stops all.
pub(crate) fn stop(all: &Subscriptions) {
    all.values().for_each(|one| one.stop());
}

/// Whether nothing is held any more, by those of the live configuration and by those that it took the place of.
pub(crate) fn have_ended(all: &Subscriptions, replaced: &[Weak<Subscription>]) -> bool {
    all.values().all(|one| one.has_ended()) && replaced.iter().all(is_over)
}

/// Whether one that is stopped has ended. While it reads or holds something it is there.
pub(crate) fn is_over(one: &Weak<Subscription>) -> bool {
    one.upgrade().is_none_or(|one| one.has_ended())
}

/// Has a message delivered, after those that it waits for.
fn dispatch(held: Held, shared: &Weak<Shared>) {
    let owner = held.owner.clone();
    if owner.settings.ordering != Ordering::Key {
        tokio::spawn(process(held, shared.clone()));
        return;
    }
    let key = message::key(&held.message);
    let mut of_keys = owner.of_keys.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(waiting) = of_keys.get_mut(&key) {
        waiting.push_back(held);
        return;
    }
    of_keys.insert(key.clone(), VecDeque::new());
    drop(of_keys);
    let shared = shared.clone();
    tokio::spawn(async move {
        let mut next = Some(held);
        while let Some(held) = next {
            process(held, shared.clone()).await;
            let mut of_keys = owner.of_keys.lock().unwrap_or_else(PoisonError::into_inner);
            next = of_keys.get_mut(&key).and_then(VecDeque::pop_front);
            if next.is_none() {
                of_keys.remove(&key);
            }
        }
    });
}

/// Delivers a message until it is done with.
async fn process(mut held: Held, shared: Weak<Shared>) {
    let owner = held.owner.clone();
    let (tries, place, counted, given) =
        (&owner.broker.tries, owner.place.as_str(), held.message.counted, held.message.given);
    // What was given up is delivered no more: it only waits until it can be put elsewhere.
    let mut given_up = tries.given_up(place, counted).map(Why::Failed);
    loop {
        if owner.is_stopping() || held.message.receipt.is_lost() {
            return give_back(&held).await;
        }
        let can_wait = held.message.receipt.can_wait();
        let (why, retry_after, is_over) = match given_up.take() {
            Some(why) => (why, None, true),
            None => match one(&held, &shared).await {
                Outcome::Delivered => {
                    owner.numbers.delivered.fetch_add(1, Atomic::Relaxed);
                    return done(&held, Settled::Delivered).await;
                }
                // Nobody is to blame but this gateway, which ends.
                Outcome::Undone if can_wait || owner.is_stopping() => return give_back(&held).await,
                Outcome::Undone => {
                    owner.pause_of(GIVEN_BACK).await;
                    continue;
                }
                Outcome::Failed { why, retry_after } => {
                    owner.numbers.failed.fetch_add(1, Atomic::Relaxed);
                    let is_over = held.deliveries >= owner.settings.max_deliveries || why.is_final();
                    (why, retry_after, is_over)
                }
            },
        };
        if is_over {
            if given_up::end(&held, &why).await {
                return done(&held, Settled::GivenUp).await;
            }
            // It stays where it is until it can be put elsewhere.
            tries.give_up(place, counted, (given, held.deliveries), why.text());
            if can_wait {
                return told(&held, Settled::Later(given_up::AGAIN)).await;
            }
            held.wait(given_up::AGAIN).await;
            given_up = Some(why);
            continue;
        }
        let pause = owner.pause(held.deliveries, retry_after);
        if owner.settings.ordering == Ordering::None && can_wait {
            return told(&held, Settled::Later(pause)).await;
        }
        // Whatever gives it out again meanwhile: a connection that breaks does not make it a new one.
        tries.given_back(place, counted, given, held.deliveries.saturating_add(1));
        // Those that wait for it wait on.
        held.wait(pause).await;
        held.deliveries = held.deliveries.saturating_add(1);
    }
}

/// One delivery.
async fn one(held: &Held, shared: &Weak<Shared>) -> Outcome {
    let owner = &held.owner;
    let Ok(_place) = owner.places.acquire().await else { return Outcome::Undone };
    if owner.is_stopping() {
        return Outcome::Undone;
    }
    let Some(shared) = shared.upgrade() else { return Outcome::Undone };
    owner.in_flight.fetch_add(1, Atomic::Relaxed);
    let outcome = match message::request(held) {
        Ok(delivery) => send::deliver(&shared, delivery).await,
        Err(why) => Outcome::Failed { why, retry_after: None },
    };
    owner.in_flight.fetch_sub(1, Atomic::Relaxed);
    outcome
}

/// A message is done with.
async fn done(held: &Held, what: Settled) {
    let owner = &held.owner;
    owner.broker.tries.done(&owner.place, held.message.counted);
    told(held, what).await;
}

/// Gives a message back that this try of was not made.
async fn give_back(held: &Held) {
    let (owner, message) = (&held.owner, &held.message);
    // Of one that is lost another is held by now, whose count it is.
    if !message.receipt.is_lost() {
        owner.broker.tries.given_back(&owner.place, message.counted, message.given, held.deliveries);
    }
    told(held, Settled::Back).await;
}

/// Tells the broker what became of a message. What it does not hear of it delivers again.
async fn told(held: &Held, what: Settled) {
    if let Err(error) = held.message.receipt.settle(what).await {
        tracing::debug!(subscription = %held.owner.name, %error, "the broker was not told: {error}");
    }
}
