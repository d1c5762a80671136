//! What the server is to be told, behind the calls: purges first, and as often as it takes; then answers, as long as there is
//! room for them.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use super::{
    Own, file, hex, names_of,
    scripts::{self, tag_id},
};
use crate::policy::cache::{
    entry::Stored,
    key::Key,
    store::{Entry, Purge},
};

/// Answers that wait to be written may take so much memory, beside what memory keeps.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// So many may wait.
const WAITING_MAX: usize = 4096;
/// Of more purges nobody remembers which they were: then all is purged.
const PURGES_MAX: usize = 1_000;
/// What is told at once.
const PURGES_AT_ONCE: usize = 64;
const WRITES_AT_ONCE: usize = 8;
/// What is written at once has to be there within the server's `timeout`, and others wait behind it. A larger one goes alone.
const WRITE_BYTES_AT_ONCE: usize = 1 << 20;
/// How long until a server that did not take a purge is told again.
const PAUSE: Duration = Duration::from_millis(500);
/// What a book may hold, beginnings of addresses, and what a log may hold.
const BOOK_MAX: usize = 10_000;
const BEGINNINGS_MAX: usize = 100;
const LOG_MAX: usize = 1_000;

/// An answer that waits to be written.
pub(super) struct Writing {
    pub(super) key: Key,
    pub(super) stored: Arc<Stored>,
    /// When it was asked for, by the server's time.
    pub(super) since: u64,
    pub(super) ttl: Duration,
}

/// A purge that the server does not know of yet.
#[derive(Clone)]
pub(super) struct Purging {
    number: u64,
    what: What,
    is_soft: bool,
}

#[derive(Clone)]
enum What {
    Address(Box<[u8]>),
    Beginning(Box<[u8]>),
    Tag(Box<str>),
    All,
}

/// What is to be done.
pub(super) struct Queue {
    all: Mutex<All>,
    told: Condvar,
}

#[derive(Default)]
struct All {
    purges: VecDeque<Purging>,
    /// The number of the last purge.
    last: u64,
    writings: VecDeque<Writing>,
    bytes: usize,
    /// A task is at it, or will be.
    is_attended: bool,
}

/// What is next.
enum Task {
    Purge(Vec<Purging>),
    Write(Vec<Writing>),
    Nothing,
}

impl Purging {
    pub(super) fn new(what: Purge<'_>, is_soft: bool) -> Self {
        let what = match what {
            Purge::Address(address) => What::Address(address.into()),
            Purge::Beginning(begin) => What::Beginning(begin.into()),
            Purge::Tag(tag) => What::Tag(tag.into()),
            Purge::All => What::All,
        };
        Self { number: 0, what, is_soft }
    }

    fn what(&self) -> Purge<'_> {
        match &self.what {
            What::Address(address) => Purge::Address(address),
            What::Beginning(begin) => Purge::Beginning(begin),
            What::Tag(tag) => Purge::Tag(tag),
            What::All => Purge::All,
        }
    }

    /// As the script takes it.
    fn spell(&self, out: &mut Vec<Vec<u8>>) {
        let (kind, id, told) = match &self.what {
            What::Address(address) => ("u", place_id(address).into_bytes(), address.to_vec()),
            What::Beginning(begin) => ("b", begin.to_vec(), begin.to_vec()),
            What::Tag(tag) => ("t", tag_id(tag).into_bytes(), tag.as_bytes().to_vec()),
            What::All => ("a", Vec::new(), Vec::new()),
        };
        let how = if self.is_soft { "s" } else { "h" };
        out.extend([kind.as_bytes().to_vec(), how.as_bytes().to_vec(), id, told]);
    }
}

