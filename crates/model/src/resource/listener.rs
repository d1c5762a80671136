//! Listeners: sockets that clients connect to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    http2::{Http2, UseHttp2},
    http3::{Http3, UseHttp3},
    path_rules::PathRules,
    socket_file::SocketFile,
    tls::ListenerTls,
};
use crate::{Cidr, Duration, Size, policy::PolicyUse};

/// A socket that clients connect to. HTTP/1.1 and HTTP/2 share it; HTTP/3 has the UDP port of the same number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// `ip:port` or `unix:/path`.
    #[schemars(extend("format" = "socket-address"))]
    pub address: String,
    /// What is spoken: HTTP, or byte streams or datagrams that `streamRoutes` pass on.
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// TLS; cleartext without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Answer every request with a redirect to https: `true`, or `{port, status}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_to_https: Option<RedirectToHttps>,
    /// The PROXY protocol of a balancer in front.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Peers whose `Forwarded` and `X-Forwarded-*` headers and PROXY protocol are believed, beside the global ones.
    #[serde(default)]
    pub trusted_proxies: Vec<Cidr>,
    /// Bounds of connections and heads.
    #[serde(default)]
    pub limits: ListenerLimits,
    /// Speak HTTP/2 (ALPN on TLS, prior knowledge on cleartext). `true`, `false`, or settings.
    #[serde(default)]
    pub http2: UseHttp2,
    /// Speak HTTP/3, too: over QUIC, on the UDP port of the same number. `true`, or settings. It needs `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http3: Option<UseHttp3>,
    /// The file of a Unix socket: its mode, owner and group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_file: Option<SocketFile>,
    /// Allow `CONNECT`, which is routed by its host and goes to the route's upstream; otherwise it is 501.
    #[serde(default)]
    pub connect: bool,
    /// Go on sending an answer after the client has closed its sending side.
    #[serde(default)]
    pub half_close: bool,
    /// Ambiguous forms in paths.
    #[serde(default)]
    pub path: PathRules,
    /// Policies of every call on this listener.
    #[serde(default)]
    pub policies: Vec<PolicyUse>,
}

/// A redirect to https.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(untagged)]
pub enum RedirectToHttps {
    /// On or off: port 443, status 308.
    Switch(bool),
    /// With a port and a status.
    To(HttpsTarget),
}

/// Where a redirect to https goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HttpsTarget {
    /// Port of the https listener as clients see it.
    pub port: u16,
    /// 301, 302, 307 or 308.
    #[schemars(extend("enum" = [301, 302, 307, 308]))]
    pub status: u16,
}

impl Default for HttpsTarget {
    fn default() -> Self {
        Self { port: 443, status: 308 }
    }
}

impl Listener {
    /// How it speaks HTTP/2, when it does.
    pub fn http2(&self) -> Option<Http2> {
        match &self.http2 {
            UseHttp2::Switch(false) => None,
            UseHttp2::Switch(true) => Some(Http2::default()),
            UseHttp2::With(settings) => Some(settings.clone()),
        }
    }

    /// How it speaks HTTP/3, when it does.
    pub fn http3(&self) -> Option<Http3> {
        match &self.http3 {
            None | Some(UseHttp3::Switch(false)) => None,
            Some(UseHttp3::Switch(true)) => Some(Http3::default()),
            Some(UseHttp3::With(settings)) => Some(settings.clone()),
        }
    }

    /// Whether names can be shown to be ours here by a file.
    pub fn answers_http01(&self) -> bool {
        self.protocol == ListenerProtocol::Http && self.tls.is_none() && !self.address.starts_with("unix:")
    }

    /// Whether names can be shown to be ours here by a handshake.
    pub fn answers_tls_alpn01(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.acme.is_empty()) && !self.address.starts_with("unix:")
    }

    /// Where plain requests are redirected to, when they are.
    pub fn https_target(&self) -> Option<HttpsTarget> {
        match &self.redirect_to_https {
            None | Some(RedirectToHttps::Switch(false)) => None,
            Some(RedirectToHttps::Switch(true)) => Some(HttpsTarget::default()),
            Some(RedirectToHttps::To(target)) => Some(target.clone()),
        }
    }
}

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ListenerProtocol {
    /// HTTP, of all versions.
    #[default]
    Http,
    /// Anything over TCP.
    Tcp,
    /// Anything over UDP.
    Udp,
}

/// Whether a PROXY protocol header comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProxyProtocol {
    /// It is never read.
    #[default]
    Off,
    /// From trusted peers it is read when it comes.
    Accept,
    /// From trusted peers it must come; other peers are closed.
    Require,
}

/// Bounds of a listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ListenerLimits {
    /// Connections at a time; unbounded without it.
    pub max_connections: Option<u64>,
    /// Requests of one connection, after which it is closed gracefully; unbounded without it.
    pub max_requests_per_connection: Option<u64>,
    /// Age of a connection, give or take a tenth, after which it is closed gracefully; unbounded without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<Duration>,
    /// From the first byte of a head (or of the TLS handshake) to its end.
    pub header_timeout: Duration,
    /// Between bytes of a request's body, and of an answer that the client does not read.
    pub body_timeout: Duration,
    /// Between requests of a connection.
    pub idle_timeout: Duration,
    /// The TLS handshake.
    pub tls_timeout: Duration,
    /// Bytes of a head.
    pub max_header_size: Size,
    /// Fields of a head.
    #[schemars(range(min = 1, max = 10000))]
    pub max_headers: usize,
    /// Bytes of a request target.
    pub max_uri_size: Size,
    /// Streams of an HTTP/2 or HTTP/3 connection at a time.
    #[schemars(range(min = 1))]
    pub max_concurrent_streams: u32,
    /// Streams of an HTTP/2 or HTTP/3 connection that may be reset beyond those that end well, before it is closed.
    #[schemars(range(min = 1))]
    pub max_resets: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_requests_per_connection: None,
            max_connection_age: None,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(75),
            tls_timeout: Duration::from_secs(10),
            max_header_size: Size::kib(64),
            max_headers: 128,
            max_uri_size: Size::kib(16),
            max_concurrent_streams: 128,
            max_resets: 200,
        }
    }
}
