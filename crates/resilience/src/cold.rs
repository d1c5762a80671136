//! Cold: calls are held while what they are for is on its way up, and let go in order when it is there.
//!
//! Open, it holds nobody. Whoever finds the service cold begins the line, and everybody who comes then stands in it. From time to
//! time ([`Cold::tick`]) the first is let go to try. When it finds the service cold, too, it stands at its old place again; when it
//! finds it there, two more are let go for it, and so for each of them, so that a service that has just started gets what waits at
//! a growing pace and in order. Whoever comes meanwhile stands behind. When nobody waits it is open again.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// Calls that are let go for each one that found the service there.
const MORE: usize = 2;

/// What is happening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nobody is held.
    Open,
    /// The service is not there, as far as anyone knows.
    Cold,
    /// It is there, and those who wait are let go.
    Draining,
}

impl Phase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Cold => "COLD",
            Self::Draining => "DRAINING",
        }
    }
}

/// Holds calls.
#[derive(Debug)]
pub struct Cold {
    /// Calls that may wait.
    most: usize,
    is_open: AtomicBool,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    phase: Phase,
    /// How often it has begun.
    generation: u64,
    /// In the order in which they came first.
    seats: VecDeque<Arc<Seat>>,
    /// How often it has gone cold.
    epoch: u64,
    /// Calls that were let go since, and have not said yet what they found.
    out: usize,
    next_ticket: u64,
}

#[derive(Debug)]
struct Seat {
    ticket: u64,
    wait: Mutex<Wait>,
}

#[derive(Debug, Default)]
struct Wait {
    /// In this epoch.
    let_go: Option<u64>,
    waker: Option<Waker>,
}

/// A turn in the line: a future of leave to try, which leaves the line when dropped.
#[derive(Debug)]
#[must_use = "a turn that is dropped leaves the line"]
pub struct Turn {
    of: Arc<Cold>,
    seat: Arc<Seat>,
}

/// Leave to try. Whoever has it says what it found; one that is dropped has found out nothing.
#[derive(Debug)]
#[must_use = "the others wait for what it finds"]
pub struct Pass {
    of: Arc<Cold>,
    ticket: u64,
    epoch: u64,
    is_told: bool,
}

/// No more may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Line {
    fn let_go(&mut self, count: usize) {
        for _ in 0..count {
            let Some(seat) = self.seats.pop_front() else { return };
            self.out += 1;
            let mut wait = lock(&seat.wait);
            wait.let_go = Some(self.epoch);
            if let Some(waker) = wait.waker.take() {
                waker.wake();
            }
        }
    }

    fn stand(&mut self, ticket: u64) -> Arc<Seat> {
        let seat = Arc::new(Seat { ticket, wait: Mutex::default() });
        let at = self.seats.partition_point(|other| other.ticket < ticket);
        self.seats.insert(at, seat.clone());
        seat
    }
}

impl Cold {
    /// Up to so many calls may wait.
    pub fn new(most: usize) -> Arc<Self> {
        let line = Line {
            phase: Phase::Open,
            generation: 0,
            seats: VecDeque::new(),
            epoch: 0,
            out: 0,
            next_ticket: 0,
        };
        Arc::new(Self { most, is_open: AtomicBool::new(true), line: Mutex::new(line) })
    }

    /// Whether nobody is held.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Somebody who was not held found the service cold, and stands in the line. With it the number of this beginning, where
    /// it is one: from now on somebody has to tick.
    pub fn found_cold(self: &Arc<Self>) -> Result<(Turn, Option<u64>), Full> {
        let mut line = lock(&self.line);
        let seat = self.new_seat(&mut line)?;
        let began = self.begin(&mut line);
        Ok((Turn { of: self.clone(), seat }, began))
    }

    /// Stands in the line.
    pub fn enter(self: &Arc<Self>) -> Result<Turn, Full> {
        let mut line = lock(&self.line);
        let seat = self.new_seat(&mut line)?;
        if line.phase == Phase::Open {
            line.let_go(1);
        }
        Ok(Turn { of: self.clone(), seat })
    }

