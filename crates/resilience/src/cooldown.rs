//! Cool-down: one of several that refused is set aside, longer each time, and comes back by one call that tries it.
//!
//! Unlike a [`Breaker`](crate::Breaker) it counts no rates: a single refusal is enough, for the callee says by it that
//! the next call would be refused too, and often until when.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long something is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aside {
    /// After the first refusal; doubled with each further one in a row.
    pub first: Duration,
    /// At most, whatever the callee says.
    pub max: Duration,
}

impl Aside {
    fn after(&self, refusals: u32) -> Duration {
        let factor = 2_u32.checked_pow(refusals.min(30)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

/// What may be set aside. Its lock is held for a few instructions.
#[derive(Debug, Default)]
pub struct Cooldown {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until when it is set aside; in the past while it waits for, or is in, its trial.
    until: Option<Instant>,
    /// Refusals in a row.
    refusals: u32,
    /// A call tries it at the moment.
    on_trial: bool,
}

/// Leave for one call. Dropped without a word, it says nothing of the callee.
#[derive(Debug)]
pub struct Leave {
    of: Arc<Cooldown>,
    is_trial: bool,
}

/// How something is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes calls.
    Ready,
    /// It is set aside for so long.
    Aside(Duration),
    /// The next call, or one that is under way, tries it.
    Trial,
}

/// What callers wait when another call's trial decides.
const TRIAL_WAIT: Duration = Duration::from_secs(1);

impl Cooldown {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave for one call, or how long there is none. After its time aside one call at a time gets it, until one
    /// has told how it went.
    pub fn try_acquire(self: &Arc<Self>, now: Instant) -> Result<Leave, Duration> {
        let mut state = self.state();
        let is_trial = match state.until {
            None => false,
            Some(until) if until > now => return Err(until - now),
            Some(_) if state.on_trial => return Err(TRIAL_WAIT),
            Some(_) => true,
        };
        state.on_trial |= is_trial;
        Ok(Leave { of: self.clone(), is_trial })
    }

    /// How it is at the moment.
    pub fn standing(&self, now: Instant) -> Standing {
        match self.state().until {
            None => Standing::Ready,
            Some(until) if until > now => Standing::Aside(until - now),
            Some(_) => Standing::Trial,
        }
    }

    /// Refusals in a row.
    pub fn refusals(&self) -> u32 {
        self.state().refusals
    }
}

impl Leave {
    /// The call went well as far as this is concerned. An answer to a call from before a refusal undoes it not.
    pub fn worked(self) {
        let mut state = self.of.state();
        if self.is_trial || state.until.is_none() {
            state.until = None;
            state.refusals = 0;
        }
    }

    /// The call was refused. It is set aside for as long as `told`, else for longer each time; answers how long.
    /// Refusals of calls that were under way together count as one.
    pub fn refused(self, now: Instant, aside: &Aside, told: Option<Duration>) -> Duration {
        let mut state = self.of.state();
        let known = !self.is_trial && state.until.is_some();
        let refusals = if known { state.refusals.saturating_sub(1) } else { state.refusals };
        let wait = told.map_or_else(|| aside.after(refusals), |told| told.min(aside.max));
        if !known {
            state.refusals = state.refusals.saturating_add(1);
        }
        let until = now + wait;
        state.until = Some(state.until.map_or(until, |before| before.max(until)));
        wait
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.is_trial {
            self.of.state().on_trial = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASIDE: Aside = Aside { first: Duration::from_secs(10), max: Duration::from_secs(60) };

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn one_call_tries_what_was_set_aside_and_brings_it_back() {
        let (key, start) = (Arc::new(Cooldown::default()), Instant::now());
        let leave = key.try_acquire(start).expect("ready");
        assert_eq!(leave.refused(start, &ASIDE, None), second(10));
        assert_eq!(key.try_acquire(start + second(4)).err(), Some(second(6)));
        assert_eq!(key.standing(start + second(4)), Standing::Aside(second(6)));
        let trial = key.try_acquire(start + second(10)).expect("a trial");
        assert_eq!(key.standing(start + second(10)), Standing::Trial);
        assert!(key.try_acquire(start + second(10)).is_err(), "one at a time");
        drop(trial);
        let trial = key.try_acquire(start + second(11)).expect("a trial that nobody finished is another's");
        trial.worked();
        assert_eq!(key.standing(start + second(11)), Standing::Ready);
        let (one, two) = (key.try_acquire(start + second(11)), key.try_acquire(start + second(11)));
        assert!(one.is_ok() && two.is_ok());
    }

    #[test]
    fn each_refusal_doubles_the_time_up_to_the_most() {
        let (key, mut now) = (Arc::new(Cooldown::default()), Instant::now());
        for wait in [10, 20, 40, 60, 60] {
            let leave = key.try_acquire(now).expect("its time is over");
            assert_eq!(leave.refused(now, &ASIDE, None), second(wait));
            now += second(wait);
        }
        let leave = key.try_acquire(now).expect("its time is over");
        leave.worked();
        let leave = key.try_acquire(now).expect("ready");
        assert_eq!(leave.refused(now, &ASIDE, None), second(10), "a success begins anew");
    }

    #[test]
    fn refusals_of_calls_that_were_under_way_together_count_once() {
        let (key, now) = (Arc::new(Cooldown::default()), Instant::now());
        let leaves: Vec<Leave> = (0..5).map(|_| key.try_acquire(now).expect("ready")).collect();
        let late = key.try_acquire(now).expect("ready");
        for leave in leaves {
            assert_eq!(leave.refused(now, &ASIDE, None), second(10));
        }
        assert_eq!(key.refusals(), 1);
        late.worked();
        assert_eq!(key.standing(now), Standing::Aside(second(10)), "an older call undoes nothing");
    }

    #[test]
    fn what_the_callee_tells_holds_within_bounds() {
        let (key, now) = (Arc::new(Cooldown::default()), Instant::now());
        let leave = key.try_acquire(now).expect("ready");
        assert_eq!(leave.refused(now, &ASIDE, Some(second(3))), second(3));
        let leave = key.try_acquire(now + second(3)).expect("its time is over");
        assert_eq!(leave.refused(now + second(3), &ASIDE, Some(second(3600))), second(60));
    }
}