/// What an address is known by.
pub(super) fn place_id(address: &[u8]) -> String {
    let mut id = hex(&file::sum(address));
    id.truncate(32);
    id
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { all: Mutex::default(), told: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves an answer to be written; false when too many wait.
    pub(super) fn write(&self, writing: Writing) -> bool {
        let bytes = writing.stored.weight()[0];
        let mut all = self.lock();
        let is_full = all.writings.len() >= WAITING_MAX
            || (!all.writings.is_empty() && all.bytes.saturating_add(bytes) > WAITING_BYTES_MAX);
        if is_full {
            return false;
        }
        all.bytes += bytes;
        all.writings.push_back(writing);
        true
    }

    /// Leaves a purge to be told.
    pub(super) fn purge(&self, purging: Purging) {
        let mut all = self.lock();
        let purging = match all.purges.len() < PURGES_MAX {
            true => purging,
            false => {
                all.purges.clear();
                Purging::new(Purge::All, false)
            }
        };
        all.last += 1;
        let number = all.last;
        all.purges.push_back(Purging { number, ..purging });
    }

    /// Whether a purge that the server does not know of may be of this key.
    pub(super) fn may_be_void(&self, key: &Key) -> bool {
        self.lock().purges.iter().any(|purging| purging.what().means(key, |_| true))
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().purges.len()
    }

    /// What is next; with nothing, the task that asks is let go.
    fn next(&self) -> Task {
        let mut all = self.lock();
        if !all.purges.is_empty() {
            return Task::Purge(all.purges.iter().take(PURGES_AT_ONCE).cloned().collect());
        }
        let (mut next, mut bytes) = (Vec::new(), 0_usize);
        while next.len() < WRITES_AT_ONCE
            && let Some(writing) = all.writings.front()
        {
            let more = bytes.saturating_add(writing.stored.weight()[0]);
            if more > WRITE_BYTES_AT_ONCE && !next.is_empty() {
                break;
            }
            bytes = more;
            next.extend(all.writings.pop_front());
        }
        if !next.is_empty() {
            all.bytes = all.bytes.saturating_sub(bytes);
            return Task::Write(next);
        }
        all.is_attended = false;
        Task::Nothing
    }

    /// How many answers would be written next.
    #[cfg(test)]
    pub(super) fn next_writings(&self) -> Option<usize> {
        match self.next() {
            Task::Write(next) => Some(next.len()),
            Task::Purge(_) | Task::Nothing => None,
        }
    }

    /// The server knows of all purges up to this number.
    fn told(&self, number: u64) {
        self.lock().purges.retain(|purging| purging.number > number);
        self.told.notify_all();
    }

    /// Nobody is there any more who could tell.
    fn let_go(&self) {
        let mut all = self.lock();
        all.writings.clear();
        (all.bytes, all.is_attended) = (0, false);
    }

    /// Waits until the server knows of all purges so far, but not longer than this; whether it does.
    pub(super) fn settle(&self, until: Instant) -> bool {
        let mut all = self.lock();
        let last = all.last;
        while all.purges.front().is_some_and(|purging| purging.number <= last) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            all = self.told.wait_timeout(all, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Has a task come, unless one does already.
pub(super) fn call(own: &Arc<Own>) {
    if !std::mem::replace(&mut own.queue.lock().is_attended, true) {
        own.background.spawn(attend(own.clone()));
    }
}

async fn attend(own: Arc<Own>) {
    loop {
        match own.queue.next() {
            Task::Nothing => return,
            Task::Write(writings) => {
                join_all(writings.into_iter().map(|writing| own.write(writing))).await;
            }
            Task::Purge(purges) => {
                if own.tell(&purges).await {
                    continue;
                }
                if own.is_over.load(Ordering::Relaxed) {
                    return own.queue.let_go();
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Own {
    /// Tells the server of purges; whether it knows now.
    async fn tell(&self, purges: &[Purging]) -> bool {
        let Some(last) = purges.last() else { return true };
        let mut arguments = vec![self.origin.clone().into_bytes()];
        arguments.extend([BOOK_MAX, BEGINNINGS_MAX, LOG_MAX].map(|most| most.to_string().into_bytes()));
        purges.iter().for_each(|purging| purging.spell(&mut arguments));
        let keys = [self.key("book"), self.key("log")];
        let told = self.client().eval(&scripts::PURGE, &keys, &arguments).await;
        let Some(told) = told.ok().as_ref().and_then(scripts::purged) else { return false };
        self.clock.learn(told.now);
        self.counts.purges_told.fetch_add(purges.len() as u64, Ordering::Relaxed);
        self.queue.told(last.number);
        true
    }

    async fn write(&self, writing: Writing) {
        let Writing { key, stored, since, ttl } = writing;
        let head = self.clock.now().and_then(|now| {
            // When it was written counts by the server's time: clocks of gateways are not alike.
            file::head(&stored, &key, &self.fingerprint, now / 1000, Instant::now())
        });
        let Some(head) = head else {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let value = [&scripts::prefix(&stored, since)[..], &head[..], &stored.body[..]].concat();
        let [names, answer] = self.places(&key, stored.selecting());
        let [_, plain] = self.places(&key, &[]);
        let keys = [self.key("book"), names, answer, plain];
        let arguments = [
            place_id(key.address()).into_bytes(),
            key.address().to_vec(),
            value,
            ttl.as_millis().max(1).to_string().into_bytes(),
            names_of(stored.selecting()).into_bytes(),
        ];
        let told = self.client().eval(&scripts::KEEP, &keys, &arguments).await;
        let count = match told.ok().as_ref().and_then(scripts::kept) {
            Some((told, is_kept)) => {
                self.learn(&told);
                if is_kept { &self.counts.written } else { &self.counts.outdated }
            }
            None => &self.counts.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
