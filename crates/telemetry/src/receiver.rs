//! Receivers of what is exported: where they are, connections to them, and exchanges over HTTP/1.1.

use std::{
    collections::BTreeMap,
    io::Write,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header, response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use model::{Secret, Snapshot, resource::tls::UpstreamTls};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

/// Bytes of an answer that are read; a receiver has little to say.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Letters of an answer that are told.
const SAID_MAX: usize = 200;

/// An answer that broke off has this among its extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BrokenOff;

/// TLS towards a receiver.
#[derive(Clone)]
pub struct ReceiverTls {
    /// Whom to trust and what to show.
    pub connector: TlsConnector,
    /// The name for SNI and verification.
    pub server_name: ServerName<'static>,
}

/// The TLS that is wanted.
pub struct TlsWish<'a> {
    /// The settings; what is usual without them.
    pub settings: Option<&'a UpstreamTls>,
    /// The receiver's host.
    pub host: &'a str,
    /// What is spoken in it.
    pub speaks: Speaks,
}

/// What is spoken in TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Something that has no name there.
    Other,
}

/// Makes the TLS of a receiver; the caller brings it, for files and authorities are not telemetry's business.
pub type TlsFor = fn(&TlsWish<'_>, &Snapshot) -> Result<ReceiverTls, String>;

/// Where a receiver of HTTP is.
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: String,
    pub(crate) host_header: HeaderValue,
    pub(crate) tls: Option<ReceiverTls>,
    base: String,
    query: Option<String>,
}

impl Endpoint {
    pub(crate) fn new(text: &str, tls: Option<ReceiverTls>) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an address such as http://127.0.0.1:4318");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self {
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            host_header: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            authority: authority.to_string(),
            tls,
            base: uri.path().trim_end_matches('/').to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// The same, with TLS where the address is one of `https`.
    pub(crate) fn of(
        text: &str,
        settings: Option<&UpstreamTls>,
        speaks: Speaks,
        snapshot: &Snapshot,
        tls: TlsFor,
    ) -> Result<Self, String> {
        if !text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Self::new(text, None);
        }
        let host = Self::new(text, None)?.host;
        Self::new(text, Some(tls(&TlsWish { settings, host: &host, speaks }, snapshot)?))
    }

    /// The target below its path.
    pub(crate) fn below(&self, end: &str) -> Uri {
        format!("{}{end}", self.base).parse().unwrap_or_else(|_| Uri::from_static("/"))
    }

    /// The target that it names itself.
    pub(crate) fn itself(&self) -> Uri {
        let path = if self.base.is_empty() { "/" } else { &self.base };
        match &self.query {
            Some(query) => format!("{path}?{query}").parse(),
            None => path.parse(),
        }
        .unwrap_or_else(|_| Uri::from_static("/"))
    }
}

/// A stream of bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A stream to a host, with TLS where that is wanted.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    tls: Option<&ReceiverTls>,
) -> Result<Box<dyn Stream>, String> {
    let opening = async {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => Ok(Box::new(stream) as Box<dyn Stream>),
            Some(tls) => {
                let stream = tls.connector.connect(tls.server_name.clone(), stream).await?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }
        }
    };
    let wrong = |why: String| format!("cannot connect to {host}:{port}: {why}");
    match tokio::time::timeout(CONNECT, opening).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let error: std::io::Error = error;
            Err(wrong(error.to_string()))
        }
        Err(_) => Err(wrong(format!("nothing within {CONNECT:?}"))),
    }
}

/// A connection of HTTP/1.1 that is opened when it is needed, and kept.
#[derive(Default)]
pub(crate) struct Client {
    sender: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Sends a request, and reads the answer. An answer that is not read to its end has no body.
    pub(crate) async fn ask(
        &mut self,
        endpoint: &Endpoint,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(response::Parts, Bytes), String> {
        let mut sender = match self.sender().await {
            Some(sender) => sender,
            None => open(endpoint).await?,
        };
        let headers = request.headers_mut();
        headers.insert(header::HOST, endpoint.host_header.clone());
        headers.insert(header::USER_AGENT, user_agent());
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (mut parts, body) = response.into_parts();
        match read(body).await {
            Ok(body) => {
                self.sender = Some(sender);
                Ok((parts, body))
            }
            Err(error) => {
                // One that is longer than anybody reads may be whole.
                if !error.is::<LengthLimitError>() {
                    parts.extensions.insert(BrokenOff);
                }
                Ok((parts, Bytes::new()))
            }
        }
    }

    /// The kept connection, when it still stands.
    async fn sender(&mut self) -> Option<http1::SendRequest<Full<Bytes>>> {
        let mut sender = self.sender.take()?;
        sender.ready().await.ok()?;
        Some(sender)
    }
}

async fn open(endpoint: &Endpoint) -> Result<http1::SendRequest<Full<Bytes>>, String> {
    let stream = connect(&endpoint.host, endpoint.port, endpoint.tls.as_ref()).await?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        // Each exchange has its own error; the connection's adds nothing.
        let _ = connection.await;
    });
    Ok(sender)
}

async fn read(body: Incoming) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes())
}

/// Who sends.
pub(crate) fn user_agent() -> HeaderValue {
    HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")))
}

/// Headers with their secrets.
pub(crate) fn headers(all: &BTreeMap<String, Secret>, snapshot: &Snapshot) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, secret) in all {
        let key = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("headers: `{name}` is not the name of a header"))?;
        let mut value = HeaderValue::from_str(snapshot.secret(secret))
            .map_err(|_| format!("headers.{name}: the secret cannot stand in a header"))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    Ok(headers)
}

/// `Retry-After`: seconds, or a date (RFC 9110 §10.2.3).
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// A status and the beginning of what was said with it, on one line.
pub(crate) fn said(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SAID_MAX)]);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().filter(|one| !one.is_control()).take(SAID_MAX).collect();
    match text.is_empty() {
        true => format!("status {}", status.as_u16()),
        false => format!("status {}: {text}", status.as_u16()),
    }
}

/// Compresses a body.
pub(crate) fn gzip(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // A vector takes every write.
    let _ = encoder.write_all(body);
    Bytes::from(encoder.finish().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        for (endpoint, path, itself, port) in [
            ("http://127.0.0.1:4318", "/v1/traces", "/", 4318),
            ("http://collector/", "/v1/traces", "/", 80),
            ("http://collector:9/otlp/", "/otlp/v1/traces", "/otlp", 9),
            ("http://collector/in?a=b", "/in/v1/traces", "/in?a=b", 80),
        ] {
            let endpoint = Endpoint::new(endpoint, None).expect("good");
            assert_eq!((endpoint.below("/v1/traces").path(), endpoint.port), (path, port));
            assert_eq!(endpoint.itself().to_string(), itself);
        }
        let six = Endpoint::new("http://[::1]:4318", None).expect("good");
        assert_eq!((&*six.host, &*six.authority), ("::1", "[::1]:4318"));
        assert!(Endpoint::new("http://user@collector", None).is_err());
    }

    #[test]
    fn a_pause_is_asked_for_in_seconds_or_by_a_date() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_str(text).expect("a value"));
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn what_a_receiver_says_is_told_on_one_line_and_not_all_of_it() {
        assert_eq!(said(StatusCode::BAD_REQUEST, b"a\n b\x1b[31m\tc"), "status 400: a b[31m c");
        assert!(said(StatusCode::BAD_REQUEST, &[b'x'; 10_000]).len() < 220);
        assert_eq!(said(StatusCode::BAD_GATEWAY, b""), "status 502");
    }
}
