//! Metrics: counts per worker, brought together when they are read.
//!
//! Labels are bounded by the configuration (listener, route, upstream, policy) or by fixed lists (method, status
//! class, reason): never a path, a user or a key. Series of what is no longer configured are forgotten.

mod cells;
mod exposition;
pub(crate) mod gen_ai;
mod histogram;
mod loss;
mod models;
mod process;
mod routes;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use model::{CallRecord, Snapshot};

use crate::reports::Reports;

use self::{
    cells::{CLASSES, Cells, METHODS, PROTOCOLS},
    routes::Entry,
};
pub use self::{exposition::Exposition, histogram::Histogram};
pub(crate) use self::{
    exposition::{Family, Kind, Sample, Value},
    histogram::BOUNDS_MICROS,
    loss::{Flow, Reason, Sink},
};

/// Something that has metrics of its own at the time of a scrape, such as the state of upstreams.
pub trait Collect: Send + Sync {
    /// Writes them.
    fn collect(&self, out: &mut Exposition);
}

/// All metrics of the process.
#[derive(Default)]
pub struct Metrics {
    shards: Mutex<Vec<Arc<Shard>>>,
    collectors: Mutex<Vec<Arc<dyn Collect>>>,
    reloads_applied: AtomicU64,
    reloads_refused: AtomicU64,
    last_refused: AtomicBool,
    /// Since when everything is counted.
    started: Started,
    /// What sinks took and what they lost.
    pub(crate) flow: Flow,
    /// What became of the records of access logs.
    pub(crate) reports: Reports,
    revision: Mutex<(String, usize)>,
}

/// A moment that is the present when it is made.
struct Started(SystemTime);

impl Default for Started {
    fn default() -> Self {
        Self(SystemTime::now())
    }
}

/// Routes that a scrape reads before it lets the worker count again.
const PIECE: usize = 64;

/// The counts of one worker.
#[derive(Debug, Default)]
pub(crate) struct Shard(Mutex<Cells>);

/// The names that are configured.
struct Live {
    listeners: HashSet<String>,
    routes: HashSet<String>,
    upstreams: HashSet<String>,
    models: HashSet<String>,
}

impl Shard {
    pub(crate) fn record(&self, call: &CallRecord) {
        self.lock().record(call);
    }

    fn lock(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what is counted here. The worker waits for a piece at most, however many routes there are.
    fn add_to(&self, all: &mut Cells) {
        all.add_rest(&self.lock());
        let mut from = 0;
        while all.add_routes(&self.lock(), from, PIECE) {
            from += PIECE;
        }
    }

    pub(crate) fn connection(&self, listener: &Arc<str>, is_opened: bool) {
        let mut cells = self.lock();
        let cells = cells.listeners.entry(listener.clone()).or_default();
        if is_opened {
            cells.opened += 1;
        } else {
            cells.closed += 1;
        }
    }

    pub(crate) fn handshake_failed(&self, listener: &Arc<str>) {
        let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cells.listeners.entry(listener.clone()).or_default().handshakes_failed += 1;
    }
}

impl Metrics {
    /// A shard for one worker, for as long as the process runs.
    pub(crate) fn shard(&self) -> Arc<Shard> {
        let shard = Arc::new(Shard::default());
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(shard.clone());
        shard
    }

    /// Counts a reload.
    pub fn config_reload(&self, is_applied: bool) {
        let count = if is_applied { &self.reloads_applied } else { &self.reloads_refused };
        count.fetch_add(1, Ordering::Relaxed);
        self.last_refused.store(!is_applied, Ordering::Relaxed);
    }

    pub(crate) fn register(&self, collector: Arc<dyn Collect>) {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner).push(collector);
    }

    /// Follows a configuration: forgets the series of what it does not name.
    pub(crate) fn apply(&self, snapshot: &Snapshot) {
        let config = &snapshot.config;
        // A provider of models is an upstream of this name.
        let providers = config.ai.iter().flat_map(|ai| &ai.providers);
        let providers = providers.map(|provider| format!("ai:{}", provider.name));
        let live = Live {
            listeners: config.listeners.iter().map(|listener| listener.name.clone()).collect(),
            routes: config.routes.iter().map(|route| route.name.clone()).collect(),
            upstreams: config
                .upstreams
                .iter()
                .map(|upstream| upstream.name.clone())
                .chain(providers)
                .chain(config.mcp_servers().map(|(route, server)| server.upstream(route)))
                .chain(config.a2a_agents().map(|(route, agent)| agent.upstream(route)))
                .collect(),
            models: config.ai.iter().flat_map(|ai| &ai.models).map(|model| model.name.clone()).collect(),
        };
        for shard in &*self.shards.lock().unwrap_or_else(PoisonError::into_inner) {
            shard.lock().prune(&live);
        }
        *self.revision.lock().unwrap_or_else(PoisonError::into_inner) =
            (snapshot.revision.clone(), config.routes.len());
    }

