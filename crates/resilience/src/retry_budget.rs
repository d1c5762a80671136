//! Retry budget: keeps retries a bounded share of live traffic.
//!
//! Each first try deposits `percent / 100` of a token, which is forgotten when the window has passed; each retry
//! withdraws one; and `min_per_second` may be withdrawn whatever the traffic. An empty budget refuses the retry; it
//! never delays it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Parts of the window, each forgotten as a whole.
const SLICES: usize = 10;
/// One token.
const TOKEN: i32 = 10_000;

/// Keeps retries a bounded share of live traffic.
#[derive(Debug)]
pub struct RetryBudget {
    born: Instant,
    slice: Duration,
    deposit: i32,
    /// What may be withdrawn in a window without any deposit.
    floor: i64,
    slices: [Slice; SLICES],
}

/// What came in and went out in one part of the window: the part of time that it stands for, and the balance, in one
/// word, so that whoever finds an old part and whoever counts in the new one lose nothing of each other.
#[derive(Debug, Default)]
struct Slice(AtomicU64);

fn pack(number: u32, balance: i32) -> u64 {
    u64::from(number) << 32 | u64::from(balance.cast_unsigned())
}

fn unpack(word: u64) -> (u32, i32) {
    ((word >> 32) as u32, (word as u32).cast_signed())
}

impl RetryBudget {
    /// A budget of `percent` of first tries over `window`, and `min_per_second` in any case.
    pub fn new(percent: f64, window: Duration, min_per_second: f64, now: Instant) -> Self {
        let window = window.max(Duration::from_millis(10));
        Self {
            born: now,
            slice: window / SLICES as u32,
            deposit: (percent.clamp(0.0, 1000.0) / 100.0 * f64::from(TOKEN)) as i32,
            floor: (min_per_second.max(0.0) * window.as_secs_f64() * f64::from(TOKEN)) as i64,
            slices: std::array::from_fn(|_| Slice::default()),
        }
    }

    /// Counts a first try.
    pub fn deposit(&self, now: Instant) {
        self.add(now, self.deposit);
    }

    /// Takes a token for a retry, if there is one.
    pub fn try_withdraw(&self, now: Instant) -> bool {
        if self.saved(now) < i64::from(TOKEN) {
            return false;
        }
        self.add(now, -TOKEN);
        true
    }

    /// Retries that would be allowed now.
    pub fn balance(&self, now: Instant) -> f64 {
        self.saved(now).max(0) as f64 / f64::from(TOKEN)
    }

    fn saved(&self, now: Instant) -> i64 {
        let number = self.number(now);
        let live = self.slices.iter().map(|slice| unpack(slice.0.load(Ordering::Relaxed)));
        let live = live.filter(|(of, _)| number.wrapping_sub(*of) < SLICES as u32);
        live.map(|(_, balance)| i64::from(balance)).sum::<i64>() + self.floor
    }

    fn number(&self, now: Instant) -> u32 {
        // Starts beyond the window, so that no slice of number zero is live at first.
        let passed = now.saturating_duration_since(self.born).as_nanos() / self.slice.as_nanos();
        (passed as u32).wrapping_add(SLICES as u32)
    }

    fn add(&self, now: Instant, amount: i32) {
        let number = self.number(now);
        let slice = &self.slices[number as usize % SLICES];
        let mut before = slice.0.load(Ordering::Relaxed);
        loop {
            let (of, balance) = unpack(before);
            let after = if of == number { balance.saturating_add(amount) } else { amount };
            match slice.0.compare_exchange_weak(
                before,
                pack(number, after),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: f64, floor: f64) -> (RetryBudget, Instant) {
        let now = Instant::now();
        (RetryBudget::new(percent, Duration::from_secs(10), floor, now), now)
    }

    #[test]
    fn a_fifth_of_live_requests_may_be_tried_again() {
        let (budget, now) = budget(20.0, 0.0);
        (0..100).for_each(|_| budget.deposit(now));
        let granted = (0..100).filter(|_| budget.try_withdraw(now)).count();
        assert_eq!(granted, 20);
    }

    #[test]
    fn the_floor_is_there_without_traffic_and_comes_back() {
        let (budget, now) = budget(20.0, 10.0);
        let granted = (0..1000).filter(|_| budget.try_withdraw(now)).count();
        assert_eq!(granted, 100, "ten per second over ten seconds");
        assert!(!budget.try_withdraw(now + Duration::from_secs(5)));
        assert!(budget.try_withdraw(now + Duration::from_secs(10)));
    }

    #[test]
    fn deposits_are_forgotten_when_the_window_has_passed() {
        let (budget, now) = budget(100.0, 0.0);
        (0..50).for_each(|_| budget.deposit(now));
        assert_eq!(budget.balance(now + Duration::from_secs(9)), 50.0);
        assert_eq!(budget.balance(now + Duration::from_secs(10)), 0.0);
        assert!(!budget.try_withdraw(now + Duration::from_secs(30)));
    }

    #[test]
    fn a_new_part_of_time_loses_no_deposit_of_anyone() {
        let (budget, start) = budget(100.0, 0.0);
        for round in 1..200u32 {
            // Each round finds an old slice, all threads at once.
            let now = start + Duration::from_secs(10) * round;
            let gate = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        gate.wait();
                        (0..5).for_each(|_| budget.deposit(now));
                    });
                }
            });
            assert_eq!(budget.balance(now), 20.0, "round {round}");
        }
    }

    proptest::proptest! {
        #[test]
        fn retries_never_exceed_share_plus_floor(steps in proptest::collection::vec((0u64..200, proptest::bool::ANY), 1..400)) {
            let (budget, start) = budget(20.0, 1.0);
            let mut now = start;
            let (mut firsts, mut retries) = (0u32, 0u32);
            for (pause, retries_too) in steps {
                now += Duration::from_millis(pause);
                budget.deposit(now);
                firsts += 1;
                if retries_too && budget.try_withdraw(now) {
                    retries += 1;
                }
            }
            let windows = (now - start).as_secs_f64() / 10.0 + 1.0;
            proptest::prop_assert!(f64::from(retries) <= f64::from(firsts) * 0.2 + 10.0 * windows + 1.0);
        }

        #[test]
        fn no_window_sees_more_retries_than_its_share_of_live_traffic_and_the_floor(
            steps in proptest::collection::vec((0u64..1500, 0u32..8, 0u32..8), 1..200),
            percent in 0u32..=100,
            floor in 0u32..4,
        ) {
            let start = Instant::now();
            let budget =
                RetryBudget::new(f64::from(percent), Duration::from_secs(10), f64::from(floor), start);
            let (mut firsts, mut retries, mut now) = (Vec::new(), Vec::new(), start);
            for (pause, tries, wanted) in steps {
                now += Duration::from_millis(pause);
                for _ in 0..tries {
                    budget.deposit(now);
                    firsts.push(now);
                }
                for _ in 0..wanted {
                    let had = budget.balance(now);
                    let granted = budget.try_withdraw(now);
                    proptest::prop_assert_eq!(granted, had >= 1.0);
                    if !granted {
                        break;
                    }
                    retries.push(now);
                    // Slices are forgotten as a whole: what is younger than nine seconds counts for sure, what is
                    // older than ten does not.
                    let since = |log: &[Instant], seconds| {
                        log.iter().filter(|at| now - **at < Duration::from_secs(seconds)).count() as f64
                    };
                    let most = since(&firsts, 10) * f64::from(percent) / 100.0 + f64::from(floor) * 10.0;
                    proptest::prop_assert!(since(&retries, 9) <= most + 1e-6, "{} of {most}", retries.len());
                }
            }
        }
    }
}
