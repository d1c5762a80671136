//! How much of the machine's CPU this process uses, and which share of calls is refused for that.
//!
//! One task looks twice a second, for all policies. The share grows while too much is used and goes back when it is not:
//! slowly enough that it does not swing.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(500);
/// Clock ticks in a second, on every Linux.
const TICKS: f64 = 100.0;
const MORE: f64 = 0.1;
const LESS: f64 = 0.05;
const SHARE_MAX: f64 = 0.95;

/// Watches over one policy's share.
pub(super) struct Watch(Arc<Share>);

struct Share {
    /// Of all cores, how much may be used.
    most: f64,
    /// As bits.
    refused: AtomicU64,
}

impl Watch {
    pub(super) fn new(most: f64, background: &Handle) -> Self {
        let share = Arc::new(Share { most, refused: AtomicU64::new(0.0_f64.to_bits()) });
        watch(&share, background);
        Self(share)
    }

    /// The share of calls that is refused.
    pub(super) fn share(&self) -> f64 {
        f64::from_bits(self.0.refused.load(Ordering::Relaxed))
    }
}

impl Share {
    fn adjust(&self, used: f64) {
        let share = f64::from_bits(self.refused.load(Ordering::Relaxed));
        let next = if used > self.most { share + MORE } else { share - LESS };
        // Sums of tenths are not exact, and next to nothing is nothing.
        let next = if next < 1e-9 { 0.0 } else { next.min(SHARE_MAX) };
        self.refused.store(next.to_bits(), Ordering::Relaxed);
    }
}

/// Has a share adjusted from now on, as long as anybody has it.
fn watch(share: &Arc<Share>, background: &Handle) {
    static ALL: OnceLock<Mutex<Vec<Weak<Share>>>> = OnceLock::new();
    let all = ALL.get_or_init(Mutex::default);
    let mut shares = all.lock().unwrap_or_else(PoisonError::into_inner);
    let is_first = shares.is_empty();
    shares.push(Arc::downgrade(share));
    if is_first {
        background.spawn(async move {
            let mut before = (Instant::now(), used());
            loop {
                tokio::time::sleep(LOOK).await;
                let now = (Instant::now(), used());
                let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
                let passed = now.0.saturating_duration_since(before.0).as_secs_f64().max(0.001);
                let share = (now.1 - before.1) / passed / cores;
                before = now;
                let mut shares = all.lock().unwrap_or_else(PoisonError::into_inner);
                shares.retain(|one| one.upgrade().map(|one| one.adjust(share)).is_some());
                if shares.is_empty() {
                    return;
                }
            }
        });
    }
}

/// Seconds of CPU that this process has used.
fn used() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    parse(&stat).unwrap_or(0.0)
}

fn parse(stat: &str) -> Option<f64> {
    // The name of the program stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_grows_while_too_much_is_used_and_goes_back() {
        let share = Share { most: 0.8, refused: AtomicU64::new(0) };
        let of = |share: &Share| f64::from_bits(share.refused.load(Ordering::Relaxed));
        for _ in 0..3 {
            share.adjust(0.95);
        }
        assert!((of(&share) - 0.3).abs() < 1e-9);
        for _ in 0..20 {
            share.adjust(0.95);
        }
        assert!((of(&share) - SHARE_MAX).abs() < 1e-9);
        for _ in 0..19 {
            share.adjust(0.5);
        }
        assert!(of(&share).abs() < 1e-9, "{}", of(&share));
    }

    #[test]
    fn the_time_of_the_process_is_read_whatever_it_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 1 1 1";
        assert_eq!(parse(stat), Some(3.0));
        assert_eq!(parse("nothing"), None);
    }
}
