//! What QUIC did, for the metrics: counted for the process as a whole, read at the time of a scrape.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the process.
pub(super) struct Counts {
    pub(super) to_workers: AtomicU64,
    pub(super) to_processes: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) refused: AtomicU64,
}

pub(super) static COUNTS: Counts = Counts {
    to_workers: AtomicU64::new(0),
    to_processes: AtomicU64::new(0),
    retries: AtomicU64::new(0),
    refused: AtomicU64::new(0),
};

/// Counts one.
pub(super) fn count(what: &AtomicU64) {
    what.fetch_add(1, Ordering::Relaxed);
}

/// Reports them.
pub(crate) struct Report;

impl telemetry::Collect for Report {
    fn collect(&self, out: &mut telemetry::Exposition) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        let help = "Datagrams of QUIC that reached another worker, or another process, than that of their connection.";
        for (to, count) in [("worker", &COUNTS.to_workers), ("process", &COUNTS.to_processes)] {
            out.counter("tidegate_quic_datagrams_handed_on_total", help, &[("to", to)], read(count));
        }
        let help = "QUIC clients that were asked to show that they have their address (Retry).";
        out.counter("tidegate_quic_retries_total", help, &[], read(&COUNTS.retries));
        let help = "QUIC handshakes that were refused or ignored before they began.";
        out.counter("tidegate_quic_refused_total", help, &[], read(&COUNTS.refused));
    }
}
