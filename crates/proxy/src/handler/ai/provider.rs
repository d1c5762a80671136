//! A provider: where it is, which dialect it speaks, and how a call proves who pays.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use ai::{
    canon::{Error, ErrorKind},
    catalogue::{self, Surface},
    dialect::Dialect,
    endpoint::Operation,
    words::Words,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use model::{
    Duration,
    resource::{
        ai::Provider as Settings,
        tries::{Retry, RetryOn, Timeouts},
        upstream::{Endpoint, Protocol, Upstream as UpstreamSettings},
    },
};

use serde::Serialize;

use super::{
    credentials,
    keys::{KeyStatus, Keys},
    queue::{Queue, QueueStatus},
    shadow::{Counts, ShadowStatus},
};
use crate::{
    compiled::Building,
    handler::backends::Target,
    upstream::{Effort, Upstream},
};

/// A compiled provider.
pub(crate) struct Provider {
    pub(crate) name: Arc<str>,
    /// What the catalogue knows of its kind.
    pub(crate) kind: &'static catalogue::Provider,
    /// What the configuration says where the kind leaves something open.
    values: BTreeMap<String, String>,
    /// What voices that callers name are called here.
    pub(super) voices: BTreeMap<String, String>,
    /// The path of its base address where the configuration gives one, without a slash at its end.
    base_path: Option<String>,
    pub(crate) target: Target,
    pub(super) keys: Keys,
    /// How long a stream may take to its first word.
    pub(super) first_token: Option<std::time::Duration>,
    /// What the shadows at it have come to.
    pub(super) shadows: Arc<Counts>,
    /// How long it may pause between two tokens.
    pub(super) between_tokens: Option<std::time::Duration>,
    /// Without the scheme's own port, which some providers take for another host.
    host: HeaderValue,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The name of a provider as an upstream.
pub(crate) fn upstream_name(provider: &str) -> String {
    format!("ai:{provider}")
}

/// The place of an upstream's settings in the configuration, for findings.
pub(crate) fn owner(upstream: &str) -> String {
    match upstream.strip_prefix("ai:") {
        Some(provider) => format!("ai/providers/{provider}"),
        None if upstream.starts_with("mcp:") => {
            format!("routes/{}", upstream.split(':').nth(1).unwrap_or_default())
        }
        None => format!("upstreams/{upstream}"),
    }
}

fn kind(settings: &Settings) -> Result<&'static catalogue::Provider, String> {
    catalogue::provider(&settings.kind).map_err(|error| format!("`kind`: {error}"))
}

/// Fills in what a text of the catalogue leaves open.
pub(super) fn fill(kind: &catalogue::Provider, settings: &Settings, text: &str) -> Result<String, String> {
    kind.fill(text, |name| settings.values.get(name).cloned()).map_err(|error| error.to_string())
}

/// What the catalogue calls an operation.
fn surface(operation: Operation, dialect: Dialect) -> Surface {
    match operation {
        Operation::Chat if dialect == Dialect::OpenAiResponses => Surface::Responses,
        Operation::Chat => Surface::Chat,
        Operation::CountTokens => Surface::CountTokens,
        Operation::Embeddings => Surface::Embeddings,
        Operation::Completions => Surface::Completions,
        Operation::Images => Surface::Images,
        Operation::ImageEdits => Surface::ImageEdits,
        Operation::Speech => Surface::Speech,
        Operation::Transcriptions => Surface::Transcriptions,
        Operation::Translations => Surface::Translations,
        Operation::Moderations => Surface::Moderations,
        Operation::Rerank => Surface::Rerank,
        Operation::Files => Surface::Files,
        Operation::Batches => Surface::Batches,
        Operation::Stored => Surface::Responses,
        Operation::Realtime => Surface::Realtime,
        Operation::Compact => Surface::Compact,
        Operation::Models | Operation::Other => Surface::Models,
    }
}

