//! What operators see of caches and do to them: how full they are, what came of requests, and purges.

use std::sync::{Arc, Weak, atomic::Ordering};

use serde::{Deserialize, Serialize};
use telemetry::{Collect, Exposition};

use super::{Kept, store::Purge};
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

impl PurgeWish {
    /// Purges all caches that are meant; how many answers went. An error says what is wrong with the wish.
    pub(crate) fn fulfil(&self, compiled: &Compiled) -> Result<usize, String> {
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
        for (_, kept) in caches {
            let gone = self.purge(&kept)?;
            kept.counts.purged.fetch_add(gone as u64, Ordering::Relaxed);
            purged += gone;
        }
        Ok(purged)
    }

    fn purge(&self, kept: &Kept) -> Result<usize, String> {
        let address = |url: &str| {
            kept.keys
                .address_in(url)
                .ok_or(format!("`{url}` is no address such as `http://api.example.test/a`"))
        };
        if let Some(url) = &self.url {
            return Ok(kept.memory.purge(&Purge::Address(&address(url)?), self.soft));
        }
        if let Some(prefix) = &self.prefix {
            return Ok(kept.memory.purge(&Purge::Beginning(&address(prefix)?), self.soft));
        }
        if self.everything {
            return Ok(kept.memory.purge(&Purge::All, self.soft));
        }
        Ok(self.tags.iter().map(|tag| kept.memory.purge(&Purge::Tag(tag), self.soft)).sum())
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

/// The state of every cache.
pub(crate) fn status(compiled: &Compiled) -> Vec<CacheStatus> {
    let status = |(name, kept): (String, Arc<Kept>)| {
        let (bytes, entries) = kept.memory.size();
        let outcomes = kept.counts.outcomes().collect();
        let evicted = kept.memory.evicted.load(Ordering::Relaxed);
        CacheStatus { name, entries, bytes, outcomes, evicted }
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
            ("tidegate_cache_entries", "Answers that a cache keeps.", |kept| kept.memory.size().1),
            ("tidegate_cache_size_bytes", "Memory that a cache's answers take.", |kept| kept.memory.size().0),
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
                kept.memory.evicted.load(Ordering::Relaxed)
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
    }
}
