//! OTLP: records as log records, beside or without what `telemetry.otlp` exports.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Settings, timeout};
use crate::{
    Duration, Secret,
    load::Context,
    resource::{
        telemetry::{Compression, OtlpProtocol},
        tls::UpstreamTls,
    },
};

/// An OTLP receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Otlp {
    /// `http://host:4318` with `http/protobuf` (`/v1/logs` is appended), or `http://host:4317` with `grpc`;
    /// `https://` for TLS.
    #[schemars(extend("format" = "url"))]
    pub url: String,
    /// Wire protocol.
    #[serde(default)]
    pub protocol: OtlpProtocol,
    /// Headers of each request, such as a token; with `grpc` they are metadata.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// How bodies are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// TLS towards an `https://` receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// `service.name`.
    #[serde(default = "service")]
    pub service_name: String,
    /// Further resource attributes.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Bound of one request.
    #[serde(default = "super::ten_seconds")]
    pub timeout: Duration,
}

impl Settings for Otlp {
    fn secrets(&self) -> Vec<&Secret> {
        self.headers.values().collect()
    }

    fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    fn validate(&self, log: &AccessLog, at: &mut Context<'_, '_>) {
        super::receiver(&self.url, self.tls.as_ref(), false, at);
        super::headers(&self.headers, at);
        timeout(self.timeout, at);
        // What is no address at all is told above.
        if let Ok(uri) = self.url.parse::<::http::Uri>() {
            at.field("url", |at| {
                if self.protocol == OtlpProtocol::Grpc && !matches!(uri.path(), "" | "/") {
                    at.error("with `grpc` the address of a receiver has no path");
                }
                crate::rules::otlp_port(&uri, self.protocol, at);
            });
        }
        if log.format != "json" {
            at.error_with("log records have attributes and no format", "take `format` out");
        }
    }
}

fn service() -> String {
    "tidegate".to_owned()
}