    fn new_seat(&self, line: &mut Line) -> Result<Arc<Seat>, Full> {
        if line.seats.len() >= self.most {
            return Err(Full);
        }
        let ticket = line.next_ticket;
        line.next_ticket += 1;
        Ok(line.stand(ticket))
    }

    fn begin(&self, line: &mut Line) -> Option<u64> {
        if line.phase != Phase::Open {
            return None;
        }
        line.generation += 1;
        self.turn(line, Phase::Cold);
        Some(line.generation)
    }

    /// Time has passed: the first of those who wait may try, unless somebody tries already. False when this beginning is over.
    pub fn tick(&self, generation: u64) -> bool {
        let mut line = lock(&self.line);
        if line.generation != generation || line.phase == Phase::Open {
            return false;
        }
        if line.phase == Phase::Draining || line.out == 0 {
            line.let_go(1);
        }
        self.settle(&mut line);
        line.phase != Phase::Open
    }

    /// What is happening.
    pub fn phase(&self) -> Phase {
        lock(&self.line).phase
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        lock(&self.line).seats.len()
    }

    fn turn(&self, line: &mut Line, phase: Phase) {
        if phase == Phase::Cold {
            // Those who were let go before may take their time: they are not waited for.
            (line.epoch, line.out) = (line.epoch + 1, 0);
        }
        line.phase = phase;
        self.is_open.store(phase == Phase::Open, Ordering::Release);
    }

    /// Opens when nobody is left: of those who try in a service that is there, nobody needs to be waited for.
    fn settle(&self, line: &mut Line) {
        let is_over = match line.phase {
            Phase::Open => false,
            Phase::Cold => line.out == 0,
            Phase::Draining => true,
        };
        if is_over && line.seats.is_empty() {
            self.turn(line, Phase::Open);
        }
    }

    /// Somebody who was let go says whether it found the service, or nothing.
    fn told(&self, found: Option<bool>, epoch: u64, line: &mut Line) {
        if epoch == line.epoch {
            line.out = line.out.saturating_sub(1);
        }
        match (found, line.phase) {
            (Some(true), Phase::Cold | Phase::Draining) => {
                self.turn(line, Phase::Draining);
                line.let_go(MORE);
            }
            (Some(false), Phase::Draining) => self.turn(line, Phase::Cold),
            (None, Phase::Draining) => line.let_go(1),
            _ => {}
        }
    }
}

impl Pass {
    /// The service is there.
    pub fn found(mut self) {
        self.is_told = true;
        let mut line = lock(&self.of.line);
        self.of.told(Some(true), self.epoch, &mut line);
        self.of.settle(&mut line);
    }

    /// It is cold: back to the old place. With it the number of the beginning, where this is one.
    pub fn cold(mut self) -> (Turn, Option<u64>) {
        self.is_told = true;
        let mut line = lock(&self.of.line);
        self.of.told(Some(false), self.epoch, &mut line);
        let seat = line.stand(self.ticket);
        let began = self.of.begin(&mut line);
        (Turn { of: self.of.clone(), seat }, began)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_told {
            let mut line = lock(&self.of.line);
            self.of.told(None, self.epoch, &mut line);
            self.of.settle(&mut line);
        }
    }
}

impl Turn {
    fn pass(&self, epoch: u64) -> Pass {
        Pass { of: self.of.clone(), ticket: self.seat.ticket, epoch, is_told: false }
    }
}

