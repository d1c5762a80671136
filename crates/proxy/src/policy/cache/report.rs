//! What operators see of caches and do to them: how full they are, what came of requests, and purges.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use telemetry::{Collect, Exposition};

pub use super::shared::report::SharedStatus;
use super::{
    Kept,
    disk::{Counts as DiskCounts, Disk},
    shared::report as shared,
    store::Purge,
};
use crate::{compiled::Compiled, worker::Shared};

/// The name under which compiled snapshots keep answers.
pub(super) const KEPT: &str = "answers";

/// A cache as it is now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheStatus {
    /// Where its policy stands, such as `routes/catalog`.
    pub name: String,
    /// Answers that are kept.
    pub entries: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// What came of requests.
    pub outcomes: std::collections::BTreeMap<&'static str, u64>,
    /// Answers that had to go for others.
    pub evicted: u64,
    /// What is on disk, where answers are kept there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskStatus>,
    /// What is shared with other gateways, where answers are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<SharedStatus>,
}

/// A cache's tier on disk as it is now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// Answers that are there.
    pub entries: usize,
    /// Bytes that their files take.
    pub bytes: usize,
    /// Bytes that the index of them takes in memory.
    pub index_bytes: usize,
    /// Answers that had to go for others.
    pub evicted: u64,
    /// All files have been looked at that were there when the process started.
    pub complete: bool,
}

/// What is to go from caches. One of `url`, `prefix`, `tags` and `everything`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PurgeWish {
    /// The whole address, such as `http://api.example.test/a?b=c`.
    pub url: Option<String>,
    /// The beginning of addresses, such as `http://api.example.test/a/`.
    pub prefix: Option<String>,
    /// What answers name in `Surrogate-Key` or `Cache-Tag`; one of them is enough.
    pub tags: Vec<String>,
    /// All answers.
    pub everything: bool,
    /// In the cache of this policy alone, such as `routes/catalog`.
    pub cache: Option<String>,
    /// Have them asked about before they are given again, instead of throwing them away.
    pub soft: bool,
}

/// What came of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Answers that are gone, as far as they were known.
    pub purged: usize,
    /// Nothing that was meant is left, on disk and in Redis either. Otherwise nothing of it is given as long as this process
    /// runs, and a process that follows, or another gateway, may find it.
    pub complete: bool,
}

/// How long a purge waits for files, and for Redis.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);

impl PurgeWish {
    /// Purges all caches that are meant, and waits for their disks. An error says what is wrong with the wish.
    pub(crate) fn fulfil(&self, compiled: &Compiled) -> Result<Purged, String> {
        let count = [self.url.is_some(), self.prefix.is_some(), !self.tags.is_empty(), self.everything];
        if count.iter().filter(|given| **given).count() != 1 {
            return Err("expected one of `url`, `prefix`, `tags` and `everything: true`".into());
        }
        let caches: Vec<_> = all(compiled)
            .into_iter()
            .filter(|(name, _)| self.cache.as_ref().is_none_or(|wanted| wanted == name))
            .collect();
        if let (true, Some(wanted)) = (caches.is_empty(), &self.cache) {
            return Err(format!("no cache `{wanted}`; `GET /api/v1/caches` lists them"));
        }
        let mut purged = 0;
        for (_, kept) in &caches {
            let gone = self.purge(kept)?;
            kept.counts.purged.fetch_add(gone as u64, Ordering::Relaxed);
            purged += gone;
        }
        // All are waited for, also behind one that fails.
        let until = Instant::now() + SETTLE_PATIENCE;
        let left = caches.iter().filter(|(_, kept)| !kept.tiers.settle(until)).count();
        Ok(Purged { purged, complete: left == 0 })
    }

    fn purge(&self, kept: &Kept) -> Result<usize, String> {
        let address = |url: &str| {
            kept.keys
                .address_in(url)
                .ok_or(format!("`{url}` is no address such as `http://api.example.test/a`"))
        };
        if let Some(url) = &self.url {
            return Ok(kept.tiers.purge(Purge::Address(&address(url)?), self.soft));
        }
        if let Some(prefix) = &self.prefix {
            return Ok(kept.tiers.purge(Purge::Beginning(&address(prefix)?), self.soft));
        }
        if self.everything {
            return Ok(kept.tiers.purge(Purge::All, self.soft));
        }
        Ok(self.tags.iter().map(|tag| kept.tiers.purge(Purge::Tag(tag), self.soft)).sum())
    }
}

/// The caches of a snapshot, by the place of their policy.
fn all(compiled: &Compiled) -> Vec<(String, Arc<Kept>)> {
    let mut caches: Vec<(String, Arc<Kept>)> = compiled
        .kept::<Kept>()
        .into_iter()
        .map(|(place, kept)| (place.replacen(&format!("/cache/{KEPT}"), "", 1), kept))
        .collect();
    caches.sort_by(|(one, _), (other, _)| one.cmp(other));
    caches
}

/// Opens the directories of caches and connects to what they share, now that the configuration is live.
pub(crate) fn begin(compiled: &Compiled) {
    for (_, kept) in all(compiled) {
        kept.tiers.begin();
    }
}

/// The state of every cache.
pub(crate) fn status(compiled: &Compiled) -> Vec<CacheStatus> {
    let status = |(name, kept): (String, Arc<Kept>)| {
        let (bytes, entries) = kept.tiers.memory.size();
        let outcomes = kept.counts.outcomes().collect();
        let evicted = kept.tiers.memory.evicted.load(Ordering::Relaxed);
        let disk = kept.tiers.disk.as_ref().map(|disk| {
            let (entries, bytes, index_bytes) = disk.size();
            DiskStatus { entries, bytes, index_bytes, evicted: disk.evicted(), complete: disk.is_known() }
        });
        let redis = kept.tiers.shared.as_ref().map(shared::status);
        CacheStatus { name, entries, bytes, outcomes, evicted, disk, redis }
    };
    all(compiled).into_iter().map(status).collect()
}

