//! What settings name by a URL as an upstream, with header fields of its own: servers of tools, and agents.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use model::{
    Secret, Snapshot,
    resource::{
        tls::UpstreamTls,
        tries::{Retry, RetryOn, TimeoutOverrides, Timeouts},
        upstream::{Endpoint, Protocol, Upstream},
    },
};

/// How long each part of a call may take where the settings say nothing: what is asked works before it answers.
pub(super) fn timeouts(request_minutes: u64, idle_minutes: u64) -> Timeouts {
    let minutes = |minutes: u64| model::Duration::from_secs(minutes * 60);
    Timeouts {
        connect: model::Duration::from_secs(5),
        request: minutes(request_minutes),
        idle: minutes(idle_minutes),
        ..Timeouts::default()
    }
}

/// A URL taken apart: whether it is TLS, `host:port`, and the path.
pub(super) fn parts(url: &str) -> Result<(bool, String, String), String> {
    let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("`url`: expected `http://` or `https://`".to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if is_tls { 443 } else { 80 };
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    Ok((is_tls, address, if path.is_empty() { "/".to_owned() } else { path.to_owned() }))
}

/// The upstream of a URL: it is connected to, pooled, guarded and seen like any other. What guards it is the caller's to
/// fill in.
pub(super) fn upstream(
    name: String,
    url: &str,
    tls: &UpstreamTls,
    timeouts: &TimeoutOverrides,
    defaults: &Timeouts,
) -> Result<Upstream, String> {
    let (is_tls, address, _) = parts(url)?;
    Ok(Upstream {
        name,
        protocol: Protocol::Auto,
        endpoints: vec![Endpoint { address, weight: 1, zone: None, backup: false }],
        discovery: None,
        load_balancing: Default::default(),
        health_check: None,
        outlier_detection: None,
        circuit_breaker: None,
        bulkhead: None,
        request_queue: None,
        retry: Retry { on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream], ..Retry::default() },
        hedging: None,
        timeouts: timeouts.apply(defaults),
        tls: is_tls.then(|| tls.clone()),
        pool: Default::default(),
        http2: Default::default(),
        proxy_protocol: None,
        host_header: "upstream".to_owned(),
        policies: Vec::new(),
    })
}

/// Header fields of every request. An error begins with the name of the one that is none.
pub(super) fn headers(
    settings: &BTreeMap<model::HeaderName, Secret>,
    snapshot: &Snapshot,
) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let one = |(name, secret): (&model::HeaderName, &Secret)| {
        let value = HeaderValue::from_str(snapshot.secret(secret));
        let mut value = value.map_err(|_| format!("{name}` holds bytes that no header can"))?;
        value.set_sensitive(true);
        Ok((name.to_http().clone(), value))
    };
    settings.iter().map(one).collect()
}
