//! Redis or Valkey: a store that several gateways share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, EndpointAddress, FilePath, Secret};

/// A server, a cluster or a guarded group of Redis (6 or later) or Valkey, for what several gateways count together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redis {
    /// Where it is: the server; several nodes of a `cluster`, of which one is asked for the others; or the sentinels.
    #[schemars(length(min = 1, max = 64))]
    pub addresses: Vec<EndpointAddress>,
    /// User of its access lists; the default user without it.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Number of the database; a cluster has only 0.
    pub database: u32,
    /// Speak TLS.
    pub tls: Option<RedisTls>,
    /// The addresses are nodes of a cluster.
    pub cluster: bool,
    /// The addresses are sentinels, which know the primary.
    pub sentinel: Option<Sentinel>,
    /// Begins every key. Gateways that share a prefix share what they count.
    #[schemars(length(min = 1, max = 64))]
    pub prefix: String,
    /// How long a call waits for an answer. Beyond it the server counts as away.
    pub timeout: Duration,
    /// How long connecting may take. No call waits for that.
    pub connect_timeout: Duration,
    /// How long what is held for a call in flight outlives the gateway that holds it: one that lives renews it three
    /// times as often, and of one that was killed it comes back when this is over.
    pub lease: Duration,
    /// Connections; calls take them in turn, many at a time on each. A cluster has one to each node.
    #[schemars(range(min = 1, max = 64))]
    pub connections: usize,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            addresses: Vec::new(),
            username: None,
            password: None,
            database: 0,
            tls: None,
            cluster: false,
            sentinel: None,
            prefix: "tidegate".to_owned(),
            timeout: Duration::from_millis(100),
            connect_timeout: Duration::from_secs(2),
            lease: Duration::from_secs(60),
            connections: 2,
        }
    }
}

/// TLS towards Redis.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RedisTls {
    /// PEM file with the authorities to trust; the system's without it.
    pub ca_file: Option<FilePath>,
    /// PEM file with the certificate shown to the server.
    pub cert_file: Option<FilePath>,
    /// PEM file with its key.
    pub key_file: Option<FilePath>,
}

/// Sentinels, which know the primary of a group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sentinel {
    /// What they call the group.
    #[schemars(length(min = 1))]
    pub master: String,
    /// User at the sentinels themselves.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
}

/// Where something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Store {
    /// In this process.
    #[default]
    Memory,
    /// In the `redis` of the configuration, together with all gateways that share it.
    Redis,
}

/// What is done with calls while the shared store is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WhenAway {
    /// Each gateway counts for itself, and lets pass its `share` of the limit.
    #[default]
    Local,
    /// They are refused with 503 and `Retry-After`.
    Closed,
    /// They pass; what they spend is counted when the store is back.
    Open,
}
