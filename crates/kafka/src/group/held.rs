//! Partitions that a member has, and what of them is held: records are handed over one by one, each is done with in its own time, and
//! what can be confirmed is the place before the first that is not.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::Error,
    read::{Position, Unreadable},
    records::Record,
};

/// How far it is read ahead of the first that is not done with.
const AHEAD_MAX: i64 = 10_000;
/// How long it is looked away from one where a batch stands that cannot be read.
const STUCK: Duration = Duration::from_secs(5);

/// A record that was handed over.
pub struct Taken {
    /// The record.
    pub record: Record,
    /// Its partition.
    pub partition: i32,
    /// What it is done with by.
    pub claim: Claim,
}

/// A record that is held. One that is let go without a word holds up what is confirmed, and so comes again to whoever has
/// its partition after this.
pub struct Claim {
    partition: Arc<Partition>,
    offset: i64,
}

impl Claim {
    /// It is done with.
    pub fn done(&self) {
        locked(&self.partition.progress).undone.remove(&self.offset);
    }

    /// Whether it is another's by now.
    pub fn is_lost(&self) -> bool {
        self.partition.is_lost.load(Ordering::Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut progress = locked(&self.partition.progress);
        progress.held = progress.held.saturating_sub(1);
        // The last one that was taken is simply read again.
        if progress.next == self.offset + 1 && progress.undone.remove(&self.offset) {
            progress.next = self.offset;
        }
    }
}

/// A partition that this member has.
pub(super) struct Partition {
    pub(super) number: i32,
    is_lost: AtomicBool,
    /// Whoever leads it cannot be asked, or does not give it, and that was told.
    is_apart: AtomicBool,
    progress: Mutex<Progress>,
}

/// How far it is.
#[derive(Default)]
struct Progress {
    /// The next that is read.
    next: i64,
    /// What was handed over and is not done with.
    undone: BTreeSet<i64>,
    /// Of that, what somebody holds.
    held: usize,
    confirmed: i64,
    /// The place of a batch that cannot be read, of which was told.
    bad: Option<i64>,
    /// Until when it is looked away.
    rests: Option<Instant>,
}

impl Progress {
    /// The place that can be confirmed.
    fn done(&self) -> i64 {
        self.undone.first().copied().unwrap_or(self.next)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Partition {
    pub(super) fn new(place: Position, confirmed: i64) -> Arc<Self> {
        let progress = Progress { next: place.next, confirmed, ..Progress::default() };
        Arc::new(Self {
            number: place.partition,
            is_lost: AtomicBool::new(false),
            is_apart: AtomicBool::new(false),
            progress: Mutex::new(progress),
        })
    }

    /// Claims what was read from a place; nothing when it is read from another by now: then what came is not what is next.
    pub(super) fn claim(self: &Arc<Self>, from: i64, offset: i64) -> Option<Claim> {
        let mut progress = locked(&self.progress);
        if progress.next != from {
            return None;
        }
        progress.undone.insert(offset);
        progress.held += 1;
        progress.next = offset + 1;
        Some(Claim { partition: self.clone(), offset })
    }

    /// Goes on behind what has no records, or none that are read; not where it is read from another place by now.
    pub(super) fn pass(&self, from: i64, next: i64) {
        let mut progress = locked(&self.progress);
        if progress.next == from {
            progress.next = progress.next.max(next);
        }
    }

    /// Whether it has to wait: it has read too far ahead, or stands before what cannot be read.
    pub(super) fn waits(&self) -> bool {
        let progress = locked(&self.progress);
        progress.next - progress.done() > AHEAD_MAX
            || progress.rests.is_some_and(|until| until > Instant::now())
    }

    /// Meets a batch that cannot be read: passes it over, or stands still before it. Whether that is new.
    pub(super) fn meet(&self, bad: &Unreadable, passes: bool) -> bool {
        let mut progress = locked(&self.progress);
        if progress.next != bad.offset {
            return false;
        }
        if passes {
            progress.next = bad.next;
        } else {
            progress.rests = Some(Instant::now() + STUCK);
        }
        progress.bad.replace(bad.offset) != Some(bad.offset)
    }

    /// The next that is read.
    pub(super) fn next(&self) -> i64 {
        locked(&self.progress).next
    }

    /// Goes on somewhere else.
    pub(super) fn go_to(&self, next: i64) {
        locked(&self.progress).next = next;
    }

    /// The place that the group knows.
    pub(super) fn confirmed(&self) -> i64 {
        locked(&self.progress).confirmed
    }

    /// The place that can be confirmed, where the group does not know it.
    pub(super) fn unconfirmed(&self) -> Option<i64> {
        let progress = locked(&self.progress);
        Some(progress.done()).filter(|done| *done != progress.confirmed)
    }

    /// The group knows a place.
    pub(super) fn confirm(&self, next: i64) {
        locked(&self.progress).confirmed = next;
    }

    /// Whether something of it is held.
    pub(super) fn is_held(&self) -> bool {
        locked(&self.progress).held > 0
    }

    /// It is another's.
    pub(super) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// Whoever leads it cannot be asked, or does not give it; that is told once. Whether it was just now.
    pub(super) fn part(&self, topic: &str, why: &Error) -> bool {
        let is_new = !self.is_apart.swap(true, Ordering::Relaxed);
        if is_new {
            let partition = self.number;
            tracing::warn!(
                topic,
                partition,
                "partition {partition} of `{topic}` cannot be read, and it is tried again: {why}"
            );
        }
        is_new
    }

    /// Whether it cannot be read.
    pub(super) fn is_apart(&self) -> bool {
        self.is_apart.load(Ordering::Relaxed)
    }

    /// It is looked away from it for so long.
    pub(super) fn rest(&self, pause: Duration) {
        locked(&self.progress).rests = Some(Instant::now() + pause);
    }

    /// Whoever leads it gives it.
    pub(super) fn join(&self, topic: &str) {
        if self.is_apart.swap(false, Ordering::Relaxed) {
            let partition = self.number;
            tracing::info!(topic, partition, "partition {partition} of `{topic}` is read again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(partition: &Arc<Partition>, offset: i64) -> Claim {
        partition.claim(partition.next(), offset).expect("a claim")
    }

    #[test]
    fn what_is_confirmed_is_what_is_done_with_without_a_gap() {
        let partition = Partition::new(Position { partition: 0, next: 5 }, 5);
        let done = || locked(&partition.progress).done();
        let claims: Vec<Claim> = [5, 6, 9].into_iter().map(|offset| claim(&partition, offset)).collect();
        assert_eq!(done(), 5);
        claims[1].done();
        claims[2].done();
        assert_eq!((done(), locked(&partition.progress).held), (5, 3));
        claims[0].done();
        assert_eq!(done(), 10);
        drop(claims);
        assert_eq!(locked(&partition.progress).held, 0);
        // One that is let go without a word is read again, or stays undone.
        drop(claim(&partition, 10));
        assert_eq!((done(), partition.next(), locked(&partition.progress).held), (10, 10, 0));
        let first = claim(&partition, 10);
        claim(&partition, 11).done();
        drop(first);
        assert_eq!((done(), partition.next()), (10, 12));
    }

    #[test]
    fn what_is_let_go_while_more_is_asked_for_is_not_passed_over() {
        let partition = Partition::new(Position { partition: 0, next: 10 }, 10);
        let held = claim(&partition, 10);
        let asked_from = partition.next();
        drop(held);
        // The answer comes now, empty or not: it is from behind what was let go.
        partition.pass(asked_from, 11);
        assert!(partition.claim(asked_from, 11).is_none());
        let done = locked(&partition.progress).done();
        assert_eq!((done, partition.next()), (10, 10));
        claim(&partition, 10).done();
        partition.pass(11, 14);
        assert_eq!(locked(&partition.progress).done(), 14);
    }

    #[test]
    fn nobody_reads_further_and_further_ahead_of_one_that_is_stuck() {
        let partition = Partition::new(Position { partition: 0, next: 0 }, 0);
        let _stuck = claim(&partition, 0);
        claim(&partition, AHEAD_MAX - 1).done();
        assert!(!partition.waits());
        claim(&partition, AHEAD_MAX).done();
        assert!(partition.waits());
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_told_once_and_passed_over_or_stood_before() {
        let partition = Partition::new(Position { partition: 0, next: 5 }, 5);
        let bad = Unreadable { partition: 0, offset: 5, next: 8, why: "" };
        assert!(partition.meet(&bad, false), "it is new");
        assert!(!partition.meet(&bad, false), "and then it is not");
        assert_eq!((partition.next(), partition.waits()), (5, true));
        let partition = Partition::new(Position { partition: 0, next: 4 }, 4);
        assert!(!partition.meet(&bad, true), "it is read from another place by now");
        let before = claim(&partition, 4);
        assert!(partition.meet(&bad, true));
        assert_eq!((partition.next(), partition.waits(), locked(&partition.progress).done()), (8, false, 4));
        before.done();
        assert_eq!(locked(&partition.progress).done(), 8);
    }
}
