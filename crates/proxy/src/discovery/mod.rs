//! Discovery: which addresses an upstream has now.
//!
//! A source is a line of configuration; what it stands for may change while the gateway runs.

pub(crate) mod dns;

use std::{sync::Arc, time::Duration};

use model::EndpointAddress;
use model::resource::upstream::{self, DnsType};

use crate::upstream::cluster::Address;

/// Where some of an upstream's addresses come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An address that stays.
    Fixed(Address),
    /// The addresses of a name.
    Host { name: String, port: u16 },
    /// The targets of a service name.
    Service { name: String },
}

/// Bounds of how often a name is resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refresh {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Refresh {
    const DEFAULT: Self = Self { min: Duration::from_secs(1), max: Duration::from_secs(300) };

    /// When to ask again after an answer that is valid for `ttl`.
    pub(crate) fn after(self, ttl: Duration) -> Duration {
        ttl.clamp(self.min, self.max.max(self.min))
    }
}

/// One source with what holds for all its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) source: Source,
    /// Not of the source itself: another rhythm changes nothing about what is known.
    pub(crate) refresh: Refresh,
    pub(crate) host: Arc<str>,
    pub(crate) weight: u32,
    pub(crate) zone: Option<Arc<str>>,
    pub(crate) backup: bool,
}

/// One address that a source stands for at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) address: Address,
    /// For TLS and `Host`, when it is not the source's own.
    pub(crate) host: Option<Arc<str>>,
    /// Its share against others of the same source.
    pub(crate) weight: Option<u32>,
    /// Used only when no other is healthy.
    pub(crate) backup: bool,
}

impl Found {
    /// An address alone.
    pub(crate) fn at(address: Address) -> Self {
        Self { address, host: None, weight: None, backup: false }
    }
}

/// The sources of an upstream.
pub(crate) fn specs(settings: &upstream::Upstream) -> Result<Vec<Spec>, String> {
    let mut specs = Vec::with_capacity(settings.endpoints.len());
    for endpoint in &settings.endpoints {
        let (source, host) = match endpoint.address.parse()? {
            EndpointAddress::Ip(ip, port) => {
                (Source::Fixed(Address::Socket((ip, port).into())), ip.to_string())
            }
            EndpointAddress::Unix(path) => (Source::Fixed(Address::Unix(path)), "localhost".to_owned()),
            EndpointAddress::Name(name, port) => (Source::Host { name: name.clone(), port }, name),
        };
        specs.push(Spec {
            source,
            refresh: Refresh::DEFAULT,
            host: host.into(),
            weight: endpoint.weight,
            zone: endpoint.zone.as_deref().map(Arc::from),
            backup: endpoint.backup,
        });
    }
    if let Some(upstream::Discovery::Dns(dns)) = &settings.discovery {
        let refresh = Refresh { min: dns.min_refresh.get(), max: dns.max_refresh.get() };
        let source = match dns.kind {
            DnsType::A => {
                let port = dns.port.ok_or("discovery.dns: type A needs a `port`")?;
                Source::Host { name: dns.name.clone(), port }
            }
            DnsType::Srv => Source::Service { name: dns.name.clone() },
        };
        let host = dns.name.as_str().into();
        specs.push(Spec { source, refresh, host, weight: 1, zone: None, backup: false });
    }
    Ok(specs)
}
