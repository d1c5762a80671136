//! Turnstile: bounds the calls in flight on each of several lanes, and lets those wait who find every lane that they may
//! take full.
//!
//! Those who wait are bounded together, and are of three classes. Of ten places that become free while all classes wait,
//! about eight go to the high, two to the normal, and one of twenty-one to the low: shares of 16, 4 and 1, so that none
//! starves. Within a class whoever came first is first, among those who may take the lane. When no more may wait, a
//! call of a higher class takes the turn of the last who came of the lowest.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::shares::Shares;

/// How urgent a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Served when little else waits.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Served before others.
    High,
}

/// Classes, and their shares of turns.
const WEIGHTS: [u32; 3] = [1, 4, 16];

/// Lanes that can be told apart.
pub const LANES_MAX: usize = 64;

/// Which lanes a call may take, a bit for each.
pub type Lanes = u64;

/// Bounds calls on several lanes.
#[derive(Debug)]
pub struct Turnstile {
    /// Places of each lane.
    most: Vec<usize>,
    /// Calls that may wait.
    size: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    taken: Vec<usize>,
    /// By class, the lowest first.
    queues: [VecDeque<Arc<Seat>>; 3],
    shares: Shares,
}

/// A place on a lane; gives itself back when dropped.
#[derive(Debug)]
pub struct Place {
    of: Arc<Turnstile>,
    lane: usize,
}

/// A turn in the queue: a future of a place, which leaves the queue when dropped. It fails when somebody more urgent has
/// taken it.
#[derive(Debug)]
#[must_use = "a turn that is dropped leaves the queue"]
pub struct Turn {
    of: Arc<Turnstile>,
    seat: Arc<Seat>,
    class: usize,
}

/// No more may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
struct Seat {
    lanes: Lanes,
    wait: Mutex<Wait>,
}

