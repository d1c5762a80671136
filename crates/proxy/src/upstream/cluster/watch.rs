//! Watches what changes by itself: the names of a cluster, and the success rates of its endpoints.
//!
//! The last good addresses stay when a name cannot be resolved. A task holds its cluster weakly and ends with it.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::Cluster;
use crate::discovery::{Found, Refresh, Source, dns::Resolver};

/// After a failure to resolve, the next attempt comes after this, doubled up to the longest refresh.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Begins to keep the names of a cluster resolved.
pub(super) fn begin(background: &Handle, cluster: &Arc<Cluster>, resolver: &Arc<Resolver>) {
    let mut tasks = cluster.tasks.lock().unwrap_or_else(PoisonError::into_inner);
    for (index, spec) in cluster.specs.iter().enumerate() {
        if matches!(spec.source, Source::Fixed(_)) {
            continue;
        }
        let refresh = spec.refresh;
        let (weak, source, resolver) = (Arc::downgrade(cluster), spec.source.clone(), resolver.clone());
        let task = background.spawn(async move {
            let mut failures = 0;
            loop {
                let Some(known) = weak.upgrade().map(|cluster| cluster.known(index)) else { return };
                let answer = resolver.resolve(&source, &known).await;
                let Some(cluster) = weak.upgrade() else { return };
                let pause = follow(&cluster, index, answer, refresh, &mut failures);
                drop(cluster);
                tokio::time::sleep(pause).await;
            }
        });
        tasks.watchers.push(task.abort_handle());
    }
}

/// Takes over an answer; returns when to ask again.
fn follow(
    cluster: &Arc<Cluster>,
    index: usize,
    answer: Result<crate::discovery::dns::Resolved, String>,
    refresh: Refresh,
    failures: &mut u32,
) -> Duration {
    match answer {
        Ok(resolved) => {
            // The name servers say that there is none, which is an answer: once is enough to tell it.
            match resolved.found.is_empty() {
                true if *failures == 0 => {
                    tracing::warn!(upstream = %cluster.name, "`{}` has no address", cluster.specs[index].host);
                    *failures = 1;
                }
                true => {}
                false => *failures = 0,
            }
            let count = resolved.found.len();
            if cluster.update(index, resolved.found, Instant::now()) {
                tracing::info!(upstream = %cluster.name, addresses = count, "its name now stands for other addresses");
                super::health::follow(cluster);
            }
            refresh.after(resolved.ttl)
        }
        Err(error) => {
            if *failures == 0 {
                tracing::warn!(upstream = %cluster.name, "{error}; the addresses known so far stay");
            }
            *failures = failures.saturating_add(1);
            let doubled = FAILURE_PAUSE.saturating_mul(1 << (*failures - 1).min(5));
            doubled.min(FAILURE_PAUSE_MAX)
        }
    }
}

/// Begins to compare the endpoints of a cluster with each other, when its settings ask for it.
pub(super) fn begin_outliers(background: &Handle, cluster: &Arc<Cluster>) {
    let Some(interval) = cluster.outlier.as_ref().map(|outlier| outlier.interval) else { return };
    let weak = Arc::downgrade(cluster);
    let task = background.spawn(async move {
        loop {
            tokio::time::sleep(interval).await;
            let Some(cluster) = weak.upgrade() else { return };
            cluster.compare(Instant::now());
        }
    });
    cluster.tasks.lock().unwrap_or_else(PoisonError::into_inner).watchers.push(task.abort_handle());
}

impl Cluster {
    /// What a source stands for at the moment.
    pub(super) fn known(&self, source: usize) -> Vec<Found> {
        let all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(source).cloned().unwrap_or_default()
    }

    /// Ejects the endpoints that do clearly worse than the others.
    fn compare(&self, now: Instant) {
        let Some(settings) = &self.outlier else { return };
        let set = self.set.load();
        let hosts: Vec<_> = set.endpoints().map(|endpoint| &endpoint.outlier).collect();
        let before = hosts.iter().filter(|host| host.is_ejected(now)).count();
        let mut ejected = before;
        let worst = resilience::outlier::compare(settings, &hosts, now);
        while let Some(index) = worst.get(ejected - before).copied() {
            if !resilience::outlier::may_eject(ejected, hosts.len(), settings.max_ejection_percent) {
                break;
            }
            ejected += 1;
            let endpoint = &set.slots[index].endpoint;
            if endpoint.eject(settings, now).is_none() {
                continue;
            }
            set.trouble();
            let label = &endpoint.label;
            tracing::warn!(upstream = %self.name, endpoint = %label, "ejected for failing more than its peers");
        }
    }
}
