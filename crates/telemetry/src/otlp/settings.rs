//! Where and how to export, read from a snapshot: secrets resolved, addresses taken apart, TLS ready.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use model::{
    Snapshot,
    resource::{
        access_log::Redact,
        telemetry::{Compression, Otlp, OtlpProtocol, Signals},
    },
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{proto::Resource, resource};
use crate::metrics::Sink;

/// TLS towards the receiver.
#[derive(Clone)]
pub struct ReceiverTls {
    /// Whom to trust and what to show.
    pub connector: TlsConnector,
    /// The name for SNI and verification.
    pub server_name: ServerName<'static>,
}

/// Makes the TLS of a receiver; the caller brings it, for files and authorities are not telemetry's business.
pub type TlsFor = fn(&Otlp, &Snapshot) -> Result<ReceiverTls, String>;

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// The end of the path with `http/protobuf`.
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
            Self::Logs => "/v1/logs",
        }
    }

    /// The method with `grpc`.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    pub(super) fn sink(self) -> Sink {
        match self {
            Self::Traces => Sink::OtlpTraces,
            Self::Metrics => Sink::OtlpMetrics,
            Self::Logs => Sink::OtlpLogs,
        }
    }
}

/// Where the receiver is.
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: String,
    pub(super) host_header: HeaderValue,
    pub(super) tls: Option<ReceiverTls>,
    base: String,
}

impl Endpoint {
    fn new(text: &str, tls: Option<ReceiverTls>) -> Result<Self, String> {
        let wrong = || format!("endpoint: `{text}` is not an address such as http://127.0.0.1:4318");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self {
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            host_header: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            authority: authority.to_string(),
            tls,
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The target of a signal with `http/protobuf`.
    pub(super) fn path(&self, signal: Signal) -> Uri {
        format!("{}{}", self.base, signal.path()).parse().unwrap_or_else(|_| Uri::from_static("/"))
    }
}

/// What a snapshot says of the receiver; another one than before makes another exporter.
#[derive(PartialEq)]
pub(crate) struct Wanted {
    otlp: Otlp,
    headers: Vec<(String, String)>,
    files: Vec<Bytes>,
}

impl Wanted {
    /// The receiver of a snapshot, if it names one.
    pub(crate) fn of(snapshot: &Snapshot) -> Option<Self> {
        let mut otlp = snapshot.config.telemetry.as_ref()?.otlp.clone()?;
        // What carries credentials is never exported, whether it was said or not.
        otlp.redact.query.extend(snapshot.credential_parameters());
        let headers = otlp.headers.iter();
        let headers =
            headers.map(|(name, secret)| (name.clone(), snapshot.secret(secret).to_owned())).collect();
        let tls = otlp.tls.as_ref();
        let files = tls.map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]).into_iter().flatten();
        let files = files.flatten().map(|file| snapshot.file(file)).collect();
        Some(Self { otlp, headers, files })
    }

    /// The settings of an exporter; the error names the key.
    pub(super) fn settings(&self, snapshot: &Snapshot, tls: TlsFor) -> Result<Settings, String> {
        let otlp = &self.otlp;
        let is_tls = otlp.endpoint.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
        let tls = if is_tls { Some(tls(otlp, snapshot)?) } else { None };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let key = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("headers: `{name}` is not the name of a header"))?;
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| format!("headers.{name}: the secret cannot stand in a header"))?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        Ok(Settings {
            endpoint: Endpoint::new(&otlp.endpoint, tls)?,
            is_grpc: otlp.protocol == OtlpProtocol::Grpc,
            headers,
            gzip: otlp.compression == Compression::Gzip,
            timeout: otlp.timeout.get(),
            interval: otlp.interval.get(),
            max_batch: otlp.max_batch,
            max_queue: otlp.max_queue,
            signals: otlp.signals.clone(),
            redact: otlp.redact.clone(),
            resource: resource::resource(&otlp.service_name, &otlp.attributes),
        })
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.otlp.signals
    }
}

/// How to export.
pub(super) struct Settings {
    pub(super) endpoint: Endpoint,
    pub(super) is_grpc: bool,
    pub(super) headers: HeaderMap,
    pub(super) gzip: bool,
    pub(super) timeout: Duration,
    pub(super) interval: Duration,
    pub(super) max_batch: usize,
    pub(super) max_queue: usize,
    pub(super) signals: Signals,
    pub(super) redact: Redact,
    pub(super) resource: Resource,
}

impl Settings {
    pub(super) fn user_agent(&self) -> HeaderValue {
        HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_path_is_appended_to_the_receivers() {
        for (endpoint, path, port) in [
            ("http://127.0.0.1:4318", "/v1/traces", 4318),
            ("http://collector/", "/v1/traces", 80),
            ("http://collector:9/otlp/", "/otlp/v1/traces", 9),
        ] {
            let endpoint = Endpoint::new(endpoint, None).expect("good");
            assert_eq!((endpoint.path(Signal::Traces).path(), endpoint.port), (path, port));
        }
        let six = Endpoint::new("http://[::1]:4318", None).expect("good");
        assert_eq!((&*six.host, &*six.authority), ("::1", "[::1]:4318"));
        assert!(Endpoint::new("http://user@collector", None).is_err());
    }
}
