//! The tier that several gateways share: answers in Redis, for as long as they are of use.
//!
//! What memory keeps is offered behind the calls; what it has not is asked for in one round trip, or two where answers vary.
//! A [book](scripts) beside the answers says what was purged and when: an answer that was asked for before is void, wherever
//! it was on its way then. Every gateway hears of purges within a second and forgets what it has in memory. A server that
//! is away or slow is a miss, and purges wait until it is back.

mod clock;
mod hearing;
mod queue;
pub(super) mod report;
mod scripts;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderMap;
use tokio::{runtime::Handle, sync::Notify};

use self::{
    clock::ServerClock,
    queue::{Purging, Queue, Writing},
    scripts::{Fate, Told},
};
use super::{
    entry::{Selecting, Stored, selected},
    file::{self, Fingerprint},
    key::Key,
    store::{Memory, Purge},
};
use crate::{
    hex::hex,
    ledger::shared::Accounts,
    redis::{Client, Unanswered},
};

/// The longest that an answer is kept there.
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// A larger one is read beside the worker, which would be busy for long.
const READ_HERE_BYTES_MAX: usize = 64 * 1024;

/// What became of reading, writing and purging.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    /// There was one, and it had been purged.
    pub(super) void: AtomicU64,
    /// What was there was not what had been written.
    pub(super) torn: AtomicU64,
    /// Nobody was asked, or has answered in time.
    pub(super) away: AtomicU64,
    pub(super) written: AtomicU64,
    /// Not written: it was void by then, or a newer one was there.
    pub(super) outdated: AtomicU64,
    /// Not written: too many waited, or the server was away.
    pub(super) dropped: AtomicU64,
    pub(super) purges_told: AtomicU64,
    pub(super) purges_heard: AtomicU64,
    /// Purges of others that cannot be known any more, for which all of memory went.
    pub(super) purges_missed: AtomicU64,
}

/// The answers of one policy that gateways share.
pub(super) struct Shared {
    own: Arc<Own>,
    is_begun: OnceLock<()>,
}

/// What its tasks share.
struct Own {
    /// Where its policy stands, for messages and keys.
    place: String,
    subject: String,
    fingerprint: Fingerprint,
    bytes_max: usize,
    accounts: Arc<Accounts>,
    memory: Arc<Memory>,
    background: Handle,
    clock: ServerClock,
    queue: Queue,
    /// What this gateway's purges are known by.
    origin: String,
    /// The number of the last purge that was heard of; before the first it is below zero.
    heard: AtomicI64,
    /// More than that was told of elsewhere.
    news: Notify,
    is_over: AtomicBool,
    counts: Counts,
}

/// What was found of a key.
pub(super) enum Sought {
    Answer(Arc<Stored>),
    /// Answers, and none for this request.
    OtherVariants,
    Nothing,
}

impl Shared {
    /// What was kept by other settings is none.
    pub(super) fn new(
        (place, settings): (&str, &model::policy::Cache),
        accounts: &Arc<Accounts>,
        memory: &Arc<Memory>,
        background: &Handle,
    ) -> Self {
        let place = place.strip_suffix("/cache").unwrap_or(place).to_owned();
        let own = Own {
            subject: format!("cache:{place}"),
            fingerprint: file::sum(format!("{place}\n{}", settings.fingerprint()).as_bytes()),
            place,
            bytes_max: settings.max_shared_size.get(),
            origin: accounts.next_id(),
            accounts: accounts.clone(),
            memory: memory.clone(),
            background: background.clone(),
            clock: ServerClock::new(),
            queue: Queue::new(),
            heard: AtomicI64::new(-1),
            news: Notify::new(),
            is_over: AtomicBool::new(false),
            counts: Counts::default(),
        };
        Self { own: Arc::new(own), is_begun: OnceLock::new() }
    }

    /// Connects, and hears of purges from now on.
    pub(super) fn begin(&self) {
        self.is_begun.get_or_init(|| {
            Client::start(self.own.client(), &self.own.background);
            self.own.background.spawn(hearing::hear(Arc::downgrade(&self.own)));
        });
    }

    /// The server's time, for what is asked for now; nothing when it is not known.
    pub(super) fn epoch(&self) -> u64 {
        self.own.clock.now().unwrap_or(0)
    }

    /// What there is for a request of this key.
    pub(super) async fn find(&self, key: &Key, request: &HeaderMap) -> Sought {
        let own = &self.own;
        if !self.is_up() || own.queue.may_be_void(key) {
            own.counts.away.fetch_add(1, Ordering::Relaxed);
            return Sought::Nothing;
        }
        match own.find(key, request).await {
            Ok(sought) => {
                let count =
                    if matches!(sought, Sought::Answer(_)) { &own.counts.hits } else { &own.counts.misses };
                count.fetch_add(1, Ordering::Relaxed);
                sought
            }
            Err(_) => {
                own.counts.away.fetch_add(1, Ordering::Relaxed);
                Sought::Nothing
            }
        }
    }

