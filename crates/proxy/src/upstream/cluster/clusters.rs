//! All clusters: builds those of a snapshot out of those that live.
//!
//! Whatever of an upstream did not change goes on: the whole cluster, or its breaker, its bulkhead, and the endpoints
//! whose address it still names.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use model::{Finding, Snapshot, resource::upstream::Upstream as Settings};
use resilience::{Breaker, BreakerSettings, Bulkhead, RetryBudget, breaker::State, outlier::OutlierSettings};
use tokio::runtime::Handle;

use super::{Cluster, RequestQueue, Tasks, assemble, health, probe::Probe, set::EndpointSet};
use crate::{
    discovery::{self, Found, Source, dns::Resolver},
    handler::ai::provider::owner,
    upstream::Upstream,
};

/// How long a new configuration waits for names to resolve for the first time.
const FIRST_ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// Builds clusters out of those that live.
pub(crate) struct Clusters {
    background: Handle,
    /// False when a configuration is only looked at: nothing is resolved, checked or watched then.
    is_live: bool,
    /// Those of the live snapshot.
    known: Mutex<HashMap<Arc<str>, Weak<Cluster>>>,
}

impl Clusters {
    /// Clusters whose background work runs on `background`.
    pub(crate) fn new(background: Handle) -> Self {
        Self { background, is_live: true, known: Mutex::default() }
    }

    /// Clusters that touch no network.
    pub(crate) fn offline(background: Handle) -> Self {
        Self { is_live: false, ..Self::new(background) }
    }

