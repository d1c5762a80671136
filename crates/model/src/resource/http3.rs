//! HTTP/3 on a listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// HTTP/3 on a listener: on or off, or on with settings of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UseHttp3 {
    /// On or off.
    Switch(bool),
    /// On, in this way.
    With(Http3),
}

/// How a listener speaks HTTP/3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Http3 {
    /// Tell clients of HTTP/1.1 and HTTP/2 of it, by `Alt-Svc` on every answer.
    pub alt_svc: bool,
    /// How long clients may remember that.
    pub max_age: Duration,
    /// The port as clients see it, where that is not the listener's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Answer safe requests that come before the handshake is over (0-RTT); others get 425. They can be replayed.
    pub early_data: bool,
    /// When a client has to show that it receives at its address, before anything is done for it (Retry).
    pub retry: Retry,
    /// Handshakes under way of one address (IPv6: of one /64) at a time, in each worker.
    #[schemars(range(min = 1))]
    pub max_handshakes_per_address: u32,
}

/// When a client has to show that it receives at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Retry {
    /// While many handshakes are under way.
    #[default]
    Auto,
    /// Always, at the price of a round trip for each new connection.
    Always,
}

impl Default for Http3 {
    fn default() -> Self {
        Self {
            alt_svc: true,
            max_age: Duration::from_secs(24 * 60 * 60),
            port: None,
            early_data: false,
            retry: Retry::Auto,
            max_handshakes_per_address: 100,
        }
    }
}
