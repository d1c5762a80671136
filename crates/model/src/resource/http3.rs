//! HTTP/3 on a listener.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Size, load::Context};

const WINDOW_BYTES: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 30;

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
    /// Tell clients of it, by `Alt-Svc` on every answer.
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
    /// Bytes of a request's body that a client may send ahead of whoever takes them.
    pub stream_window: Size,
    /// The same of all requests of a connection together.
    pub connection_window: Size,
    /// Bytes of a connection's answers that wait for their client to confirm them.
    pub send_window: Size,
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
            stream_window: Size::kib(256),
            connection_window: Size::mib(1),
            send_window: Size::mib(2),
        }
    }
}

impl Http3 {
    pub(crate) fn check(&self, at: &mut Context<'_, '_>) {
        let windows = [
            ("streamWindow", self.stream_window),
            ("connectionWindow", self.connection_window),
            ("sendWindow", self.send_window),
        ];
        for (key, window) in windows {
            if !WINDOW_BYTES.contains(&window.bytes()) {
                at.field(key, |at| at.error("expected a size from 16KiB to 1GiB"));
            }
        }
        if self.connection_window < self.stream_window {
            at.field("connectionWindow", |at| at.error("expected at least `streamWindow`"));
        }
    }
}