impl Future for Turn {
    type Output = Pass;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pass> {
        let mut wait = lock(&self.seat.wait);
        if let Some(epoch) = wait.let_go.take() {
            return Poll::Ready(self.pass(epoch));
        }
        wait.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = lock(&self.of.line);
        // By its ticket: the line may be long, and everybody who was let go comes by here.
        if let Ok(at) = line.seats.binary_search_by_key(&self.seat.ticket, |seat| seat.ticket)
            && line.seats.get(at).is_some_and(|seat| Arc::ptr_eq(seat, &self.seat))
        {
            line.seats.remove(at);
        }
        self.of.settle(&mut line);
        drop(line);
        let let_go = lock(&self.seat.wait).let_go.take();
        if let Some(epoch) = let_go {
            drop(self.pass(epoch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(turn: &mut Turn) -> Option<Pass> {
        match Pin::new(turn).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(pass) => Some(pass),
            Poll::Pending => None,
        }
    }

    /// A line that has begun, and those who stand in it.
    fn held(count: usize) -> (Arc<Cold>, u64, Vec<Turn>) {
        let cold = Cold::new(100);
        let (first, generation) = cold.found_cold().expect("room");
        let mut turns = vec![first];
        turns.extend((1..count).map(|_| cold.enter().expect("room")));
        (cold, generation.expect("the first"), turns)
    }

    /// The places in the line of those who are let go.
    fn let_go(turns: &mut [Turn]) -> Vec<(usize, Pass)> {
        turns.iter_mut().enumerate().filter_map(|(at, turn)| Some((at, passed(turn)?))).collect()
    }

    #[test]
    fn one_tries_and_stands_at_its_old_place_when_it_finds_nothing() {
        let (cold, generation, mut turns) = held(3);
        assert!(let_go(&mut turns).is_empty());
        assert!(cold.tick(generation) && cold.tick(generation));
        let mut out = let_go(&mut turns);
        assert_eq!(out.len(), 1, "the second tick finds that one tries already");
        let (at, pass) = out.remove(0);
        assert_eq!(at, 0);
        let (again, began) = pass.cold();
        assert!(began.is_none());
        turns[0] = again;
        assert_eq!((cold.waiting(), cold.phase()), (3, Phase::Cold));
        cold.tick(generation);
        assert_eq!(let_go(&mut turns)[0].0, 0);
    }

    #[test]
    fn they_are_let_go_in_order_and_at_a_growing_pace() {
        let (cold, generation, mut turns) = held(20);
        cold.tick(generation);
        let mut all = Vec::new();
        let mut batches = Vec::new();
        loop {
            let out = let_go(&mut turns);
            if out.is_empty() {
                break;
            }
            batches.push(out.len());
            for (at, pass) in out {
                all.push(at);
                pass.found();
            }
        }
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert_eq!(batches, [1, 2, 4, 8, 5]);
        assert!(cold.is_open() && !cold.tick(generation));
    }

    #[test]
    fn who_comes_while_others_are_let_go_stands_behind_them() {
        let (cold, generation, mut turns) = held(4);
        cold.tick(generation);
        let_go(&mut turns).remove(0).1.found();
        assert_eq!(cold.phase(), Phase::Draining);
        turns.push(cold.enter().expect("room"));
        let out = let_go(&mut turns);
        assert_eq!(out.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_service_that_goes_again_has_them_wait_again_in_order() {
        let (cold, generation, mut turns) = held(6);
        cold.tick(generation);
        let_go(&mut turns).remove(0).1.found();
        let mut back: Vec<(usize, Turn)> =
            let_go(&mut turns).into_iter().rev().map(|(at, pass)| (at, pass.cold().0)).collect();
        assert_eq!(cold.phase(), Phase::Cold);
        for (at, turn) in back.drain(..) {
            turns[at] = turn;
        }
        cold.tick(generation);
        assert_eq!(let_go(&mut turns)[0].0, 1, "the one that has waited the longest");
    }

    #[test]
    fn one_who_leaves_while_it_tries_lets_another_try() {
        let (cold, generation, mut turns) = held(3);
        cold.tick(generation);
        drop(let_go(&mut turns));
        assert!(let_go(&mut turns).is_empty());
        assert!(cold.tick(generation));
        assert_eq!(let_go(&mut turns).len(), 1);
    }

    #[test]
    fn when_all_have_left_it_is_open_and_what_begins_then_is_another_beginning() {
        let (cold, generation, turns) = held(3);
        cold.tick(generation);
        drop(turns);
        assert!(cold.is_open());
        let (_turn, next) = cold.found_cold().expect("room");
        let next = next.expect("another");
        assert!(next != generation && !cold.tick(generation), "the old one's clock has ended");
        assert!(cold.tick(next));
    }

    #[test]
    fn those_who_take_their_time_are_not_waited_for() {
        let (cold, generation, mut turns) = held(1);
        cold.tick(generation);
        let slow = let_go(&mut turns).remove(0).1;
        let (turn, _) = slow.cold();
        turns[0] = turn;
        cold.tick(generation);
        let found = let_go(&mut turns).remove(0).1;
        let mut second = cold.enter().expect("room");
        found.found();
        let slow = passed(&mut second).expect("let go");
        assert!(cold.is_open());
        let (mut third, next) = cold.found_cold().expect("room");
        cold.tick(next.expect("cold again"));
        assert!(passed(&mut third).is_some(), "though one from before is still out");
        drop(slow);
    }

    #[test]
    fn those_who_wait_are_bounded() {
        let cold = Cold::new(2);
        let _first = cold.found_cold();
        let turns: Vec<_> = std::iter::from_fn(|| cold.enter().ok()).take(9).collect();
        assert_eq!(turns.len(), 1);
        assert_eq!(cold.found_cold().err(), Some(Full));
        assert_eq!(cold.enter().err(), Some(Full));
    }

    #[test]
    fn whoever_comes_when_it_has_just_opened_is_let_go_at_once() {
        let cold = Cold::new(2);
        let mut turn = cold.enter().expect("room");
        let pass = passed(&mut turn).expect("at once");
        let (turn, began) = pass.cold();
        assert!(began.is_some(), "it found the service cold, and so begins the line");
        drop(turn);
        assert!(cold.is_open());
    }

    #[test]
    fn a_long_line_costs_each_of_it_little() {
        const MANY: usize = 100_000;
        let cold = Cold::new(MANY);
        let (first, generation) = cold.found_cold().expect("room");
        let mut turns = vec![first];
        turns.extend((1..MANY).map(|_| cold.enter().expect("room")));
        let began = std::time::Instant::now();
        // From the middle some leave, and all others are let go.
        let leavers: Vec<Turn> = turns.drain(MANY / 4..MANY / 2).rev().collect();
        drop(leavers);
        cold.tick(generation.expect("the first"));
        for mut turn in turns {
            passed(&mut turn).expect("let go in order").found();
        }
        assert!(cold.is_open());
        assert!(began.elapsed() < std::time::Duration::from_secs(3), "{:?}", began.elapsed());
    }

    proptest::proptest! {
        /// Nobody is forgotten: with ticks, and a service that is there, all are let go in the end.
        #[test]
        fn all_are_let_go_in_the_end(steps in proptest::collection::vec((0_u8..5, 0_usize..8), 1..120)) {
            let cold = Cold::new(16);
            let mut generation = None;
            let (mut turns, mut passes): (Vec<Turn>, Vec<Pass>) = Default::default();
            for (what, which) in steps {
                match what {
                    0 => turns.extend(cold.enter().ok()),
                    1 => _ = generation.map(|generation| cold.tick(generation)),
                    2 if !passes.is_empty() => {
                        let (turn, began) = passes.swap_remove(which % passes.len()).cold();
                        generation = began.or(generation);
                        turns.push(turn);
                    }
                    3 if !passes.is_empty() => passes.swap_remove(which % passes.len()).found(),
                    4 if !turns.is_empty() => drop(turns.swap_remove(which % turns.len())),
                    _ => {
                        if let Ok((turn, began)) = cold.found_cold() {
                            generation = began.or(generation);
                            turns.push(turn);
                        }
                    }
                }
                turns.retain_mut(|turn| match passed(turn) {
                    Some(pass) => { passes.push(pass); false }
                    None => true,
                });
                proptest::prop_assert!(cold.waiting() <= 16 + passes.len() + 16);
                proptest::prop_assert_eq!(cold.waiting(), turns.len());
                proptest::prop_assert_eq!(cold.is_open(), cold.phase() == Phase::Open);
            }
            for _ in 0..200 {
                for pass in passes.drain(..) {
                    pass.found();
                }
                let _ = generation.map(|generation| cold.tick(generation));
                turns.retain_mut(|turn| match passed(turn) {
                    Some(pass) => { passes.push(pass); false }
                    None => true,
                });
            }
            proptest::prop_assert!(turns.is_empty() && cold.waiting() == 0);
        }
    }
}
