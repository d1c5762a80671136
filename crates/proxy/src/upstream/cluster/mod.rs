//! Clusters: the living side of an upstream.
//!
//! Which endpoints there are, which of them are to be used, and the state of breaker, bulkhead and retry budget. All
//! workers share one cluster; a pick takes no lock. A cluster outlives reloads that leave its settings as they are.

mod clusters;
mod endpoint;
mod health;
pub(crate) mod metrics;
mod operate;
mod probe;
mod queue;
mod set;
mod status;
mod watch;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use model::resource::upstream::Upstream as Settings;
use resilience::{Breaker, Bulkhead, InFlight, RetryBudget, load::EndpointLoad, outlier};
use tokio::runtime::Handle;

pub(crate) use self::{
    clusters::Clusters,
    endpoint::{Address, Endpoint},
    queue::{Came, RequestQueue},
};
pub use self::{
    operate::{BreakerWish, NoSuchBreaker},
    queue::QueueStatus,
    status::{BreakerStatus, BulkheadStatus, ClusterStatus, EndpointStatus},
};
use self::{
    probe::Probe,
    set::{EndpointSet, Slot},
};
use crate::discovery::{Found, Spec, dns::Resolver};

/// The living side of an upstream.
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    pub(crate) breaker: Option<Arc<Breaker>>,
    pub(crate) bulkhead: Option<Arc<Bulkhead>>,
    /// Calls that are held while it is on its way up.
    pub(crate) queue: Option<Arc<RequestQueue>>,
    pub(crate) budget: Arc<RetryBudget>,
    settings: Settings,
    /// Hash of what the settings only name: files, name servers.
    named: u64,
    outlier: Option<outlier::OutlierSettings>,
    specs: Vec<Spec>,
    /// What each source stands for at the moment, in the order of `specs`.
    found: Mutex<Vec<Vec<Found>>>,
    set: ArcSwap<EndpointSet>,
    /// How its endpoints are checked.
    probe: OnceLock<Arc<Probe>>,
    /// What resolves its names.
    resolver: OnceLock<Arc<Resolver>>,
    /// Ends with the cluster.
    tasks: Mutex<Tasks>,
}

/// Background work of a cluster.
#[derive(Default)]
struct Tasks {
    /// Where they run, once the cluster is live.
    place: Option<Handle>,
    /// Nothing is begun any more.
    is_retired: bool,
    watchers: Vec<tokio::task::AbortHandle>,
    checks: HashMap<u64, tokio::task::AbortHandle>,
}

/// What a pick goes by.
pub(crate) struct PickRequest<'a> {
    pub(crate) now: Instant,
    pub(crate) random: u64,
    /// What consistent hashing goes by.
    pub(crate) hash: Option<u64>,
    /// Endpoints that this call has tried, to be avoided while there are others.
    pub(crate) tried: &'a [u64],
    /// The label of the endpoint that the call is tied to.
    pub(crate) sticky: Option<&'a str>,
}

/// An endpoint, and the count of the call at it.
pub(crate) struct Picked {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) in_flight: InFlight,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TryResult {
    Answered {
        status: u16,
        latency: Duration,
    },
    ConnectRefused,
    ConnectTimeout,
    ConnectFailed,
    Reset {
        waited: Duration,
    },
    Timeout {
        waited: Duration,
    },
    /// Another try of the call answered first, after this one had waited so long.
    Overtaken {
        waited: Duration,
    },
    /// The client left: says nothing about the endpoint.
    Cancelled,
}

impl Picked {
    /// Counts a call at the endpoint.
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        let in_flight = endpoint.load.enter();
        Self { endpoint, in_flight }
    }
}

impl Cluster {
    /// An endpoint for a call; it counts there once it is [`Picked`].
    pub(crate) fn choose(&self, request: &PickRequest<'_>) -> Option<Arc<Endpoint>> {
        self.set.load().pick(request).cloned()
    }

    /// The names that no address is known of, when there is no endpoint for want of them.
    pub(crate) fn nameless(&self) -> Option<String> {
        if self.set.load().endpoints().next().is_some() {
            return None;
        }
        let names: Vec<&str> = self.specs.iter().map(|spec| &*spec.host).collect();
        (!names.is_empty()).then(|| format!("no address is known of `{}`", names.join("`, `")))
    }

