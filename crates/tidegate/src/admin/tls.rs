//! TLS for the admin endpoint.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig, server::TlsStream};

use super::{Secrets, closing::Closable};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The TLS settings of the admin endpoint, when it has any.
pub(crate) fn config(
    settings: &model::Admin,
    snapshot: &model::Snapshot,
) -> Result<Option<Arc<ServerConfig>>, String> {
    settings.tls.as_ref().map(|tls| proxy::server_tls(tls, snapshot)).transpose()
}

/// A listener whose connections are TLS.
pub(super) struct Listener {
    ready: tokio::sync::mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: io::Result<SocketAddr>,
}

impl Listener {
    /// Accepts in the background, so that a slow handshake holds up nobody else.
    pub(super) fn new(mut listener: Closable<TcpListener>, secrets: Arc<Secrets>) -> Self {
        let (sender, ready) = tokio::sync::mpsc::channel(64);
        let address = listener.local_addr();
        tokio::spawn(async move {
            loop {
                let (stream, remote) = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = sender.closed() => return,
                };
                // As it is now: a certificate may have been renewed since the last connection.
                let Some(config) = secrets.tls() else { continue };
                let (sender, acceptor) = (sender.clone(), TlsAcceptor::from(config));
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        let _ = sender.send((stream, remote)).await;
                    }
                });
            }
        });
        Self { ready, address }
    }
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.address {
            Ok(address) => Ok(*address),
            Err(error) => Err(error.kind().into()),
        }
    }
}
