//! Bounds of Realtime conversations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Size};

/// Bounds of conversations over a WebSocket (OpenAI's Realtime).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RealtimeRoute {
    /// The longest that one may take.
    pub max_duration: Duration,
    /// How long nobody may say anything.
    pub idle_timeout: Duration,
    /// The largest message, and the largest frame, of either side.
    pub max_message_size: Size,
}

impl Default for RealtimeRoute {
    fn default() -> Self {
        Self {
            max_duration: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(600),
            max_message_size: Size::kib(16 * 1024),
        }
    }
}
