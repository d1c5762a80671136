//! Circuit breaker, with the names and meanings of resilience4j.
//!
//! Closed, it counts results over a sliding window and opens when the share of failed or slow calls reaches its
//! threshold. Open, it refuses for a while; half open, it lets a few trial calls decide. A permit is a guard: one that
//! is dropped without a result gives its place back, so a caller that leaves cannot hang the breaker in half-open.
//! Its own refusals are not results.

pub(crate) mod window;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use self::window::Window;
use crate::Outcome;

/// Settings of a breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerSettings {
    /// Share of failed calls, in percent, that opens it (at or above).
    pub failure_rate_threshold: f64,
    /// Share of slow calls, in percent, that opens it (at or above).
    pub slow_call_rate_threshold: f64,
    /// A call that takes longer is slow.
    pub slow_call_duration_threshold: Duration,
    /// Over how long shares are taken.
    pub sliding_window: Duration,
    /// Calls in the window before shares count.
    pub minimum_number_of_calls: u32,
    /// How long it stays open.
    pub wait_duration_in_open_state: Duration,
    /// Trial calls that decide whether it closes.
    pub permitted_number_of_calls_in_half_open_state: u32,
    /// How long it may stay half open before it opens again.
    pub max_wait_duration_in_half_open_state: Duration,
}

/// What a breaker does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Calls pass and are counted.
    Closed = 0,
    /// Calls are refused.
    Open = 1,
    /// A few trial calls pass.
    HalfOpen = 2,
    /// An operator had it refuse calls.
    ForcedOpen = 3,
    /// An operator had it let everything pass.
    Disabled = 4,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// When another attempt makes sense.
    pub retry_after: Duration,
    /// The state that refused.
    pub state: State,
}

/// Figures of a breaker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Calls in the window.
    pub calls: u32,
    /// Share of failed calls in the window, in percent.
    pub failure_rate: f64,
    /// Share of slow calls in the window, in percent.
    pub slow_rate: f64,
    /// Calls refused since the start.
    pub not_permitted: u64,
}

/// A circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// The state, for a look without the lock.
    state: AtomicU8,
    not_permitted: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// Counts changes of state; a result of an earlier one is not counted.
    generation: u64,
    since: Instant,
    window: Window,
    /// Trial calls that are out.
    trials: u32,
}

/// Leave to make a call.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts nothing"]
pub struct Permit {
    breaker: Arc<Breaker>,
    generation: u64,
    is_trial: bool,
    is_open: bool,
}

