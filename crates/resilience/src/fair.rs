//! Fair: a bounded number of calls at a time, divided among classes.
//!
//! Some places are kept for a class and nobody else's; the others are for whoever comes first while there are any, and go
//! to those who wait [by weight](crate::shares) when there are none. Within a class, callers take turns, each in its own
//! order. Those who wait are bounded for each class; when a class is full, a caller with fewer calls waiting takes the turn
//! of the last one of the caller with the most. While nobody waits, a place costs two atomics and no lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use crate::shares::Shares;

/// What a class may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassSettings {
    /// Its share of places for which several classes wait.
    pub weight: u32,
    /// Places that are kept for it.
    pub guaranteed: usize,
    /// Places that it may have in all.
    pub most: usize,
    /// Calls that may wait.
    pub waiting: usize,
}

/// Places, and the classes that they are divided among.
#[derive(Debug)]
pub struct Fair {
    /// Places that are kept for nobody.
    open: usize,
    /// Of these, those that are taken.
    taken: AtomicUsize,
    /// Calls that wait, for a look without the lock.
    waiting: AtomicUsize,
    classes: Vec<Class>,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Class {
    settings: ClassSettings,
    /// Places in use that are kept for it.
    kept: AtomicUsize,
    /// Places in use that are kept for nobody.
    open: AtomicUsize,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Lines {
    shares: Shares,
    lines: Vec<Line>,
}

/// Those of a class who wait: a queue for each caller, and the callers' turns. Nothing here walks a line, which may be long.
#[derive(Debug, Default)]
struct Line {
    callers: HashMap<u64, Caller>,
    /// Callers by the number of their turn.
    turns: BTreeMap<u64, u64>,
    /// Callers by how many of their calls wait.
    by_len: BTreeSet<(usize, u64)>,
    len: usize,
    /// The next number of a turn or a seat.
    next: u64,
}

/// Calls of a caller that wait.
#[derive(Debug, Default)]
struct Caller {
    turn: u64,
    queue: VecDeque<Arc<Seat>>,
}

/// Which place somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kept,
    Open,
}

/// A place; gives itself back when dropped.
#[derive(Debug)]
pub struct Place {
    of: Arc<Fair>,
    class: usize,
    kind: Kind,
}

/// A turn in the queue: a future of a place, which leaves the queue when dropped. It fails when a caller with fewer calls
/// has taken it.
#[derive(Debug)]
#[must_use = "a turn that is dropped leaves the queue"]
pub struct Turn {
    of: Arc<Fair>,
    seat: Arc<Seat>,
    class: usize,
    /// It has said what came of it.
    is_over: bool,
}

/// No more may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
struct Seat {
    caller: u64,
    /// Its place in the order of coming.
    number: u64,
    wait: Mutex<Wait>,
}

#[derive(Debug, Default)]
struct Wait {
    outcome: Option<Result<Kind, Full>>,
    waker: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One more, unless there are as many as may be.
fn raise(count: &AtomicUsize, most: usize) -> bool {
    let next = |count| (count < most).then_some(count + 1);
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).is_ok()
}

impl Seat {
    fn tell(&self, outcome: Result<Kind, Full>) {
        let mut wait = lock(&self.wait);
        wait.outcome = Some(outcome);
        if let Some(waker) = wait.waker.take() {
            waker.wake();
        }
    }
}

impl Line {
    fn push(&mut self, caller: u64) -> Arc<Seat> {
        self.next += 1;
        let seat = Arc::new(Seat { caller, number: self.next, wait: Mutex::default() });
        let known = self.callers.entry(caller).or_default();
        let before = known.queue.len();
        if before == 0 {
            known.turn = self.next;
            self.turns.insert(known.turn, caller);
        }
        known.queue.push_back(seat.clone());
        self.recount(caller, before, before + 1);
        seat
    }

    /// Whoever is next: of the caller whose turn it is, the one that came first.
    fn pop(&mut self) -> Option<Arc<Seat>> {
        let (_, caller) = self.turns.pop_first()?;
        let known = self.callers.get_mut(&caller)?;
        let seat = known.queue.pop_front()?;
        let left = known.queue.len();
        if left > 0 {
            // Behind all others.
            self.next += 1;
            known.turn = self.next;
            self.turns.insert(known.turn, caller);
        }
        self.recount(caller, left + 1, left);
        Some(seat)
    }

