//! Active health checks: one task per endpoint, started and ended with it.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Instant,
};

use resilience::health::{HealthState, jittered};

use super::{Cluster, Endpoint, probe::Probe};

/// Checks the endpoints that a live cluster has now, and no others.
pub(super) fn follow(cluster: &Arc<Cluster>) {
    let Some(probe) = cluster.probe.get() else { return };
    let endpoints = cluster.endpoints();
    let mut tasks = cluster.tasks.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(background) = tasks.place.clone().filter(|_| !tasks.is_retired) else { return };
    tasks.checks.retain(|uid, task| {
        let stays = endpoints.iter().any(|endpoint| endpoint.uid == *uid);
        if !stays {
            task.abort();
        }
        stays
    });
    for endpoint in endpoints {
        tasks.checks.entry(endpoint.uid).or_insert_with(|| {
            let check = run(Arc::downgrade(cluster), endpoint, probe.clone());
            background.spawn(check).abort_handle()
        });
    }
}

async fn run(cluster: Weak<Cluster>, endpoint: Arc<Endpoint>, probe: Arc<Probe>) {
    let settings = &probe.settings;
    let mut state =
        HealthState::new(settings.healthy_threshold, settings.unhealthy_threshold, endpoint.is_healthy());
    // Endpoints are not all checked in the same instant.
    let mut random = endpoint.uid.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut unit = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) as f64 / (1u64 << 53) as f64
    };
    loop {
        let answer = match tokio::time::timeout(settings.timeout.get(), probe.check(&endpoint)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {}", settings.timeout)),
        };
        let change = state.on_result(answer.is_ok());
        let Some(cluster) = cluster.upgrade() else { return };
        if !cluster.checked(&endpoint, answer.is_ok(), change.is_some(), state.is_healthy()) {
            return;
        }
        if change.is_some() {
            match &answer {
                Ok(()) => tracing::info!(
                    upstream = %cluster.name,
                    endpoint = %endpoint.label,
                    "endpoint {} of upstream `{}` is healthy",
                    endpoint.label,
                    cluster.name
                ),
                Err(error) => tracing::warn!(
                    upstream = %cluster.name,
                    endpoint = %endpoint.label,
                    "endpoint {} of upstream `{}` is unhealthy: {error}",
                    endpoint.label,
                    cluster.name
                ),
            }
        }
        drop(cluster);
        tokio::time::sleep(jittered(settings.interval.get(), unit(), settings.jitter.get())).await;
    }
}

impl Cluster {
    /// Writes down what a check says; false when the cluster is no longer the one whose word counts.
    fn checked(&self, endpoint: &Endpoint, is_answer_good: bool, is_change: bool, is_healthy: bool) -> bool {
        // Held meanwhile, so that the cluster that takes this one's place has the last word.
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.is_retired {
            return false;
        }
        if is_answer_good {
            // What answers checks again is given traffic again.
            endpoint.forgive(Instant::now());
        }
        if is_change && is_healthy {
            endpoint.load.warm_up(Instant::now());
        }
        // With every result: the endpoint is shared, and what it says is what its checks last found.
        endpoint.set_healthy(is_healthy);
        if is_change {
            self.set.load().trouble();
        }
        true
    }
}
