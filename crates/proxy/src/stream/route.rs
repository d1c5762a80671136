//! A compiled stream route: who is let in, where to, and what is counted of it.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use model::{
    Cidr,
    resource::{
        listener::ListenerProtocol,
        stream_route::{StreamRoute as Settings, StreamTls},
    },
};
use resilience::balance::WeightedCycle;

use super::report::Counts;
use crate::{compiled::Building, upstream::Upstream};

/// Without a bound of its own.
const SESSIONS_MAX: u64 = 10_000;
const IDLE_TCP: Duration = Duration::from_secs(600);
const IDLE_UDP: Duration = Duration::from_secs(60);

/// A stream route.
pub(crate) struct Route {
    pub(crate) name: Arc<str>,
    pub(super) tls: StreamTls,
    pub(super) targets: Vec<Target>,
    cycle: Arc<WeightedCycle>,
    allow: Vec<Cidr>,
    deny: Vec<Cidr>,
    pub(super) idle: Duration,
    pub(super) datagram_bytes: usize,
    max: u64,
    pub(super) counts: Arc<Counts>,
}

/// An upstream of it.
pub(super) struct Target {
    pub(super) upstream: Arc<Upstream>,
    /// TLS to it, without a word about protocols.
    pub(super) connector: Option<tokio_rustls::TlsConnector>,
}

/// A connection or a session that is counted.
pub(super) struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Route {
    pub(crate) fn compile(settings: &Settings, cx: &Building<'_>) -> Result<Self, (&'static str, String)> {
        let mut targets = Vec::with_capacity(settings.backends.len());
        for (index, backend) in settings.backends.iter().enumerate() {
            let upstream = cx.upstreams.get(backend.upstream.as_str()).ok_or_else(|| {
                ("backends", format!("[{index}].upstream: no upstream `{}`", backend.upstream))
            })?;
            let connector = upstream.tls.as_ref().map(|tls| tls.without_protocols());
            targets.push(Target { upstream: upstream.clone(), connector });
        }
        let weights: Vec<u32> = settings.backends.iter().map(|backend| backend.weight).collect();
        let cx = cx.of(&format!("streamRoutes/{}", settings.name));
        let config = &cx.snapshot.config;
        let is_udp = config.listeners.iter().any(|listener| {
            listener.protocol == ListenerProtocol::Udp && settings.listeners.contains(&listener.name)
        });
        let (idle, max) = if is_udp { (IDLE_UDP, SESSIONS_MAX) } else { (IDLE_TCP, u64::MAX) };
        Ok(Self {
            name: settings.name.as_str().into(),
            tls: settings.tls,
            targets,
            cycle: cx.keep("backends", &weights, || WeightedCycle::new(&weights)),
            allow: settings.allow.clone(),
            deny: settings.deny.clone(),
            idle: settings.idle_timeout.map_or(idle, model::Duration::get),
            datagram_bytes: usize::try_from(settings.max_datagram_size.bytes()).unwrap_or(usize::MAX),
            max: settings.max_connections.unwrap_or(max),
            counts: cx.keep("counts", &(), Counts::default),
        })
    }

    /// Whether a client may come.
    pub(super) fn lets_in(&self, client: IpAddr) -> bool {
        let is_in = |of: &[Cidr]| of.iter().any(|one| one.contains(client));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// Counts a connection, unless there are as many as there may be.
    pub(super) fn open(&self) -> Option<Open> {
        let open = Open(self.counts.clone());
        let before = self.counts.open.fetch_add(1, Ordering::Relaxed);
        (before < self.max).then_some(open)
    }

    /// The upstream whose turn it is.
    pub(super) fn target(&self) -> Option<&Target> {
        self.targets.get(self.cycle.next()?)
    }
}

/// Adds to a count.
pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
