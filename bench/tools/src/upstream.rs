//! The mock upstream: 1 KiB of JSON, or 1 MiB under `/1m`, over HTTP/1.1, under `/kept` for caches that go by its date;
//! a gRPC unary answer over cleartext HTTP/2, a price under the shop's service.
//!
//! It trusts its clients: what arrives is a well-formed request, as the proxies send it, and over HTTP/1.1 a body has its
//! length told and belongs to a POST.

use std::{error::Error, net::SocketAddr, thread, time::SystemTime};

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
/// When answers were made whose date nobody looks at.
const SOME_DATE: &str = "Mon, 24 Nov 2025 12:00:00 GMT";
/// `shop.Price`: product 17, its name, 1,250 cents, the currency.
const PRICE: &[u8] = b"\x08\x11\x12\x0ftide table 2026\x18\xe2\x09\x22\x03EUR";

/// What is answered over HTTP/1.1.
#[derive(Clone)]
struct Answers {
    small: Bytes,
    kept: Bytes,
    large: Bytes,
}

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
        let now = httpdate::fmt_http_date(SystemTime::now());
        let answers = Answers {
            small: answer(1024, SOME_DATE, 60),
            kept: answer(1024, &now, 86_400),
            large: answer(1024 * 1024, SOME_DATE, 60),
        };
        loop {
            let (stream, _) = http1.accept().await?;
            tokio::task::spawn_local(answer_http1(stream, answers.clone()));
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
fn answer(body: usize, date: &str, max_age: u32) -> Bytes {
    let mut all = format!(
        "HTTP/1.1 200 OK\r\n\
         Server: bench/1.0\r\n\
         Date: {date}\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {body}\r\n\
         Cache-Control: max-age={max_age}\r\n\
         Vary: Accept-Encoding\r\n\
         ETag: \"5f3c-1a2b3c\"\r\n\
         \r\n\
         {{\"id\":17,\"name\":\"tide table\",\"tags\":[\"harbour\",\"north\"],\"text\":\""
    )
    .into_bytes();
    let end = all.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or(0) + 4;
    all.resize(end + body - 2, b'x');
    all.extend_from_slice(b"\"}");
    all.into()
}

async fn answer_http1(mut stream: TcpStream, answers: Answers) {
    let _ = stream.set_nodelay(true);
    let end = memmem::Finder::new(b"\r\n\r\n");
    let mut input = BytesMut::with_capacity(READ_BYTES);
    loop {
        while let Some(at) = end.find(&input) {
            let whole = at + end.needle().len() + body_bytes(&input[..at]);
            if input.len() < whole {
                input.reserve(whole - input.len());
                break;
            }
            let all = match &input[..] {
                [b'G', b'E', b'T', b' ', b'/', b'1', b'm', ..] => &answers.large,
                [b'G', b'E', b'T', b' ', b'/', b'k', b'e', b'p', b't', ..] => &answers.kept,
                _ => &answers.small,
            };
            if stream.write_all(all).await.is_err() {
                return;
            }
            input.advance(whole);
        }
        input.reserve(READ_BYTES);
        if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return;
        }
    }
}

/// How long the body is that follows this head.
fn body_bytes(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    if !head.starts_with(b"POST ") {
        return 0;
    }
    let mut lines = head.split(|byte| *byte == b'\n');
    let line = lines.find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)));
    let told = line.and_then(|line| std::str::from_utf8(&line[NAME.len()..]).ok());
    told.and_then(|told| told.trim().parse().ok()).unwrap_or(0)
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
    let is_price = request.uri().path().starts_with("/shop.");
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut message = vec![0, 0, 0, 0];
    if is_price {
        message.push(u8::try_from(PRICE.len()).unwrap_or(0));
        message.extend_from_slice(PRICE);
    } else {
        message.push(GRPC_MESSAGE_BYTES);
        message.resize(5 + usize::from(GRPC_MESSAGE_BYTES), b'x');
    }
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message.into(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