impl State {
    /// Its name in status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Open => "OPEN",
            Self::HalfOpen => "HALF_OPEN",
            Self::ForcedOpen => "FORCED_OPEN",
            Self::Disabled => "DISABLED",
        }
    }

    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Closed,
            1 => Self::Open,
            2 => Self::HalfOpen,
            3 => Self::ForcedOpen,
            _ => Self::Disabled,
        }
    }
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings, now: Instant) -> Arc<Self> {
        let inner = Inner {
            state: State::Closed,
            generation: 0,
            since: now,
            window: Window::new(settings.sliding_window, now),
            trials: 0,
        };
        Arc::new(Self {
            settings,
            state: AtomicU8::new(State::Closed as u8),
            not_permitted: AtomicU64::new(0),
            inner: Mutex::new(inner),
        })
    }

    /// Asks to make a call.
    pub fn try_acquire(self: &Arc<Self>, now: Instant) -> Result<Permit, Rejected> {
        let permit =
            |generation, is_trial| Permit { breaker: self.clone(), generation, is_trial, is_open: true };
        let mut inner = self.lock();
        self.follow_clock(&mut inner, now);
        let refused = match inner.state {
            State::Closed | State::Disabled => return Ok(permit(inner.generation, false)),
            State::HalfOpen => {
                let decided = inner.window.totals(now).calls;
                if inner.trials + decided < self.settings.permitted_number_of_calls_in_half_open_state {
                    inner.trials += 1;
                    return Ok(permit(inner.generation, true));
                }
                Duration::from_secs(1)
            }
            State::Open => {
                let passed = now.saturating_duration_since(inner.since);
                self.settings.wait_duration_in_open_state.saturating_sub(passed)
            }
            State::ForcedOpen => self.settings.wait_duration_in_open_state,
        };
        self.not_permitted.fetch_add(1, Ordering::Relaxed);
        Err(Rejected { retry_after: refused, state: inner.state })
    }

    /// The state.
    pub fn state(&self, now: Instant) -> State {
        match State::from_bits(self.state.load(Ordering::Relaxed)) {
            State::Open | State::HalfOpen => {
                let mut inner = self.lock();
                self.follow_clock(&mut inner, now);
                inner.state
            }
            state => state,
        }
    }

    /// The figures.
    pub fn status(&self, now: Instant) -> Status {
        let mut inner = self.lock();
        self.follow_clock(&mut inner, now);
        let totals = inner.window.totals(now);
        Status {
            state: inner.state,
            calls: totals.calls,
            failure_rate: totals.failure_rate(),
            slow_rate: totals.slow_rate(),
            not_permitted: self.not_permitted.load(Ordering::Relaxed),
        }
    }

    /// Puts it into a state by hand. `ForcedOpen` and `Disabled` stay until the next such call.
    pub fn force(&self, state: State, now: Instant) -> Option<Transition> {
        let mut inner = self.lock();
        (inner.state != state).then(|| self.change(&mut inner, state, now))
    }

    /// Closes it and forgets every result.
    pub fn reset(&self, now: Instant) {
        let mut inner = self.lock();
        self.change(&mut inner, State::Closed, now);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes that time alone brings.
    fn follow_clock(&self, inner: &mut Inner, now: Instant) {
        let passed = now.saturating_duration_since(inner.since);
        match inner.state {
            State::Open if passed >= self.settings.wait_duration_in_open_state => {
                self.change(inner, State::HalfOpen, now);
            }
            State::HalfOpen if passed >= self.settings.max_wait_duration_in_half_open_state => {
                self.change(inner, State::Open, now);
            }
            _ => {}
        }
    }

    fn change(&self, inner: &mut Inner, to: State, now: Instant) -> Transition {
        let transition = Transition { from: inner.state, to };
        inner.state = to;
        inner.generation += 1;
        inner.since = now;
        inner.trials = 0;
        inner.window = match to {
            // Trial results count however far apart they are.
            State::HalfOpen => Window::new(self.settings.max_wait_duration_in_half_open_state * 2, now),
            _ => Window::new(self.settings.sliding_window, now),
        };
        self.state.store(to as u8, Ordering::Relaxed);
        transition
    }

    fn on_result(
        &self,
        generation: u64,
        now: Instant,
        took: Duration,
        outcome: Outcome,
    ) -> Option<Transition> {
        let mut inner = self.lock();
        if inner.generation != generation {
            return None;
        }
        if inner.state == State::HalfOpen {
            inner.trials = inner.trials.saturating_sub(1);
        }
        if outcome == Outcome::Ignored {
            return None;
        }
        let is_slow = took > self.settings.slow_call_duration_threshold;
        inner.window.add(now, outcome == Outcome::Failure, is_slow);
        let needed = match inner.state {
            State::Closed => self.settings.minimum_number_of_calls,
            State::HalfOpen => self.settings.permitted_number_of_calls_in_half_open_state,
            State::Open | State::ForcedOpen | State::Disabled => return None,
        };
        let totals = inner.window.totals(now);
        if totals.calls < needed {
            return None;
        }
        let is_bad = totals.failure_rate() >= self.settings.failure_rate_threshold
            || totals.slow_rate() >= self.settings.slow_call_rate_threshold;
        match (inner.state, is_bad) {
            (_, true) => Some(self.change(&mut inner, State::Open, now)),
            (State::HalfOpen, false) => Some(self.change(&mut inner, State::Closed, now)),
            _ => None,
        }
    }
}

impl Permit {
    /// Says how the call ended.
    pub fn record(mut self, now: Instant, took: Duration, outcome: Outcome) -> Option<Transition> {
        self.is_open = false;
        self.breaker.on_result(self.generation, now, took, outcome)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_open && self.is_trial {
            let mut inner = self.breaker.lock();
            if inner.generation == self.generation {
                inner.trials = inner.trials.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
