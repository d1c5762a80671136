//! A server: where it is, how it shows as an upstream, and what is known of it beside any session.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderName, HeaderValue};
use model::{
    Snapshot,
    resource::{
        mcp::McpServer as Settings,
        tries::{Retry, RetryOn, Timeouts},
        upstream::{Endpoint, Protocol, Upstream as UpstreamSettings},
    },
};

use super::{catalog::Catalog, local::Local};
use crate::{compiled::Building, handler::backends::Target, upstream::Effort};

/// A server that could not be reached is not asked for lists again for so long.
const AWAY: Duration = Duration::from_secs(5);
/// How long a stream of notifications may be silent.
const SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// A compiled server.
pub(super) struct Server {
    pub(super) name: Arc<str>,
    /// Stands before the names of its tools and prompts.
    pub(super) prefix: String,
    /// The path of its endpoint.
    pub(super) path: String,
    /// For messages; none when its tools are the gateway's own.
    pub(super) calls: Option<Target>,
    /// For streams that may be silent.
    pub(super) streams: Option<Target>,
    /// The tools of the gateway's own.
    pub(super) local: Option<Local>,
    /// What it is sent with every request.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// What it has told of itself; goes on over reloads.
    pub(super) known: Arc<Known>,
}

/// What a server has told of itself.
pub(super) struct Known {
    start: Instant,
    /// Milliseconds after `start` until which it counts as away.
    away_until: AtomicU64,
    /// It speaks a revision without sessions.
    pub(super) is_stateless: std::sync::atomic::AtomicBool,
    pub(super) catalog: Catalog,
    /// What it answered when a session last began with it.
    said: std::sync::Mutex<String>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            away_until: AtomicU64::new(0),
            is_stateless: false.into(),
            catalog: Catalog::default(),
            said: std::sync::Mutex::default(),
        }
    }
}

impl Known {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether it could not be reached a moment ago.
    pub(super) fn is_away(&self) -> bool {
        self.now() < self.away_until.load(Ordering::Relaxed)
    }

    /// What it answered when a session last began with it.
    pub(super) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Notes what it answered.
    pub(super) fn says(&self, result: &str) {
        *self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = result.to_owned();
    }

    /// Notes whether it could be reached.
    pub(super) fn reached(&self, is_there: bool) {
        let until = if is_there { 0 } else { self.now() + AWAY.as_millis() as u64 };
        self.away_until.store(until, Ordering::Relaxed);
    }
}

/// A URL taken apart: whether it is TLS, `host:port`, and the path.
pub(in crate::handler) fn parts(url: &str) -> Result<(bool, String, String), String> {
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

/// A server as an upstream: it is connected to, pooled, guarded and seen like any other.
pub(crate) fn upstream(route: &str, settings: &Settings, _: &Snapshot) -> Result<UpstreamSettings, String> {
    let (is_tls, address, _) = parts(&settings.url)?;
    let minutes = |minutes: u64| model::Duration::from_secs(minutes * 60);
    let defaults = Timeouts {
        connect: model::Duration::from_secs(5),
        request: minutes(5),
        idle: minutes(5),
        ..Timeouts::default()
    };
    Ok(UpstreamSettings {
        name: settings.upstream(route),
        protocol: Protocol::Auto,
        endpoints: vec![Endpoint { address, weight: 1, zone: None, backup: false }],
        discovery: None,
        load_balancing: Default::default(),
        health_check: None,
        outlier_detection: settings.outlier_detection.clone(),
        circuit_breaker: settings.circuit_breaker.clone(),
        bulkhead: settings.bulkhead.clone(),
        retry: Retry { on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream], ..Retry::default() },
        hedging: None,
        timeouts: settings.timeouts.apply(&defaults),
        tls: is_tls.then(|| settings.tls.clone()),
        pool: settings.pool.clone(),
        proxy_protocol: None,
        host_header: "upstream".to_owned(),
        policies: Vec::new(),
    })
}

impl Server {
    pub(super) fn compile(route: &str, settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        let (calls, streams) = match settings.is_local() {
            true => (None, None),
            false => {
                let name = settings.upstream(route);
                let upstream =
                    cx.upstreams.get(name.as_str()).ok_or_else(|| format!("no upstream `{name}`"))?.clone();
                let effort = Effort::new(&upstream.settings.timeouts, &upstream.settings.retry, None);
                let streams = Effort { idle: SILENCE, ..effort.clone() };
                let target = |effort| Some(Target { upstream: upstream.clone(), effort, weight: 1 });
                (target(effort), target(streams))
            }
        };
        let mut headers = Vec::new();
        for (name, secret) in &settings.headers {
            let mut value = HeaderValue::from_str(cx.snapshot.secret(secret)).map_err(|_| {
                format!("`servers.{}.headers.{name}` holds bytes that no header can", settings.name)
            })?;
            value.set_sensitive(true);
            headers.push((name.to_http().clone(), value));
        }
        let local = Local::compile(settings, &headers, cx)
            .map_err(|error| format!("`servers.{}`: {error}", settings.name))?;
        let identity =
            (&settings.name, &settings.url, settings.prefix(), local.as_ref().map(|local| local.list()));
        let path = if local.is_some() { String::new() } else { parts(&settings.url)?.2 };
        Ok(Self {
            name: settings.name.as_str().into(),
            prefix: settings.prefix(),
            path,
            calls,
            streams,
            headers,
            known: cx.keep(&format!("mcp-{}", settings.name), &identity, Known::default),
            local,
        })
    }
}
