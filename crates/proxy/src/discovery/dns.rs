//! DNS: resolves names with their TTL, both address families, and service records.
//!
//! A failure to resolve is an error here and changes nothing; only an answer that the name does not exist, or has no
//! such records, is an empty list.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::RData,
};

use super::{Found, Source};
use crate::upstream::cluster::Address;

/// Targets of one service name that are resolved; a larger answer is cut.
const SERVICE_TARGETS_MAX: usize = 256;

/// What a source stands for, and for how long that is valid.
pub(crate) struct Resolved {
    pub(crate) found: Vec<Found>,
    pub(crate) ttl: Duration,
}

/// A stub resolver without a cache: the watcher of each name is its cache.
pub(crate) struct Resolver(TokioResolver);

impl Resolver {
    /// With the system's name servers, or with those that the configuration names. Must run inside a runtime.
    pub(crate) fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.timeout = Duration::from_secs(2);
        options.attempts = 2;
        builder.build().map(Self).map_err(|error| format!("DNS resolver: {error}"))
    }

    /// Resolves a source once.
    pub(crate) async fn resolve(&self, source: &Source) -> Result<Resolved, String> {
        match source {
            Source::Fixed(address) => {
                Ok(Resolved { found: vec![Found::at(address.clone())], ttl: Duration::MAX })
            }
            Source::Host { name, port, .. } => self.host(name, *port).await,
            Source::Service { name, .. } => self.service(name).await,
        }
    }

    async fn host(&self, name: &str, port: u16) -> Result<Resolved, String> {
        match self.0.lookup_ip(absolute(name)).await {
            Ok(answer) => {
                let mut addresses: Vec<_> = answer.iter().map(|ip| SocketAddr::new(ip, port)).collect();
                addresses.sort_unstable();
                addresses.dedup();
                let found =
                    addresses.into_iter().map(|address| Found::at(Address::Socket(address))).collect();
                Ok(Resolved { found, ttl: left(answer.valid_until()) })
            }
            Err(error) => negative(name, &error),
        }
    }

    async fn service(&self, name: &str) -> Result<Resolved, String> {
        let answer = match self.0.srv_lookup(absolute(name)).await {
            Ok(answer) => answer,
            Err(error) => return negative(name, &error),
        };
        let mut ttl = left(answer.valid_until());
        let mut records: Vec<_> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some((srv.priority, srv.weight, srv.port, srv.target.to_utf8())),
                _ => None,
            })
            .collect();
        records.sort();
        records.truncate(SERVICE_TARGETS_MAX);
        let best = records.first().map_or(0, |record| record.0);
        let mut found = Vec::new();
        for (priority, weight, port, target) in records {
            let addresses = self.host(&target, port).await?;
            ttl = ttl.min(addresses.ttl);
            let host: Arc<str> = target.trim_end_matches('.').into();
            found.extend(addresses.found.into_iter().map(|one| Found {
                host: Some(host.clone()),
                weight: Some(u32::from(weight).max(1)),
                backup: priority > best,
                ..one
            }));
        }
        Ok(Resolved { found, ttl })
    }
}

/// A name with a dot is taken as it is; the search list is for short ones.
fn absolute(name: &str) -> String {
    if name.contains('.') && !name.ends_with('.') { format!("{name}.") } else { name.to_owned() }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// An answer that there is no such name is an answer; anything else is a failure.
fn negative(name: &str, error: &NetError) -> Result<Resolved, String> {
    if error.is_no_records_found() || error.is_nx_domain() {
        return Ok(Resolved { found: Vec::new(), ttl: Duration::ZERO });
    }
    Err(format!("cannot resolve `{name}`: {error}"))
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    config
}
