//! A client of HTTP/3 by the `h3` crate, and one that sends what bytes it likes.

use std::{
    future::poll_fn,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::{HeaderMap, Request, Response};
use quinn::{Connection, Endpoint, crypto::rustls::QuicClientConfig};

use crate::{
    harness::h2::Message,
    wire::tls::{self, Authority, Issued},
};

pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// A connection that speaks HTTP/3.
pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) send: SendRequest<OpenStreams, Bytes>,
}

/// What a client is to show and to ask for.
pub(super) struct How<'a> {
    pub(super) authority: &'a Authority,
    pub(super) identity: Option<&'a Issued>,
    pub(super) name: &'a str,
}

impl<'a> How<'a> {
    pub(super) fn plain(authority: &'a Authority) -> Self {
        Self { authority, identity: None, name: "a.test" }
    }

    pub(super) fn config(&self) -> quinn::ClientConfig {
        let mut config = tls::client(self.authority.roots(), self.identity, &["h3"]);
        config.enable_early_data = true;
        let crypto = QuicClientConfig::try_from(config).expect("TLS 1.3");
        quinn::ClientConfig::new(Arc::new(crypto))
    }
}

pub(super) fn endpoint() -> Endpoint {
    Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket")
}

/// A handshake.
pub(super) async fn dial(
    address: SocketAddr,
    how: &How<'_>,
) -> Result<(Endpoint, Connection), quinn::ConnectionError> {
    let endpoint = endpoint();
    let connection = endpoint.connect_with(how.config(), address, how.name).expect("a way").await?;
    Ok((endpoint, connection))
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, authority: &Authority) -> Self {
        Self::with(address, &How::plain(authority)).await.expect("a connection")
    }

    pub(super) async fn with(address: SocketAddr, how: &How<'_>) -> Result<Self, quinn::ConnectionError> {
        let (endpoint, connection) = dial(address, how).await?;
        Ok(Self::over(endpoint, connection).await)
    }

    /// Speaks HTTP/3 on a connection.
    pub(super) async fn over(endpoint: Endpoint, connection: Connection) -> Self {
        let quic = h3_quinn::Connection::new(connection.clone());
        let (mut driver, send) = h3::client::new(quic).await.expect("HTTP/3");
        tokio::task::spawn_local(async move {
            let _ = poll_fn(|cx| driver.poll_close(cx)).await;
        });
        Self { endpoint, connection, send }
    }

    /// Sends a head; the body is the caller's.
    pub(super) async fn begin(&mut self, request: Request<()>) -> Result<Stream, h3::error::StreamError> {
        self.send.send_request(request).await
    }

    /// Sends a request and reads its answer to the end.
    pub(super) async fn fetch(
        &mut self,
        request: Request<()>,
        body: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Message, h3::error::StreamError> {
        let mut stream = self.begin(request).await?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body)).await?;
        }
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers).await?;
        }
        stream.finish().await?;
        let response = stream.recv_response().await?;
        read(&mut stream, response).await
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Message, h3::error::StreamError> {
        self.fetch(request("GET", path), b"", None).await
    }

    /// Goes on from another port, or another address.
    pub(super) fn move_to(&self, ip: [u8; 4]) {
        let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).expect("a socket");
        self.endpoint.rebind(socket).expect("it moves");
    }

    /// The code with which the other side ends the connection.
    pub(super) async fn end(&self) -> u64 {
        end(&self.connection).await
    }
}

/// The code with which the other side ends the connection.
pub(super) async fn end(connection: &Connection) -> u64 {
    match tokio::time::timeout(PATIENCE, connection.closed()).await.expect("it ends") {
        quinn::ConnectionError::ApplicationClosed(closed) => closed.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

/// Reads what comes behind the head of an answer.
pub(super) async fn read(
    stream: &mut Stream,
    response: Response<()>,
) -> Result<Message, h3::error::StreamError> {
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = stream.recv_trailers().await?.unwrap_or_default();
    let (head, ()) = response.into_parts();
    Ok(Message { status: head.status.as_u16(), headers: head.headers, body, trailers, ..Message::default() })
}

/// A request to `a.test`.
pub(super) fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("https://a.test{path}");
    Request::builder().method(method).uri(uri).body(()).expect("a request")
}
