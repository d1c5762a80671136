//! Brokers: where routes publish to, and where subscriptions read from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tls::UpstreamTls;
use crate::{Duration, EndpointAddress, Secret};

/// A broker of messages. One connection of the gateway's is all that it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Broker {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// NATS with JetStream, which keeps what is published.
    pub nats: Nats,
}

/// Servers of NATS (2.9 or later) with JetStream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Nats {
    /// Where they are: the servers of one cluster, of which one is connected to.
    #[schemars(length(min = 1, max = 64))]
    pub servers: Vec<EndpointAddress>,
    /// User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A token, in place of a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// The seed of a user's key (`SU…`), in place of a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey: Option<Secret>,
    /// What a `.creds` file holds, a JWT with its seed: `{file: gateway.creds}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Secret>,
    /// Speak TLS; the certificate is checked against the name in `servers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Domain of JetStream, where it is another than that of the servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "name"))]
    pub domain: Option<String>,
    /// How long connecting may take. No call waits for that.
    pub connect_timeout: Duration,
    /// Messages that wait for their confirmation at a time. One that would be one more is refused with 503.
    #[schemars(range(min = 1, max = 65536))]
    pub max_in_flight: usize,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            username: None,
            password: None,
            token: None,
            nkey: None,
            credentials: None,
            tls: None,
            domain: None,
            connect_timeout: Duration::from_secs(2),
            max_in_flight: 1024,
        }
    }
}
