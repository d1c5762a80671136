//! Active health checks: one task per endpoint, started and ended with it.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Instant,
};

use resilience::health::{HealthState, jittered};
use tokio::runtime::Handle;

use super::{Cluster, Endpoint, probe::Probe};

/// Begins to check the endpoints of a cluster.
pub(super) fn begin(background: &Handle, cluster: &Arc<Cluster>, probe: Probe) {
    let _ = cluster.probe.set((background.clone(), Arc::new(probe)));
    follow(cluster);
}

/// Checks the endpoints that the cluster has now, and no others.
pub(super) fn follow(cluster: &Arc<Cluster>) {
    let Some((background, probe)) = cluster.probe.get() else { return };
    let endpoints = cluster.endpoints();
    let mut tasks = cluster.tasks.lock().unwrap_or_else(PoisonError::into_inner);
    if tasks.is_retired {
        return;
    }
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
        if answer.is_ok() {
            // What answers checks again is given traffic again.
            endpoint.forgive(Instant::now());
        }
        if change.is_some() {
            if state.is_healthy() {
                endpoint.load.warm_up(Instant::now());
            }
            endpoint.set_healthy(state.is_healthy());
            cluster.set.load().trouble();
            match &answer {
                Ok(()) => tracing::info!(upstream = %cluster.name, endpoint = %endpoint.label, "is healthy"),
                Err(error) => {
                    tracing::warn!(upstream = %cluster.name, endpoint = %endpoint.label, "is unhealthy: {error}");
                }
            }
        }
        drop(cluster);
        tokio::time::sleep(jittered(settings.interval.get(), unit(), settings.jitter.get())).await;
    }
}
