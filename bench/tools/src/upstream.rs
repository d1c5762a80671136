//! The mock upstream: 1 KiB, or 1 MiB under `/1m`, over HTTP/1.1; a gRPC unary answer over cleartext HTTP/2.
//!
//! It trusts its clients: what arrives is a well-formed request without a body (HTTP/1.1), as the proxies send it.

use std::{error::Error, net::SocketAddr, thread};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use memchr::memmem;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// Room for one read.
const READ_BYTES: usize = 16 * 1024;
/// A gRPC message of 100 bytes: uncompressed, length, then the bytes.
const GRPC_MESSAGE_BYTES: u8 = 100;

/// Serves until it is killed.
pub(crate) fn run(http1: &str, h2c: &str, threads: &str) -> Result<(), Box<dyn Error>> {
    let (http1, h2c): (SocketAddr, SocketAddr) = (http1.parse()?, h2c.parse()?);
    let threads: usize = threads.parse()?;
    let running: Vec<_> =
        (0..threads).map(|_| thread::spawn(move || serve(http1, h2c).map_err(|e| e.to_string()))).collect();
    for thread in running {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}

fn serve(http1: SocketAddr, h2c: SocketAddr) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let (http1, h2c) = (listen(http1)?, listen(h2c)?);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = h2c.accept().await {
                tokio::task::spawn_local(answer_h2(stream));
            }
        });
        let (small, large) = (answer(1024), answer(1024 * 1024));
        loop {
            let (stream, _) = http1.accept().await?;
            tokio::task::spawn_local(answer_http1(stream, small.clone(), large.clone()));
        }
    })
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The bytes of an answer with a body of that size and the fields that a service sends.
fn answer(body: usize) -> Bytes {
    let mut all = format!(
        "HTTP/1.1 200 OK\r\n\
         Server: bench/1.0\r\n\
         Date: Mon, 24 Nov 2025 12:00:00 GMT\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {body}\r\n\
         Cache-Control: max-age=60\r\n\
         Vary: Accept-Encoding\r\n\
         ETag: \"5f3c-1a2b3c\"\r\n\
         \r\n"
    )
    .into_bytes();
    all.resize(all.len() + body, b'x');
    all.into()
}

async fn answer_http1(mut stream: TcpStream, small: Bytes, large: Bytes) {
    let _ = stream.set_nodelay(true);
    let end = memmem::Finder::new(b"\r\n\r\n");
    let mut input = BytesMut::with_capacity(READ_BYTES);
    loop {
        while let Some(at) = end.find(&input) {
            let all = if input.starts_with(b"GET /1m") { &large } else { &small };
            if stream.write_all(all).await.is_err() {
                return;
            }
            input.advance(at + 4);
        }
        input.reserve(READ_BYTES);
        if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
}

async fn answer_h2(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut settings = h2::server::Builder::new();
    settings
        .max_concurrent_streams(1000)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24);
    let Ok(mut connection) = settings.handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(answer_unary(request, respond));
    }
}

async fn answer_unary(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut message = vec![0, 0, 0, 0, GRPC_MESSAGE_BYTES];
    message.resize(5 + usize::from(GRPC_MESSAGE_BYTES), b'x');
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
