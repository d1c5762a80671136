//! Accepts connections and brings them to the protocol that they speak.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use model::resource::listener::ProxyProtocol;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::Notify,
};

use super::{
    Listener, handshake, proxy_protocol,
    sockets::{Kind, Socket},
};
use crate::{
    conn::{
        h1, h2,
        peer::{Peer, TlsPeer},
        wire::Io,
    },
    worker::{Command, Worker},
};

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest PROXY header that is read.
const PROXY_HEADER_BYTES_MAX: usize = 4096;
/// How long to wait before accepting again when the process is out of file descriptors.
const OUT_OF_FILES_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are taken from the queue of a socket that is about to close.
const QUEUE_MAX: usize = 4096;

/// An accepted connection on its way to another worker.
pub(crate) enum Stream {
    Tcp(std::net::TcpStream, SocketAddr),
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Accepts connections until it is told to close; what waits in the socket's queue then is still served.
pub(crate) async fn run(worker: Rc<Worker>, socket: Socket, closing: Rc<Notify>) {
    let accepting = match socket.kind {
        Kind::Tcp(listener) => TcpListener::from_std(listener).map(Accepting::Tcp),
        Kind::Unix(listener) => UnixListener::from_std(listener).map(Accepting::Unix),
        Kind::Udp(udp) => return crate::stream::udp::run(worker, socket.listener, udp, closing).await,
    };
    let accepting = match accepting {
        Ok(accepting) => accepting,
        Err(error) => {
            tracing::error!(listener = %socket.listener, "cannot listen: {error}");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.notified() => break,
            accepted = accepting.accept() => accepted,
        };
        match accepted {
            Ok((Io::Tcp(stream), Some(remote))) => place(&worker, &socket.listener, stream, remote),
            Ok((io, remote)) => start(&worker, &socket.listener, io, remote),
            // The connection ended before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(listener = %socket.listener, "cannot accept: {error}");
                tokio::time::sleep(OUT_OF_FILES_PAUSE).await;
            }
        }
    }
    if let Err(error) = accepting.empty(|io, remote| start(&worker, &socket.listener, io, remote))
        && error.kind() != io::ErrorKind::WouldBlock
    {
        tracing::warn!(listener = %socket.listener, "cannot accept what waits: {error}");
    }
}

impl Accepting {
    async fn accept(&self) -> io::Result<(Io, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                listener.accept().await.map(|(stream, remote)| (Io::Tcp(stream), Some(remote)))
            }
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (Io::Unix(stream), None)),
        }
    }

    /// Accepts what waits in the queue now: closing the socket would reset it.
    fn empty(self, mut start: impl FnMut(Io, Option<SocketAddr>)) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => {
                let listener = listener.into_std()?;
                for _ in 0..QUEUE_MAX {
                    let (stream, remote) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    let _ = stream.set_nodelay(true);
                    start(Io::Tcp(TcpStream::from_std(stream)?), Some(remote));
                }
            }
            Self::Unix(listener) => {
                let listener = listener.into_std()?;
                for _ in 0..QUEUE_MAX {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    start(Io::Unix(UnixStream::from_std(stream)?), None);
                }
            }
        }
        Ok(())
    }
}

/// Serves a connection here, or hands it to the worker with the fewest.
fn place(worker: &Rc<Worker>, listener: &Arc<str>, stream: TcpStream, remote: SocketAddr) {
    let _ = stream.set_nodelay(true);
    if let Some(other) = worker.better_home()
        && let Some(inbox) = worker.shared.inboxes.get().and_then(|inboxes| inboxes.get(other))
    {
        match stream.into_std() {
            Ok(stream) => {
                let stream = Stream::Tcp(stream, remote);
                let _ = inbox.send(Command::Adopt(listener.clone(), stream, worker.reserve(other)));
            }
            Err(error) => tracing::warn!("cannot hand a connection over: {error}"),
        }
        return;
    }
    start(worker, listener, Io::Tcp(stream), Some(remote));
}

/// Serves a connection that another worker accepted.
pub(crate) fn adopt(worker: &Rc<Worker>, listener: &Arc<str>, stream: Stream) {
    let Stream::Tcp(stream, remote) = stream;
    match TcpStream::from_std(stream) {
        Ok(stream) => start(worker, listener, Io::Tcp(stream), Some(remote)),
        Err(error) => tracing::warn!("cannot take a connection over: {error}"),
    }
}

fn start(worker: &Rc<Worker>, listener: &Arc<str>, io: Io, remote: Option<SocketAddr>) {
    let plan = worker.plan();
    let Some(listener) = plan.listeners.iter().find(|known| known.name == *listener).cloned() else { return };
    let Some(opened) = worker.open(&listener.name) else {
        tracing::debug!(listener = %listener.name, "refused a connection: the process has as many as it may");
        return;
    };
    if !listener.enter() {
        return;
    }
    if let Io::Tcp(stream) = &io {
        keep_alive(stream);
    }
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        let _opened = opened;
        let _entered = Entered(listener.clone());
        serve(worker, listener, io, remote).await;
    });
}

