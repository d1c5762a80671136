//! How the process runs and how it ends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// Threads and limits of the process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Runtime {
    /// Worker threads; one per core without it.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<usize>,
    /// Client connections of the whole process; beyond it new ones are closed at once.
    pub max_connections: Option<u64>,
    /// Name servers, as `ip:port`; those of the system without it.
    #[schemars(extend("items" = {"type": "string", "format": "ip-port"}))]
    pub dns_servers: Vec<String>,
    /// Executables that may be run, as absolute paths: by servers of tools (`mcp`), and to set records (`acme[].dns.command`).
    /// None without it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_commands: Vec<String>,
}

/// How the gateway ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Shutdown {
    /// Between failing `/readyz` and closing the listeners, so that balancers notice.
    pub drain_delay: Duration,
    /// How long an idle HTTP/1.1 connection is kept while draining: a request that is already on its way is
    /// answered, with `Connection: close`.
    pub idle_grace: Duration,
    /// What is still in flight then is cut.
    pub deadline: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            drain_delay: Duration::default(),
            idle_grace: Duration::from_secs(1),
            deadline: Duration::from_secs(30),
        }
    }
}
