//! Access logs: a line per call, where and how it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FilePath, HeaderName, Percent};

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
    /// CEL: only calls for which it is true are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cel"))]
    pub filter: Option<String>,
    /// Request headers added to each line.
    #[serde(default)]
    pub request_headers: Vec<HeaderName>,
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
    /// Headers.
    pub headers: Vec<HeaderName>,
    /// Query parameters.
    pub query: Vec<String>,
    /// Write client addresses without their last part (IPv4 /24, IPv6 /48).
    pub client_address: bool,
}

impl Default for Redact {
    fn default() -> Self {
        let names = ["authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"];
        Self {
            headers: names.map(HeaderName::from_static).to_vec(),
            query: ["access_token", "api_key", "apikey", "token"].map(str::to_owned).to_vec(),
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