/// Counts a connection of a listener for as long as it lives.
pub(crate) struct Entered(pub(crate) Arc<Listener>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Lets the kernel find peers that vanished: what flows after an upgrade has no other timeout.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let settings = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&settings);
}

async fn serve(worker: Rc<Worker>, listener: Arc<Listener>, mut io: Io, mut remote: Option<SocketAddr>) {
    let patience = listener.limits.header_timeout;
    if listener.proxy_protocol != ProxyProtocol::Off {
        match within(&worker, patience, proxy_header(&listener, io, remote)).await {
            Some(Ok((rest, client))) => {
                io = rest;
                remote = client.or(remote);
            }
            Some(Err(error)) => {
                tracing::debug!(listener = %listener.name, "refused a PROXY header: {error}");
                return;
            }
            None => return,
        }
    }
    match crate::stream::enter(&worker, &listener, io, remote).await {
        Some(rest) => io = rest,
        None => return,
    }
    let mut tls = None;
    let mut is_http2 = false;
    if let Some(ours) = &listener.tls {
        match within(&worker, listener.limits.tls_timeout, handshake::accept(ours, &ours.config, io)).await {
            Some(Ok(None)) => return,
            Some(Ok(Some(stream))) => {
                let session = stream.get_ref().1;
                is_http2 = session.alpn_protocol() == Some(b"h2");
                tls = Some(TlsPeer {
                    sni: session.server_name().map(|name| name.to_ascii_lowercase().into()),
                    certificates: Some(ours.certificates.clone()),
                    client: crate::tls::server::identity_of(session.peer_certificates()),
                });
                io = Io::TlsServer(Box::new(stream));
            }
            Some(Err(error)) => {
                handshake::failed(&worker, &listener, remote, &error);
                return;
            }
            None if worker.is_draining() => return,
            None => {
                let late = io::Error::new(io::ErrorKind::TimedOut, "it took longer than `limits.tlsTimeout`");
                handshake::failed(&worker, &listener, remote, &late);
                return;
            }
        }
    } else if listener.http2.is_some() {
        match within(&worker, patience, sniff(io)).await {
            Some(Ok((rest, http2))) => {
                io = rest;
                is_http2 = http2;
            }
            _ => return,
        }
    }
    let peer = Rc::new(Peer::new(listener, remote, tls));
    if is_http2 {
        h2::serve(worker, peer, io).await;
    } else {
        h1::serve(worker, peer, io).await;
    }
}

/// What a connection says before its first request, if it says it in time; less is left when the gateway drains.
pub(crate) async fn within<T>(
    worker: &Worker,
    patience: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = tokio::time::sleep(patience) => None,
        () = worker.left() => None,
    }
}

/// Tells HTTP/2 with prior knowledge from HTTP/1 by the first bytes, which are put back.
async fn sniff(mut io: Io) -> io::Result<(Io, bool)> {
    let mut buffer = BytesMut::with_capacity(8 * 1024);
    loop {
        if io.read_buf(&mut buffer).await? == 0 {
            return Ok((Io::Ahead(buffer.freeze(), Box::new(io)), false));
        }
        let known = buffer.len().min(PREFACE.len());
        if buffer[..known] != PREFACE[..known] {
            return Ok((Io::Ahead(buffer.freeze(), Box::new(io)), false));
        }
        if known == PREFACE.len() {
            return Ok((Io::Ahead(buffer.freeze(), Box::new(io)), true));
        }
    }
}

/// Reads a PROXY header, and gives back what came after it.
async fn proxy_header(
    listener: &Listener,
    mut io: Io,
    remote: Option<SocketAddr>,
) -> Result<(Io, Option<SocketAddr>), String> {
    let required = listener.proxy_protocol == ProxyProtocol::Require;
    if let Some(remote) = remote
        && !listener.trusted.is_empty()
        && !listener.trusts(remote.ip())
    {
        // Only proxies that are trusted may say who the client is.
        return if required { Err("the peer is not a trusted proxy".into()) } else { Ok((io, None)) };
    }
    let mut buffer = BytesMut::with_capacity(512);
    loop {
        match proxy_protocol::parse(&buffer) {
            Ok(Some((header, used))) => {
                let rest: Bytes = buffer.split_off(used).freeze();
                let io = if rest.is_empty() { io } else { Io::Ahead(rest, Box::new(io)) };
                return Ok((io, header.source));
            }
            Ok(None) => {}
            Err(_) if !required => return Ok((Io::Ahead(buffer.freeze(), Box::new(io)), None)),
            Err(error) => return Err(error.to_string()),
        }
        if buffer.len() >= PROXY_HEADER_BYTES_MAX {
            return Err("the header is too long".into());
        }
        if io.read_buf(&mut buffer).await.map_err(|error| error.to_string())? == 0 {
            return Err("the connection ended in the header".into());
        }
    }
}
