//! Upstreams: services behind the gateway, their endpoints and connections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    balancing::LoadBalancing,
    health::{HealthCheck, OutlierDetection},
    http2::UpstreamHttp2,
    request_queue::RequestQueue,
    tls::UpstreamTls,
    tries::{Bulkhead, CircuitBreaker, Hedging, Retry, Timeouts},
};
use crate::{Duration, policy::PolicyUse};

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// What is spoken to it.
    #[serde(default)]
    pub protocol: Protocol,
    /// Its endpoints. A host name is resolved, kept resolved, and counts as all its addresses.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Endpoints found by a name that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    /// How an endpoint is picked.
    #[serde(default)]
    pub load_balancing: LoadBalancing,
    /// Active checks; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Ejection of endpoints that fail live traffic; without it one that refuses a connection alone is set
    /// aside, for 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// Circuit breaker of the whole upstream; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bound of calls at a time; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<Bulkhead>,
    /// Calls are held while it is not there yet; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_queue: Option<RequestQueue>,
    /// Further tries of calls that may be repeated.
    #[serde(default)]
    pub retry: Retry,
    /// Further tries beside a slow one, for calls that may be repeated; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedging: Option<Hedging>,
    /// How long each part of a call may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// TLS towards the endpoints; cleartext without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// Connections that are kept.
    #[serde(default)]
    pub pool: Pool,
    /// HTTP/2 towards the endpoints, where it is spoken.
    #[serde(default)]
    pub http2: UpstreamHttp2,
    /// Send a PROXY protocol header on each connection, which then serves one client connection alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// The `Host` sent: `preserve` (the client's), `upstream` (the endpoint's address), or a literal host.
    #[serde(default = "preserve")]
    pub host_header: String,
    /// Policies of every call to this upstream.
    #[serde(default)]
    pub policies: Vec<PolicyUse>,
}

/// What is spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// ALPN decides on TLS; HTTP/1.1 on cleartext.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, with prior knowledge on cleartext.
    Http2,
    /// gRPC: HTTP/2, and failures of the gateway as gRPC statuses.
    Grpc,
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// `host:port`, `ip:port` or `unix:/path`.
    #[schemars(extend("format" = "endpoint-address"))]
    pub address: String,
    /// Its share against the other endpoints.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10000))]
    pub weight: u32,
    /// Where it is, for zone preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Used only when no other endpoint is healthy.
    #[serde(default)]
    pub backup: bool,
}

/// How endpoints are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum Discovery {
    /// By DNS.
    Dns(DnsDiscovery),
}

/// Endpoints found by DNS; the last good answer is kept when resolving fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsDiscovery {
    /// The name that is resolved.
    pub name: String,
    /// `A` (A and AAAA) or `SRV`.
    #[serde(default, rename = "type")]
    pub kind: DnsType,
    /// Port of the endpoints, for type `A`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Resolve at most this often, whatever the TTL.
    #[serde(default = "min_refresh")]
    pub min_refresh: Duration,
    /// Resolve at least this often, whatever the TTL.
    #[serde(default = "max_refresh")]
    pub max_refresh: Duration,
}

/// Type of the DNS records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DnsType {
    /// Addresses, of both families.
    #[default]
    #[serde(rename = "A")]
    A,
    /// Hosts, ports, priorities and weights.
    #[serde(rename = "SRV")]
    Srv,
}

/// Connections that are kept to an upstream, per worker thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Pool {
    /// Idle connections per endpoint and worker.
    pub max_idle_per_worker: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Requests of a connection, after which it is closed; unbounded without it.
    pub max_requests: Option<u64>,
    /// Age of a connection, after which it is closed; unbounded without it.
    pub max_age: Option<Duration>,
    /// Connections per endpoint and worker that are opened ahead of traffic and kept open while they idle; of HTTP/2
    /// connections, which calls share, one is enough. Endpoints that are unhealthy or ejected get none.
    pub warm_up: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_idle_per_worker: 128,
            idle_timeout: Duration::from_secs(60),
            max_requests: None,
            max_age: None,
            warm_up: 0,
        }
    }
}

/// Version of an outgoing PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProxyProtocolVersion {
    /// Text.
    V1,
    /// Binary.
    #[default]
    V2,
}

fn preserve() -> String {
    "preserve".to_owned()
}

fn one() -> u32 {
    1
}

fn min_refresh() -> Duration {
    Duration::from_secs(1)
}

fn max_refresh() -> Duration {
    Duration::from_secs(300)
}
