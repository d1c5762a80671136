//! `redirect`: sends the client elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A redirect. What is not given stays as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redirect {
    /// Replaces the prefix that matched.
    pub path_prefix: Option<String>,
    /// Replaces the whole path.
    pub path: Option<String>,
    /// Replaces the host.
    pub host: Option<String>,
    /// Replaces the scheme.
    #[schemars(extend("enum" = ["http", "https", null]))]
    pub scheme: Option<String>,
    /// Replaces the port.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
    /// Keep the query.
    pub keep_query: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            path_prefix: None,
            path: None,
            host: None,
            scheme: None,
            port: None,
            status: 302,
            keep_query: true,
        }
    }
}