    /// Everything, as Prometheus reads it.
    pub(crate) fn render(&self) -> String {
        let mut out = Exposition::page();
        self.collect(&mut out);
        out.into_page()
    }

    /// Since when everything is counted.
    pub(crate) fn started(&self) -> SystemTime {
        self.started.0
    }

    /// Everything, as families of values.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut out = Exposition::families();
        self.collect(&mut out);
        out.into_families()
    }

    fn collect(&self, out: &mut Exposition) {
        let mut all = Cells::default();
        // Holding the list keeps `apply` from moving routes between two pieces.
        for shard in &*self.shards.lock().unwrap_or_else(PoisonError::into_inner) {
            shard.add_to(&mut all);
        }
        render_routes(&all, out);
        render_upstreams(&all, out);
        render_listeners(&all, out);
        render_protocols(&all, out);
        all.gen_ai.render(out);
        all.models.render(out);
        render_models(&all, out);
        self.render_config(out);
        self.flow.collect(&self.reports, out);
        self.reports.collect(out);
        for collector in &*self.collectors.lock().unwrap_or_else(PoisonError::into_inner) {
            collector.collect(out);
        }
        process::collect(out);
    }

    fn render_config(&self, out: &mut Exposition) {
        let name = "tidegate_config_reloads_total";
        let help = "Configurations that were read anew, by result.";
        for (result, count) in [("applied", &self.reloads_applied), ("refused", &self.reloads_refused)] {
            out.counter(name, help, &[("result", result)], count.load(Ordering::Relaxed) as f64);
        }
        let successful = f64::from(u8::from(!self.last_refused.load(Ordering::Relaxed)));
        let help = "1 when the last configuration that was read is live, 0 when it was refused.";
        out.gauge("tidegate_config_last_reload_successful", help, &[], successful);
        let (revision, routes) = self.revision.lock().unwrap_or_else(PoisonError::into_inner).clone();
        out.gauge("tidegate_config_info", "The live configuration.", &[("revision", &revision)], 1.0);
        out.gauge("tidegate_config_routes", "Routes of the live configuration.", &[], routes as f64);
        let version = env!("CARGO_PKG_VERSION");
        out.gauge("tidegate_build_info", "The running build.", &[("version", version)], 1.0);
    }
}

fn render_routes(all: &Cells, out: &mut Exposition) {
    let mut routes: Vec<_> = all.routes.entries().iter().collect();
    routes.sort_by(|a, b| (&a.listener, &a.route).cmp(&(&b.listener, &b.route)));
    for Entry { listener, route, cells } in &routes {
        for (method, counts) in METHODS.iter().zip(&cells.requests) {
            for (class, count) in CLASSES.iter().zip(counts).filter(|(_, count)| **count > 0) {
                let labels =
                    [("listener", &**listener), ("route", route), ("method", method), ("status", class)];
                out.counter("tidegate_requests_total", "Finished requests.", &labels, *count as f64);
            }
        }
    }
    for Entry { listener, route, cells } in &routes {
        let labels = [("listener", &**listener), ("route", &**route)];
        let help = "From the head of a request to the end of its answer, in seconds.";
        out.histogram("tidegate_request_duration_seconds", help, &labels, &cells.duration);
    }
    for Entry { listener, route, cells } in &routes {
        let labels = [("listener", &**listener), ("route", &**route)];
        out.counter(
            "tidegate_request_bytes_total",
            "Bytes of request bodies.",
            &labels,
            cells.request_bytes as f64,
        );
    }
    for Entry { listener, route, cells } in &routes {
        let labels = [("listener", &**listener), ("route", &**route)];
        let bytes = cells.response_bytes as f64;
        out.counter("tidegate_response_bytes_total", "Bytes of response bodies.", &labels, bytes);
    }
    for Entry { listener, route, cells } in &routes {
        for ((side, stage, reason), count) in &cells.failures {
            let labels = [
                ("listener", &**listener),
                ("route", route),
                ("side", side),
                ("stage", stage),
                ("reason", reason),
            ];
            out.counter("tidegate_failures_total", "Failed requests, by cause.", &labels, *count as f64);
        }
    }
    for Entry { listener, route, cells } in &routes {
        for ((server, tool), counts) in &cells.tools {
            for (result, count) in
                ["ok", "error", "unfinished", "asked"].iter().zip(counts).filter(|(_, count)| **count > 0)
            {
                let labels = [
                    ("listener", &**listener),
                    ("route", route),
                    ("server", server),
                    ("tool", tool),
                    ("result", result),
                ];
                let help = "Calls of tools, by how they ended.";
                out.counter("tidegate_mcp_tool_calls_total", help, &labels, *count as f64);
            }
        }
    }
    for Entry { listener, route, cells } in &routes {
        for ((call, result), count) in &cells.calls {
            let labels = [("listener", &**listener), ("route", route), ("call", call), ("result", *result)];
            let help = "Calls that composed answers are made of, by how they ended.";
            out.counter("tidegate_compose_calls_total", help, &labels, *count as f64);
        }
    }
    for Entry { listener, route, cells } in &routes {
        for ((method, protocol, code), count) in &cells.rpcs {
            let code = code.map_or("none".to_owned(), |code| code.to_string());
            let labels = [
                ("listener", &**listener),
                ("route", route),
                ("method", method),
                ("protocol", *protocol),
                ("code", &code),
            ];
            let help =
                "gRPC calls that were carried over from another protocol, by the code that ended them.";
            out.counter("tidegate_transcode_calls_total", help, &labels, *count as f64);
        }
    }
    for Entry { listener, route, cells } in &routes {
        for (policy, count) in &cells.stops {
            let labels = [("listener", &**listener), ("route", route), ("policy", policy)];
            out.counter(
                "tidegate_policy_stops_total",
                "Requests that a policy answered.",
                &labels,
                *count as f64,
            );
        }
    }
}

