//! Of a connection that was passed on as it came, or of a client's session of datagrams.

/// A byte stream, or a session of datagrams.
#[derive(Debug, Clone)]
pub struct StreamRecord {
    /// `tcp`, `tls` (passed through), `tls-terminated` or `udp`.
    pub protocol: &'static str,
    /// The server name that the client asked for in TLS.
    pub server_name: Option<Box<str>>,
    /// How it ended: `closed`, `idle`, `reset`, `drained`, or why it never began, such as `denied`.
    pub ended: &'static str,
    /// Datagrams from the client and to it, where these are what flowed.
    pub datagrams: Option<(u64, u64)>,
}
