//! One receiver's lane as a state machine: what to send now, how long to wait, and what an answer means for what was
//! sent. The clock is passed in.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    counts::{Counts, Reason},
    rules::Rules,
    spill::Spill,
    store::{Entry, Store},
};

/// The longest pause that a receiver may ask for.
const ASKED_MAX: Duration = Duration::from_secs(300);
/// The pause between tries when the end is near.
const PAUSE_ENDING: Duration = Duration::from_millis(200);
/// Refusals of one batch after which what is left of it is dropped, however small the piece.
const REFUSALS_MAX: u32 = 64;
/// How often a folder that another process has is asked for again.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);
/// How long another process may have it until that is told: one that hands over to this one lets go of it.
const LOCKED_TOLD: Duration = Duration::from_secs(60);

/// Brings batches to a receiver.
pub trait Courier {
    /// Sends a batch, and says what became of it. Dropped when it takes too long.
    fn send<'a>(&'a mut self, batch: &'a [Bytes]) -> Sending<'a>;

    /// The last try was cut: what is under way on a connection would mix with what comes next.
    fn reset(&mut self) {}
}

/// A try.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// What became of a try.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The receiver took it.
    Taken,
    /// It took all but so many.
    Partly {
        /// Those that it did not take.
        rejected: u64,
        /// Why.
        why: String,
    },
    /// It may be sent again, after the pause that the receiver asks for.
    Again {
        /// That pause.
        after: Option<Duration>,
        /// What went wrong.
        why: String,
    },
    /// Something in it will never be taken: half of it may be.
    Poison(String),
    /// It will never be taken.
    Refused(String),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// To send this, and to tell what [became](Lane::done) of it.
    Send(Vec<Bytes>),
    /// Nothing before this moment, when nothing comes.
    Wait(Instant),
    /// Nothing waits.
    Idle,
}

/// What was taken from the store, in the pieces in which it is sent.
struct Work {
    pieces: VecDeque<Vec<Entry>>,
    /// When it was first tried, or when a piece of it was last taken.
    began: Option<Instant>,
    tries: u32,
    again_at: Option<Instant>,
    refusals: u32,
}

/// The lane of a receiver.
pub struct Lane {
    rules: Rules,
    store: Store,
    work: Option<Work>,
    counts: Arc<Counts>,
    random: RandomState,
    /// When the folder on disk is asked for, while it is not ours.
    spill_at: Option<Instant>,
    /// Until when it is nothing strange that another process has it.
    locked_told: Option<Instant>,
    is_ending: bool,
    is_writing_badly: bool,
}

impl Lane {
    /// An empty lane, or one with what an earlier process has left on disk.
    pub fn new(rules: Rules, counts: Arc<Counts>, now: Instant) -> Self {
        let mut lane = Self {
            store: Store::new(rules.queue),
            work: None,
            counts,
            random: RandomState::new(),
            spill_at: rules.spill.as_ref().map(|_| now),
            locked_told: Some(now + LOCKED_TOLD),
            is_ending: false,
            is_writing_badly: false,
            rules,
        };
        lane.claim(now);
        lane
    }

    /// Its rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Asks for the folder on disk when it is time to.
    fn claim(&mut self, now: Instant) {
        let (Some(at), Some(to)) = (self.spill_at, &self.rules.spill) else { return };
        if now < at {
            return;
        }
        match Spill::open(&to.folder, to.bytes) {
            Ok(Some(spill)) => {
                self.store.spill_to(spill);
                self.spill_at = None;
            }
            Ok(None) => {
                self.spill_at = Some(now + LOCKED_PAUSE);
                if self.locked_told.take_if(|told| *told <= now).is_some() {
                    let folder = to.folder.display();
                    tracing::warn!(
                        sink = self.rules.name,
                        "another process has {folder}, so that nothing is kept there: give each gateway a folder of its own"
                    );
                }
            }
            Err(error) => {
                self.spill_at = Some(now + LOCKED_PAUSE);
                if !std::mem::replace(&mut self.is_writing_badly, true) {
                    let folder = to.folder.display();
                    tracing::error!(sink = self.rules.name, "cannot keep records in {folder}: {error}");
                }
            }
        }
        self.tell();
    }

    /// Takes a record; what finds no room is lost and counted.
    pub fn push(&mut self, record: Bytes, now: Instant) {
        let pushed = self.store.push(record, now);
        if let Err(reason) = pushed {
            self.counts.lost(reason, 1);
        }
        let is_bad = pushed == Err(Reason::WriteFailed);
        if is_bad && !self.is_writing_badly {
            tracing::error!(sink = self.rules.name, "records cannot be written to disk and are lost");
        }
        self.is_writing_badly = is_bad || self.is_writing_badly && !self.store.has_spill();
        self.tell();
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Instant) -> Step {
        self.claim(now);
        if self.work.is_none() {
            self.refill(now);
            let Some(oldest) = self.store.oldest() else { return Step::Idle };
            let due = oldest + self.rules.batch.time;
            if !self.is_ending && now < due && !self.store.is_full(&self.rules.batch) {
                return Step::Wait(due);
            }
            let pieces = VecDeque::from([self.store.take(&self.rules.batch)]);
            self.work = Some(Work { pieces, began: None, tries: 0, again_at: None, refusals: 0 });
        }
        let Some(work) = &mut self.work else { return Step::Idle };
        if let Some(at) = work.again_at.filter(|at| now < *at) {
            return Step::Wait(at);
        }
        if work.again_at.take().is_some() {
            self.counts.again();
        }
        work.began.get_or_insert(now);
        match work.pieces.front() {
            Some(piece) => Step::Send(piece.iter().map(|entry| entry.bytes.clone()).collect()),
            None => Step::Idle,
        }
    }

