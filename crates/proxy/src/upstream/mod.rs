//! Upstreams: from a chosen backend to an answer's head.
//!
//! [`tries`] decides how often, [`hedge`] how many at once, [`held`] when, [`cluster`] where; [`attempt`] is one try. [`connect`]
//! opens, [`h1`] and [`h2`] exchange within their [`allowance`], [`pool`] keeps, [`warm`] opens ahead of traffic.

mod allowance;
mod attempt;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod h1;
pub(crate) mod h2;
mod hedge;
mod held;
pub(crate) mod outgoing;
pub(crate) mod pool;
pub(crate) mod replay;
pub(crate) mod signing;
pub(crate) mod source;
pub(crate) mod span;
pub(crate) mod switch;
mod total;
pub(crate) mod tries;
pub(crate) mod warm;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use model::resource::{
    tries::{Hedging as HedgingSettings, Retry, RetryOn, Timeouts},
    upstream::{Protocol, ProxyProtocolVersion},
};
use resilience::{BulkheadPermit, InFlight};

use self::{cluster::Cluster, pool::PoolLimits};
use crate::{compiled::Building, policy::Chain};

/// What a call holds of an upstream until its answer has ended.
#[derive(Default)]
pub(crate) struct Guards {
    /// Counts the call at its endpoint.
    #[expect(dead_code, reason = "counts until it is dropped")]
    pub(crate) in_flight: Option<InFlight>,
    /// The try's place in the bulkhead.
    #[expect(dead_code, reason = "gives its place back when it is dropped")]
    pub(crate) bulkhead: Option<BulkheadPermit>,
    /// Counts the stream on its HTTP/2 connection.
    #[expect(dead_code, reason = "gives its place back when it is dropped")]
    pub(crate) streaming: Option<Box<dyn std::any::Any>>,
}

/// A compiled upstream.
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: model::resource::upstream::Upstream,
    pub(crate) tls: Option<Arc<crate::tls::client::UpstreamTls>>,
    /// Distinguishes connections that were opened in different ways to one endpoint.
    pub(crate) way: u64,
    pub(crate) pool: PoolLimits,
    pub(crate) http2: h2::Terms,
    /// Connections per endpoint and worker that are opened ahead of traffic.
    pub(crate) warm_up: usize,
    pub(crate) chain: Chain,
}

impl Upstream {
    /// Builds an upstream around its cluster.
    pub(crate) fn compile(
        settings: &model::resource::upstream::Upstream,
        cluster: Arc<Cluster>,
        cx: &Building<'_>,
        found: &mut Vec<model::Finding>,
    ) -> Result<Self, String> {
        let tls = match &settings.tls {
            Some(tls) => {
                Some(Arc::new(crate::tls::client::UpstreamTls::compile(tls, settings.protocol, cx.snapshot)?))
            }
            None => None,
        };
        let mut way = DefaultHasher::new();
        let written = serde_json::to_string(&(
            &settings.tls,
            settings.protocol,
            settings.proxy_protocol,
            &settings.http2,
        ));
        written.map_err(|error| error.to_string())?.hash(&mut way);
        if let Some(tls) = &settings.tls {
            for file in [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten() {
                cx.snapshot.file(file).hash(&mut way);
            }
        }
        let pool = &settings.pool;
        Ok(Self {
            name: settings.name.as_str().into(),
            cluster,
            tls,
            way: way.finish(),
            pool: PoolLimits {
                max_idle: pool.max_idle_per_worker,
                idle_timeout: pool.idle_timeout.get(),
                max_requests: pool.max_requests.and_then(|max| u32::try_from(max).ok()).unwrap_or(u32::MAX),
                max_age: pool.max_age.map(model::Duration::get),
            },
            http2: h2::Terms::of(&settings.http2),
            warm_up: pool.warm_up,
            chain: Chain::compile(&settings.policies, &format!("upstreams/{}", settings.name), cx, found),
            settings: settings.clone(),
        })
    }

    /// Whether requests go out as HTTP/2 without being asked by ALPN.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.settings.protocol, Protocol::Http2 | Protocol::Grpc)
    }

    pub(crate) fn proxy_protocol(&self) -> Option<ProxyProtocolVersion> {
        self.settings.proxy_protocol
    }
}

/// How a route's calls to one upstream are tried: the upstream's settings under the route's.
#[derive(Debug, Clone)]
pub(crate) struct Effort {
    pub(crate) connect: Duration,
    pub(crate) tls: Duration,
    pub(crate) per_try: Option<Duration>,
    pub(crate) request: Duration,
    pub(crate) idle: Duration,
    pub(crate) total: Option<Duration>,
    pub(crate) max_attempts: u32,
    pub(crate) on: Vec<RetryOn>,
    pub(crate) backoff: resilience::Backoff,
    pub(crate) replay_bytes: usize,
    pub(crate) hedging: Option<Hedging>,
}

/// When a further try starts beside those that are out, and how many there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hedging {
    pub(crate) delay: Duration,
    /// Tries beside the first, over the whole call.
    pub(crate) further: u32,
}

impl Effort {
    pub(crate) fn new(timeouts: &Timeouts, retry: &Retry, hedging: Option<&HedgingSettings>) -> Self {
        Self {
            connect: timeouts.connect.get(),
            tls: timeouts.tls.get(),
            per_try: timeouts.per_try.map(model::Duration::get),
            request: timeouts.request.get(),
            idle: timeouts.idle.get(),
            total: timeouts.total.map(model::Duration::get),
            max_attempts: retry.max_attempts,
            on: retry.on.clone(),
            backoff: resilience::Backoff {
                initial: retry.backoff.initial.get(),
                multiplier: retry.backoff.multiplier,
                max: retry.backoff.max.get(),
            },
            replay_bytes: usize::try_from(retry.max_body_size.bytes()).unwrap_or(usize::MAX),
            hedging: hedging.map(|hedging| Hedging {
                delay: hedging.delay.get(),
                further: hedging.max_attempts.saturating_sub(1),
            }),
        }
    }

    /// Whether an answer with this status is worth another try.
    pub(crate) fn retries_status(&self, status: u16) -> bool {
        self.on.iter().any(|on| match on {
            RetryOn::Status(wanted) => *wanted == status,
            RetryOn::AnyServerError => (500..600).contains(&status),
            _ => false,
        })
    }
}
