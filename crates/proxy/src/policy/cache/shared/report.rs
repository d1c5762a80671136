//! What operators see of the tier that gateways share.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use telemetry::Exposition;

use super::{Counts, Shared};

/// A cache's tier in Redis as this gateway sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedStatus {
    /// `UP` or `AWAY`.
    pub state: &'static str,
    /// Purges that Redis does not know of yet.
    pub purges_waiting: usize,
}

pub(in super::super) fn status(shared: &Shared) -> SharedStatus {
    SharedStatus { state: if shared.is_up() { "UP" } else { "AWAY" }, purges_waiting: shared.waiting() }
}

/// A metric's name, what it is, its label, and a number for each of the label's values.
type Series = (&'static str, &'static str, &'static str, fn(&Counts) -> Vec<(&'static str, &AtomicU64)>);

const SERIES: [Series; 3] = [
    ("tidegate_cache_redis_reads_total", "Answers that Redis was asked for.", "result", |counts| {
        vec![
            ("hit", &counts.hits),
            ("miss", &counts.misses),
            ("away", &counts.away),
            ("purged", &counts.void),
            ("refused", &counts.torn),
        ]
    }),
    ("tidegate_cache_redis_writes_total", "Answers that were to be kept in Redis.", "result", |counts| {
        vec![("written", &counts.written), ("outdated", &counts.outdated), ("dropped", &counts.dropped)]
    }),
    (
        "tidegate_cache_redis_purges_total",
        "Purges that Redis was told of, that were heard of from other gateways, and times that some could not be known any more.",
        "result",
        |counts| {
            vec![
                ("told", &counts.purges_told),
                ("heard", &counts.purges_heard),
                ("missed", &counts.purges_missed),
            ]
        },
    ),
];

/// What became of answers in Redis.
pub(in super::super) fn collect(all: &[(&str, &Shared)], out: &mut Exposition) {
    for (name, shared) in all {
        let help = "Purges that Redis does not know of yet.";
        out.gauge("tidegate_cache_redis_purges_waiting", help, &[("cache", *name)], shared.waiting() as f64);
    }
    for (metric, help, label, counts) in SERIES {
        for (name, shared) in all {
            for (value, count) in counts(shared.counts()) {
                let labels = [("cache", *name), (label, value)];
                out.counter(metric, help, &labels, count.load(Ordering::Relaxed) as f64);
            }
        }
    }
}
