//! The admin endpoint: health, metrics and the admin API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::ListenerTls;
use crate::Secret;

/// The admin endpoint. It refuses a non-loopback address without TLS unless `allowNonLoopback` says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Admin {
    /// `ip:port` or `unix:/path`.
    #[schemars(extend("format" = "socket-address"))]
    pub address: String,
    /// TLS of the admin endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Bearer token of `/api/v1`. Without it one is minted into the data directory at the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Accept a non-loopback address without TLS.
    #[serde(default)]
    pub allow_non_loopback: bool,
}
