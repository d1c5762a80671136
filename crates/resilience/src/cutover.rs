//! Cutover: a new service takes the place of an old one, and gives it back when it fails.
//!
//! It counts the new one's calls over a window. When the share of those that failed, or were slow, reaches its threshold,
//! everybody returns to the old one for a while. Then the new one gets a growing part of its share again, or all of it at
//! once. Results of calls that began before the last change say nothing new. An operator may force either side.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::breaker::window::Window;

/// The part of its share that a new service begins with when it comes back by and by.
const FIRST: f64 = 0.05;
/// All of a share, as the fast look has it.
const WHOLE: u64 = 1 << 32;

/// When to give a place back, and how to try again.
#[derive(Debug, Clone, PartialEq)]
pub struct CutoverSettings {
    /// Share of failed calls, in percent, that ends it (at or above).
    pub failure_rate: f64,
    /// Share of slow calls, in percent, that ends it (at or above).
    pub slow_rate: f64,
    /// A call that takes longer is slow.
    pub slow: Duration,
    /// Over how long shares are taken.
    pub window: Duration,
    /// Calls in the window before shares count.
    pub minimum_calls: u32,
    /// How long everybody stays with the old one.
    pub wait: Duration,
    /// How long it takes then until the new one has its whole share; nothing: at once.
    pub ramp: Duration,
}

/// Who has the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The new one has its share.
    Moving,
    /// The new one failed, and the old one has everything.
    Returned,
    /// The new one has a growing part of its share.
    Resuming,
}

impl Side {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moving => "MOVING",
            Self::Returned => "RETURNED",
            Self::Resuming => "RESUMING",
        }
    }
}

/// A change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Returned {
    /// Failed calls in the window, in percent.
    pub failure_rate: f64,
    /// Slow calls in the window, in percent.
    pub slow_rate: f64,
}

/// The state of a cutover.
#[derive(Debug)]
pub struct Cutover {
    settings: CutoverSettings,
    /// The part of the share that holds at the moment, for a look without the lock; `u64::MAX` while it changes with time.
    part: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    side: Side,
    since: Instant,
    window: Window,
}

/// What it is like at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CutoverStatus {
    /// Who has the place.
    pub side: Side,
    /// The part of its share that the new one gets, from 0 to 1.
    pub part: f64,
    /// Calls in the window.
    pub calls: u32,
    /// Failed calls in the window, in percent.
    pub failure_rate: f64,
    /// Slow calls in the window, in percent.
    pub slow_rate: f64,
}

impl Cutover {
    /// The new one has its share.
    pub fn new(settings: CutoverSettings, now: Instant) -> Self {
        let inner = Inner { side: Side::Moving, since: now, window: Window::new(settings.window, now) };
        Self { settings, part: AtomicU64::new(WHOLE), inner: Mutex::new(inner) }
    }

    /// The part of its share that the new one gets now, from 0 to 1.
    pub fn part(&self, now: Instant) -> f64 {
        match self.part.load(Ordering::Relaxed) {
            u64::MAX => self.settle(&mut self.lock(), now),
            part => part as f64 / WHOLE as f64,
        }
    }

    /// Takes note of how a call of the new one ended that began at `began`.
    pub fn on_result(&self, began: Instant, now: Instant, is_failure: bool) -> Option<Returned> {
        let took = now.saturating_duration_since(began);
        let mut inner = self.lock();
        self.settle(&mut inner, now);
        if inner.side == Side::Returned || began < inner.since {
            return None;
        }
        inner.window.add(now, is_failure, took > self.settings.slow);
        let totals = inner.window.totals(now);
        let (failure_rate, slow_rate) = (totals.failure_rate(), totals.slow_rate());
        let is_bad = failure_rate >= self.settings.failure_rate || slow_rate >= self.settings.slow_rate;
        if totals.calls < self.settings.minimum_calls || !is_bad {
            return None;
        }
        self.change(&mut inner, Side::Returned, now);
        Some(Returned { failure_rate, slow_rate })
    }

    /// Takes note of a call of the new one whose caller has left without an answer: it is slow when that took as long, and
    /// says nothing when it did not.
    pub fn on_left(&self, began: Instant, now: Instant) -> Option<Returned> {
        let is_slow = now.saturating_duration_since(began) > self.settings.slow;
        if is_slow { self.on_result(began, now, false) } else { None }
    }

    /// Forgets what has been, and gives the new one its share.
    pub fn reset(&self, now: Instant) {
        self.change(&mut self.lock(), Side::Moving, now);
    }

