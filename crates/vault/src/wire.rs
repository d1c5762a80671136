//! One connection to a server: requests and answers as bytes, bounded in time and size, and one step after a redirect.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An answer.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
    location: Option<String>,
}

/// A question.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    /// Below `/v1/`.
    pub(crate) path: &'a str,
    pub(crate) token: Option<&'a str>,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) body: Option<String>,
}

/// A server.
pub(crate) struct Wire {
    base: Base,
    tls: Arc<ClientConfig>,
    timeout: Duration,
    open: Option<SendRequest<Full<Bytes>>>,
}

/// Where it is.
struct Base {
    host: String,
    port: u16,
    authority: String,
    /// Before `/v1/`; empty for most.
    prefix: String,
    name: Option<ServerName<'static>>,
}

impl Base {
    fn parse(address: &str) -> Result<(Self, Uri), String> {
        let uri: Uri = address.parse().map_err(|error| format!("`{address}`: {error}"))?;
        let authority = uri.authority().ok_or_else(|| format!("`{address}` names no host"))?.clone();
        if authority.as_str().contains('@') {
            return Err("the address has no user and no password".to_owned());
        }
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("`{address}` is neither https nor http")),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|error| format!("`{host}`: {error}"))?;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok((Self { host, port, authority: authority.to_string(), prefix, name: is_tls.then_some(name) }, uri))
    }
}

impl Wire {
    pub(crate) fn new(address: &str, ca: Option<&[u8]>, timeout: Duration) -> Result<Self, String> {
        let (base, _) = Base::parse(address)?;
        let roots = roots(ca, base.name.is_some())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let tls = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(Self { base, tls, timeout, open: None })
    }

    /// Asks, within the time that there is for it. The error is for the operator.
    pub(crate) async fn ask(&mut self, question: &Question<'_>) -> Result<Told, String> {
        match tokio::time::timeout(self.timeout, self.follow(question)).await {
            Ok(told) => told,
            Err(_) => {
                // What is still to come on it answers another question.
                self.open = None;
                Err(format!("no answer within {:?}", self.timeout))
            }
        }
    }

    /// A server that is not the active one may send its askers there (307): one step, never out of TLS.
    async fn follow(&mut self, question: &Question<'_>) -> Result<Told, String> {
        let told = self.once(question).await?;
        if !matches!(told.status, 301 | 302 | 307 | 308) {
            return Ok(told);
        }
        let location = told.location.ok_or("it redirects to nowhere")?;
        let (mut base, uri) = Base::parse(&location).map_err(|error| format!("it redirects: {error}"))?;
        if self.base.name.is_some() && base.name.is_none() {
            return Err("it redirects to plain HTTP, where tokens are not shown".to_owned());
        }
        if self.base.name.is_none() && base.authority != self.base.authority && !is_loopback(&base.host) {
            return Err("it redirects to another host without TLS".to_owned());
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        base.prefix = String::new();
        let mut there = Self { base, tls: self.tls.clone(), timeout: self.timeout, open: None };
        there.exchange(question, &target).await
    }

    async fn once(&mut self, question: &Question<'_>) -> Result<Told, String> {
        let target = format!("{}/v1/{}", self.base.prefix, question.path);
        if self.open.is_some() {
            // A connection that the server has closed meanwhile is no news.
            if let Ok(told) = self.exchange(question, &target).await {
                return Ok(told);
            }
            self.open = None;
        }
        self.exchange(question, &target).await
    }

    async fn exchange(&mut self, question: &Question<'_>, target: &str) -> Result<Told, String> {
        let mut sender = match self.open.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let body = question.body.clone().map_or_else(Bytes::new, Bytes::from);
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(target)
            .header(header::HOST, &self.base.authority)
            .header(header::USER_AGENT, "tidegate")
            .header("x-vault-request", "true");
        if question.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(namespace) = question.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = question.token {
            let mut value = HeaderValue::from_str(token).map_err(|_| "the token cannot stand in a header")?;
            value.set_sensitive(true);
            request = request.header("x-vault-token", value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let failed = |error: hyper::Error| format!("the connection broke: {error}");
        sender.ready().await.map_err(failed)?;
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|_| "its answer broke off, or is too large".to_owned())?.to_bytes();
        let text = |name| head.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let told = Told {
            status: head.status.as_u16(),
            retry_after: text(header::RETRY_AFTER)
                .and_then(|text| text.parse().ok())
                .map(Duration::from_secs),
            location: text(header::LOCATION).map(str::to_owned),
            body,
        };
        self.open = Some(sender);
        Ok(told)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let Base { host, port, name, .. } = &self.base;
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
        match name {
            None => shake_hands(stream).await,
            Some(name) => {
                let stream = TlsConnector::from(self.tls.clone()).connect(name.clone(), stream).await;
                shake_hands(stream.map_err(|error| format!("TLS with {host}:{port}: {error}"))?).await
            }
        }
    }
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

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn roots(ca: Option<&[u8]>, is_tls: bool) -> Result<RootCertStore, String> {
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
        None if is_tls => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err("the system has no root certificates: name a `caFile`".to_owned());
            }
        }
        None => {}
    }
    Ok(roots)
}
