//! Opens connections to endpoints.

use std::{
    io,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UnixStream},
};

use super::{
    Upstream,
    cluster::{Address, Endpoint},
    h1,
    h2::Channel,
    pool::PoolKey,
};
use crate::{
    conn::{peer::Peer, wire::Io},
    failure::{Failure, Problem, Stage},
    listener::{accept::keep_alive, proxy_protocol},
    worker::Worker,
};

/// How a connection attempt failed, for the endpoint's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Miss {
    Refused,
    Timeout,
    /// HTTP/1.1 alone was offered, and is not spoken there.
    NoHttp1,
    Other,
}

/// How long opening a connection may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until the transport is there.
    pub(crate) connect: Duration,
    /// The TLS handshake, and the beginning of HTTP/2.
    pub(crate) tls: Duration,
    /// All of it together.
    pub(crate) whole: Duration,
}

/// An open connection of either version.
pub(crate) enum Connected {
    H1(Box<h1::Conn>),
    H2(Rc<Channel>),
}

/// How a connection is opened.
pub(crate) struct How<'a> {
    pub(crate) patience: Patience,
    /// Whom a PROXY header speaks for.
    pub(crate) peer: Option<&'a Peer>,
    /// Not HTTP/2, whatever the upstream would speak.
    pub(crate) only_http1: bool,
}

/// Opens a connection; nothing of any request is sent on it.
pub(crate) async fn open(
    worker: &Worker,
    upstream: &Upstream,
    endpoint: &Endpoint,
    how: &How<'_>,
    key: PoolKey,
) -> Result<Connected, (Failure, Miss)> {
    let patience = how.patience;
    let end = Instant::now() + patience.whole;
    let left = |bound: Duration| bound.min(end.saturating_duration_since(Instant::now()));
    let mut io = transport(&endpoint.address, left(patience.connect)).await?;
    if let Some(version) = upstream.proxy_protocol() {
        let header = proxy_protocol::write(version, how.peer.and_then(|peer| peer.remote), None);
        write_all(&mut io, &header).await.map_err(|error| failed(Stage::Connect, &error))?;
    }
    let mut is_http2 = upstream.is_http2();
    if let Some(tls) = &upstream.tls {
        let name = tls.server_name(&endpoint.host).map_err(|error| {
            (Failure::gateway(Stage::Tls, Problem::Internal).with_detail(error).never_sent(), Miss::Other)
        })?;
        let handshake = tls.connector(how.only_http1).connect(name, Box::new(io));
        let stream = match tokio::time::timeout(left(patience.tls), handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if how.only_http1 && is_no_protocol(&error) => {
                return Err((failed(Stage::Tls, &error).0, Miss::NoHttp1));
            }
            Ok(Err(error)) => return Err(failed(Stage::Tls, &error)),
            Err(_) => return Err(timed_out(Stage::Tls, "TLS handshake")),
        };
        is_http2 |= stream.get_ref().1.alpn_protocol() == Some(b"h2");
        io = Io::TlsClient(Box::new(stream));
    }
    let pool = worker.pool();
    // With a PROXY header a connection speaks for one client, and ends with its call.
    let is_own = upstream.proxy_protocol().is_some();
    if !is_own {
        // One that may speak nothing but HTTP/1 says nothing about the others.
        pool.opened(key, upstream, (!how.only_http1).then_some(is_http2));
    }
    if is_http2 {
        let opening = tokio::time::timeout(left(patience.tls), Channel::open(io, &upstream.http2)).await;
        let channel = match opening {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(failed(Stage::Connect, &io::Error::other(error))),
            Err(_) => return Err(timed_out(Stage::Connect, "HTTP/2 preface")),
        };
        if !is_own {
            pool.share(key, channel.clone());
        }
        return Ok(Connected::H2(channel));
    }
    let home = if is_own { Weak::new() } else { Rc::downgrade(pool) };
    Ok(Connected::H1(Box::new(h1::Conn::new(io, key, home))))
}

/// Opens a connection on which bytes flow as they come: after a PROXY header that speaks for a client, where one is sent,
/// and inside of TLS, where that is spoken.
pub(crate) async fn raw(
    upstream: &Upstream,
    endpoint: &Endpoint,
    connector: Option<&tokio_rustls::TlsConnector>,
    patience: Patience,
    (client, local): (Option<SocketAddr>, Option<SocketAddr>),
) -> Result<Io, (Failure, Miss)> {
    let end = Instant::now() + patience.whole;
    let left = |bound: Duration| bound.min(end.saturating_duration_since(Instant::now()));
    let mut io = transport(&endpoint.address, left(patience.connect)).await?;
    if let Some(version) = upstream.proxy_protocol() {
        let header = proxy_protocol::write(version, client, local);
        write_all(&mut io, &header).await.map_err(|error| failed(Stage::Connect, &error))?;
    }
    let (Some(tls), Some(connector)) = (&upstream.tls, connector) else { return Ok(io) };
    let name = tls.server_name(&endpoint.host).map_err(|error| {
        (Failure::gateway(Stage::Tls, Problem::Internal).with_detail(error).never_sent(), Miss::Other)
    })?;
    match tokio::time::timeout(left(patience.tls), connector.connect(name, Box::new(io))).await {
        Ok(Ok(stream)) => Ok(Io::TlsClient(Box::new(stream))),
        Ok(Err(error)) => Err(failed(Stage::Tls, &error)),
        Err(_) => Err(timed_out(Stage::Tls, "TLS handshake")),
    }
}

pub(crate) async fn transport(address: &Address, patience: Duration) -> Result<Io, (Failure, Miss)> {
    let connecting = async {
        match address {
            Address::Socket(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                keep_alive(&stream);
                Ok::<_, io::Error>(Io::Tcp(stream))
            }
            Address::Unix(path) => Ok(Io::Unix(UnixStream::connect(path).await?)),
        }
    };
    match tokio::time::timeout(patience, connecting).await {
        Ok(Ok(io)) => Ok(io),
        Ok(Err(error)) => Err(failed(Stage::Connect, &error)),
        Err(_) => Err(timed_out(Stage::Connect, "connect")),
    }
}

async fn write_all(io: &mut Io, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

fn failed(stage: Stage, error: &io::Error) -> (Failure, Miss) {
    let miss = match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Miss::Refused,
        io::ErrorKind::TimedOut => Miss::Timeout,
        _ => Miss::Other,
    };
    (Failure::upstream(stage, Problem::ConnectFailed, error).never_sent(), miss)
}

/// Whether the other side speaks none of the protocols that ALPN offered (RFC 7301 §3.2).
fn is_no_protocol(error: &io::Error) -> bool {
    use rustls::{AlertDescription::NoApplicationProtocol, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::AlertReceived(NoApplicationProtocol)))
}

fn timed_out(stage: Stage, what: &str) -> (Failure, Miss) {
    let failure = Failure::upstream(stage, Problem::UpstreamTimeout, format_args!("{what} took too long"));
    (failure.never_sent(), Miss::Timeout)
}

/// The key under which an endpoint's connections are pooled.
pub(crate) fn key(upstream: &Upstream, endpoint: &Arc<Endpoint>) -> PoolKey {
    PoolKey { endpoint: endpoint.uid, way: upstream.way }
}
