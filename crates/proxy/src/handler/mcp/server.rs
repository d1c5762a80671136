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
    resource::{mcp::McpServer as Settings, tries::Timeouts, upstream::Upstream as UpstreamSettings},
};

use super::{
    auth::{self, Auth},
    catalog::Catalog,
    local::Local,
    process::Program,
    stdio::{Bounds, Hub},
};
use crate::{
    compiled::Building,
    handler::{backends::Target, remote},
    upstream::Effort,
};

/// A server that could not be reached is not asked for lists again for so long.
const AWAY: Duration = Duration::from_secs(5);
/// How long a stream of notifications may be silent.
const SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// A compiled server.
pub(super) struct Server {
    pub(super) name: Arc<str>,
    /// Stands before the names of its tools and prompts.
    pub(super) prefix: String,
    pub(super) place: Place,
    /// Tokens that it wants.
    pub(super) auth: Option<Auth>,
    /// How long the gateway waits for a whole answer of its own asking.
    pub(super) patience: Duration,
    /// What it is sent with every request.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// What it has told of itself; goes on over reloads.
    pub(super) known: Arc<Known>,
}

/// Where a server is.
pub(super) enum Place {
    /// An upstream.
    Http(Box<Http>),
    /// Processes of this machine.
    Processes(Arc<Hub>),
    /// The gateway itself.
    Own(Box<Local>),
}

/// A server that is an upstream.
pub(super) struct Http {
    /// The path of its endpoint.
    pub(super) path: String,
    /// For messages.
    pub(super) calls: Target,
    /// For streams that may be silent.
    pub(super) streams: Target,
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

/// What a server's timeouts are where its settings say nothing.
fn defaults() -> Timeouts {
    remote::timeouts(5, 5)
}

/// A server as an upstream: it is connected to, pooled, guarded and seen like any other.
pub(crate) fn upstream(route: &str, settings: &Settings, _: &Snapshot) -> Result<UpstreamSettings, String> {
    let url = settings.url.as_deref().unwrap_or_default();
    let upstream =
        remote::upstream(settings.upstream(route), url, &settings.tls, &settings.timeouts, &defaults())?;
    Ok(UpstreamSettings {
        outlier_detection: settings.outlier_detection.clone(),
        circuit_breaker: settings.circuit_breaker.clone(),
        bulkhead: settings.bulkhead.clone(),
        pool: settings.pool.clone(),
        ..upstream
    })
}

impl Server {
    pub(super) fn compile(
        route: &str,
        settings: &Settings,
        idle: Duration,
        cx: &Building<'_>,
    ) -> Result<Self, String> {
        let name: Arc<str> = settings.name.as_str().into();
        let headers = remote::headers(&settings.headers, cx.snapshot)
            .map_err(|error| format!("`servers.{name}.headers.{error}"))?;
        let local = Local::compile(settings, &headers, cx)
            .map_err(|error| format!("`servers.{}`: {error}", settings.name))?;
        let own = local.as_ref().map(|local| local.list().to_owned());
        let identity = (&settings.name, &settings.url, &settings.command, settings.prefix(), own);
        let known = cx.keep(&format!("mcp-{}", settings.name), &identity, Known::default);
        let (place, patience) = match (local, &settings.url) {
            (Some(local), _) => {
                (Place::Own(Box::new(local)), settings.timeouts.apply(&defaults()).request.get())
            }
            (None, Some(url)) => Self::http(url, route, settings, cx)?,
            (None, None) => Self::processes(settings, name.clone(), known.clone(), idle, cx)?,
        };
        let auth = settings.auth.as_ref().map(|auth| Auth::compile(&settings.name, auth, cx)).transpose()?;
        Ok(Self { name, prefix: settings.prefix(), place, auth, patience, headers, known })
    }

    fn http(
        url: &str,
        route: &str,
        settings: &Settings,
        cx: &Building<'_>,
    ) -> Result<(Place, Duration), String> {
        let name = settings.upstream(route);
        let upstream =
            cx.upstreams.get(name.as_str()).ok_or_else(|| format!("no upstream `{name}`"))?.clone();
        let effort = Effort::new(&upstream.settings.timeouts, &upstream.settings.retry, None);
        let patience = upstream.settings.timeouts.request.get();
        let streams = Effort { idle: SILENCE, ..effort.clone() };
        let http = Http {
            path: remote::parts(url)?.2,
            calls: Target { upstream: upstream.clone(), effort, weight: 1 },
            streams: Target { upstream, effort: streams, weight: 1 },
        };
        Ok((Place::Http(Box::new(http)), patience))
    }

    fn processes(
        settings: &Settings,
        name: Arc<str>,
        known: Arc<Known>,
        idle: Duration,
        cx: &Building<'_>,
    ) -> Result<(Place, Duration), String> {
        let Some((path, arguments)) = settings.command.split_first() else {
            return Err(format!("`servers.{name}`: expected `url` or `command`"));
        };
        if !cx.snapshot.config.runtime.allowed_commands.contains(path) {
            return Err(format!(
                "`servers.{name}.command`: {path} may not be run here; `runtime.allowedCommands` lists what may"
            ));
        }
        let process = settings.process.clone().unwrap_or_default();
        let environment: Vec<(String, String)> = process
            .env
            .iter()
            .map(|(name, secret)| (name.clone(), cx.snapshot.secret(secret).to_owned()))
            .collect();
        let patience = settings.timeouts.apply(&defaults()).request.get();
        let told = auth::fingerprint(environment.iter().flat_map(|(name, value)| [name.as_str(), value]));
        let bounds = Bounds {
            is_shared: process.shared,
            max: process.max,
            max_each: process.max_each(),
            queue_bytes_max: usize::try_from(process.max_queue_size.bytes()).unwrap_or(usize::MAX),
            idle,
            patience,
        };
        let program = Program {
            name: name.clone(),
            path: path.clone(),
            arguments: arguments.to_vec(),
            environment,
            folder: process.folder.clone().map(Into::into),
        };
        let identity = (&settings.command, &process, told, idle.as_millis(), patience.as_millis());
        let hub = cx.keep(&format!("mcp-processes-{name}"), &identity, || {
            Hub::new(program, known, &bounds, cx.background)
        });
        hub.enrol();
        Ok((Place::Processes(hub), patience))
    }
}
