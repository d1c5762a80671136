//! An upstream that speaks HTTP/2, and TLS when it is asked to; over TLS also HTTP/1.1, as ALPN decides.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::harness::free_port;

/// What the peer does with a stream.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reply {
    /// Answers 200 with this body after so many milliseconds.
    After(u64, &'static str),
    /// Resets it with REFUSED_STREAM.
    Refuse,
    /// Answers, and lets the connection end after it.
    Last(&'static str),
}

/// What is known of the peer.
#[derive(Default)]
struct Known {
    connections: AtomicUsize,
    handshakes: AtomicUsize,
    open: AtomicUsize,
    cancelled: AtomicUsize,
    gathering: AtomicUsize,
    seen: Mutex<Vec<(String, String)>>,
}

/// A running peer; ends with the test.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    known: Arc<Known>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
}

type Script = dyn Fn(&str, usize) -> Reply + Send + Sync;

impl Peer {
    /// HTTP/2 in cleartext. The script is told the path and the number of the request.
    pub(super) fn cleartext(script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(super::local(free_port()), None, Arc::new(script))
    }

    /// TLS that offers these protocols.
    pub(super) fn tls(
        protocols: &[&str],
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::tls_on(super::local(free_port()), protocols, script)
    }

    /// The same at a given address.
    pub(super) fn tls_on(
        address: SocketAddr,
        protocols: &[&str],
        script: impl Fn(&str, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]);
        let made = made.expect("a certificate");
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a configuration");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self::start(address, Some(Arc::new(config)), Arc::new(script))
    }

    /// From now on no handshake begins, and nothing is answered by HTTP/1.1, before so many connections have come.
    pub(super) fn gather(&self, connections: usize) {
        self.known.gathering.store(connections, Ordering::Relaxed);
    }

    fn start(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>, script: Arc<Script>) -> Self {
        let known = Arc::<Known>::default();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (up, is_up) = std::sync::mpsc::channel();
        let shared = known.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(address).await.expect("a free port");
                up.send(()).expect("the test waits");
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        let _ = stream.set_nodelay(true);
                        let (tls, script, known) = (tls.clone(), script.clone(), shared.clone());
                        tokio::spawn(async move {
                            known.connections.fetch_add(1, Ordering::Relaxed);
                            known.open.fetch_add(1, Ordering::Relaxed);
                            serve(stream, tls, script, &known).await;
                            known.open.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                };
                tokio::select! { () = accept => {}, _ = ended => {} }
            });
        });
        is_up.recv().expect("it is up");
        Self { address, known, end: Some(end) }
    }

    /// Connections that were taken.
    pub(super) fn connections(&self) -> usize {
        self.known.connections.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub(super) fn open(&self) -> usize {
        self.known.open.load(Ordering::Relaxed)
    }

    /// TLS handshakes that came to their end.
    pub(super) fn handshakes(&self) -> usize {
        self.known.handshakes.load(Ordering::Relaxed)
    }

    /// Streams that the other side reset before they were answered.
    pub(super) fn cancelled(&self) -> usize {
        self.known.cancelled.load(Ordering::Relaxed)
    }

    /// Method and path of each request.
    pub(super) fn seen(&self) -> Vec<(String, String)> {
        self.known.seen.lock().expect("not poisoned").clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    script: Arc<Script>,
    known: &Arc<Known>,
) {
    let Some(tls) = tls else { return http2(stream, script, known).await };
    gathered(known).await;
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    known.handshakes.fetch_add(1, Ordering::Relaxed);
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(stream, script, known).await;
    } else {
        http1(stream, script, known).await;
    }
}

async fn gathered(known: &Known) {
    while known.connections.load(Ordering::Relaxed) < known.gathering.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Arc<Script>, known: &Known) {
    let mut input = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => input.extend_from_slice(&buffer[..count]),
            _ => return,
        }
        while let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&input[..end]).into_owned();
            input.drain(..end + 4);
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let number = note(known, method, path);
            let (Reply::After(_, body) | Reply::Last(body)) = script(path, number) else { return };
            gathered(known).await;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn note(known: &Known, method: &str, path: &str) -> usize {
    let mut seen = known.seen.lock().expect("not poisoned");
    seen.push((method.to_owned(), path.to_owned()));
    seen.len() - 1
}

async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    script: Arc<Script>,
    known: &Arc<Known>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let number = note(known, request.method().as_str(), &path);
        let reply = script(&path, number);
        match reply {
            Reply::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
            Reply::Last(_) => connection.graceful_shutdown(),
            Reply::After(..) => {}
        }
        let known = known.clone();
        tokio::spawn(async move {
            let (after, body) = match reply {
                Reply::After(after, body) => (after, body),
                Reply::Last(body) => (0, body),
                Reply::Refuse => return,
            };
            let mut upload = request.into_body();
            while let Some(Ok(data)) = upload.data().await {
                let _ = upload.flow_control().release_capacity(data.len());
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(after)) => {}
                _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                    known.cancelled.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
            if let Ok(mut stream) = respond.send_response(http::Response::new(()), false) {
                let _ = stream.send_data(Bytes::from_static(body.as_bytes()), true);
            }
        });
    }
}
