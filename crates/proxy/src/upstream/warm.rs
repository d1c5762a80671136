//! Warm-up: connections that are opened ahead of traffic, and opened again as they are used up or grow old.
//!
//! Each worker keeps its own pool warm. Endpoints that are unhealthy or set aside are left alone, and one that
//! cannot be reached is tried again after a pause, apart from all others.

use std::{
    cell::RefCell,
    collections::HashSet,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Upstream,
    cluster::{Endpoint, TryResult},
    connect::{self, Connected, Miss, Patience},
    pool::PoolKey,
};
use crate::worker::{Plan, Worker};

/// How often pools are looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an endpoint that could not be reached is left alone.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Endpoints to which connections are being opened.
type Busy = Rc<RefCell<HashSet<PoolKey>>>;

/// Keeps the pool of a worker warm for as long as the worker runs.
pub(crate) async fn keep(worker: Rc<Worker>) {
    let busy = Busy::default();
    let mut plan: Option<Plan> = None;
    let mut warm: Vec<Arc<Upstream>> = Vec::new();
    loop {
        let live = worker.plan();
        if !plan.as_ref().is_some_and(|known| Rc::ptr_eq(known, &live)) {
            warm = live.upstreams.values().filter(|upstream| upstream.warm_up > 0).cloned().collect();
            plan = Some(live);
        }
        if !worker.is_draining() {
            for upstream in &warm {
                top_up(&worker, upstream, &busy);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Begins to open what an upstream lacks.
fn top_up(worker: &Rc<Worker>, upstream: &Arc<Upstream>, busy: &Busy) {
    let now = Instant::now();
    for endpoint in upstream.cluster.endpoints() {
        let key = connect::key(upstream, &endpoint);
        if !endpoint.is_good(now) || worker.pool().ready(key, now) >= upstream.warm_up {
            continue;
        }
        if busy.borrow_mut().insert(key) {
            let (worker, upstream, busy) = (worker.clone(), upstream.clone(), busy.clone());
            tokio::task::spawn_local(async move {
                if !fill(&worker, &upstream, &endpoint, key).await {
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
                busy.borrow_mut().remove(&key);
            });
        }
    }
}

/// Opens connections until there are enough; false when one cannot be opened.
async fn fill(worker: &Rc<Worker>, upstream: &Upstream, endpoint: &Arc<Endpoint>, key: PoolKey) -> bool {
    let timeouts = &upstream.settings.timeouts;
    let (connect, tls) = (timeouts.connect.get(), timeouts.tls.get());
    let patience = Patience { connect, tls, whole: connect + tls + tls };
    let how = connect::How { patience, peer: None, only_http1: false };
    for _ in 0..upstream.warm_up {
        if worker.pool().ready(key, Instant::now()) >= upstream.warm_up {
            break;
        }
        match connect::open(worker, upstream, endpoint, &how, key).await {
            Ok(Connected::H1(conn)) => worker.pool().park(conn),
            // It is shared already, and one is enough for many calls.
            Ok(Connected::H2(_)) => break,
            Err((failure, miss)) => {
                tracing::debug!(
                    upstream = %upstream.name, endpoint = %endpoint.label,
                    "no connection ahead of traffic: {failure}"
                );
                let result = match miss {
                    Miss::Refused => TryResult::ConnectRefused,
                    Miss::Timeout => TryResult::ConnectTimeout,
                    Miss::NoHttp1 | Miss::Other => TryResult::ConnectFailed,
                };
                upstream.cluster.report(endpoint, Instant::now(), result);
                return false;
            }
        }
    }
    true
}
