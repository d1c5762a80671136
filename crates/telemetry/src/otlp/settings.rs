//! Where and how to export, read from a snapshot: secrets resolved, addresses taken apart, TLS ready.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use model::{
    Snapshot,
    resource::{
        access_log::Redact,
        telemetry::{Compression, Otlp, OtlpProtocol, Signals},
    },
};

use super::{proto::Resource, resource};
use crate::{
    metrics::Sink,
    receiver::{self, Endpoint, Speaks, TlsFor},
};

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// The end of the path with `http/protobuf`.
    pub(super) fn path(self) -> &'static str {
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
            Self::Traces => Sink::Traces,
            Self::Metrics => Sink::Metrics,
            Self::Logs => Sink::Logs,
        }
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
        Some(Self::from(snapshot.config.telemetry.as_ref()?.otlp.clone()?, snapshot))
    }

    /// The receiver that settings name.
    pub(crate) fn from(mut otlp: Otlp, snapshot: &Snapshot) -> Self {
        // What carries credentials is never exported, whether it was said or not.
        otlp.redact.query.extend(snapshot.credential_parameters());
        let headers = otlp.headers.iter();
        let headers =
            headers.map(|(name, secret)| (name.clone(), snapshot.secret(secret).to_owned())).collect();
        let tls = otlp.tls.as_ref();
        let files = tls.map(|tls| [&tls.ca_file, &tls.cert_file, &tls.key_file]).into_iter().flatten();
        let files = files.flatten().map(|file| snapshot.file(file)).collect();
        Self { otlp, headers, files }
    }

    /// The settings of an exporter; the error names the key.
    pub(super) fn settings(&self, snapshot: &Snapshot, tls: TlsFor) -> Result<Settings, String> {
        let otlp = &self.otlp;
        let speaks = if otlp.protocol == OtlpProtocol::Grpc { Speaks::Http2 } else { Speaks::Http1 };
        let endpoint = Endpoint::of(&otlp.endpoint, otlp.tls.as_ref(), speaks, snapshot, tls)
            .map_err(|wrong| format!("endpoint: {wrong}"))?;
        let headers = receiver::headers(&otlp.headers, snapshot)?;
        Ok(Settings {
            endpoint,
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
