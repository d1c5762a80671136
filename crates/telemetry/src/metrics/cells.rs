//! The counts of one worker: by route, by upstream, by listener.
//!
//! Only its worker writes to them, so the lock around them is free but while a scrape reads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use http::{Method, Version};
use model::{CallRecord, McpRecord, Side, Stage};

use super::{
    gen_ai::GenAi,
    histogram::Histogram,
    models::Models,
    routes::{Quick, Routes},
};

/// Methods with a label of their own; others share `OTHER`, so that clients cannot make series.
pub(super) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "OTHER"];
/// Tools of a route with a label of their own; others share `other`, as those do that no server lists.
const TOOLS_MAX: usize = 500;
/// Versions of HTTP, as clients speak them.
pub(super) const PROTOCOLS: [&str; 4] = ["HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"];
/// Status classes.
pub(super) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counts of one worker.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) routes: Routes,
    pub(super) upstreams: HashMap<Arc<str>, UpstreamCells, Quick>,
    pub(super) listeners: HashMap<Arc<str>, ListenerCells, Quick>,
    pub(super) gen_ai: GenAi,
    pub(super) models: Models,
    /// What guardrails found, by kind, mode and side.
    pub(super) guarded: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    /// What the cache of models' answers said.
    pub(super) cached: BTreeMap<&'static str, u64>,
    none: Option<Arc<str>>,
}

/// Counts of a route on a listener.
#[derive(Debug, Default, Clone)]
pub(super) struct RouteCells {
    pub(super) requests: [[u64; CLASSES.len()]; METHODS.len()],
    pub(super) protocols: [u64; PROTOCOLS.len()],
    pub(super) duration: Histogram,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) failures: BTreeMap<(&'static str, &'static str, &'static str), u64>,
    pub(super) stops: BTreeMap<&'static str, u64>,
    /// Calls of tools, by server and tool, and of these how many ended well, with an error, not
    /// at all, and with questions.
    pub(super) tools: BTreeMap<(Arc<str>, Box<str>), [u64; 4]>,
    /// Calls of composed answers by their names and how they ended.
    pub(super) calls: BTreeMap<(Arc<str>, &'static str), u64>,
    /// gRPC calls that were carried over, by method, protocol of the client and code.
    pub(super) rpcs: BTreeMap<(Arc<str>, &'static str, Option<u16>), u64>,
}

/// Counts of an upstream.
#[derive(Debug, Default, Clone)]
pub(super) struct UpstreamCells {
    pub(super) first_byte: Histogram,
    pub(super) attempts: u64,
    pub(super) retries: u64,
    pub(super) hedges: u64,
    pub(super) hedges_won: u64,
}

/// Counts of a listener's connections.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ListenerCells {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) handshakes_failed: u64,
}

fn method(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1)
}

fn protocol(version: Version) -> usize {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => 0,
        Version::HTTP_2 => 2,
        Version::HTTP_3 => 3,
        _ => 1,
    }
}

