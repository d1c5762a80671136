//! `webSocketLimits`: bounds what flows after an upgrade to WebSocket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Duration, Size, load::Context};

/// Bounds WebSocket connections: messages, silence, age. Other calls pass untouched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WebSocketLimits {
    /// Bounds of what clients send; both sides are closed with 1009 when it is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<SocketBounds>,
    /// Bounds of what the upstream sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<SocketBounds>,
    /// How long neither side may send a message before both are closed with 1001; unbounded without it. Pings and their answers
    /// are no messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Age of a connection after which both sides are closed with 1001; unbounded without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Duration>,
    /// Ask silent clients whether they are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<SocketPing>,
    /// Let both sides agree on compressing messages (`permessage-deflate`). Bounds are about bytes as they are sent.
    pub compression: bool,
}

impl Default for WebSocketLimits {
    fn default() -> Self {
        Self {
            request: None,
            response: None,
            idle_timeout: None,
            max_duration: None,
            ping: None,
            compression: true,
        }
    }
}

/// Bounds of what one side sends.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SocketBounds {
    /// Bytes of a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_frame_size: Option<Size>,
    /// Bytes of a message, its frames together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_size: Option<Size>,
}

/// Questions into a client's silence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SocketPing {
    /// How long a client may say nothing before it is asked.
    pub interval: Duration,
    /// How long it may take to say anything then; both sides are closed after that.
    pub timeout: Duration,
}

impl Default for SocketPing {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), timeout: Duration::from_secs(10) }
    }
}

impl Settings for WebSocketLimits {
    fn place(&self) -> Place<'_> {
        Place::Outermost
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if *self == Self::default() {
            at.error_with(
                "nothing is bounded here",
                "such as `idleTimeout` or `request: {maxMessageSize: 1MiB}`",
            );
        }
        for (key, bounds) in [("request", &self.request), ("response", &self.response)] {
            let Some(bounds) = bounds else { continue };
            at.field(key, |at| {
                let sizes =
                    [("maxFrameSize", bounds.max_frame_size), ("maxMessageSize", bounds.max_message_size)];
                if sizes.iter().all(|(_, size)| size.is_none()) {
                    at.error_with("nothing is bounded here", "`maxFrameSize` or `maxMessageSize`");
                }
                for (key, size) in sizes {
                    // What controls a connection has up to that, and is no message.
                    if size.is_some_and(|size| size.bytes() < 125) {
                        at.field(key, |at| at.error("expected 125 bytes or more"));
                    }
                }
            });
        }
        let mut times = vec![("idleTimeout", self.idle_timeout), ("maxDuration", self.max_duration)];
        if let Some(ping) = &self.ping {
            at.field("ping", |at| {
                for (key, time) in [("interval", ping.interval), ("timeout", ping.timeout)] {
                    if time < Duration::from_millis(100) {
                        at.field(key, |at| at.error("expected 100ms or more"));
                    }
                }
            });
        }
        times.retain(|(_, time)| time.is_some_and(|time| time < Duration::from_millis(100)));
        for (key, _) in times {
            at.field(key, |at| at.error("expected 100ms or more"));
        }
    }
}
