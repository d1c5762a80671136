//! Routes of byte streams and datagrams: what is told apart by listener and TLS server name alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::route::Backend;
use crate::{Cidr, Duration, Size};

/// Which connections, or datagrams, go to which upstreams as they come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamRoute {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Listeners by name: of the protocol `tcp` or `udp`, or of `http` with `tls`, where `serverNames` says which
    /// connections are taken from HTTP.
    #[schemars(length(min = 1))]
    pub listeners: Vec<String>,
    /// TLS server names (SNI), exact or `*.host` for one label; any connection when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = {"type": "string", "format": "host-pattern"}))]
    pub server_names: Vec<String>,
    /// What becomes of the client's TLS.
    #[serde(default)]
    pub tls: StreamTls,
    /// Where connections go, by weight.
    #[schemars(length(min = 1))]
    pub backends: Vec<Backend>,
    /// Clients that are let in, by address; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Cidr>,
    /// Clients that are not, by address; before `allow`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Cidr>,
    /// How long nothing may flow before a connection, or a client's session of datagrams, ends; 10m, and 60s for datagrams,
    /// without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// Connections, or sessions of datagrams, at a time; unbounded for connections and 10000 for sessions without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_connections: Option<u64>,
    /// Those of them that one client address may have, an IPv6 network of 64 bits being one; unbounded for connections and
    /// 1000 for sessions without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_per_address: Option<u64>,
    /// Bytes of a datagram, either way; larger ones are dropped.
    #[serde(default = "datagram", skip_serializing_if = "is_datagram")]
    pub max_datagram_size: Size,
}

/// What becomes of the client's TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StreamTls {
    /// It goes on to the upstream, not a byte changed.
    #[default]
    Passthrough,
    /// It ends here, with the listener's certificates; what is inside goes on.
    Terminate,
}

fn datagram() -> Size {
    Size::kib(64)
}

fn is_datagram(size: &Size) -> bool {
    *size == datagram()
}
