//! Bytes that passed and how long they waited, for the metrics.

use std::{
    sync::{
        Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use telemetry::{Collect, Exposition};

use crate::worker::Shared;

/// What the bytes of a policy are kept under.
pub(super) const KEPT: &str = "bytes";

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Request = 0,
    Response = 1,
}

const DIRECTIONS: [&str; 2] = ["request", "response"];

/// The bytes of one policy. They go on over reloads, whatever becomes of its settings.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    passed: [AtomicU64; 2],
    waited_nanos: [AtomicU64; 2],
}

impl Bytes {
    pub(super) fn passed(&self, direction: Direction, bytes: usize) {
        if let Some(count) = self.passed.get(direction as usize) {
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn waited(&self, direction: Direction, time: Duration) {
        if let Some(count) = self.waited_nanos.get(direction as usize) {
            count.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

/// Tells of the live configuration's paces at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let mut all = shared.compiled.load().kept::<Bytes>();
        for (place, _) in &mut all {
            *place = place.replacen(&format!("/{KEPT}"), "", 1);
        }
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let help = "Bytes of bodies that came to a pace, by direction.";
        for (place, bytes) in &all {
            for (direction, count) in DIRECTIONS.iter().zip(&bytes.passed) {
                let labels = [("policy", place.as_str()), ("direction", *direction)];
                out.counter(
                    "tidegate_bandwidth_bytes_total",
                    help,
                    &labels,
                    count.load(Ordering::Relaxed) as f64,
                );
            }
        }
        let help = "How long bodies have waited for their pace, altogether, by direction.";
        for (place, bytes) in &all {
            for (direction, nanos) in DIRECTIONS.iter().zip(&bytes.waited_nanos) {
                let labels = [("policy", place.as_str()), ("direction", *direction)];
                let seconds = Duration::from_nanos(nanos.load(Ordering::Relaxed)).as_secs_f64();
                out.counter("tidegate_bandwidth_waited_seconds_total", help, &labels, seconds);
            }
        }
    }
}
