//! PostgreSQL: what several gateways keep together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Secret};

/// A database of PostgreSQL (13 or later) for what several gateways keep together. Its tables are made by the gateway,
/// and begin with `tidegate_`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Postgres {
    /// Where it is and who asks: `postgresql://user:password@host/database`; with `?sslmode=require` over TLS, with
    /// `?sslmode=disable` never.
    pub url: Secret,
    /// How long a call waits for an answer; beyond it the call goes on as if nothing were there.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How long connecting may take. No call waits for that.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Duration,
    /// Connections; calls take them in turn, many at a time on each.
    #[serde(default = "connections")]
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
}

fn timeout() -> Duration {
    Duration::from_millis(250)
}

fn connect_timeout() -> Duration {
    Duration::from_secs(5)
}

fn connections() -> usize {
    4
}

/// Where something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeptIn {
    /// In this process.
    #[default]
    Memory,
    /// In the `postgres` of the configuration, for all gateways that share it.
    Postgres,
}
