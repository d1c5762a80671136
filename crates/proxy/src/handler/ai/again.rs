//! Whether a model's targets are asked again when none has answered, and after which pause.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use model::resource::ai::ModelRetry as Settings;
use resilience::{Backoff, RetryBudget};

use super::refusals::Hope;
use crate::compiled::Building;

/// The least pause: what says that it takes calls again at once is not asked in a circle.
const PAUSE_LEAST: Duration = Duration::from_millis(10);

/// How often a model's targets are asked.
pub(super) struct Retry {
    attempts: u32,
    backoff: Backoff,
    wait_most: Duration,
    /// Kept over reloads, so that a reload gives nobody more.
    budget: Arc<RetryBudget>,
}

impl Retry {
    pub(super) fn compile(settings: &Settings, model: &str, cx: &Building<'_>) -> Self {
        let Settings { max_attempts, backoff, max_wait, budget } = settings;
        Self {
            attempts: *max_attempts,
            backoff: Backoff {
                initial: backoff.initial.get(),
                multiplier: backoff.multiplier,
                max: backoff.max.get(),
            },
            wait_most: max_wait.get(),
            budget: cx.keep(&format!("ai/retry/{model}"), budget, || {
                let (percent, least) = (budget.percent.get(), f64::from(budget.min_per_second));
                RetryBudget::new(percent, budget.window.get(), least, Instant::now())
            }),
        }
    }

    /// What a call has of it.
    pub(super) fn begin(&self) -> Rounds<'_> {
        self.budget.deposit(Instant::now());
        Rounds { retry: self, asked: 1, waited: Duration::ZERO }
    }
}

/// How often one call's targets were asked.
pub(super) struct Rounds<'r> {
    retry: &'r Retry,
    /// Rounds in which something was sent.
    asked: u32,
    waited: Duration,
}

impl Rounds<'_> {
    /// Whether they may be asked once more after this round.
    pub(super) fn are_left(&self) -> bool {
        self.asked < self.retry.attempts && self.waited < self.retry.wait_most
    }

    /// The pause before the next round, if there is one. `sent` is whether anything was sent to a target: a round in which
    /// all were away is none. `drawn` is from 0 to 1.
    pub(super) fn next(&mut self, hope: Hope, sent: bool, drawn: f64) -> Option<Duration> {
        let left = self.retry.wait_most.checked_sub(self.waited)?;
        let pause = self.pause(hope, left, drawn);
        if !self.are_left() || pause > left || !self.retry.budget.try_withdraw(Instant::now()) {
            return None;
        }
        self.asked += u32::from(sent);
        self.waited += pause;
        Some(pause)
    }

    /// As long as the soonest target says, and somewhat longer, so that not all who were told so come at once; without a
    /// word of one, the backoff.
    fn pause(&self, hope: Hope, left: Duration, drawn: f64) -> Duration {
        let backoff = self.retry.backoff.delay(self.asked, drawn).max(PAUSE_LEAST);
        let told = hope.told.map(|told| {
            // What nobody waits for may be any number that a header can have.
            if told > left {
                return told.max(backoff);
            }
            (told + told.mul_f64(drawn.clamp(0.0, 1.0) / 10.0)).max(backoff).min(left)
        });
        match told {
            Some(told) if hope.untold => told.min(backoff),
            Some(told) => told,
            None => backoff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(attempts: u32, wait_most: u64) -> Retry {
        Retry {
            attempts,
            backoff: Backoff {
                initial: Duration::from_millis(100),
                multiplier: 2.0,
                max: Duration::from_secs(1),
            },
            wait_most: Duration::from_millis(wait_most),
            budget: Arc::new(RetryBudget::new(0.0, Duration::from_secs(1), 2.0, Instant::now())),
        }
    }

    const UNTOLD: Hope = Hope { told: None, untold: true };

    fn told(millis: u64) -> Hope {
        Hope { told: Some(Duration::from_millis(millis)), untold: false }
    }

    #[test]
    fn rounds_end_with_their_number_their_time_and_their_budget() {
        let of = retry(3, 10_000);
        let mut rounds = of.begin();
        assert_eq!(rounds.next(UNTOLD, true, 1.0), Some(Duration::from_millis(100)));
        assert_eq!(rounds.next(UNTOLD, true, 1.0), Some(Duration::from_millis(200)), "it grows");
        assert_eq!(rounds.next(UNTOLD, true, 1.0), None, "three were asked for");
        let mut other = of.begin();
        assert_eq!(other.next(UNTOLD, true, 1.0), None, "the budget is that of all calls");

        let of = retry(10, 150);
        let mut rounds = of.begin();
        assert_eq!(rounds.next(told(60_000), true, 0.0), None, "that takes too long");
        let ever = Hope { told: Some(Duration::MAX), untold: false };
        assert_eq!(rounds.next(ever, true, 1.0), None, "however long that is");
        assert_eq!(rounds.next(told(100), true, 0.0), Some(Duration::from_millis(100)));
        assert_eq!(rounds.next(told(60), true, 0.0), None, "50 ms are left");
        assert_eq!(rounds.next(told(0), true, 0.0), Some(PAUSE_LEAST), "nobody is asked in a circle");
    }

    #[test]
    fn who_says_when_is_waited_for_and_not_by_all_at_once_and_who_does_not_is_asked_after_the_backoff() {
        let of = retry(10, 10_000);
        let rounds = of.begin();
        let pause = |hope, drawn| rounds.pause(hope, Duration::from_secs(10), drawn).as_millis();
        assert_eq!((pause(told(1000), 0.0), pause(told(1000), 1.0)), (1000, 1100));
        assert_eq!(pause(told(10_000), 1.0), 10_000, "what may just be waited for is");
        let both = Hope { told: Some(Duration::from_secs(9)), untold: true };
        assert_eq!(
            pause(both, 1.0),
            100,
            "a key that is set aside for long keeps nobody from the other target"
        );
    }

    #[test]
    fn a_round_in_which_nothing_was_sent_is_none() {
        let of = retry(2, 1000);
        let mut rounds = of.begin();
        assert!(rounds.next(told(20), false, 0.0).is_some());
        assert!(rounds.next(told(20), true, 0.0).is_some());
        assert!(!rounds.are_left());
    }
}