/// A base address taken apart: whether it is TLS, `host:port`, and the path.
fn parts(url: &str) -> Result<(bool, String, String), String> {
    let (is_tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err("`baseUrl`: expected `http://` or `https://`".to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let port = if is_tls { 443 } else { 80 };
    let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
    Ok((is_tls, address, path.trim_end_matches('/').to_owned()))
}

fn base(settings: &Settings) -> Result<(bool, String, String), String> {
    let kind = kind(settings)?;
    match &settings.base_url {
        Some(url) => parts(url),
        None if kind.base_url == "{base-url}" && !settings.values.contains_key("base-url") => {
            Err(format!("`baseUrl` is missing: `{}` has no address of its own", kind.name))
        }
        None => parts(&fill(kind, settings, &kind.base_url)?),
    }
}

/// The kinds of providers that are asked for something in a dialect's words.
pub(super) fn kinds_with(surface: Surface) -> Vec<&'static str> {
    let kinds = catalogue::providers().filter_map(Result::ok);
    let has = |kind: &&catalogue::Provider| {
        kind.operations.contains(&surface) && !kind.own_words.contains(&surface)
    };
    kinds.filter(has).map(|kind| kind.name.as_str()).collect()
}

/// What the catalogue or the configuration has wrong, which no caller can mend.
fn broken(message: String) -> Error {
    Error::new(ErrorKind::Server, message)
}

/// A provider as an upstream: it is connected to, pooled, guarded and seen like any other.
pub(crate) fn upstream(settings: &Settings) -> Result<UpstreamSettings, String> {
    let (is_tls, address, _) = base(settings)?;
    let defaults = Timeouts {
        connect: Duration::from_secs(5),
        request: Duration::from_secs(600),
        idle: Duration::from_secs(120),
        ..Timeouts::default()
    };
    Ok(UpstreamSettings {
        name: upstream_name(&settings.name),
        protocol: Protocol::Auto,
        endpoints: vec![Endpoint { address, weight: 1, zone: None, backup: false }],
        discovery: None,
        load_balancing: Default::default(),
        health_check: None,
        outlier_detection: settings.outlier_detection.clone(),
        circuit_breaker: settings.circuit_breaker.clone(),
        bulkhead: settings.bulkhead.clone(),
        request_queue: None,
        retry: Retry { on: vec![RetryOn::ConnectFailure, RetryOn::RefusedStream], ..Retry::default() },
        hedging: None,
        timeouts: settings.timeouts.apply(&defaults),
        tls: is_tls.then(|| settings.tls.clone()),
        pool: settings.pool.clone(),
        http2: Default::default(),
        proxy_protocol: None,
        host_header: "upstream".to_owned(),
        policies: Vec::new(),
    })
}

impl Provider {
    pub(crate) fn compile(settings: &Settings, cx: &Building<'_>) -> Result<Self, String> {
        let kind = kind(settings)?;
        let upstream: &Arc<Upstream> = cx
            .upstreams
            .get(upstream_name(&settings.name).as_str())
            .ok_or_else(|| format!("provider `{}` is not there", settings.name))?;
        let effort = Effort::new(&upstream.settings.timeouts, &upstream.settings.retry, None);
        let mut headers = Vec::new();
        for (name, value) in &kind.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            let value = fill(kind, settings, value)?;
            headers.push((name, HeaderValue::from_str(&value).map_err(|error| error.to_string())?));
        }
        for (name, value) in &settings.headers {
            let value = HeaderValue::from_str(value).map_err(|error| format!("`headers.{name}`: {error}"))?;
            headers.push((name.to_http().clone(), value));
        }
        Ok(Self {
            name: settings.name.as_str().into(),
            kind,
            values: settings.values.clone(),
            voices: settings.voices.clone(),
            base_path: settings.base_url.as_deref().map(parts).transpose()?.map(|(_, _, path)| path),
            target: Target { upstream: upstream.clone(), effort, weight: 1 },
            keys: {
                let mut keys = credentials::compile(kind, settings, cx)?;
                keys.provider = settings.name.as_str().into();
                let count = keys.count();
                let queue = settings.key_queue.as_ref();
                keys.queue = queue.map(|queue| Queue::compile(&settings.name, queue, count, cx));
                keys
            },
            first_token: settings.first_token.map(|time| time.get()),
            shadows: (*cx.keep(
                &format!("ai/shadows/{}", settings.name),
                &(),
                || Arc::new(Counts::default()),
            ))
            .clone(),
            between_tokens: settings.between_tokens.map(|time| time.get()),
            host: host(settings)?,
            headers,
        })
    }

    /// The dialect in which a caller of `wanted` is served by a model: its own where the provider speaks it.
    pub(super) fn dialect_for(&self, wanted: Dialect, model: &str) -> Dialect {
        self.dialect_where(wanted, self.kind.dialect_of(model))
    }

    /// The same for a model with which `own` is spoken.
    pub(super) fn dialect_where(&self, wanted: Dialect, own: Dialect) -> Dialect {
        if own == self.kind.dialect && self.speaks(wanted) { wanted } else { own }
    }

    /// Whether a dialect is spoken where this provider is: what its kind offers at another address is not at one that
    /// the configuration gives.
    fn speaks(&self, dialect: Dialect) -> bool {
        let elsewhere = self.kind.also.iter().any(|also| also.dialect == dialect && also.base_url.is_some());
        self.kind.speaks(dialect).is_some() && !(elsewhere && self.base_path.is_some())
    }

    /// Whether tokens are counted here for callers of a dialect. Responses are spoken by many who do not count them.
    pub(super) fn counts_for(&self, dialect: Dialect) -> bool {
        dialect != Dialect::OpenAiResponses || self.kind.operations.contains(&Surface::CountTokens)
    }

    /// Whether its kind has an operation at all.
    pub(super) fn offers(&self, operation: Operation) -> bool {
        match operation {
            Operation::Chat | Operation::CountTokens => true,
            // Many have them of whom the catalogue does not say it.
            Operation::Embeddings => !self.kind.own_words.contains(&Surface::Embeddings),
            other => {
                let surface = surface(other, self.kind.dialect);
                self.kind.operations.contains(&surface) && !self.kind.own_words.contains(&surface)
            }
        }
    }

    /// The words of its own in which an operation is asked for here, if there are such.
    pub(super) fn words(&self, operation: Operation) -> Option<Words> {
        match operation {
            Operation::Chat | Operation::CountTokens => None,
            other => self.kind.words.get(&surface(other, self.kind.dialect)).copied(),
        }
    }

    /// Why an operation is not offered, and what to do.
    pub(super) fn lack(&self, operation: Operation, model: &str) -> Error {
        let (title, name) = (&self.kind.title, operation.name());
        let message = match self.kind.own_words.contains(&surface(operation, self.kind.dialect)) {
            true => format!(
                "`{model}` is at {title}, which is asked for {name} in words of its own that are not translated: \
                 reach it by a route to an upstream, in those words"
            ),
            false => format!("`{model}` is at a provider that has no {name}"),
        };
        Error { status: 501, ..Error::new(ErrorKind::Invalid, message) }
    }

    /// Where an operation is, path and query: the dialect's own path unless the provider has another.
    pub(super) fn path(
        &self,
        dialect: Dialect,
        operation: Operation,
        model: &str,
        stream: bool,
        own: &str,
    ) -> Result<String, Error> {
        let base = match (&self.base_path, self.kind.speaks(dialect)) {
            (Some(path), _) => path.clone(),
            (None, Some(url)) => parts(&self.filled(url, model)?).map_err(broken)?.2,
            (None, None) => String::new(),
        };
        let surface = surface(operation, dialect);
        let other = Some(&self.kind.stream_paths).filter(|_| stream).and_then(|paths| paths.get(&surface));
        match other.or_else(|| self.kind.paths.get(&surface)) {
            Some(path) => Ok(format!("{base}{}", self.filled(path, model)?)),
            None => Ok(format!("{base}{own}")),
        }
    }

    /// A body with the fields that this kind of provider wants in every one, and without those that it does not. Where
    /// tokens are counted the dialect's own are right.
    pub(super) fn body(&self, operation: Operation, body: Bytes, model: &str) -> Result<Bytes, Error> {
        if operation == Operation::CountTokens {
            return Ok(body);
        }
        let value = |name: &str| self.values.get(name).cloned();
        let own = self.kind.body_for(&body, model, value).map_err(|error| broken(error.to_string()))?;
        Ok(own.map_or(body, Bytes::from))
    }

    /// A text of the catalogue for a model, whose name is the caller's where the configuration has a `*`.
    fn filled(&self, text: &str, model: &str) -> Result<String, Error> {
        let model = if text.contains("{model}") { ai::name::segment(model)? } else { String::new() };
        let value = |name: &str| {
            if name == "model" { Some(model.clone()) } else { self.values.get(name).cloned() }
        };
        self.kind.fill(text, value).map_err(|error| broken(error.to_string()))
    }

    /// Adds the host, and what the operator wants sent.
    pub(super) fn address(&self, headers: &mut HeaderMap) {
        headers.insert(header::HOST, self.host.clone());
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Whether the operator has a header field sent, whatever callers say.
    pub(super) fn sets(&self, name: &str) -> bool {
        self.headers.iter().any(|(own, _)| own == name)
    }

    /// How its keys are at the moment.
    pub(crate) fn status(&self, now: Instant) -> ProviderStatus {
        ProviderStatus {
            name: self.name.clone(),
            kind: &self.kind.name,
            keys: self.keys.status(now),
            shadow: self.shadows.status(),
            queue: self.keys.queue.as_ref().map(Queue::status),
        }
    }
}

/// The state of a provider of models, beside its state as an upstream.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// Its keys.
    pub keys: Vec<KeyStatus>,
    /// What was asked of it beside other models' calls.
    pub shadow: ShadowStatus,
    /// The queue for them, where there is one.
    pub queue: Option<QueueStatus>,
}

/// What names a provider in `Host`.
fn host(settings: &Settings) -> Result<HeaderValue, String> {
    let (is_tls, address, _) = base(settings)?;
    let port = if is_tls { ":443" } else { ":80" };
    HeaderValue::from_str(address.strip_suffix(port).unwrap_or(&address)).map_err(|error| error.to_string())
}
