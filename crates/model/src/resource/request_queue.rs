//! What becomes of calls to an upstream that is on its way up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, HeaderName, Secret};

/// Holds calls to an upstream that is not there yet (it was scaled to zero, or restarts), and lets them go in order when
/// it is. Held are calls of which nothing was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestQueue {
    /// Calls that may wait; further ones get 503 with `Retry-After`.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_waiting: u32,
    /// How long a call may wait.
    pub max_wait: Duration,
    /// How often the first of those who wait tries.
    pub probe_interval: Duration,
    /// What callers are told to wait who find no room, or have waited in vain.
    pub retry_after: Duration,
    /// An answer by which an upstream says that it is on its way up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting: Option<StartingMarker>,
    /// An address that is called once when calls begin to wait, so that somebody starts the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activate: Option<Activation>,
}

impl Default for RequestQueue {
    fn default() -> Self {
        Self {
            max_waiting: 100,
            max_wait: Duration::from_secs(30),
            probe_interval: Duration::from_millis(250),
            retry_after: Duration::from_secs(5),
            starting: None,
            activate: None,
        }
    }
}

/// An answer by which an upstream says that it has done nothing and is on its way up. Calls are held for it that may be sent
/// again without harm and whose body is kept (`retry.maxBodySize`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartingMarker {
    /// A header that such an answer has.
    pub header: HeaderName,
    /// Its value; any without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its status.
    #[serde(default = "unavailable")]
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
}

/// An address that is called when calls begin to wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// The address, over https, or over http from loopback. It gets a `POST` with `{"upstream": …}`.
    pub url: String,
    /// The value of its `Authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Secret>,
    /// How long an answer may take. A call without one, or with one that is not 2xx, is made again, three times in all.
    #[serde(default = "five_seconds")]
    pub timeout: Duration,
    /// The least time between two calls.
    #[serde(default = "ten_seconds")]
    pub min_interval: Duration,
}

fn unavailable() -> u16 {
    503
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}