    /// Takes note of the clusters that are live now: the others, whatever still holds them, check and resolve no more,
    /// and those that are new begin to.
    pub(crate) fn publish<'a>(&self, live: impl Iterator<Item = &'a Arc<Cluster>>) {
        let live: Vec<_> = live.collect();
        let named = live.iter().map(|cluster| (cluster.name.clone(), Arc::downgrade(cluster))).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, named);
        for (name, old) in before {
            if let Some(old) = old.upgrade()
                && !known.get(&name).is_some_and(|new| std::ptr::eq(new.as_ptr(), Arc::as_ptr(&old)))
            {
                old.retire();
            }
        }
        if self.is_live {
            live.into_iter().for_each(|cluster| cluster.begin(&self.background));
        }
    }

    /// The clusters of a snapshot's upstreams, by name, made of those that are live. Nothing is remembered of a
    /// snapshot that is refused in the end.
    pub(crate) fn build(
        &self,
        snapshot: &Snapshot,
        settings: &[&Settings],
        live: Option<&HashMap<Arc<str>, Arc<Upstream>>>,
    ) -> Result<HashMap<Arc<str>, Arc<Cluster>>, Vec<Finding>> {
        let now = Instant::now();
        let (mut errors, mut built, mut fresh) = (Vec::new(), HashMap::new(), Vec::new());
        for settings in settings.iter().copied() {
            let before = live.and_then(|live| live.get(settings.name.as_str()));
            let before = before.map(|upstream| upstream.cluster.clone());
            let named = named(settings, snapshot);
            let is_as_before =
                |before: &&Arc<Cluster>| before.named == named && is_same(&before.settings, settings);
            if let Some(before) = before.as_ref().filter(is_as_before) {
                built.insert(before.name.clone(), before.clone());
                continue;
            }
            match make(settings, (named, snapshot), before.as_deref(), now) {
                Ok(cluster) => {
                    let cluster = Arc::new(cluster);
                    fresh.push(cluster.clone());
                    built.insert(cluster.name.clone(), cluster);
                }
                Err(error) => errors.push(Finding::new(owner(&settings.name), "", error)),
            }
        }
        if self.is_live
            && !fresh.is_empty()
            && let Err(error) = self.prepare(&fresh, snapshot)
        {
            errors.extend(error);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(built)
    }

    /// Readies what new clusters need: the answers to their names, and how to check their endpoints. Endpoints are
    /// shared with clusters that live, and are left alone until the snapshot is accepted.
    fn prepare(&self, fresh: &[Arc<Cluster>], snapshot: &Snapshot) -> Result<(), Vec<Finding>> {
        let is_named = |cluster: &&Arc<Cluster>| {
            cluster.specs.iter().any(|spec| !matches!(spec.source, Source::Fixed(_)))
        };
        if fresh.iter().any(|cluster| is_named(&cluster)) {
            let wrong = |error| vec![Finding::new("", "runtime.dnsServers", error)];
            let servers = name_servers(snapshot).map_err(wrong)?;
            let _inside = self.background.enter();
            let resolver = Arc::new(Resolver::new(&servers).map_err(wrong)?);
            for cluster in fresh.iter().filter(is_named) {
                let _ = cluster.resolver.set(resolver.clone());
            }
            self.resolve_first(fresh, &resolver);
        }
        let mut errors = Vec::new();
        for cluster in fresh {
            match Probe::new(&cluster.settings, snapshot) {
                Ok(Some(probe)) => {
                    let _ = cluster.probe.set(Arc::new(probe));
                }
                Ok(None) => {}
                Err(error) => {
                    errors.push(Finding::new(owner(&cluster.name), "healthCheck", error));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Waits, for a bounded time, until names that no address is known of are resolved.
    fn resolve_first(&self, fresh: &[Arc<Cluster>], resolver: &Arc<Resolver>) {
        let mut waiting = Vec::new();
        for cluster in fresh {
            let found = cluster.found.lock().unwrap_or_else(PoisonError::into_inner);
            for (index, spec) in cluster.specs.iter().enumerate() {
                if found[index].is_empty() && !matches!(spec.source, Source::Fixed(_)) {
                    waiting.push((cluster.clone(), index, spec.source.clone()));
                }
            }
        }
        let (done, all) = std::sync::mpsc::channel();
        let count = waiting.len();
        for (cluster, index, source) in waiting {
            let (done, resolver) = (done.clone(), resolver.clone());
            self.background.spawn(async move {
                match resolver.resolve(&source, &[]).await {
                    Ok(resolved) => {
                        if cluster.update(index, resolved.found, Instant::now()) {
                            health::follow(&cluster);
                        }
                    }
                    Err(error) => tracing::warn!(upstream = %cluster.name, "{error}"),
                }
                let _ = done.send(());
            });
        }
        let end = Instant::now() + FIRST_ANSWER_PATIENCE;
        for _ in 0..count {
            if all.recv_timeout(end.saturating_duration_since(Instant::now())).is_err() {
                break;
            }
        }
    }
}

/// The name servers that the configuration names.
fn name_servers(snapshot: &Snapshot) -> Result<Vec<std::net::SocketAddr>, String> {
    let servers = snapshot.config.runtime.dns_servers.iter();
    let parse = |text: &String| text.parse().map_err(|_| format!("`{text}` is not `ip:port`"));
    servers.map(parse).collect()
}

/// Whether two settings make the same cluster; what is read per call from elsewhere may differ.
fn is_same(a: &Settings, b: &Settings) -> bool {
    a.protocol == b.protocol
        && a.endpoints == b.endpoints
        && a.discovery == b.discovery
        && a.load_balancing == b.load_balancing
        && a.health_check == b.health_check
        && a.outlier_detection == b.outlier_detection
        && a.circuit_breaker == b.circuit_breaker
        && a.bulkhead == b.bulkhead
        && a.request_queue == b.request_queue
        && a.retry.budget == b.retry.budget
        && a.tls == b.tls
        && a.proxy_protocol == b.proxy_protocol
}

/// A hash of what the settings only name and a cluster depends on: the files of TLS, and the name servers.
fn named(settings: &Settings, snapshot: &Snapshot) -> u64 {
    let mut hash = DefaultHasher::new();
    if let Some(tls) = &settings.tls {
        for file in [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten() {
            snapshot.file(file).hash(&mut hash);
        }
    }
    let activation = settings.request_queue.as_ref().and_then(|queue| queue.activate.as_ref());
    if let Some(secret) = activation.and_then(|activation| activation.authorization.as_ref()) {
        snapshot.secret(secret).hash(&mut hash);
    }
    snapshot.config.runtime.dns_servers.hash(&mut hash);
    hash.finish()
}

/// A cluster for these settings, with what goes on from the one before.
fn make(
    settings: &Settings,
    (named, snapshot): (u64, &Snapshot),
    before: Option<&Cluster>,
    now: Instant,
) -> Result<Cluster, String> {
    let specs = discovery::specs(settings)?;
    let found: Vec<Vec<Found>> = specs
        .iter()
        .map(|spec| match &spec.source {
            Source::Fixed(address) => vec![Found::at(address.clone())],
            source => before.map(|before| known_of(before, source)).unwrap_or_default(),
        })
        .collect();
    let nothing = EndpointSet::new(Vec::new(), &settings.load_balancing);
    let set = match before {
        Some(before) => assemble(settings, &specs, &found, &before.set.load(), now),
        None => assemble(settings, &specs, &found, &nothing, now),
    };
    Ok(Cluster {
        name: settings.name.as_str().into(),
        breaker: breaker(settings, before, now),
        bulkhead: bulkhead(settings, before),
        queue: queue(settings, named, snapshot, before)?,
        budget: budget(settings, before, now),
        outlier: settings.outlier_detection.as_ref().map(outlier_settings),
        settings: settings.clone(),
        named,
        specs,
        found: Mutex::new(found),
        set: ArcSwap::from_pointee(set),
        probe: OnceLock::new(),
        resolver: OnceLock::new(),
        tasks: Mutex::new(Tasks::default()),
    })
}

/// What a source stood for in the cluster before.
fn known_of(before: &Cluster, source: &Source) -> Vec<Found> {
    let found = before.found.lock().unwrap_or_else(PoisonError::into_inner);
    let index = before.specs.iter().position(|spec| spec.source == *source);
    index.and_then(|index| found.get(index).cloned()).unwrap_or_default()
}

fn breaker(settings: &Settings, before: Option<&Cluster>, now: Instant) -> Option<Arc<Breaker>> {
    let wanted = settings.circuit_breaker.as_ref()?;
    if let Some(before) = before
        && before.settings.circuit_breaker.as_ref() == Some(wanted)
    {
        return before.breaker.clone();
    }
    let settings = BreakerSettings {
        failure_rate_threshold: wanted.failure_rate_threshold.get(),
        slow_call_rate_threshold: wanted.slow_call_rate_threshold.get(),
        slow_call_duration_threshold: wanted.slow_call_duration_threshold.get(),
        sliding_window: wanted.sliding_window.get(),
        minimum_number_of_calls: wanted.minimum_number_of_calls,
        wait_duration_in_open_state: wanted.wait_duration_in_open_state.get(),
        permitted_number_of_calls_in_half_open_state: wanted.permitted_number_of_calls_in_half_open_state,
        max_wait_duration_in_half_open_state: wanted.max_wait_duration_in_half_open_state.get(),
    };
    let breaker = Breaker::new(settings, now);
    // What an operator has said stands, whatever the thresholds.
    if let Some(state) = before.and_then(|before| before.breaker.as_ref()).map(|before| before.state(now))
        && matches!(state, State::ForcedOpen | State::Disabled)
    {
        breaker.force(state, now);
    }
    Some(breaker)
}

fn bulkhead(settings: &Settings, before: Option<&Cluster>) -> Option<Arc<Bulkhead>> {
    let wanted = settings.bulkhead.as_ref()?;
    if let Some(before) = before
        && before.settings.bulkhead.as_ref() == Some(wanted)
    {
        return before.bulkhead.clone();
    }
    Some(Bulkhead::new(wanted.max_concurrent_calls as usize, wanted.max_wait_duration.get()))
}

/// Calls that are held stay where they are while nothing about that changes.
fn queue(
    settings: &Settings,
    named: u64,
    snapshot: &Snapshot,
    before: Option<&Cluster>,
) -> Result<Option<Arc<RequestQueue>>, String> {
    let Some(wanted) = settings.request_queue.as_ref() else { return Ok(None) };
    if let Some(before) = before
        && before.settings.request_queue.as_ref() == Some(wanted)
        && before.named == named
    {
        return Ok(before.queue.clone());
    }
    RequestQueue::new(wanted, snapshot).map(Some)
}

fn budget(settings: &Settings, before: Option<&Cluster>, now: Instant) -> Arc<RetryBudget> {
    let wanted = &settings.retry.budget;
    match before {
        Some(before) if before.settings.retry.budget == *wanted => before.budget.clone(),
        _ => Arc::new(RetryBudget::new(
            wanted.percent.get(),
            wanted.window.get(),
            f64::from(wanted.min_per_second),
            now,
        )),
    }
}

fn outlier_settings(wanted: &model::resource::health::OutlierDetection) -> OutlierSettings {
    OutlierSettings {
        consecutive_5xx: wanted.consecutive_5xx,
        consecutive_gateway_failure: wanted.consecutive_gateway_failure,
        consecutive_local_origin_failure: wanted.consecutive_local_origin_failure,
        interval: wanted.interval.get(),
        base_ejection_time: wanted.base_ejection_time.get(),
        max_ejection_time: wanted.max_ejection_time.get(),
        max_ejection_percent: wanted.max_ejection_percent.get(),
        success_rate_minimum_hosts: wanted.success_rate_minimum_hosts,
        success_rate_request_volume: wanted.success_rate_request_volume,
        success_rate_stdev_factor: wanted.success_rate_stdev_factor,
        failure_percentage_threshold: wanted.failure_percentage_threshold.map(|percent| percent.get()),
    }
}