    fn remove(&mut self, seat: &Arc<Seat>) {
        let Some(known) = self.callers.get_mut(&seat.caller) else { return };
        let Ok(at) = known.queue.binary_search_by_key(&seat.number, |other| other.number) else { return };
        known.queue.remove(at);
        let left = known.queue.len();
        if left == 0 {
            self.turns.remove(&known.turn);
        }
        self.recount(seat.caller, left + 1, left);
    }

    /// Takes out the last of the caller that has the most waiting, where that is more than this one has.
    fn give_way(&mut self, caller: u64) -> Option<Arc<Seat>> {
        let own = self.callers.get(&caller).map_or(0, |known| known.queue.len());
        let (_, most) = self.by_len.last().filter(|(len, _)| *len > own)?;
        let last = self.callers.get(most)?.queue.back()?.clone();
        self.remove(&last);
        Some(last)
    }

    /// A caller has so many calls that wait, where it had as many before.
    fn recount(&mut self, caller: u64, before: usize, now: usize) {
        self.by_len.remove(&(before, caller));
        match now {
            0 => _ = self.callers.remove(&caller),
            now => _ = self.by_len.insert((now, caller)),
        }
        self.len = self.len + now - before;
    }
}

impl Fair {
    /// So many places. What classes are guaranteed beyond that is cut, the last first.
    pub fn new(places: usize, classes: impl IntoIterator<Item = ClassSettings>) -> Arc<Self> {
        let mut open = places;
        let classes: Vec<Class> = classes
            .into_iter()
            .map(|mut settings| {
                settings.guaranteed = settings.guaranteed.min(open);
                settings.most = settings.most.max(settings.guaranteed);
                open -= settings.guaranteed;
                Class {
                    settings,
                    kept: AtomicUsize::new(0),
                    open: AtomicUsize::new(0),
                    waiting: AtomicUsize::new(0),
                }
            })
            .collect();
        let lines = Lines {
            shares: Shares::new(classes.iter().map(|class| class.settings.weight)),
            lines: classes.iter().map(|_| Line::default()).collect(),
        };
        Arc::new(Self {
            open,
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            classes,
            lines: Mutex::new(lines),
        })
    }

