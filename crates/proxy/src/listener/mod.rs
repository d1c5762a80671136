//! Listeners: sockets, and what every connection that they take has in common.

pub(crate) mod accept;
pub(crate) mod forwarded;
pub(crate) mod handshake;
mod owner;
pub(crate) mod proxy_protocol;
pub(crate) mod sockets;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use model::{
    Cidr,
    resource::{
        listener::{HttpsTarget, ListenerProtocol, ProxyProtocol},
        path_rules::PathRules,
    },
};

use crate::{compiled::Building, policy::Chain, stream::Streams};

/// A compiled listener.
pub(crate) struct Listener {
    /// Its name.
    pub name: Arc<str>,
    pub(crate) index: usize,
    pub(crate) address: String,
    pub(crate) protocol: ListenerProtocol,
    /// Connections that go on as they come.
    pub(crate) streams: Option<Streams>,
    pub(crate) tls: Option<crate::tls::server::ListenerTlsConfig>,
    pub(crate) redirect_to_https: Option<HttpsTarget>,
    pub(crate) proxy_protocol: ProxyProtocol,
    pub(crate) trusted: Vec<Cidr>,
    pub(crate) limits: Limits,
    pub(crate) http2: Option<crate::conn::h2::Settings>,
    pub(crate) http3: Option<crate::quic::Http3>,
    pub(crate) socket_file: Option<model::resource::socket_file::SocketFile>,
    pub(crate) connect: bool,
    pub(crate) half_close: bool,
    pub(crate) path: PathRules,
    pub(crate) chain: Chain,
    /// Open connections; kept over reloads.
    open: Arc<AtomicU64>,
}

/// Bounds of every connection of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) http1: http1::Limits,
    pub(crate) max_connections: u64,
    pub(crate) max_requests_per_connection: u32,
    pub(crate) max_connection_age: Option<Duration>,
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) tls_timeout: Duration,
    pub(crate) max_concurrent_streams: u32,
    pub(crate) max_resets: u32,
}

impl Limits {
    fn of(limits: &model::resource::listener::ListenerLimits) -> Self {
        Self {
            http1: http1::Limits {
                head_bytes: bytes(limits.max_header_size),
                headers: limits.max_headers,
                target_bytes: bytes(limits.max_uri_size),
                ..http1::Limits::default()
            },
            max_connections: limits.max_connections.unwrap_or(u64::MAX),
            max_requests_per_connection: limits
                .max_requests_per_connection
                .and_then(|max| u32::try_from(max).ok())
                .unwrap_or(u32::MAX),
            max_connection_age: limits.max_connection_age.map(model::Duration::get),
            header_timeout: limits.header_timeout.get(),
            body_timeout: limits.body_timeout.get(),
            idle_timeout: limits.idle_timeout.get(),
            tls_timeout: limits.tls_timeout.get(),
            max_concurrent_streams: limits.max_concurrent_streams,
            max_resets: limits.max_resets,
        }
    }

    /// When a connection that begins now is old: a tenth earlier or later by chance, so that those that came together do not go
    /// together.
    pub(crate) fn old_at(&self, now: Instant, random: u64) -> Option<Instant> {
        let by_chance = 0.9 + 0.2 * (random >> 11) as f64 / (1_u64 << 53) as f64;
        Some(now + self.max_connection_age?.mul_f64(by_chance))
    }
}

impl Listener {
    /// Builds a listener; certificates are read from the snapshot.
    pub(crate) fn compile(
        settings: &model::Listener,
        index: usize,
        streams: Option<Streams>,
        cx: &Building<'_>,
        found: &mut Vec<model::Finding>,
    ) -> Result<Self, String> {
        let tls = match &settings.tls {
            Some(tls) => Some(crate::tls::server::compile(tls, settings.http2().is_some(), cx.snapshot)?),
            None => None,
        };
        let limits = Limits::of(&settings.limits);
        let http3 = crate::quic::Http3::compile(settings, tls.as_ref(), &limits, cx.snapshot)?;
        Ok(Self {
            name: settings.name.as_str().into(),
            index,
            address: settings.address.clone(),
            protocol: settings.protocol,
            streams,
            tls,
            redirect_to_https: settings.https_target(),
            proxy_protocol: settings.proxy_protocol,
            trusted: [&*cx.snapshot.config.trusted_proxies, &settings.trusted_proxies].concat(),
            limits,
            http2: settings.http2().map(|http2| crate::conn::h2::Settings::of(&http2)),
            http3,
            socket_file: settings.socket_file.clone(),
            connect: settings.connect,
            half_close: settings.half_close,
            path: settings.path.clone(),
            chain: Chain::compile(&settings.policies, &format!("listeners/{}", settings.name), cx, found),
            open: cx
                .of(&format!("listeners/{}", settings.name))
                .keep("connections", &(), || AtomicU64::new(0)),
        })
    }

    /// Where the same is to be had over HTTP/3.
    pub(crate) fn alt_svc(&self) -> Option<&http::HeaderValue> {
        self.http3.as_ref()?.alt_svc.as_ref()
    }

    /// Counts a connection, unless there are as many as there may be.
    pub(crate) fn enter(&self) -> bool {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if open >= self.limits.max_connections {
            self.leave();
            return false;
        }
        true
    }

    /// A connection has ended.
    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a peer is one of the proxies whose word about the client is taken.
    pub(crate) fn trusts(&self, peer: std::net::IpAddr) -> bool {
        self.trusted.iter().any(|cidr| cidr.contains(peer))
    }
}

fn bytes(size: model::Size) -> usize {
    usize::try_from(size.bytes()).unwrap_or(usize::MAX)
}