#[derive(Debug, Default)]
struct Wait {
    outcome: Option<Result<usize, Full>>,
    waker: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bit(lane: usize) -> Lanes {
    u32::try_from(lane).ok().and_then(|lane| 1_u64.checked_shl(lane)).unwrap_or(0)
}

impl Seat {
    fn tell(&self, outcome: Result<usize, Full>) {
        let mut wait = lock(&self.wait);
        wait.outcome = Some(outcome);
        if let Some(waker) = wait.waker.take() {
            waker.wake();
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Gives places that are free to those whose turn it is.
    fn serve(&mut self, most: &[usize]) {
        for (lane, most) in most.iter().enumerate() {
            while self.taken.get(lane).is_some_and(|taken| taken < most) {
                let Some(seat) = self.next(bit(lane)) else { break };
                if let Some(taken) = self.taken.get_mut(lane) {
                    *taken += 1;
                }
                seat.tell(Ok(lane));
            }
        }
    }

    /// Whose turn it is on a lane.
    fn next(&mut self, lane: Lanes) -> Option<Arc<Seat>> {
        let suits = |seat: &Arc<Seat>| seat.lanes & lane != 0;
        // Of equals the higher class.
        let waits = |class: &usize| self.queues.get(*class).is_some_and(|queue| queue.iter().any(suits));
        let class = self.shares.next((0..WEIGHTS.len()).rev().filter(waits))?;
        let queue = self.queues.get_mut(class)?;
        let at = queue.iter().position(suits)?;
        self.shares.charge(class);
        queue.remove(at)
    }
}

impl Turnstile {
    /// So many lanes of `most` places each, for which up to `size` calls may wait.
    pub fn new(lanes: usize, most: usize, size: usize) -> Arc<Self> {
        Self::of(vec![most; lanes], size)
    }

    /// Lanes of so many places each, for which up to `size` calls may wait.
    pub fn of(mut most: Vec<usize>, size: usize) -> Arc<Self> {
        most.truncate(LANES_MAX);
        let state =
            State { taken: vec![0; most.len()], queues: Default::default(), shares: Shares::new(WEIGHTS) };
        Arc::new(Self { most, size, state: Mutex::new(state) })
    }

    /// A place on a lane, if one is free that nobody waits for.
    pub fn try_enter(self: &Arc<Self>, lane: usize) -> Option<Place> {
        let mut state = lock(&self.state);
        if state.waiting() > 0 {
            return None;
        }
        let most = *self.most.get(lane)?;
        let taken = state.taken.get_mut(lane).filter(|taken| **taken < most)?;
        *taken += 1;
        Some(Place { of: self.clone(), lane })
    }

    /// A turn in the queue for any of some lanes.
    pub fn wait(self: &Arc<Self>, lanes: Lanes, priority: Priority) -> Result<Turn, Full> {
        let class = priority as usize;
        let seat = Arc::new(Seat { lanes, wait: Mutex::default() });
        let mut state = lock(&self.state);
        if state.queues.get(class).is_some_and(VecDeque::is_empty) {
            state.shares.awakes(class);
        }
        if let Some(queue) = state.queues.get_mut(class) {
            queue.push_back(seat.clone());
        }
        state.serve(&self.most);
        if state.waiting() > self.size {
            let lowest = state.queues.iter_mut().find(|queue| !queue.is_empty());
            match lowest.and_then(VecDeque::pop_back) {
                Some(last) if Arc::ptr_eq(&last, &seat) => return Err(Full),
                Some(last) => last.tell(Err(Full)),
                None => {}
            }
        }
        drop(state);
        Ok(Turn { of: self.clone(), seat, class })
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.state).waiting()
    }

    /// Calls in flight.
    pub fn in_flight(&self) -> usize {
        lock(&self.state).taken.iter().sum()
    }

    fn leave(&self, lane: usize) {
        let mut state = lock(&self.state);
        if let Some(taken) = state.taken.get_mut(lane) {
            *taken = taken.saturating_sub(1);
        }
        state.serve(&self.most);
    }
}

impl Place {
    /// Which lane it is on.
    pub fn lane(&self) -> usize {
        self.lane
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.leave(self.lane);
    }
}

impl Future for Turn {
    type Output = Result<Place, Full>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut wait = lock(&self.seat.wait);
        match wait.outcome.take() {
            Some(Ok(lane)) => Poll::Ready(Ok(Place { of: self.of.clone(), lane })),
            Some(Err(full)) => Poll::Ready(Err(full)),
            None => {
                wait.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.of.state);
        if let Some(queue) = state.queues.get_mut(self.class) {
            queue.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
        }
        drop(state);
        // A place that was kept for it goes to the next.
        let kept = lock(&self.seat.wait).outcome.take();
        if let Some(Ok(lane)) = kept {
            self.of.leave(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(turn: &mut Turn) -> Option<Result<Place, Full>> {
        match Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    #[test]
    fn each_lane_has_places_of_its_own() {
        let turnstile = Turnstile::of(vec![1, 3], 10);
        let held: Vec<_> = (0..4).map(|_| turnstile.try_enter(1)).collect();
        assert_eq!(held.iter().flatten().count(), 3);
        let first = turnstile.try_enter(0).expect("a place");
        assert!(turnstile.try_enter(0).is_none() && turnstile.try_enter(2).is_none());
        drop(first);
        assert!(turnstile.try_enter(0).is_some());
    }

    #[test]
    fn whoever_waits_takes_the_first_place_of_a_lane_that_suits() {
        let turnstile = Turnstile::new(2, 1, 10);
        let (a, b) = (turnstile.try_enter(0).expect("free"), turnstile.try_enter(1).expect("free"));
        assert!(turnstile.try_enter(0).is_none());
        let mut only_b = turnstile.wait(0b10, Priority::Normal).expect("room");
        let mut any = turnstile.wait(0b11, Priority::Normal).expect("room");
        drop(a);
        assert!(served(&mut only_b).is_none());
        assert!(turnstile.try_enter(0).is_none(), "it is kept for who waits");
        assert_eq!(served(&mut any).expect("its turn").expect("a place").lane(), 0);
        drop(b);
        assert_eq!(served(&mut only_b).expect("its turn").expect("a place").lane(), 1);
        drop((only_b, any));
        assert_eq!((turnstile.in_flight(), turnstile.waiting()), (0, 0));
    }

    #[test]
    fn higher_classes_come_first_and_none_starves() {
        let turnstile = Turnstile::new(1, 1, 1000);
        let mut place = turnstile.try_enter(0);
        let classes = [Priority::Low, Priority::Normal, Priority::High];
        let mut turns: Vec<(Priority, Turn)> = (0..63)
            .flat_map(|_| classes)
            .map(|class| (class, turnstile.wait(1, class).expect("room")))
            .collect();
        let mut order = Vec::new();
        for _ in 0..63 {
            drop(place.take());
            let at = turns.iter_mut().position(|(_, turn)| {
                place = served(turn).map(|outcome| outcome.expect("a place"));
                place.is_some()
            });
            order.push(turns.remove(at.expect("somebody is served")).0);
        }
        let count = |class| order.iter().filter(|one| **one == class).count();
        assert_eq!((count(Priority::High), count(Priority::Normal), count(Priority::Low)), (48, 12, 3));
        assert_eq!(order.first(), Some(&Priority::High));
    }

    #[test]
    fn a_class_that_had_nobody_waiting_has_saved_nothing_up() {
        let turnstile = Turnstile::new(1, 1, 1000);
        let mut place = turnstile.try_enter(0);
        for _ in 0..500 {
            let mut turn = turnstile.wait(1, Priority::High).expect("room");
            drop(place.take());
            place = Some(served(&mut turn).expect("served").expect("a place"));
        }
        let mut low: Vec<Turn> = (0..3).map(|_| turnstile.wait(1, Priority::Low).expect("room")).collect();
        let mut high = turnstile.wait(1, Priority::High).expect("room");
        drop(place.take());
        let first = served(&mut high).or_else(|| served(&mut low[0]));
        assert!(first.is_some());
        drop(first);
        assert!(served(&mut high).is_some() || served(&mut low[0]).is_some(), "at most one low goes before");
    }

    #[test]
    fn one_who_is_more_urgent_takes_the_turn_of_the_last_of_the_lowest() {
        let turnstile = Turnstile::new(1, 1, 2);
        let _place = turnstile.try_enter(0).expect("free");
        let mut first = turnstile.wait(1, Priority::Low).expect("room");
        let mut last = turnstile.wait(1, Priority::Low).expect("room");
        assert_eq!(turnstile.wait(1, Priority::Low).err(), Some(Full));
        let mut urgent = turnstile.wait(1, Priority::High).expect("room is made");
        assert!(served(&mut last).expect("told").is_err());
        assert!(served(&mut first).is_none() && served(&mut urgent).is_none());
        assert_eq!(turnstile.waiting(), 2);
    }

    #[test]
    fn one_who_leaves_gives_up_the_turn_and_the_place_kept_for_it() {
        let turnstile = Turnstile::new(1, 1, 5);
        let place = turnstile.try_enter(0).expect("free");
        let gone = turnstile.wait(1, Priority::High).expect("room");
        let mut next = turnstile.wait(1, Priority::Normal).expect("room");
        drop(place);
        drop(gone);
        assert!(served(&mut next).expect("its turn").is_ok());
        drop(next);
        assert_eq!((turnstile.in_flight(), turnstile.waiting()), (0, 0));
    }

    #[test]
    fn lanes_never_carry_more_than_their_places_whatever_threads_do() {
        let turnstile = Turnstile::new(2, 2, 100);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let mut turn = turnstile.wait(0b11, Priority::Normal).expect("room");
                        let place = loop {
                            if let Some(outcome) = served(&mut turn) {
                                break outcome.expect("a place");
                            }
                            std::thread::yield_now();
                        };
                        assert!(turnstile.in_flight() <= 4);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!((turnstile.in_flight(), turnstile.waiting()), (0, 0));
    }
}
