//! Grafana Loki: its push API, as JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Settings, headers, receiver, secrets_in_the_open, timeout};
use crate::{
    Duration, Secret,
    load::Context,
    resource::{telemetry::Compression, tls::UpstreamTls},
};

/// Grafana Loki.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Loki {
    /// Where it is, such as `http://127.0.0.1:3100`; `/loki/api/v1/push` is appended.
    #[schemars(extend("format" = "url"))]
    pub url: String,
    /// The tenant (`X-Scope-OrgID`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Labels of every stream.
    #[serde(default = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Facts of a call that become labels. Each combination of them is a stream, so only what has few values can be one.
    #[serde(default = "label_fields")]
    pub label_fields: Vec<LabelField>,
    /// Fields that are sent beside the line, as structured metadata (Loki from 2.9 on, where it is allowed).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub structured_metadata: Vec<MetadataField>,
    /// Headers of each request, such as a token.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How bodies are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// TLS towards an `https://` receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Bound of one request.
    #[serde(default = "super::ten_seconds")]
    pub timeout: Duration,
}

/// A fact of a call that has few values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelField {
    /// `info`, or `error` for 5xx.
    Level,
    /// The listener.
    Listener,
    /// The route.
    Route,
    /// The upstream.
    Upstream,
    /// The method; `OTHER` for unknown ones.
    Method,
    /// `2xx` and the like.
    StatusClass,
}

/// A fact of a call that has many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetadataField {
    /// `x-request-id`.
    RequestId,
    /// The trace.
    TraceId,
    /// The gateway's span.
    SpanId,
    /// The consumer.
    Consumer,
    /// The client's address.
    ClientIp,
    /// The status.
    Status,
}

impl Settings for Loki {
    fn secrets(&self) -> Vec<&Secret> {
        self.headers.values().collect()
    }

    fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    fn validate(&self, _: &AccessLog, at: &mut Context<'_, '_>) {
        receiver(&self.url, self.tls.as_ref(), false, at);
        secrets_in_the_open(&self.url, &self.secrets(), at);
        headers(&self.headers, at);
        timeout(self.timeout, at);
        if self.tenant.as_ref().is_some_and(|tenant| ::http::HeaderValue::from_str(tenant).is_err()) {
            at.field("tenant", |at| at.error("expected visible characters"));
        }
        // Loki refuses a stream without labels, and names that are none of Prometheus' kind.
        if self.labels.is_empty() && self.label_fields.is_empty() {
            at.error_with("a stream needs a label", "such as `labels: {job: tidegate}`");
        }
        at.field("labels", |at| {
            for name in self.labels.keys() {
                let is_name = !name.starts_with(|first: char| first.is_ascii_digit())
                    && !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !is_name {
                    at.field(name, |at| at.error("expected letters, digits and `_`, no digit first"));
                }
            }
        });
    }
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("job".to_owned(), "tidegate".to_owned())])
}

fn label_fields() -> Vec<LabelField> {
    vec![LabelField::Listener, LabelField::Route, LabelField::StatusClass]
}
