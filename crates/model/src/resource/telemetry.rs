//! Where traces, metrics and logs are sent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{access_log::Redact, tls::UpstreamTls};
use crate::{Duration, Percent, Secret};

/// Export to OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Telemetry {
    /// An OTLP receiver.
    pub otlp: Option<Otlp>,
}

/// An OTLP receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Otlp {
    /// `http://host:4318` with `http/protobuf` (the signal's path, such as `/v1/traces`, is appended), or
    /// `http://host:4317` with `grpc`; `https://` for TLS.
    #[schemars(extend("format" = "url"))]
    pub endpoint: String,
    /// Wire protocol.
    #[serde(default)]
    pub protocol: OtlpProtocol,
    /// TLS towards an `https://` receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// How exports are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Headers of each export, such as an API key; with `grpc` they are metadata.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Share of the traces that start here which are sampled; a caller's decision is kept. Metrics and logs tell of
    /// every call.
    #[serde(default = "all")]
    pub sample: Percent,
    /// What is sent.
    #[serde(default)]
    pub signals: Signals,
    /// `service.name`.
    #[serde(default = "service")]
    pub service_name: String,
    /// Further resource attributes.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// What never appears in a span or a log record.
    #[serde(default)]
    pub redact: Redact,
    /// A batch leaves at least this often, and metrics leave this often.
    #[serde(default = "interval")]
    pub interval: Duration,
    /// Bound of one request to the receiver; a batch that fails is sent again for up to a minute.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Spans or log records of one request.
    #[serde(default = "batch")]
    pub max_batch: usize,
    /// Spans, and log records, that wait; beyond it new ones are dropped and counted.
    #[serde(default = "queue")]
    pub max_queue: usize,
}

/// Wire protocol of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1.
    #[default]
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// gRPC.
    Grpc,
}

/// How exports are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// Signals that are exported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Signals {
    /// A span per call and per try.
    pub traces: bool,
    /// The metrics of `/metrics`.
    pub metrics: bool,
    /// Access log records.
    pub logs: bool,
}

impl Default for Signals {
    fn default() -> Self {
        Self { traces: true, metrics: true, logs: true }
    }
}

fn all() -> Percent {
    Percent::ALL
}

fn service() -> String {
    "tidegate".to_owned()
}

fn interval() -> Duration {
    Duration::from_secs(5)
}

fn timeout() -> Duration {
    Duration::from_secs(10)
}

fn batch() -> usize {
    512
}

fn queue() -> usize {
    8192
}
