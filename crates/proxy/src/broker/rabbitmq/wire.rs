//! The wire below the client of RabbitMQ: TCP with our own TLS, on the runtime that brokers live on.
//!
//! The client brings a choice of TLS of its own, with other settings than everything else here has. It takes any stream
//! from a runtime that says what its streams are, so this is one.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_rs::{
    Runtime, Tokio,
    traits::{Executor, Reactor, RuntimeKit},
    util::Task,
};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead as TokioRead, AsyncWrite as TokioWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

pub(super) trait Duplex: TokioRead + TokioWrite + Send + Unpin {}

impl<T: TokioRead + TokioWrite + Send + Unpin> Duplex for T {}

/// A stream to a server.
pub(super) type Wire = Compat<Box<dyn Duplex>>;

/// Connects to a server.
pub(super) async fn open(host: &str, port: u16, tls: Option<&Arc<ClientConfig>>) -> io::Result<Wire> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Duplex> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
            let connected = TlsConnector::from(config.clone()).connect(name, stream).await;
            Box::new(connected.map_err(|error| of_tls(&error))?)
        }
    };
    Ok(stream.compat())
}

/// Says that it is TLS that failed, and what else may be spoken there.
fn of_tls(error: &io::Error) -> io::Error {
    let known = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = match known {
        Some(rustls::Error::InvalidMessage(_)) => ": the server speaks no TLS there, perhaps",
        _ => "",
    };
    io::Error::new(error.kind(), format!("TLS: {error}{hint}"))
}

/// The runtime of brokers, as the client wants it.
#[derive(Debug, Clone)]
pub(super) struct Kit(Tokio);

/// The runtime that this is called on.
pub(super) fn current() -> Runtime<Kit> {
    Runtime::new(Kit(Tokio::current()))
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, f: F) -> T {
        self.0.block_on(f)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, f: F) -> Task<Self::Task<T>> {
        self.0.spawn(f)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(f)
    }
}

impl Reactor for Kit {
    type TcpStream = Wire;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Sockets that were opened in another way, of which there are none.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Wire, _>(io::Error::from(io::ErrorKind::Unsupported))
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let host = address.ip().to_string();
        async move { open(&host, address.port(), None).await }
    }
}
