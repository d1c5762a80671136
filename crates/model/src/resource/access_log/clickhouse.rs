//! ClickHouse: its HTTP interface, rows of JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessLog, Settings, receiver, secrets_in_the_open, timeout};
use crate::{
    Duration, Secret,
    load::Context,
    resource::{telemetry::Compression, tls::UpstreamTls},
};

/// A table of ClickHouse's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Clickhouse {
    /// Where its HTTP interface is, such as `http://127.0.0.1:8123`.
    #[schemars(extend("format" = "url"))]
    pub url: String,
    /// The database.
    #[serde(default = "database")]
    pub database: String,
    /// The table. Its columns are called as the fields of a record are; fields that have none are left out.
    pub table: String,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Whether the server collects rows of several requests.
    #[serde(default)]
    pub async_insert: AsyncInsert,
    /// How bodies are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// TLS towards an `https://` server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Bound of one request.
    #[serde(default = "super::ten_seconds")]
    pub timeout: Duration,
}

/// Whether the server collects rows before it writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AsyncInsert {
    /// It writes what a request brings.
    #[default]
    Off,
    /// It collects, and answers when it has written.
    Wait,
    /// It collects, and answers at once: what it cannot write then is lost without a word.
    NoWait,
}

impl Settings for Clickhouse {
    fn secrets(&self) -> Vec<&Secret> {
        self.password.iter().collect()
    }

    fn tls(&self) -> Option<&UpstreamTls> {
        self.tls.as_ref()
    }

    fn validate(&self, log: &AccessLog, at: &mut Context<'_, '_>) {
        receiver(&self.url, self.tls.as_ref(), false, at);
        secrets_in_the_open(&self.url, &self.secrets(), at);
        timeout(self.timeout, at);
        for (key, name) in [("database", &self.database), ("table", &self.table)] {
            let is_name = !name.is_empty()
                && !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !is_name {
                at.field(key, |at| at.error("expected letters, digits and `_`, no digit first"));
            }
        }
        if self.username.is_none() && self.password.is_some() {
            at.field("password", |at| at.error("expected `username` and `password` together"));
        }
        if self.username.as_ref().is_some_and(|name| ::http::HeaderValue::from_str(name).is_err()) {
            at.field("username", |at| at.error("expected visible characters"));
        }
        if log.format != "json" {
            at.error_with("rows are of JSON", "take `format` out");
        }
    }
}

fn database() -> String {
    "default".to_owned()
}