    fn refill(&mut self, now: Instant) {
        match self.store.refill(now) {
            Ok(0) => {}
            Ok(corrupt) => {
                self.counts.lost(Reason::Corrupt, corrupt);
                tracing::warn!(sink = self.rules.name, corrupt, "records on disk are damaged and left out");
            }
            Err(error) => tracing::error!(sink = self.rules.name, "records on disk cannot be read: {error}"),
        }
        self.tell();
    }

    /// What became of what was to be sent.
    pub fn done(&mut self, outcome: Outcome, now: Instant) {
        let Some(mut work) = self.work.take() else { return };
        let random = self.random.hash_one(work.tries);
        match outcome {
            Outcome::Taken => self.took(&mut work, 0, None),
            Outcome::Partly { rejected, why } => self.took(&mut work, rejected, Some(&why)),
            Outcome::Again { after, why } => {
                self.went_badly(&why, "does not take records");
                work.tries = work.tries.saturating_add(1);
                let wait = after
                    .map_or_else(|| self.rules.retry.pause(work.tries, random), |asked| asked.min(ASKED_MAX));
                let wait = if self.is_ending { wait.min(PAUSE_ENDING) } else { wait };
                work.again_at = Some(now + wait);
                let kept = work.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
                if kept >= self.rules.retry.keep {
                    for piece in work.pieces.drain(..) {
                        self.drop_piece(&piece, Reason::Unreachable);
                    }
                }
            }
            Outcome::Poison(why) => {
                self.went_badly(&why, "refuses records");
                work.refusals += 1;
                if let Some(mut piece) = work.pieces.pop_front() {
                    if piece.len() > 1 && work.refusals < REFUSALS_MAX {
                        let rest = piece.split_off(piece.len() / 2);
                        work.pieces.push_front(rest);
                        work.pieces.push_front(piece);
                    } else {
                        self.drop_piece(&piece, Reason::Refused);
                    }
                }
            }
            Outcome::Refused(why) => {
                self.went_badly(&why, "refuses records");
                if let Some(piece) = work.pieces.pop_front() {
                    self.drop_piece(&piece, Reason::Refused);
                }
            }
        }
        if !work.pieces.is_empty() {
            self.work = Some(work);
        }
        self.tell();
    }

    fn took(&mut self, work: &mut Work, rejected: u64, why: Option<&str>) {
        let Some(piece) = work.pieces.pop_front() else { return };
        (work.began, work.tries) = (None, 0);
        let rejected = rejected.min(piece.len() as u64);
        self.store.release(&piece);
        self.counts.batch();
        self.counts.taken(piece.len() as u64 - rejected);
        self.counts.lost(Reason::Partial, rejected);
        if let Some(why) = why {
            tracing::warn!(sink = self.rules.name, rejected, "the receiver left {rejected} records: {why}");
        }
        if self.counts.went(None) {
            tracing::info!(sink = self.rules.name, "the receiver takes records again");
        }
    }

    fn drop_piece(&mut self, piece: &[Entry], reason: Reason) {
        self.store.release(piece);
        self.counts.lost(reason, piece.len() as u64);
    }

    fn went_badly(&self, why: &str, what: &str) {
        if self.counts.went(Some(why)) {
            tracing::warn!(sink = self.rules.name, "the receiver {what}: {why}");
        }
    }

    /// From now on everything leaves as soon as it can.
    pub fn end(&mut self, now: Instant) {
        self.is_ending = true;
        if let Some(work) = &mut self.work {
            work.again_at = work.again_at.map(|at| at.min(now + PAUSE_ENDING));
        }
    }

    /// Ends with what is left: on disk where there is a place for it, or else lost and counted.
    pub fn close(mut self) {
        let taken: Vec<Entry> = self.work.take().into_iter().flat_map(|work| work.pieces).flatten().collect();
        let lost = self.store.close(&taken);
        self.counts.lost(Reason::Shutdown, lost);
        if lost > 0 {
            tracing::warn!(sink = self.rules.name, lost, "{lost} records could not be sent before the end");
        }
        self.counts.waits(0, 0, self.counts.spilled_bytes());
    }

    fn tell(&self) {
        let (records, bytes, spilled) = self.store.sizes();
        self.counts.waits(records, bytes, spilled);
    }
}
