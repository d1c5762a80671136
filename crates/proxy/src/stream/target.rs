//! Where a stream goes: an upstream by weight, and one of its endpoints, as calls find theirs.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use model::{
    TryRecord,
    resource::balancing::{Algorithm, HashKey, LoadBalancing},
};
use resilience::{BulkheadPermit, InFlight, Outcome, Permit};

use super::route::Target;
use crate::{
    conn::wire::Io,
    failure::{Failure, Problem, Stage},
    upstream::{
        Upstream,
        cluster::{Endpoint, PickRequest, Picked, TryResult},
        connect::{self, Miss, Patience},
    },
    worker::Worker,
};

/// What a stream holds of its upstream until it ends.
pub(super) struct Held {
    pub(super) endpoint: Arc<Endpoint>,
    #[expect(dead_code, reason = "counts until it is dropped")]
    in_flight: InFlight,
    #[expect(dead_code, reason = "gives its place back when it is dropped")]
    bulkhead: Option<BulkheadPermit>,
}

/// A connection to an endpoint.
pub(super) struct Reached {
    pub(super) io: Io,
    pub(super) held: Held,
    /// How long the last try took.
    pub(super) took: Duration,
}

/// Picks an endpoint of an upstream.
pub(super) fn choose(
    worker: &Worker,
    upstream: &Upstream,
    client: IpAddr,
    tried: &[u64],
    now: Instant,
) -> Result<Arc<Endpoint>, Failure> {
    // All that is known of a stream is whose it is. Where nothing is hashed, a hash would tie a client to one endpoint.
    let LoadBalancing { algorithm, hash, .. } = &upstream.settings.load_balancing;
    let is_hashed = matches!(algorithm, Algorithm::RingHash | Algorithm::Maglev)
        || matches!(hash, Some(HashKey::ClientAddress));
    let request = PickRequest {
        now,
        random: worker.random(),
        hash: is_hashed.then(|| resilience::hash::hash64(client.to_string().as_bytes())),
        tried,
        sticky: None,
    };
    upstream.cluster.choose(&request).ok_or_else(|| Failure::gateway(Stage::Pick, Problem::NoHealthyEndpoint))
}

/// Opens a connection to an endpoint, and tries others while none of the client's bytes can have reached any. Each that fails
/// is noted.
pub(super) async fn reach(
    worker: &Worker,
    target: &Target,
    client: IpAddr,
    header: (Option<SocketAddr>, Option<SocketAddr>),
    failed_tries: &mut Vec<TryRecord>,
) -> (Result<Reached, Failure>, u16) {
    let upstream = &*target.upstream;
    let timeouts = &upstream.settings.timeouts;
    let end = Instant::now() + timeouts.request.get();
    let mut tried: Vec<u64> = Vec::new();
    let mut attempts = 0u16;
    loop {
        let started = Instant::now();
        let (permit, bulkhead) = match admitted(upstream, started, end).await {
            Ok(admitted) => admitted,
            Err(failure) => return (Err(failure), attempts),
        };
        let endpoint = match choose(worker, upstream, client, &tried, started) {
            Ok(endpoint) => endpoint,
            Err(failure) => return (Err(failure), attempts),
        };
        let Picked { endpoint, in_flight } = Picked::new(endpoint);
        attempts = attempts.saturating_add(1);
        let patience = Patience {
            connect: timeouts.connect.get(),
            tls: timeouts.tls.get(),
            whole: end.saturating_duration_since(started),
        };
        let opened = connect::raw(upstream, &endpoint, target.connector.as_ref(), patience, header).await;
        let now = Instant::now();
        let took = now.duration_since(started);
        // What becomes of one that is open is told by whoever uses it.
        let failed = match &opened {
            Ok(_) => None,
            Err((_, Miss::Refused)) => Some(TryResult::ConnectRefused),
            Err((_, Miss::Timeout)) => Some(TryResult::ConnectTimeout),
            Err(_) => Some(TryResult::ConnectFailed),
        };
        let outcome = if failed.is_some() { Outcome::Failure } else { Outcome::Success };
        if let Some(failed) = failed {
            upstream.cluster.report(&endpoint, now, failed);
        }
        if let Some(permit) = permit {
            permit.record(now, took, outcome);
        }
        match opened {
            Ok(io) => {
                let held = Held { endpoint, in_flight, bulkhead };
                return (Ok(Reached { io, held, took }), attempts);
            }
            Err((failure, _)) => {
                tried.push(endpoint.uid);
                failed_tries.push(TryRecord {
                    endpoint: endpoint.label.clone(),
                    status: None,
                    reason: failure.problem().slug(),
                    detail: failure.detail().map(Into::into),
                    duration: took,
                    upstream: None,
                });
                if u32::from(attempts) >= upstream.settings.retry.max_attempts || now >= end {
                    return (Err(failure), attempts);
                }
            }
        }
    }
}

/// Leave of the breaker, and a place in the bulkhead.
async fn admitted(
    upstream: &Upstream,
    now: Instant,
    end: Instant,
) -> Result<(Option<Permit>, Option<BulkheadPermit>), Failure> {
    let permit = match &upstream.cluster.breaker {
        None => None,
        Some(breaker) => match breaker.try_acquire(now) {
            Ok(permit) => Some(permit),
            Err(_) => return Err(Failure::gateway(Stage::Pick, Problem::CircuitOpen)),
        },
    };
    let Some(bulkhead) = &upstream.cluster.bulkhead else { return Ok((permit, None)) };
    if let Some(place) = bulkhead.try_acquire() {
        return Ok((permit, Some(place)));
    }
    let full = || Failure::gateway(Stage::Pick, Problem::BulkheadFull);
    let patience = bulkhead.max_wait().min(end.saturating_duration_since(now));
    if patience.is_zero() {
        return Err(full());
    }
    let turn = bulkhead.wait().ok_or_else(full)?;
    let place = tokio::time::timeout(patience, turn).await.map_err(|_| full())?;
    Ok((permit, Some(place)))
}
