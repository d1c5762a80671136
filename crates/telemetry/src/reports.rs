//! What became of the records of each access log, by its name.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sinks::{Counts, Reason};

use crate::metrics::Exposition;

/// All access logs that there are or were.
#[derive(Default)]
pub(crate) struct Reports(Mutex<Vec<Report>>);

struct Report {
    name: String,
    kind: &'static str,
    counts: Arc<Counts>,
    is_live: bool,
}

/// How an access log is doing.
#[derive(Debug, Clone)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Its kind, as the configuration writes it.
    pub kind: &'static str,
    /// Whether the last try was taken.
    pub is_up: bool,
    /// Why it was not.
    pub error: Option<String>,
    /// Records that arrived.
    pub delivered: u64,
    /// Records that were lost, by reason, where there are any.
    pub dropped: Vec<(&'static str, u64)>,
    /// Records in memory.
    pub waiting: u64,
    /// Bytes on disk.
    pub spilled: u64,
}

impl Reports {
    /// The counts of an access log: those that it had before, where there was one of its name and kind.
    pub(crate) fn counts(&self, name: &str, kind: &'static str) -> Arc<Counts> {
        let mut all = self.lock();
        if let Some(known) = all.iter().find(|one| one.name == name && one.kind == kind) {
            return known.counts.clone();
        }
        let counts = Arc::<Counts>::default();
        all.push(Report { name: name.to_owned(), kind, counts: counts.clone(), is_live: false });
        counts
    }

    /// From now on these are the ones that are configured.
    pub(crate) fn follow(&self, live: &[(String, &'static str)]) {
        for one in self.lock().iter_mut() {
            one.is_live = live.iter().any(|(name, kind)| *name == one.name && *kind == one.kind);
        }
    }

    /// Counts a loss for all that are configured.
    pub(crate) fn all_lost(&self, reason: Reason, count: u64) {
        self.lock().iter().filter(|one| one.is_live).for_each(|one| one.counts.lost(reason, count));
    }

    /// Records that arrived and records that were lost, of all that there ever were.
    pub(crate) fn totals(&self) -> (u64, [u64; Reason::ALL.len()]) {
        let all = self.lock();
        let delivered = all.iter().map(|one| one.counts.delivered()).sum();
        (delivered, Reason::ALL.map(|reason| all.iter().map(|one| one.counts.dropped(reason)).sum()))
    }

    pub(crate) fn statuses(&self) -> Vec<SinkStatus> {
        let all = self.lock();
        let live = all.iter().filter(|one| one.is_live);
        live.map(|one| SinkStatus {
            name: one.name.clone(),
            kind: one.kind,
            is_up: one.counts.is_up(),
            error: one.counts.error(),
            delivered: one.counts.delivered(),
            dropped: Reason::ALL
                .into_iter()
                .map(|reason| (reason.as_str(), one.counts.dropped(reason)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            waiting: one.counts.waiting_records(),
            spilled: one.counts.spilled_bytes(),
        })
        .collect()
    }

    /// Their metrics.
    pub(crate) fn collect(&self, out: &mut Exposition) {
        type Value = fn(&Counts) -> u64;
        let families: [(&str, &str, bool, Value); 7] = [
            (
                "tidegate_sink_records_total",
                "Records that an access log's receiver took.",
                true,
                Counts::delivered,
            ),
            ("tidegate_sink_batches_total", "Batches that it took.", true, Counts::batches),
            ("tidegate_sink_retries_total", "Tries to send a batch again.", true, Counts::retries),
            ("tidegate_sink_up", "Whether the last try was taken.", false, |counts| {
                u64::from(counts.is_up())
            }),
            ("tidegate_sink_waiting_records", "Records that wait in memory.", false, Counts::waiting_records),
            ("tidegate_sink_waiting_bytes", "Bytes that wait in memory.", false, Counts::waiting_bytes),
            ("tidegate_sink_spilled_bytes", "Bytes that wait on disk.", false, Counts::spilled_bytes),
        ];
        let all = self.lock();
        let live = || all.iter().filter(|one| one.is_live);
        for (name, help, is_counter, value) in families {
            for one in live() {
                let labels = [("sink", one.name.as_str()), ("kind", one.kind)];
                let value = value(&one.counts) as f64;
                match is_counter {
                    true => out.counter(name, help, &labels, value),
                    false => out.gauge(name, help, &labels, value),
                }
            }
        }
        for one in live() {
            for reason in Reason::ALL {
                let labels = [("sink", one.name.as_str()), ("kind", one.kind), ("reason", reason.as_str())];
                let help = "Records that were lost on the way to an access log's receiver.";
                out.counter("tidegate_sink_dropped_total", help, &labels, one.counts.dropped(reason) as f64);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Report>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_outlive_an_access_log_that_comes_again_and_totals_never_fall() {
        let reports = Reports::default();
        reports.counts("a", "http").taken(3);
        reports.counts("b", "http").lost(Reason::QueueFull, 2);
        reports.follow(&[("a".into(), "http")]);
        assert_eq!(reports.statuses().len(), 1);
        reports.all_lost(Reason::Behind, 1);
        reports.follow(&[]);
        assert!(reports.statuses().is_empty());
        assert_eq!(reports.counts("a", "http").delivered(), 3);
        assert_eq!(reports.counts("a", "loki").delivered(), 0, "another kind is another one");
        let (delivered, dropped) = reports.totals();
        assert_eq!((delivered, dropped.iter().sum::<u64>()), (3, 3));
    }
}
