//! DNS: resolves names with their TTL, both address families, and service records.
//!
//! A failure to resolve is an error here and changes nothing; only an answer that the name does not exist, or has no
//! such records, is an empty list.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{NameServerConfig, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};

use super::{Found, Source};
use crate::upstream::cluster::Address;

/// Targets of one service name that are resolved; a larger answer is cut.
const SERVICE_TARGETS_MAX: usize = 256;

/// When a part of a name could not be resolved, the name is asked for again after this at the latest.
const HALF_ANSWER_TTL: Duration = Duration::from_secs(10);

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
        options.timeout = Duration::from_secs(2);
        options.attempts = 2;
        builder.build().map(Self).map_err(|error| format!("DNS resolver: {error}"))
    }

    /// Resolves a source once. What could not be asked (one address family, one target of several) keeps the addresses
    /// that are known of it; when nothing could be, that is an error.
    pub(crate) async fn resolve(&self, source: &Source, known: &[Found]) -> Result<Resolved, String> {
        match source {
            Source::Fixed(address) => {
                Ok(Resolved { found: vec![Found::at(address.clone())], ttl: Duration::MAX })
            }
            Source::Host { name, port, .. } => self.host(name, *port, known).await,
            Source::Service { name, .. } => self.service(name, known).await,
        }
    }

    async fn host(&self, name: &str, port: u16, known: &[Found]) -> Result<Resolved, String> {
        let (v4, v6) = tokio::join!(self.family(name, RecordType::A), self.family(name, RecordType::AAAA));
        let is_failed = v4.is_err() || v6.is_err();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        let mut ttl = Duration::MAX;
        let mut errors = Vec::new();
        for (answer, is_v4) in [(v4, true), (v6, false)] {
            match answer {
                Ok(answer) => {
                    addresses.extend(answer.addresses.into_iter().map(|ip| SocketAddr::new(ip, port)));
                    ttl = ttl.min(answer.ttl.unwrap_or(Duration::MAX));
                }
                Err(error) => {
                    let kept = known.iter().filter_map(|one| match one.address {
                        Address::Socket(address) if address.is_ipv4() == is_v4 => Some(address),
                        _ => None,
                    });
                    addresses.extend(kept.filter(|address| address.port() == port));
                    errors.push(error);
                }
            }
        }
        if errors.len() > 1 || (is_failed && addresses.is_empty()) {
            return Err(errors.swap_remove(0));
        }
        if is_failed {
            ttl = ttl.min(HALF_ANSWER_TTL);
        }
        if addresses.is_empty() {
            ttl = Duration::ZERO;
        }
        addresses.sort_unstable();
        addresses.dedup();
        let found = addresses.into_iter().map(|address| Found::at(Address::Socket(address))).collect();
        Ok(Resolved { found, ttl })
    }

    /// The addresses of one family; none when there are no such records, and an error when nobody could say.
    async fn family(&self, name: &str, kind: RecordType) -> Result<Family, String> {
        match self.0.lookup(absolute(name), kind).await {
            Ok(answer) => {
                let addresses = answer.answers().iter().filter_map(|record| match &record.data {
                    RData::A(a) => Some(IpAddr::V4(a.0)),
                    RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                    _ => None,
                });
                Ok(Family { addresses: addresses.collect(), ttl: Some(left(answer.valid_until())) })
            }
            Err(error) if is_negative(&error) => Ok(Family { addresses: Vec::new(), ttl: None }),
            Err(error) => Err(format!("cannot resolve `{name}`: {error}")),
        }
    }

    /// The names that an address has, as whoever runs its network says: small, without a dot at the end.
    pub(crate) async fn names_of(&self, address: IpAddr) -> Result<Vec<String>, String> {
        let name = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
            }
            IpAddr::V6(v6) => {
                let digits = v6.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
                digits.map(|digit| format!("{digit:x}.")).chain(["ip6.arpa.".to_owned()]).collect()
            }
        };
        match self.0.lookup(name, RecordType::PTR).await {
            Ok(answer) => {
                let names = answer.answers().iter().filter_map(|record| match &record.data {
                    RData::PTR(name) => Some(name.0.to_ascii()),
                    _ => None,
                });
                Ok(names.map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
            }
            Err(error) if is_negative(&error) => Ok(Vec::new()),
            Err(error) => Err(format!("cannot resolve the name of {address}: {error}")),
        }
    }

    /// The addresses of one family that a name has; none when it has none.
    pub(crate) async fn addresses_of(&self, name: &str, is_v4: bool) -> Result<Vec<IpAddr>, String> {
        let kind = if is_v4 { RecordType::A } else { RecordType::AAAA };
        self.family(name, kind).await.map(|family| family.addresses)
    }

    async fn service(&self, name: &str, known: &[Found]) -> Result<Resolved, String> {
        let answer = match self.0.srv_lookup(absolute(name)).await {
            Ok(answer) => answer,
            Err(error) if is_negative(&error) => {
                return Ok(Resolved { found: Vec::new(), ttl: Duration::ZERO });
            }
            Err(error) => return Err(format!("cannot resolve `{name}`: {error}")),
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
        let mut failed = None;
        for (priority, weight, port, target) in records {
            let host: Arc<str> = target.trim_end_matches('.').into();
            let known_of: Vec<Found> =
                known.iter().filter(|one| one.host.as_ref() == Some(&host)).cloned().collect();
            let addresses = match self.host(&target, port, &known_of).await {
                Ok(resolved) => {
                    ttl = ttl.min(resolved.ttl);
                    resolved.found
                }
                Err(error) => {
                    failed = Some(error);
                    ttl = ttl.min(HALF_ANSWER_TTL);
                    known_of
                }
            };
            found.extend(addresses.into_iter().map(|one| Found {
                host: Some(host.clone()),
                weight: Some(u32::from(weight).max(1)),
                backup: priority > best,
                ..one
            }));
        }
        match failed {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(Resolved { found, ttl }),
        }
    }
}

/// What one lookup says about the addresses of one family.
struct Family {
    addresses: Vec<IpAddr>,
    /// For how long that is valid, when there are any.
    ttl: Option<Duration>,
}

/// A name with a dot is taken as it is; the search list is for short ones.
fn absolute(name: &str) -> String {
    if name.contains('.') && !name.ends_with('.') { format!("{name}.") } else { name.to_owned() }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// An answer that there is no such name, or that it has no such records, is an answer; anything else is a failure.
fn is_negative(error: &NetError) -> bool {
    error.is_no_records_found() || error.is_nx_domain()
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut config.connections {
        connection.port = address.port();
    }
    config
}
