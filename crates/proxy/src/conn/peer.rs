//! Who is at the other end of a client connection, as far as the connection itself tells.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use http::HeaderValue;

use crate::listener::Listener;

/// The other end of a client connection.
pub(crate) struct Peer {
    /// The listener that took the connection.
    pub listener: Arc<Listener>,
    /// Address of the other end, or what a PROXY header said; `None` for a Unix socket.
    pub remote: Option<SocketAddr>,
    /// The address as a header value, made once for all requests of the connection.
    pub address_value: HeaderValue,
    /// What TLS told.
    pub tls: Option<TlsPeer>,
}

/// What a client's TLS handshake told.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsPeer {
    /// Server name that the client asked for, lower-case.
    pub sni: Option<Box<str>>,
    /// What the certificate was chosen from.
    pub certificates: Option<Arc<crate::tls::Certificates>>,
    /// The verified client certificate, when there is one.
    pub client: Option<crate::tls::server::ClientIdentity>,
}

impl Peer {
    pub(crate) fn new(listener: Arc<Listener>, remote: Option<SocketAddr>, tls: Option<TlsPeer>) -> Self {
        let ip = remote.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |remote| canonical(remote.ip()));
        let address_value =
            HeaderValue::from_str(&ip.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { listener, remote, address_value, tls }
    }

    /// Address of the other end; loopback for a Unix socket.
    pub(crate) fn ip(&self) -> IpAddr {
        self.remote.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |remote| canonical(remote.ip()))
    }

    /// Server name of the TLS handshake.
    pub(crate) fn sni(&self) -> Option<&str> {
        self.tls.as_ref().and_then(|tls| tls.sni.as_deref())
    }
}

/// An IPv4 address that came in an IPv6 coat is an IPv4 address to every rule.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
