//! Requests over HTTP/1.1 as bytes, bounded in time and size: to authorities, and to services that set records.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex as Lock, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
};
use tokio_rustls::TlsConnector;

/// Bytes of an answer that are read; a chain of certificates has a few thousand.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Sends requests, over one connection that is kept.
#[derive(Clone)]
pub(crate) struct Wire(Arc<Inner>);

struct Inner {
    tls: Arc<ClientConfig>,
    timeout: Duration,
    open: Mutex<Option<(Place, SendRequest<Full<Bytes>>)>>,
    /// How long the last answer that was an error asked to be left alone.
    pause: Lock<Option<Duration>>,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    is_tls: bool,
}

impl Place {
    fn of(uri: &Uri) -> Result<Self, String> {
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("`{uri}` is neither https nor http")),
        };
        let host = uri.host().ok_or_else(|| format!("`{uri}` names no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }), is_tls })
    }
}

impl Wire {
    pub(crate) fn new(ca: Option<&[u8]>, timeout: Duration) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let mut tls = builder.with_root_certificates(roots(ca)?).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (open, pause) = (Mutex::default(), Lock::default());
        Ok(Self(Arc::new(Inner { tls: Arc::new(tls), timeout, open, pause })))
    }

    /// Sends a request, within the time that there is for it. The error is for the operator.
    pub(crate) async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        match tokio::time::timeout(self.0.timeout, self.send(request)).await {
            Ok(told) => told,
            Err(_) => Err(format!("no answer within {:?}", self.0.timeout)),
        }
    }

    /// How long the last answer that was an error asked to be left alone; it is told once.
    pub(crate) fn take_pause(&self) -> Option<Duration> {
        self.0.pause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let place = Place::of(request.uri())?;
        // Held until the answer is there; one that is given up takes its connection along.
        let mut open = self.0.open.lock().await;
        if let Some((known, mut sender)) = open.take()
            && known == place
            && sender.ready().await.is_ok()
            && let Ok(told) = exchange(&mut sender, &request).await
        {
            *open = Some((place, sender));
            return Ok(self.note(told));
        }
        // The other side had closed the one that was kept. Numbers that are used once are asked for anew where it had not.
        let mut sender = self.connect(&place).await?;
        let told = exchange(&mut sender, &request).await?;
        *open = Some((place, sender));
        Ok(self.note(told))
    }

    fn note(&self, told: Response<Bytes>) -> Response<Bytes> {
        if told.status().is_client_error() || told.status().is_server_error() {
            *self.0.pause.lock().unwrap_or_else(PoisonError::into_inner) = retry_after(told.headers());
        }
        told
    }

    async fn connect(&self, place: &Place) -> Result<SendRequest<Full<Bytes>>, String> {
        let Place { host, port, is_tls } = place;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        let _ = stream.set_nodelay(true);
        if !is_tls {
            return shake_hands(stream).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("`{host}`: {error}"))?;
        let stream = TlsConnector::from(self.0.tls.clone()).connect(name, stream).await;
        shake_hands(stream.map_err(|error| format!("TLS with {host}:{port}: {error}"))?).await
    }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: &Request<Bytes>,
) -> Result<Response<Bytes>, String> {
    let broke = |error: hyper::Error| format!("the connection broke: {error}");
    let uri = request.uri();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut sent = Request::builder().method(request.method().clone()).uri(target);
    if let Some(headers) = sent.headers_mut() {
        *headers = request.headers().clone();
    }
    let sent = sent
        .header(header::HOST, authority)
        .body(Full::new(request.body().clone()))
        .map_err(|error| error.to_string())?;
    sender.ready().await.map_err(broke)?;
    let (head, body) = sender.send_request(sent).await.map_err(broke)?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|_| "its answer broke off, or is too large".to_owned())?.to_bytes();
    Ok(Response::from_parts(head, body))
}

async fn shake_hands<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = made.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // What goes wrong with it is told to whoever asks.
        let _ = connection.await;
    });
    Ok(sender)
}

/// `Retry-After`, in either of its forms.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| format!("the CA file: {error}"))?;
                roots.add(certificate).map_err(|error| format!("the CA file: {error}"))?;
            }
            if roots.is_empty() {
                return Err("the CA file has no certificate".to_owned());
            }
        }
        // Without any, what is reached over plain HTTP still is; a handshake says what is missing.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let wire = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let told = wire.ask(Request::from_parts(head, body)).await;
            let told = told.map_err(|error| instant_acme::Error::Other(error.into()))?;
            Ok(BytesResponse::from(told.map(Full::new)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().expect("a value"));
            retry_after(&headers)
        };
        assert_eq!(of("120"), Some(Duration::from_secs(120)));
        let soon = of(&httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600)));
        assert!(soon.is_some_and(|soon| soon > Duration::from_secs(3500)), "{soon:?}");
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), None, "a time that has passed asks for nothing");
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn places_are_told_apart_by_scheme_host_and_port() {
        let of = |text: &str| Place::of(&text.parse().expect("a URI"));
        let place = |host: &str, port, is_tls| Ok(Place { host: host.into(), port, is_tls });
        assert_eq!(of("https://ca.test/a"), place("ca.test", 443, true));
        assert_eq!(of("http://[::1]:8080/"), place("::1", 8080, false));
        assert!(of("ftp://ca.test/").is_err());
    }
}