impl Cells {
    pub(super) fn record(&mut self, call: &CallRecord) {
        let none = self.none.get_or_insert_with(|| Arc::from("none"));
        let route = call.route.as_ref().unwrap_or(none);
        let cells = self.routes.cells(&call.listener, route);
        let class = usize::from(call.status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        cells.requests[method(&call.method)][class] += 1;
        cells.protocols[protocol(call.version)] += 1;
        cells.duration.observe(call.timings.total);
        cells.request_bytes += call.request_bytes;
        cells.response_bytes += call.response_bytes;
        if let Some(failure) = &call.failure {
            *cells.failures.entry((side(failure.side), stage(failure.stage), failure.reason)).or_default() +=
                1;
        }
        if let Some(policy) = call.stopped_by {
            *cells.stops.entry(policy).or_default() += 1;
        }
        if let Some(message) = &call.mcp
            && &*message.method == "tools/call"
        {
            cells.count_tool(message);
        }
        if let Some(rpc) = &call.transcoded {
            let key = (rpc.method.clone(), rpc.protocol, call.grpc_status);
            *cells.rpcs.entry(key).or_default() += 1;
        }
        if let Some(composed) = &call.composed {
            composed.with(|calls| {
                for one in calls {
                    let ended = one.failed.unwrap_or("ok");
                    *cells.calls.entry((one.name.clone(), ended)).or_default() += 1;
                    if one.attempts > 0 {
                        self.upstreams.entry(one.upstream.clone()).or_default().count(one);
                    }
                }
            });
        }
        let mut elsewhere = 0;
        if let Some(ai) = &call.ai {
            elsewhere = self.elsewhere(call);
            self.gen_ai.record(call, ai);
            self.models.record(call);
            for fired in ai.guarded() {
                *self.guarded.entry((fired.kind, fired.mode, fired.side)).or_default() +=
                    u64::from(fired.count);
            }
            if let Some(said) = ai.cache {
                *self.cached.entry(said).or_default() += 1;
            }
        }
        if call.attempts > 0
            && let Some(upstream) = &call.upstream
        {
            let cells = match self.upstreams.get_mut(upstream) {
                Some(cells) => cells,
                None => self.upstreams.entry(upstream.clone()).or_default(),
            };
            let attempts = call.attempts.saturating_sub(elsewhere);
            cells.attempts += u64::from(attempts);
            cells.retries += u64::from(attempts.saturating_sub(1).saturating_sub(call.hedges));
            cells.hedges += u64::from(call.hedges);
            cells.hedges_won += u64::from(call.hedge_won);
            let answered = call.failure.as_ref().is_none_or(|failure| failure.stage == Stage::Body);
            if answered && let Some(first_byte) = call.timings.upstream_first_byte {
                cells.first_byte.observe(first_byte);
            }
        }
    }

    /// Counts tries at upstreams that the call went on from, and tells how many they were.
    fn elsewhere(&mut self, call: &CallRecord) -> u16 {
        let mut all = 0_u16;
        for (place, tried) in call.failed_tries.iter().enumerate() {
            let Some(upstream) = tried.sent_elsewhere() else { continue };
            let before = call.failed_tries.get(..place).unwrap_or_default();
            let is_last = call.upstream.as_ref() == Some(upstream);
            let is_again = is_last || before.iter().any(|one| one.sent_elsewhere() == Some(upstream));
            let cells = self.upstreams.entry(upstream.clone()).or_default();
            cells.attempts += 1;
            cells.retries += u64::from(is_again);
            all = all.saturating_add(1);
        }
        all
    }

    /// Forgets what is not configured any more.
    pub(super) fn prune(&mut self, live: &super::Live) {
        self.routes.retain(|entry| {
            live.listeners.contains(&*entry.listener)
                && (live.routes.contains(&*entry.route) || &*entry.route == "none")
        });
        self.gen_ai.prune(|model| live.models.contains(model));
        self.models.prune(live);
        self.upstreams.retain(|upstream, _| live.upstreams.contains(&**upstream));
        self.listeners
            .retain(|listener, cells| live.listeners.contains(&**listener) || cells.opened > cells.closed);
    }

    /// Adds another worker's counts of some routes, from a place on; false when there are none from there.
    pub(super) fn add_routes(&mut self, other: &Self, from: usize, count: usize) -> bool {
        let rest = other.routes.entries().get(from..).unwrap_or_default();
        for more in rest.iter().take(count) {
            self.routes.cells(&more.listener, &more.route).add(&more.cells);
        }
        !rest.is_empty()
    }

    /// Adds another worker's counts of everything but routes.
    pub(super) fn add_rest(&mut self, other: &Self) {
        self.models.add(&other.models);
        for (key, more) in &other.guarded {
            *self.guarded.entry(*key).or_default() += more;
        }
        for (said, more) in &other.cached {
            *self.cached.entry(said).or_default() += more;
        }
        for (key, more) in &other.upstreams {
            let cells = self.upstreams.entry(key.clone()).or_default();
            cells.first_byte.add(&more.first_byte);
            cells.attempts += more.attempts;
            cells.retries += more.retries;
            cells.hedges += more.hedges;
            cells.hedges_won += more.hedges_won;
        }
        self.gen_ai.add(&other.gen_ai);
        for (key, more) in &other.listeners {
            let cells = self.listeners.entry(key.clone()).or_default();
            cells.opened += more.opened;
            cells.closed += more.closed;
            cells.handshakes_failed += more.handshakes_failed;
        }
    }
}

impl UpstreamCells {
    /// Counts what a call of a composed answer took of it.
    fn count(&mut self, one: &model::ComposedCall) {
        self.attempts += u64::from(one.attempts);
        self.retries += u64::from((one.attempts - 1).saturating_sub(one.hedges));
        self.hedges += u64::from(one.hedges);
        self.hedges_won += u64::from(one.hedge_won);
        if let Some(first_byte) = one.first_byte.filter(|_| one.status.is_some()) {
            self.first_byte.observe(first_byte);
        }
    }
}

impl RouteCells {
    fn count_tool(&mut self, message: &McpRecord) {
        let server = message.server.clone().unwrap_or_else(|| "none".into());
        let name = message.name.as_deref().filter(|_| message.is_known_tool).unwrap_or("other");
        let mut key = (server, Box::from(name));
        if self.tools.len() >= TOOLS_MAX && !self.tools.contains_key(&key) {
            key.1 = "other".into();
        }
        let result = match message.is_error() {
            Some(false) if message.is_asked() => 3,
            Some(false) => 0,
            Some(true) => 1,
            None => 2,
        };
        self.tools.entry(key).or_default()[result] += 1;
    }

    fn add(&mut self, other: &Self) {
        for (counts, more) in self.requests.iter_mut().zip(&other.requests) {
            for (count, more) in counts.iter_mut().zip(more) {
                *count += more;
            }
        }
        for (count, more) in self.protocols.iter_mut().zip(&other.protocols) {
            *count += more;
        }
        self.duration.add(&other.duration);
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
        for (key, more) in &other.failures {
            *self.failures.entry(*key).or_default() += more;
        }
        for (key, more) in &other.tools {
            let counts = self.tools.entry(key.clone()).or_default();
            counts.iter_mut().zip(more).for_each(|(count, more)| *count += more);
        }
        for (key, more) in &other.stops {
            *self.stops.entry(key).or_default() += more;
        }
        for (key, more) in &other.rpcs {
            *self.rpcs.entry(key.clone()).or_default() += more;
        }
        for (key, more) in &other.calls {
            *self.calls.entry(key.clone()).or_default() += more;
        }
    }
}

fn side(side: Side) -> &'static str {
    side.as_str()
}

fn stage(stage: Stage) -> &'static str {
    stage.as_str()
}
