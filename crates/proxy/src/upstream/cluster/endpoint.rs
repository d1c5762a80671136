//! One endpoint: where it is, how loaded it is, and whether it is to be used.
//!
//! Its state belongs to its address and outlives reloads, as long as its upstream still names that address.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use resilience::{
    load::EndpointLoad,
    outlier::{HostOutlier, OutlierSettings},
};

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Address {
    /// TCP.
    Socket(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address that answers for an upstream.
pub(crate) struct Endpoint {
    /// Unique in this process, and never used again.
    pub(crate) uid: u64,
    pub(crate) address: Address,
    /// The address as text.
    pub(crate) label: Arc<str>,
    /// The name under which it was configured or found, for TLS.
    pub(crate) host: Arc<str>,
    authority: Arc<str>,
    pub(crate) load: Arc<EndpointLoad>,
    pub(crate) outlier: HostOutlier,
    is_healthy: AtomicBool,
    /// By the last handshake that offered HTTP/1.1 alone, that is not spoken here.
    pub(crate) lacks_http1: AtomicBool,
}

static NEXT_UID: AtomicU64 = AtomicU64::new(1);

impl Endpoint {
    /// An endpoint at an address that was configured as `host` and `authority` (`host:port`).
    pub(crate) fn new(
        address: Address,
        host: &str,
        authority: &str,
        load: EndpointLoad,
        now: Instant,
    ) -> Self {
        Self {
            uid: NEXT_UID.fetch_add(1, Ordering::Relaxed),
            label: address.to_string().into(),
            address,
            host: host.into(),
            authority: authority.into(),
            load: Arc::new(load),
            outlier: HostOutlier::new(now),
            is_healthy: AtomicBool::new(true),
            lacks_http1: AtomicBool::new(false),
        }
    }

    /// What goes into `Host` when the upstream asks for the endpoint's own.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// What the last active checks said; true without any.
    pub(crate) fn is_healthy(&self) -> bool {
        self.is_healthy.load(Ordering::Relaxed)
    }

    pub(crate) fn set_healthy(&self, is_healthy: bool) {
        self.is_healthy.store(is_healthy, Ordering::Relaxed);
    }

    /// Sets it aside for refusing a connection; it comes back slowly.
    pub(crate) fn refuse(&self, now: Instant, aside: Duration) {
        self.outlier.refuse(now, aside);
        self.load.warm_up(now + aside);
    }

    /// Sets it aside for failing live traffic; it comes back slowly. Returns for how long, unless it already is.
    pub(crate) fn eject(&self, settings: &OutlierSettings, now: Instant) -> Option<Duration> {
        let aside = self.outlier.eject(settings, now)?;
        self.load.warm_up(now + aside);
        Some(aside)
    }

    /// Takes it back before its time, when it is set aside.
    pub(crate) fn forgive(&self, now: Instant) {
        if self.outlier.is_ejected(now) {
            self.outlier.forgive();
            self.load.warm_up(now);
        }
    }

    /// Neither unhealthy nor ejected.
    pub(crate) fn is_good(&self, now: Instant) -> bool {
        self.is_healthy() && !self.outlier.is_ejected(now)
    }
}