    /// What it is like now.
    pub fn status(&self, now: Instant) -> CutoverStatus {
        let mut inner = self.lock();
        let part = self.settle(&mut inner, now);
        let totals = inner.window.totals(now);
        CutoverStatus {
            side: inner.side,
            part,
            calls: totals.calls,
            failure_rate: totals.failure_rate(),
            slow_rate: totals.slow_rate(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on to where time has led; the part that holds now.
    fn settle(&self, inner: &mut Inner, now: Instant) -> f64 {
        if inner.side == Side::Returned && now.saturating_duration_since(inner.since) >= self.settings.wait {
            let next = if self.settings.ramp.is_zero() { Side::Moving } else { Side::Resuming };
            self.change(inner, next, now);
        }
        if inner.side != Side::Resuming {
            return if inner.side == Side::Moving { 1.0 } else { 0.0 };
        }
        let gone = now.saturating_duration_since(inner.since).as_secs_f64();
        let part = FIRST + (1.0 - FIRST) * gone / self.settings.ramp.as_secs_f64();
        if part >= 1.0 {
            // What was counted on the way is as good as before.
            inner.side = Side::Moving;
            self.part.store(WHOLE, Ordering::Relaxed);
        }
        part.min(1.0)
    }

    fn change(&self, inner: &mut Inner, side: Side, now: Instant) {
        inner.side = side;
        inner.since = now;
        inner.window = Window::new(self.settings.window, now);
        self.part.store(if side == Side::Moving { WHOLE } else { u64::MAX }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CutoverSettings {
        CutoverSettings {
            failure_rate: 50.0,
            slow_rate: 100.0,
            slow: Duration::from_secs(1),
            window: Duration::from_secs(10),
            minimum_calls: 4,
            wait: Duration::from_secs(30),
            ramp: Duration::from_secs(100),
        }
    }

    struct Play {
        cutover: Cutover,
        now: Instant,
    }

    impl Play {
        fn new(settings: CutoverSettings) -> Self {
            let now = Instant::now();
            Self { cutover: Cutover::new(settings, now), now }
        }

        fn after(&mut self, seconds: f64) -> f64 {
            self.now += Duration::from_secs_f64(seconds);
            self.cutover.part(self.now)
        }

        fn calls(&self, results: &[bool]) -> Option<Returned> {
            results.iter().find_map(|is_failure| self.cutover.on_result(self.now, self.now, *is_failure))
        }
    }

    #[test]
    fn everybody_returns_when_enough_of_enough_calls_fail() {
        let play = Play::new(settings());
        assert!(play.calls(&[true, true, true]).is_none(), "three are too few");
        assert_eq!(play.cutover.part(play.now), 1.0);
        assert!(play.calls(&[true]).is_some());
        assert_eq!(play.cutover.part(play.now), 0.0);
        let other = Play::new(settings());
        assert!(other.calls(&[false, true, false, false, true, false]).is_none());
    }

    #[test]
    fn slow_calls_count_as_well() {
        let play = Play::new(CutoverSettings { slow_rate: 75.0, ..settings() });
        let slow = play.now + Duration::from_millis(1001);
        let results = [slow, slow, slow, play.now].map(|end| play.cutover.on_result(play.now, end, false));
        assert!(
            results.iter().any(Option::is_some) || play.cutover.on_result(play.now, slow, false).is_some()
        );
    }

    #[test]
    fn results_are_forgotten_with_their_window() {
        let mut play = Play::new(settings());
        play.calls(&[true, true, true]);
        play.after(11.0);
        assert!(play.calls(&[true]).is_none());
    }

    #[test]
    fn the_share_comes_back_by_and_by_and_goes_again_at_once() {
        let mut play = Play::new(settings());
        play.calls(&[true; 4]);
        assert_eq!(play.after(29.0), 0.0);
        let first = play.after(1.0);
        assert!((0.05..0.06).contains(&first), "{first}");
        let half = play.after(50.0);
        assert!((0.5..0.55).contains(&half), "{half}");
        assert_eq!(play.cutover.status(play.now).side, Side::Resuming);
        assert!(play.calls(&[true; 4]).is_some());
        assert_eq!(play.cutover.part(play.now), 0.0);
        play.after(30.0);
        assert_eq!(play.after(100.0), 1.0);
        assert_eq!(play.cutover.status(play.now).side, Side::Moving);
    }

    #[test]
    fn without_a_ramp_all_of_it_comes_back_at_once() {
        let mut play = Play::new(CutoverSettings { ramp: Duration::ZERO, ..settings() });
        play.calls(&[true; 4]);
        assert_eq!(play.after(30.0), 1.0);
        assert!(play.calls(&[true; 3]).is_none(), "what was before is forgotten");
    }

    #[test]
    fn results_of_calls_from_before_a_change_say_nothing() {
        let mut play = Play::new(CutoverSettings { ramp: Duration::ZERO, ..settings() });
        let before = play.now;
        play.after(1.0);
        play.calls(&[true; 4]);
        play.after(30.0);
        for _ in 0..10 {
            assert!(play.cutover.on_result(before, play.now, true).is_none());
        }
        assert_eq!(play.cutover.status(play.now).calls, 0);
    }

    proptest::proptest! {
        /// Whatever comes, the part is a part, and grows while nothing fails.
        #[test]
        fn the_part_never_falls_without_a_failure(
            steps in proptest::collection::vec((proptest::bool::ANY, 0.0_f64..20.0), 1..100),
        ) {
            let mut play = Play::new(settings());
            let mut before = 1.0;
            for (is_failure, seconds) in steps {
                let part = play.after(seconds);
                proptest::prop_assert!((0.0..=1.0).contains(&part) && part >= before, "{before} {part}");
                before = match play.calls(&[is_failure]) {
                    Some(_) => play.cutover.part(play.now),
                    None => part,
                };
            }
        }
    }
}
