//! A compiled stream route: who is let in, where to, and what is counted of it.

use std::{
    net::{IpAddr, Ipv6Addr},
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
const SESSIONS_OF_ONE_MAX: u64 = 1_000;
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
    max_of_one: u64,
    pub(super) counts: Arc<Counts>,
}

/// An upstream of it.
pub(super) struct Target {
    pub(super) upstream: Arc<Upstream>,
    /// TLS to it, without a word about protocols.
    pub(super) connector: Option<tokio_rustls::TlsConnector>,
}

/// A connection or a session that is counted.
pub(super) struct Open {
    counts: Arc<Counts>,
    /// Whose it is, where that is counted.
    client: Option<IpAddr>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(client) = self.client {
            self.counts.by_client.leave(client);
        }
    }
}

/// What counts as one client: whoever has an IPv6 address has its whole network.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
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
        let (idle, max, max_of_one) = match is_udp {
            true => (IDLE_UDP, SESSIONS_MAX, SESSIONS_OF_ONE_MAX),
            false => (IDLE_TCP, u64::MAX, u64::MAX),
        };
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
            max_of_one: settings.max_per_address.unwrap_or(max_of_one),
            counts: cx.keep("counts", &(), Counts::default),
        })
    }

    /// Whether a client may come.
    pub(super) fn lets_in(&self, client: IpAddr) -> bool {
        let is_in = |of: &[Cidr]| of.iter().any(|one| one.contains(client));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// Counts a connection, unless there are as many as there may be, of all clients or of this one.
    pub(super) fn open(&self, client: IpAddr) -> Option<Open> {
        let mut open = Open { counts: self.counts.clone(), client: None };
        let before = self.counts.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.max {
            return None;
        }
        if self.max_of_one < u64::MAX {
            let client = network(client);
            if !self.counts.by_client.enter(client, self.max_of_one) {
                return None;
            }
            open.client = Some(client);
        }
        Some(open)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
