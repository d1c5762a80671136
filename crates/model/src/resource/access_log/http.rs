//! JSON over HTTP: a list of records, or a record per line.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Settings, headers, receiver, secrets_in_the_open, timeout};
use crate::{
    Duration, Secret,
    load::Context,
    resource::{telemetry::Compression, tls::UpstreamTls},
};

/// A receiver of records over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// Where batches are posted to; `https://` for TLS.
    #[schemars(extend("format" = "url"))]
    pub url: String,
    /// Method.
    #[serde(default)]
    pub method: HttpMethod,
    /// What a body is.
    #[serde(default)]
    pub body: HttpBody,
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

/// Method of requests with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// What the body of a request with records is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HttpBody {
    /// A record per line (`application/x-ndjson`, or `text/plain` where `format` is a template).
    #[default]
    Ndjson,
    /// A list of records (`application/json`).
    Array,
}

impl Settings for Http {
    fn secrets(&self) -> Vec<&Secret> {
        self.headers.values().collect()
    }

    fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    fn validate(&self, log: &AccessLog, at: &mut Context<'_, '_>) {
        receiver(&self.url, self.tls.as_ref(), true, at);
        secrets_in_the_open(&self.url, &self.secrets(), at);
        headers(&self.headers, at);
        timeout(self.timeout, at);
        if self.body == HttpBody::Array && log.format != "json" {
            at.field("body", |at| {
                at.error_with(
                    "a list is of JSON",
                    "`format: json`, or `body: ndjson` for lines of a template",
                );
            });
        }
    }
}
