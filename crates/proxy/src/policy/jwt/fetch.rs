//! Fetches a document from an address that the configuration names, or posts to it: over https, or over http from
//! loopback.
//!
//! Addresses that lead into the machine's own cloud (link-local, metadata) are refused after the name is resolved,
//! and the connection goes to the very address that was judged. Redirects are not followed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Bytes of a document at most.
const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Metadata services outside of the link-local ranges.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Where a document is.
pub(crate) struct Target {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<ServerName<'static>>,
    /// It is a metadata service, and may be nothing else.
    is_metadata: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The query may hold a secret.
        write!(f, "{}:{}{}", self.host, self.port, self.uri.path())
    }
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not an address"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{url}` has no host"))?;
        if authority.as_str().contains('@') {
            return Err("an address with a user name is not fetched from".into());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (port, tls) = match uri.scheme_str() {
            Some("https") => {
                let name =
                    ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is not a host"))?;
                (443, Some(name))
            }
            Some("http") => (80, None),
            _ => return Err(format!("`{url}` begins neither with https:// nor with http://")),
        };
        let port = authority.port_u16().unwrap_or(port);
        Self { uri, host, port, tls, is_metadata: false }.judged()
    }

    /// A metadata service of a cloud, which the operator has asked for.
    pub(crate) fn metadata(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not an address"))?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
        let authority = authority.ok_or_else(|| format!("`{url}` does not begin with http:// and a host"))?;
        if authority.as_str().contains('@') {
            return Err("an address with a user name is not fetched from".into());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(80);
        Self { uri, host, port, tls: None, is_metadata: true }.judged()
    }

    /// A name is judged when it is resolved, each time; an address is known now.
    fn judged(self) -> Result<Self, String> {
        if let Ok(address) = self.host.parse() {
            self.judge(address)?;
        }
        Ok(self)
    }

    /// The address as it was written.
    pub(crate) fn url(&self) -> String {
        self.uri.to_string()
    }

    /// The host and the port, where it was written, as they go into `Host`.
    pub(crate) fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Fetches the document.
    pub(crate) async fn get(&self) -> Result<Bytes, String> {
        let mut headers = HeaderMap::new();
        let accepted = HeaderValue::from_static("application/jwk-set+json, application/json");
        headers.insert(header::ACCEPT, accepted);
        match self.send(Method::GET, headers, Bytes::new()).await? {
            (StatusCode::OK, document) => Ok(document),
            (status, _) => Err(format!("it answered {status}")),
        }
    }

    /// Fetches a document of another kind, of so many bytes at most.
    pub(crate) async fn download(&self, bytes_max: usize) -> Result<Bytes, String> {
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        match self.send_to(target, Method::GET, headers, Bytes::new(), bytes_max).await? {
            (StatusCode::OK, document) => Ok(document),
            (status, _) => Err(format!("it answered {status}")),
        }
    }

    /// Asks with a head of one's own: the answer's status and body, whatever they are.
    pub(crate) async fn get_with(&self, headers: HeaderMap) -> Result<(StatusCode, Bytes), String> {
        self.send(Method::GET, headers, Bytes::new()).await
    }

    /// Posts to the address: the answer's status and body, whatever they are.
    pub(crate) async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<(StatusCode, Bytes), String> {
        self.send(Method::POST, headers, body).await
    }

    /// Asks for something else at the same address.
    pub(crate) async fn ask(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
    ) -> Result<(StatusCode, Bytes), String> {
        self.send_to(target, method, headers, Bytes::new(), DOCUMENT_BYTES_MAX).await
    }

    async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let target = self.uri.path_and_query().map_or("/", |target| target.as_str());
        self.send_to(target, method, headers, body, DOCUMENT_BYTES_MAX).await
    }

    async fn send_to(
        &self,
        target: &str,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<(StatusCode, Bytes), String> {
        let mut request = Request::builder().method(method).uri(target).body(Full::new(body));
        if let Ok(request) = &mut request {
            *request.headers_mut() = headers;
            let host = HeaderValue::from_str(self.authority()).map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::HOST, host);
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("tidegate"));
        }
        let request = request.map_err(|error| error.to_string())?;
        let stream = self.connect().await?;
        match &self.tls {
            None => exchange(stream, request, bytes_max).await,
            Some(name) => {
                let connector = TlsConnector::from(client_config()?);
                let stream = connector.connect(name.clone(), stream).await;
                exchange(stream.map_err(|error| format!("TLS: {error}"))?, request, bytes_max).await
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|error| format!("{}: {error}", self.host))?.collect();
        let mut last = format!("`{}` has no address", self.host);
        for address in found {
            if let Err(reason) = self.judge(address.ip()) {
                last = reason;
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        Err(last)
    }

    fn judge(&self, address: IpAddr) -> Result<(), String> {
        let address = address.to_canonical();
        if self.is_metadata {
            let may_be = match address {
                IpAddr::V4(v4) => v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_unicast_link_local(),
            };
            return match may_be || address.is_loopback() || METADATA.contains(&address) {
                true => Ok(()),
                false => Err(format!("{address} is no metadata service: those are link-local")),
            };
        }
        if is_forbidden(address) {
            return Err(format!("{address} is link-local, a metadata service or no host at all"));
        }
        if self.tls.is_none() && !address.is_loopback() {
            return Err(format!("{address} is not loopback; anywhere else it has to be https"));
        }
        Ok(())
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    bytes_max: usize,
) -> Result<(StatusCode, Bytes), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(|error| error.to_string())
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection may end first while its last bytes are still to be read.
        _ = &mut connection => exchange.await,
    }
}

fn is_forbidden(address: IpAddr) -> bool {
    METADATA.contains(&address)
        || address.is_unspecified()
        || address.is_multicast()
        || match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => {
                v6.is_unicast_link_local() || embedded(v6).is_some_and(|v4| is_forbidden(v4.into()))
            }
        }
}

/// The IPv4 address that a translator or a tunnel sends this on to: NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056), and
/// IPv4-compatible addresses.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let last = Ipv4Addr::from_bits((address.to_bits() & u128::from(u32::MAX)) as u32);
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => Some(last),
        [0x2002, high, low, ..] => Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => Some(last),
        _ => None,
    }
}

/// TLS with the system's roots, loaded once.
fn client_config() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("the system has no root certificates".into());
            }
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let builder = builder.map_err(|error: rustls::Error| error.to_string())?;
            Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_inwards_are_refused() {
        let https = Target::parse("https://id.example.test/jwks").expect("a target");
        let http = Target::parse("http://localhost/jwks").expect("a target");
        for (address, over_https, over_http) in [
            ("192.0.2.1", true, false),
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("10.0.0.1", true, false),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("168.63.129.16", false, false),
            ("fd20:ce::254", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("64:ff9b:1::a9fe:a9fe", false, false),
            ("64:ff9b::c000:201", true, false),
            ("2002:a9fe:a9fe::1", false, false),
            ("2002:c000:201::1", true, false),
            ("::169.254.169.254", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(https.judge(address).is_ok(), over_https, "https {address}");
            assert_eq!(http.judge(address).is_ok(), over_http, "http {address}");
        }
    }

    #[test]
    fn only_plain_web_addresses_are_targets() {
        for url in ["file:///etc/passwd", "https://user:secret@host/", "/jwks", "gopher://host/", "https://"]
        {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }
}