fn render_upstreams(all: &Cells, out: &mut Exposition) {
    let mut upstreams: Vec<_> = all.upstreams.iter().collect();
    upstreams.sort_by(|a, b| a.0.cmp(b.0));
    for (upstream, cells) in &upstreams {
        let labels = [("upstream", &***upstream)];
        let help = "From a usable connection to the head of the upstream's answer, in seconds.";
        out.histogram("tidegate_upstream_first_byte_seconds", help, &labels, &cells.first_byte);
    }
    for (upstream, cells) in &upstreams {
        let labels = [("upstream", &***upstream)];
        out.counter(
            "tidegate_attempts_total",
            "Tries that went to an upstream.",
            &labels,
            cells.attempts as f64,
        );
    }
    for (upstream, cells) in &upstreams {
        let labels = [("upstream", &***upstream)];
        out.counter(
            "tidegate_retries_total",
            "Tries after a call's first at that upstream, one after the other.",
            &labels,
            cells.retries as f64,
        );
    }
    for (upstream, cells) in &upstreams {
        let labels = [("upstream", &***upstream)];
        let help = "Tries that were started beside a slow one.";
        out.counter("tidegate_hedges_total", help, &labels, cells.hedges as f64);
    }
    for (upstream, cells) in &upstreams {
        let labels = [("upstream", &***upstream)];
        let help = "Tries started beside a slow one that gave the answer.";
        out.counter("tidegate_hedges_won_total", help, &labels, cells.hedges_won as f64);
    }
}

fn render_models(all: &Cells, out: &mut Exposition) {
    for ((kind, mode, side), count) in &all.guarded {
        let labels = [("kind", *kind), ("mode", *mode), ("side", *side)];
        out.counter("tidegate_ai_guardrails_total", "What guardrails found.", &labels, *count as f64);
    }
    for (said, count) in &all.cached {
        let help = "Calls to models, by what the cache of answers said.";
        out.counter("tidegate_ai_cache_total", help, &[("result", *said)], *count as f64);
    }
}

fn render_protocols(all: &Cells, out: &mut Exposition) {
    let mut listeners: BTreeMap<&str, [u64; PROTOCOLS.len()]> = BTreeMap::new();
    for Entry { listener, cells, .. } in all.routes.entries() {
        let counts = listeners.entry(listener).or_default();
        counts.iter_mut().zip(cells.protocols).for_each(|(count, more)| *count += more);
    }
    for (listener, counts) in listeners {
        for (protocol, count) in PROTOCOLS.iter().zip(counts).filter(|(_, count)| *count > 0) {
            let labels = [("listener", listener), ("protocol", protocol)];
            let help = "Finished requests, by the version of HTTP that the client spoke.";
            out.counter("tidegate_requests_by_protocol_total", help, &labels, count as f64);
        }
    }
}

fn render_listeners(all: &Cells, out: &mut Exposition) {
    let mut listeners: Vec<_> = all.listeners.iter().collect();
    listeners.sort_by(|a, b| a.0.cmp(b.0));
    for (listener, cells) in &listeners {
        let open = cells.opened.saturating_sub(cells.closed) as f64;
        out.gauge("tidegate_connections", "Open client connections.", &[("listener", listener)], open);
    }
    for (listener, cells) in &listeners {
        let labels = [("listener", &***listener)];
        out.counter(
            "tidegate_connections_total",
            "Accepted client connections.",
            &labels,
            cells.opened as f64,
        );
    }
    for (listener, cells) in &listeners {
        let labels = [("listener", &***listener)];
        let help = "Client connections whose TLS handshake failed.";
        let failed = cells.handshakes_failed as f64;
        out.counter("tidegate_tls_handshake_failures_total", help, &labels, failed);
    }
}