    /// Has an answer written that was asked for at this time of the server, as long as it is of use to others.
    pub(super) fn offer(&self, key: &Key, stored: Arc<Stored>, since: u64) {
        let ttl = stored.usefulness(Instant::now()).min(TTL_MAX);
        if ttl.is_zero() || stored.body.len() > self.own.bytes_max {
            return;
        }
        // When it was asked for nobody knew the server's time: nobody could say whether it is void.
        let is_waiting = since > 0
            && self.is_up()
            && self.own.queue.write(Writing { key: key.clone(), stored, since, ttl });
        match is_waiting {
            true => queue::call(&self.own),
            false => drop(self.own.counts.dropped.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Has it purged there and in the memory of all others.
    pub(super) fn purge(&self, what: Purge<'_>, is_soft: bool) {
        self.own.queue.purge(Purging::new(what, is_soft));
        queue::call(&self.own);
    }

    /// Waits until the server knows of all purges so far, but not longer than this; whether it does. Not for workers.
    pub(super) fn settle(&self, until: Instant) -> bool {
        let is_settled = self.own.queue.settle(until);
        if !is_settled {
            tracing::warn!(
                cache = self.own.place,
                "redis does not know of purges yet: it is away, and is told when it is back",
            );
        }
        is_settled
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.own.counts
    }

    /// Whether it is there, and has told what was purged: before that what it has may be void in memory.
    pub(super) fn is_up(&self) -> bool {
        self.own.client().is_up() && self.own.heard.load(Ordering::Relaxed) >= 0
    }

    /// Purges that the server does not know of yet.
    pub(super) fn waiting(&self) -> usize {
        self.own.queue.waiting()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.own.is_over.store(true, Ordering::Relaxed);
        self.own.news.notify_one();
    }
}

impl Own {
    fn client(&self) -> &Arc<Client> {
        self.accounts.bulk()
    }

    fn key(&self, name: &str) -> String {
        self.accounts.key(&self.subject, name)
    }

    /// Where the answers to a key are: the names of fields that select them, and each of them.
    fn places(&self, key: &Key, selecting: &[Selecting]) -> [String; 2] {
        let digest = hex(&file::sum(&[&self.fingerprint[..], &key.bytes[..]].concat()));
        let variant = match selecting {
            [] => String::new(),
            some => hex(&file::sum(&spelled(some)).as_slice()[..16]),
        };
        [self.key(&format!("n:{digest}")), self.key(&format!("a:{digest}:{variant}"))]
    }

    /// Takes over what each answer of a script tells beside.
    fn learn(&self, told: &Told) {
        self.clock.learn(told.now);
        if told.seq != self.heard.load(Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    async fn find(self: &Arc<Self>, key: &Key, request: &HeaderMap) -> Result<Sought, Unanswered> {
        let plain = self.look(key, &[]).await?;
        if let Some(stored) = plain.stored {
            return Ok(Sought::Answer(stored));
        }
        let Some(names) = plain.names.filter(|names| !names.is_empty()) else { return Ok(Sought::Nothing) };
        let Some(selecting) = of_request(&names, request) else { return Ok(Sought::Nothing) };
        let varied = self.look(key, &selecting).await?;
        Ok(varied.stored.map_or(Sought::OtherVariants, Sought::Answer))
    }

    async fn look(self: &Arc<Self>, key: &Key, selecting: &[Selecting]) -> Result<Looked, Unanswered> {
        let [names, answer] = self.places(key, selecting);
        let keys = [self.key("book"), names, answer];
        let arguments = [queue::place_id(key.address()).into_bytes(), key.address().to_vec()];
        let value = self.client().eval(&scripts::FIND, &keys, &arguments).await?;
        let found = scripts::found(value).ok_or(Unanswered::Refused)?;
        self.learn(&found.told);
        let Some(value) = found.value else {
            if found.fate == Fate::Void {
                self.counts.void.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(Looked { stored: None, names: found.names });
        };
        let (own, key, selecting) = (self.clone(), key.clone(), selecting.to_vec());
        let (now, is_spent) = (found.told.now, found.fate == Fate::Spent);
        let is_large = value.len() > READ_HERE_BYTES_MAX;
        let read = move || {
            let stored = own.read(&key, &selecting, value, now)?;
            let is_spent = is_spent || stored.is_spent();
            Some(Arc::new(stored.spent_if(is_spent)))
        };
        let stored = match is_large {
            true => self.background.spawn_blocking(read).await.unwrap_or_default(),
            false => read(),
        };
        if stored.is_none() {
            self.counts.torn.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Looked { stored, names: found.names })
    }

    /// The answer that was written, if it is what it should be.
    fn read(&self, key: &Key, selecting: &[Selecting], mut value: Vec<u8>, now: u64) -> Option<Stored> {
        let (meta, body) = file::read(value.split_off(scripts::beside(&value)?))?;
        let is_it = meta.fingerprint == self.fingerprint && meta.key == *key && meta.selecting == selecting;
        let stored = is_it.then(|| meta.with(body, now / 1000, Instant::now()))?;
        // By other tags it would not have been purged.
        scripts::has_its_tags(&value, &stored).then_some(stored)
    }
}

/// What was found at one place.
struct Looked {
    stored: Option<Arc<Stored>>,
    names: Option<String>,
}

/// What a request has in the fields by which answers are selected; none when they are no names.
fn of_request(names: &str, request: &HeaderMap) -> Option<Vec<Selecting>> {
    let of = |name: &str| {
        let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = selected(request, &name);
        Some((name, value))
    };
    names.split(',').map(of).collect()
}

/// The names of selecting fields, as they are kept beside answers.
fn names_of(selecting: &[Selecting]) -> String {
    selecting.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",")
}

/// Fields and values, so that no two sets of them are spelled the same.
fn spelled(selecting: &[Selecting]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in selecting {
        for part in [Some(name.as_str().as_bytes()), value.as_deref()] {
            out.extend_from_slice(&part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            out.extend_from_slice(part.unwrap_or_default());
        }
    }
    out
}
