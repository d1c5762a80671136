//! The ways in which clients ask: HTTP/1.1 and HTTP/2, each in the clear and over TLS, on a connection that they keep
//! for as long as it lasts.

use std::{
    io::{BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName},
};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::harness::{Answer, h2 as peers};

/// How long a client waits for an answer; the gateway answers within its own timeouts.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections of HTTP/2 that may say goodbye before one takes a request.
const GOODBYES_MAX: usize = 3;

/// A request.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) body: &'a [u8],
}

/// Where clients go in.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) plain: SocketAddr,
    pub(super) secure: SocketAddr,
    certificate: CertificateDer<'static>,
}

impl Doors {
    /// Makes a certificate, whose files are `server.crt` and `server.key` in a folder.
    pub(super) fn new(plain: SocketAddr, secure: SocketAddr, folder: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".into()]).expect("a certificate");
        std::fs::write(folder.join("server.crt"), made.cert.pem()).expect("a file");
        std::fs::write(folder.join("server.key"), made.signing_key.serialize_pem()).expect("a file");
        Self { plain, secure, certificate: made.cert.der().clone() }
    }

    fn tls(&self, protocol: &str) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

/// A client that asks one thing after the other.
pub(super) enum Way {
    Http1(Http1),
    Http2(Box<Http2>),
}

impl Way {
    /// The four ways, by number.
    pub(super) fn new(number: usize, doors: &Doors) -> Self {
        let is_secure = number % 2 == 1;
        let (door, tls) =
            (if is_secure { doors.secure } else { doors.plain }, |name| is_secure.then(|| doors.tls(name)));
        if number % 4 < 2 {
            return Self::Http1(Http1 { door, tls: tls("http/1.1"), kept: None });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self::Http2(Box::new(Http2 {
            door,
            tls: tls("h2"),
            runtime,
            tasks: tokio::task::LocalSet::new(),
            kept: None,
        }))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Http1(Http1 { tls, .. }) => {
                if tls.is_some() {
                    "HTTP/1.1 over TLS"
                } else {
                    "HTTP/1.1"
                }
            }
            Self::Http2(way) => {
                if way.tls.is_some() {
                    "HTTP/2 over TLS"
                } else {
                    "HTTP/2"
                }
            }
        }
    }

    /// One request and its answer's status and body, on the connection that is there or on a new one.
    pub(super) fn ask(&mut self, asked: &Asked<'_>) -> Result<(u16, String), String> {
        match self {
            Self::Http1(way) => way.ask(asked),
            Self::Http2(way) => way.ask(asked),
        }
    }

    /// Waits; a connection of HTTP/2 is looked after meanwhile.
    pub(super) fn rest(&self, pause: Duration) {
        match self {
            Self::Http1(_) => super::pause(pause.as_millis() as u64),
            Self::Http2(way) => way.tasks.block_on(&way.runtime, async { tokio::time::sleep(pause).await }),
        }
    }
}

trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

/// HTTP/1.1.
pub(super) struct Http1 {
    door: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    kept: Option<BufReader<Box<dyn Duplex>>>,
}

impl Http1 {
    fn ask(&mut self, asked: &Asked<'_>) -> Result<(u16, String), String> {
        let mut reader = match self.kept.take() {
            Some(reader) => reader,
            None => BufReader::new(self.open().map_err(|error| format!("connect: {error}"))?),
        };
        let Asked { method, path, body } = asked;
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{length}\r\n").into_bytes();
        request.extend_from_slice(body);
        let sent = reader.get_mut().write_all(&request).and_then(|()| reader.get_mut().flush());
        sent.map_err(|error| format!("write: {error}"))?;
        let answer = Answer::read(&mut reader, false).ok_or("the connection ended without an answer")?;
        self.kept = (answer.header("connection") != Some("close")).then_some(reader);
        Ok((answer.status, answer.text()))
    }

    fn open(&self) -> std::io::Result<Box<dyn Duplex>> {
        let mut stream = TcpStream::connect(self.door)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let mut session = ClientConnection::new(tls.clone(), host()).map_err(std::io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Box::new(StreamOwned::new(session, stream)))
    }
}

/// HTTP/2.
pub(super) struct Http2 {
    door: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    runtime: tokio::runtime::Runtime,
    tasks: tokio::task::LocalSet,
    kept: Option<SendRequest<Bytes>>,
}

impl Http2 {
    fn ask(&mut self, asked: &Asked<'_>) -> Result<(u16, String), String> {
        let Self { door, tls, runtime, tasks, kept } = self;
        let work = async {
            for _ in 0..=GOODBYES_MAX {
                let send = match kept.take() {
                    Some(send) => send,
                    None => open(*door, tls.as_ref()).await.map_err(|error| format!("connect: {error}"))?,
                };
                // One that has ended takes nothing: nothing was sent.
                let Ok(ready) = send.clone().ready().await else { continue };
                match exchange(ready, asked).await {
                    Ok(answer) => {
                        *kept = Some(send);
                        return Ok(answer);
                    }
                    // What is beyond the last stream of a goodbye was never looked at (RFC 9113 §6.8).
                    Err(error)
                        if error.is_go_away()
                            && error.is_remote()
                            && error.reason() == Some(h2::Reason::NO_ERROR) => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
            Err("every connection says goodbye".to_owned())
        };
        let bounded = async { tokio::time::timeout(PATIENCE, work).await };
        tasks.block_on(runtime, bounded).unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

async fn open(door: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Result<SendRequest<Bytes>, String> {
    let stream = tokio::net::TcpStream::connect(door).await.map_err(|error| error.to_string())?;
    let _ = stream.set_nodelay(true);
    match tls {
        None => begin(stream).await,
        Some(tls) => {
            let connector = tokio_rustls::TlsConnector::from(tls.clone());
            begin(connector.connect(host(), stream).await.map_err(|error| error.to_string())?).await
        }
    }
}

async fn begin(io: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Result<SendRequest<Bytes>, String> {
    let (send, connection) = h2::client::handshake(io).await.map_err(|error| error.to_string())?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    Ok(send)
}

async fn exchange(mut ready: SendRequest<Bytes>, asked: &Asked<'_>) -> Result<(u16, String), h2::Error> {
    let uri = format!("http://a.test{}", asked.path);
    let request = http::Request::builder().method(asked.method).uri(uri).body(()).expect("a request");
    let (answer, mut stream) = ready.send_request(request, asked.body.is_empty())?;
    if !asked.body.is_empty() {
        stream.send_data(Bytes::copy_from_slice(asked.body), true)?;
    }
    let message = peers::read_answer(answer.await?).await?;
    Ok((message.status, message.text()))
}

fn host() -> ServerName<'static> {
    ServerName::try_from("a.test").expect("a name")
}
