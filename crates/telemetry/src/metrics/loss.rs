//! What became of what sinks were given: taken, or lost and why.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Exposition;
use crate::reports::Reports;

/// Where records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    Traces,
    Metrics,
    Logs,
}

/// Why something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The thread that writes was behind, and its queue full.
    Behind,
    /// The queue in front of the receiver was full.
    QueueFull,
    /// The receiver refused a request for good.
    Refused,
    /// The receiver took a request but not all that was in it.
    Partial,
    /// The receiver was away for longer than a batch is kept.
    Unreachable,
    /// The process ended, or other settings came, before it could be sent.
    Shutdown,
}

/// What stands for all access logs together.
const ACCESS_LOG: &str = "access_log";

const SINKS: [(Sink, &str); 3] =
    [(Sink::Traces, "otlp_traces"), (Sink::Metrics, "otlp_metrics"), (Sink::Logs, "otlp_logs")];

const REASONS: [(Reason, &str); 6] = [
    (Reason::Behind, "behind"),
    (Reason::QueueFull, "queue-full"),
    (Reason::Refused, "refused"),
    (Reason::Partial, "partial"),
    (Reason::Unreachable, "unreachable"),
    (Reason::Shutdown, "shutdown"),
];

/// Whether a sink can lose something so.
fn can(sink: Sink, reason: Reason) -> bool {
    match reason {
        Reason::Behind => sink != Sink::Metrics,
        Reason::QueueFull => matches!(sink, Sink::Traces | Sink::Logs),
        Reason::Refused | Reason::Partial | Reason::Unreachable | Reason::Shutdown => true,
    }
}

/// Counts per sink.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    lost: [[AtomicU64; REASONS.len()]; SINKS.len()],
    taken: [AtomicU64; SINKS.len()],
    retries: [AtomicU64; SINKS.len()],
    waiting: [AtomicU64; SINKS.len()],
}

impl Flow {
    /// Counts a loss.
    pub(crate) fn lost(&self, sink: Sink, reason: Reason, count: u64) {
        self.lost[sink as usize][reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Counts what a sink took.
    pub(crate) fn taken(&self, sink: Sink, count: u64) {
        self.taken[sink as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a request that was sent again.
    pub(crate) fn retried(&self, sink: Sink) {
        self.retries[sink as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// States how much waits.
    pub(crate) fn waiting(&self, sink: Sink, count: usize) {
        self.waiting[sink as usize].store(count as u64, Ordering::Relaxed);
    }

    pub(super) fn collect(&self, logs: &Reports, out: &mut Exposition) {
        let (written, lost) = logs.totals();
        let value = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as f64;
        let help = "Lines, spans, data points and log records that a sink took.";
        out.counter("tidegate_records_exported_total", help, &[("sink", ACCESS_LOG)], written as f64);
        for (sink, name) in SINKS {
            out.counter(
                "tidegate_records_exported_total",
                help,
                &[("sink", name)],
                value(&self.taken[sink as usize]),
            );
        }
        let help = "Lines, spans, data points and log records that were lost on the way to a sink.";
        for (reason, lost) in sinks::Reason::ALL.into_iter().zip(lost) {
            let labels = [("sink", ACCESS_LOG), ("reason", reason.as_str())];
            out.counter("tidegate_records_dropped_total", help, &labels, lost as f64);
        }
        for (sink, name) in SINKS {
            for (reason, why) in REASONS.into_iter().filter(|(reason, _)| can(sink, *reason)) {
                let labels = [("sink", name), ("reason", why)];
                let lost = value(&self.lost[sink as usize][reason as usize]);
                out.counter("tidegate_records_dropped_total", help, &labels, lost);
            }
        }
        for (sink, name) in SINKS {
            let help = "Requests to the OTLP receiver that were sent again.";
            let count = value(&self.retries[sink as usize]);
            out.counter("tidegate_otlp_retries_total", help, &[("sink", name)], count);
        }
        for (sink, name) in SINKS.into_iter().filter(|(sink, _)| *sink != Sink::Metrics) {
            let count = value(&self.waiting[sink as usize]);
            let help = "Spans and log records that wait for the OTLP receiver.";
            out.gauge("tidegate_otlp_waiting", help, &[("sink", name)], count);
        }
    }
}