/// A metric's name, what it is, and its value for a cache.
type Metric<T> = (&'static str, &'static str, fn(&Kept) -> T);

/// Tells of the live configuration's caches at the time of a scrape.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, out: &mut Exposition) {
        let Some(shared) = self.0.upgrade() else { return };
        let compiled = shared.compiled.load();
        let caches = all(&compiled);
        let help = "Requests that came to a cache, by what came of them.";
        for (name, kept) in &caches {
            for (outcome, count) in kept.counts.outcomes() {
                let labels = [("cache", name.as_str()), ("outcome", outcome)];
                out.counter("tidegate_cache_requests_total", help, &labels, count as f64);
            }
        }
        let gauges: [Metric<usize>; 2] = [
            ("tidegate_cache_entries", "Answers that a cache keeps.", |kept| kept.tiers.memory.size().1),
            ("tidegate_cache_size_bytes", "Memory that a cache's answers take.", |kept| {
                kept.tiers.memory.size().0
            }),
        ];
        for (metric, help, value) in gauges {
            for (name, kept) in &caches {
                out.gauge(metric, help, &[("cache", name)], value(kept) as f64);
            }
        }
        let counters: [Metric<u64>; 4] = [
            ("tidegate_cache_given_bytes_total", "Bytes of bodies that a cache gave.", |kept| {
                kept.counts.bytes_given.load(Ordering::Relaxed)
            }),
            ("tidegate_cache_evictions_total", "Answers that had to go for others.", |kept| {
                kept.tiers.memory.evicted.load(Ordering::Relaxed)
            }),
            (
                "tidegate_cache_collapsed_total",
                "Requests that waited for another's answer and got it.",
                |kept| kept.counts.collapsed.load(Ordering::Relaxed),
            ),
            ("tidegate_cache_purged_total", "Answers that operators purged.", |kept| {
                kept.counts.purged.load(Ordering::Relaxed)
            }),
        ];
        let help = "Stale answers that were asked about beside a call, by what came of it.";
        for (name, kept) in &caches {
            let counts = [("renewed", &kept.counts.refreshes), ("failed", &kept.counts.failed_refreshes)];
            for (result, count) in counts {
                let labels = [("cache", name.as_str()), ("result", result)];
                out.counter(
                    "tidegate_cache_refreshes_total",
                    help,
                    &labels,
                    count.load(Ordering::Relaxed) as f64,
                );
            }
        }
        for (metric, help, value) in counters {
            for (name, kept) in &caches {
                out.counter(metric, help, &[("cache", name)], value(kept) as f64);
            }
        }
        let disks: Vec<_> = caches
            .iter()
            .filter_map(|(name, kept)| Some((name.as_str(), kept.tiers.disk.as_ref()?)))
            .collect();
        of_disks(&disks, out);
        let shared: Vec<_> = caches
            .iter()
            .filter_map(|(name, kept)| Some((name.as_str(), kept.tiers.shared.as_ref()?)))
            .collect();
        shared::collect(&shared, out);
    }
}

/// A metric's name, what it is, and its value for a cache's files.
type DiskGauge = (&'static str, &'static str, fn(&Disk) -> usize);

/// What caches have on disk, and what became of that.
fn of_disks(disks: &[(&str, &Disk)], out: &mut Exposition) {
    let gauges: [DiskGauge; 3] = [
        ("tidegate_cache_disk_entries", "Answers that a cache keeps on disk.", |disk| disk.size().0),
        ("tidegate_cache_disk_size_bytes", "Bytes that a cache's files take.", |disk| disk.size().1),
        ("tidegate_cache_disk_index_bytes", "Memory that a cache's index of its files takes.", |disk| {
            disk.size().2
        }),
    ];
    for (metric, help, value) in gauges {
        for (name, disk) in disks {
            out.gauge(metric, help, &[("cache", name)], value(disk) as f64);
        }
    }
    let help = "Answers that had to go from disk for others.";
    for (name, disk) in disks {
        out.counter("tidegate_cache_disk_evictions_total", help, &[("cache", name)], disk.evicted() as f64);
    }
    for (metric, help, label, counts) in DISK_SERIES {
        for (name, disk) in disks {
            for (value, count) in counts(disk.counts()) {
                let labels = [("cache", *name), (label, value)];
                out.counter(metric, help, &labels, count.load(Ordering::Relaxed) as f64);
            }
        }
    }
}

/// A metric's name, what it is, its label, and a number for each of the label's values.
type Series = (&'static str, &'static str, &'static str, fn(&DiskCounts) -> Vec<(&'static str, &AtomicU64)>);

const DISK_SERIES: [Series; 3] = [
    ("tidegate_cache_disk_writes_total", "Answers that were to be written to disk.", "result", |counts| {
        vec![("written", &counts.written), ("dropped", &counts.dropped)]
    }),
    ("tidegate_cache_disk_reads_total", "Files that were read for a request.", "result", |counts| {
        vec![("hit", &counts.hits), ("refused", &counts.torn), ("late", &counts.late)]
    }),
    ("tidegate_cache_disk_failures_total", "What a cache's directory refused.", "operation", |counts| {
        vec![
            ("open", &counts.open_failures),
            ("write", &counts.write_failures),
            ("read", &counts.read_failures),
            ("remove", &counts.remove_failures),
        ]
    }),
];