    /// Takes note of how a try at an endpoint ended.
    pub(crate) fn report(&self, endpoint: &Endpoint, now: Instant, result: TryResult) {
        use outlier::Kind;
        let kind = match result {
            TryResult::Cancelled => return,
            TryResult::Overtaken { waited } => return endpoint.load.observe_at_least(now, waited),
            TryResult::ConnectRefused => {
                let base = self.base_ejection();
                endpoint.refuse(now, base);
                self.set.load().trouble();
                tracing::debug!(upstream = %self.name, endpoint = %endpoint.label, "refuses connections: set aside");
                return;
            }
            TryResult::Answered { status, latency } => {
                endpoint.load.observe(now, latency);
                match status {
                    502..=504 => Kind::GatewayFailure,
                    500.. => Kind::ServerError,
                    _ => Kind::Success,
                }
            }
            TryResult::Reset { waited } | TryResult::Timeout { waited } => {
                endpoint.load.observe_at_least(now, waited);
                Kind::LocalFailure
            }
            TryResult::ConnectTimeout | TryResult::ConnectFailed => Kind::LocalFailure,
        };
        let Some(settings) = &self.outlier else { return };
        if !endpoint.outlier.on_result(settings, now, kind) {
            return;
        }
        let set = self.set.load();
        let ejected = set.endpoints().filter(|other| other.outlier.is_ejected(now)).count();
        if outlier::may_eject(ejected, set.slots.len(), settings.max_ejection_percent)
            && let Some(until) = endpoint.eject(settings, now)
        {
            set.trouble();
            tracing::warn!(
                upstream = %self.name, endpoint = %endpoint.label, seconds = until.as_secs_f64(),
                "ejected for failing live traffic"
            );
        }
    }

    fn base_ejection(&self) -> Duration {
        let default = || model::resource::health::OutlierDetection::default().base_ejection_time.get();
        self.outlier.as_ref().map_or_else(default, |outlier| outlier.base_ejection_time)
    }

    /// Whether an endpoint still belongs to it.
    pub(crate) fn has_endpoint(&self, uid: u64) -> bool {
        self.set.load().has(uid)
    }

    /// The endpoints at this moment.
    pub(crate) fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.set.load().endpoints().cloned().collect()
    }

    /// Takes its place in live traffic, and begins its background work. Its endpoints may be another cluster's until
    /// now, so nothing has touched them before.
    fn begin(self: &Arc<Self>, background: &Handle) {
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if tasks.place.replace(background.clone()).is_some() {
                return;
            }
        }
        for endpoint in self.set.load().endpoints() {
            endpoint.load.set_decay(self.settings.load_balancing.decay.get());
            if self.probe.get().is_none() {
                endpoint.set_healthy(true);
            }
        }
        if let Some(resolver) = self.resolver.get() {
            watch::begin(background, self, resolver);
        }
        health::follow(self);
        watch::begin_outliers(background, self);
    }

    /// Ends its background work: another cluster has taken its place. Calls that hold it may end with it.
    fn retire(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.is_retired = true;
        tasks.end();
    }

    /// Takes over what a source stands for now. Endpoints that stay keep their state; true when something changed.
    fn update(&self, source: usize, found: Vec<Found>, now: Instant) -> bool {
        let mut all = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(source) == Some(&found) {
            return false;
        }
        if let Some(place) = all.get_mut(source) {
            *place = found;
        }
        let before = self.set.load_full();
        let set = assemble(&self.settings, &self.specs, &all, &before, now);
        self.set.store(Arc::new(set));
        true
    }
}

/// Builds the set for what the sources stand for; an endpoint whose address was there before is the same one.
fn assemble(
    settings: &Settings,
    specs: &[Spec],
    found: &[Vec<Found>],
    before: &EndpointSet,
    now: Instant,
) -> EndpointSet {
    let mut slots: Vec<Slot> = Vec::new();
    // At first all endpoints are equally new.
    let is_change = !before.slots.is_empty();
    let mut seen = std::collections::HashSet::new();
    for (spec, found) in specs.iter().zip(found) {
        for one in found {
            let label = one.address.to_string();
            if !seen.insert(label.clone()) {
                continue;
            }
            let host = one.host.as_ref().unwrap_or(&spec.host);
            let known = before.by_label(&label).filter(|slot| slot.endpoint.host == *host);
            let endpoint = match known {
                Some(slot) => slot.endpoint.clone(),
                None => {
                    let load = EndpointLoad::new(settings.load_balancing.decay.get(), now);
                    if is_change {
                        load.warm_up(now);
                    }
                    let authority = authority(host, &one.address);
                    Arc::new(Endpoint::new(one.address.clone(), host, &authority, load, now))
                }
            };
            slots.push(Slot {
                endpoint,
                weight: one.weight.map_or(spec.weight, |weight| weight.saturating_mul(spec.weight)),
                zone: spec.zone.clone(),
                backup: spec.backup || one.backup,
            });
        }
    }
    EndpointSet::new(slots, &settings.load_balancing)
}

/// What names an endpoint in `Host`.
fn authority(host: &str, address: &Address) -> String {
    match address {
        Address::Socket(address) if host.contains(':') => format!("[{host}]:{}", address.port()),
        Address::Socket(address) => format!("{host}:{}", address.port()),
        Address::Unix(_) => host.to_owned(),
    }
}

impl Tasks {
    fn end(&mut self) {
        for task in self.watchers.drain(..) {
            task.abort();
        }
        for (_, task) in self.checks.drain() {
            task.abort();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).end();
    }
}