    /// A place, if one is free and nobody waits who might have it.
    pub fn try_enter(self: &Arc<Self>, class: usize) -> Option<Place> {
        let known = self.classes.get(class)?;
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let is_first = known.waiting.load(Ordering::SeqCst) == 0;
            let kind = (is_first && raise(&known.kept, known.settings.guaranteed)).then_some(Kind::Kept)?;
            return Some(Place { of: self.clone(), class, kind });
        }
        if let Some(kind) = self.take(known) {
            return Some(Place { of: self.clone(), class, kind });
        }
        // For a moment this may have held what somebody else looked for.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve(&mut lock(&self.lines));
        }
        None
    }

    /// A turn in the queue of a class, for one of its callers.
    pub fn wait(self: &Arc<Self>, class: usize, caller: u64) -> Result<Turn, Full> {
        let known = self.classes.get(class).ok_or(Full)?;
        let mut lines = lock(&self.lines);
        let Lines { shares, lines: all } = &mut *lines;
        let line = all.get_mut(class).ok_or(Full)?;
        if line.len == 0 {
            shares.awakes(class);
        }
        let seat = line.push(caller);
        // Known to those who leave before this looks for a place: one of both sees the other.
        self.count(&lines);
        self.serve(&mut lines);
        let line = lines.lines.get_mut(class).ok_or(Full)?;
        if line.len > known.settings.waiting {
            let other = line.give_way(caller);
            if other.is_none() {
                line.remove(&seat);
            }
            self.count(&lines);
            other.ok_or(Full)?.tell(Err(Full));
        }
        drop(lines);
        Ok(Turn { of: self.clone(), seat, class, is_over: false })
    }

    /// Calls of a class that are in flight.
    pub fn in_flight(&self, class: usize) -> usize {
        let count = |class: &Class| class.kept.load(Ordering::Relaxed) + class.open.load(Ordering::Relaxed);
        self.classes.get(class).map_or(0, count)
    }

    /// Calls of a class that wait.
    pub fn waiting(&self, class: usize) -> usize {
        self.classes.get(class).map_or(0, |class| class.waiting.load(Ordering::Relaxed))
    }

    /// A place for a class, of its own first.
    fn take(&self, class: &Class) -> Option<Kind> {
        if raise(&class.kept, class.settings.guaranteed) {
            return Some(Kind::Kept);
        }
        self.take_open(class).then_some(Kind::Open)
    }

    fn take_open(&self, class: &Class) -> bool {
        if !raise(&class.open, class.settings.most - class.settings.guaranteed) {
            return false;
        }
        if raise(&self.taken, self.open) {
            return true;
        }
        class.open.fetch_sub(1, Ordering::SeqCst);
        false
    }

    fn leave(&self, class: usize, kind: Kind) {
        let Some(class) = self.classes.get(class) else { return };
        match kind {
            Kind::Kept => _ = class.kept.fetch_sub(1, Ordering::SeqCst),
            Kind::Open => {
                self.taken.fetch_sub(1, Ordering::SeqCst);
                class.open.fetch_sub(1, Ordering::SeqCst);
            }
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.serve(&mut lock(&self.lines));
        }
    }

    /// Gives places that are free to those whose turn it is.
    fn serve(&self, lines: &mut Lines) {
        let Lines { shares, lines: all } = &mut *lines;
        // Places that are kept for a class cost it nothing of its share of the others.
        for (class, line) in self.classes.iter().zip(all.iter_mut()) {
            while line.len > 0 && raise(&class.kept, class.settings.guaranteed) {
                match line.pop() {
                    Some(seat) => seat.tell(Ok(Kind::Kept)),
                    None => _ = class.kept.fetch_sub(1, Ordering::SeqCst),
                }
            }
        }
        let mut out: Vec<usize> = Vec::new();
        loop {
            let waits = |index: &usize| {
                !out.contains(index) && all.get(*index).is_some_and(|line: &Line| line.len > 0)
            };
            let next = shares.next((0..self.classes.len()).filter(waits));
            let Some(index) = next else { break };
            let (Some(class), Some(line)) = (self.classes.get(index), all.get_mut(index)) else { break };
            if !self.take_open(class) {
                // It has all that it may have, or there is nothing left for anybody.
                if self.taken.load(Ordering::SeqCst) >= self.open {
                    break;
                }
                out.push(index);
                continue;
            }
            shares.charge(index);
            match line.pop() {
                Some(seat) => seat.tell(Ok(Kind::Open)),
                None => break,
            }
        }
        self.count(lines);
    }

    fn count(&self, lines: &Lines) {
        let mut sum = 0;
        for (class, line) in self.classes.iter().zip(&lines.lines) {
            class.waiting.store(line.len, Ordering::SeqCst);
            sum += line.len;
        }
        self.waiting.store(sum, Ordering::SeqCst);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.leave(self.class, self.kind);
    }
}

impl Future for Turn {
    type Output = Result<Place, Full>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = {
            let mut wait = lock(&self.seat.wait);
            match wait.outcome.take() {
                Some(outcome) => outcome,
                None => {
                    wait.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        self.is_over = true;
        Poll::Ready(outcome.map(|kind| Place { of: self.of.clone(), class: self.class, kind }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut lines = lock(&self.of.lines);
        // Whoever was told something does not stand in the line any more, and nobody is told without its lock.
        let told = lock(&self.seat.wait).outcome.take();
        if told.is_none()
            && let Some(line) = lines.lines.get_mut(self.class)
        {
            line.remove(&self.seat);
            self.of.count(&lines);
        }
        drop(lines);
        // A place that was kept for it goes to the next.
        if let Some(Ok(kind)) = told {
            self.of.leave(self.class, kind);
        }
    }
}

#[cfg(test)]
mod tests;
