//! Access logs: a line per call, where and how it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FilePath, Percent};

/// One access log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessLog {
    /// Where the lines go.
    pub kind: AccessLogKind,
    /// The file, for kind `file`; it is opened again on the rotation signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "path"))]
    pub path: Option<FilePath>,
    /// `json`, or a template with `{{ field }}` places such as `{{ status }} {{ method }} {{ path }}`.
    #[serde(default = "json")]
    pub format: String,
    /// Share of the calls that are written; failed calls (5xx) are always written.
    #[serde(default = "all")]
    pub sample: Percent,
    /// What never appears in a line.
    #[serde(default)]
    pub redact: Redact,
}

/// Where an access log goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccessLogKind {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// A file.
    File,
}

/// Names whose values are replaced in access logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redact {
    /// Query parameters, beside those that carry a key or a token for `keyAuth` or `jwt`.
    pub query: Vec<String>,
    /// Write client addresses without their last part (IPv4 /24, IPv6 /48).
    pub client_address: bool,
}

impl Default for Redact {
    fn default() -> Self {
        Self {
            query: ["access_token", "api_key", "apikey", "key", "token"].map(str::to_owned).to_vec(),
            client_address: false,
        }
    }
}

fn json() -> String {
    "json".to_owned()
}

fn all() -> Percent {
    Percent::ALL
}
