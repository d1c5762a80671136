//! Clients that read slowly and steadily get all of it, however short the timeouts between bytes are; those that read
//! nothing are cut.

use std::{
    io::Read,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
};

use super::{
    super::harness::{Gateway, Upstream, eventually, h2, pause},
    front_with,
};

/// More than the buffers on the way hold of it, and at the pace below far longer than any timeout.
const BODY_BYTES: usize = 400 * 1024;
const PIECE_BYTES: usize = 4 * 1024;
const PAUSE_MILLIS: u64 = 100;

fn impatient(body_bytes: usize) -> (Gateway, Upstream) {
    let upstream = Upstream::fixed(200, &"x".repeat(body_bytes));
    let gateway = front_with(
        "limits: {bodyTimeout: 4s, idleTimeout: 2s, headerTimeout: 1s}",
        upstream.address,
        "timeouts: {idle: 4s}",
        "",
    );
    (gateway, upstream)
}

/// A connection whose kernel takes little ahead of its reader.
async fn narrow(gateway: &Gateway) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("a small buffer");
    socket.connect(gateway.address).await.expect("a connection")
}

/// A transport that is read a piece at a time, with a pause after each.
struct Steady {
    io: TcpStream,
    pause: Pin<Box<tokio::time::Sleep>>,
}

impl Steady {
    fn new(io: TcpStream) -> Self {
        Self { io, pause: Box::pin(tokio::time::sleep(Duration::ZERO)) }
    }
}

impl AsyncRead for Steady {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(self.pause.as_mut().poll(cx));
        let mut piece = [0; PIECE_BYTES];
        let mut small = ReadBuf::new(&mut piece[..PIECE_BYTES.min(buf.remaining())]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut small))?;
        buf.put_slice(small.filled());
        if small.filled().len() > 1024 {
            let next = tokio::time::Instant::now() + Duration::from_millis(PAUSE_MILLIS);
            self.pause.as_mut().reset(next);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Steady {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[test]
fn a_slow_but_steady_reader_gets_all_of_it_by_http_1() {
    let (gateway, _upstream) = impatient(BODY_BYTES);
    let io = h2::run(async { narrow(&gateway).await.into_std().expect("a socket") });
    io.set_nonblocking(false).expect("blocking");
    let mut io = &io;
    std::io::Write::write_all(&mut io, b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")
        .expect("sent");
    let (mut received, mut piece) = (Vec::new(), [0; PIECE_BYTES]);
    loop {
        match io.read(&mut piece).expect("more") {
            0 => break,
            count => received.extend_from_slice(&piece[..count]),
        }
        pause(PAUSE_MILLIS);
    }
    let text = String::from_utf8(received).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body.len(), BODY_BYTES);
}

#[test]
fn a_slow_but_steady_reader_gets_all_of_it_by_http_2() {
    let (gateway, _upstream) = impatient(BODY_BYTES);
    h2::run(async {
        let mut builder = ::h2::client::Builder::new();
        // As wide as browsers open them: what is held back is held back by the connection.
        builder.initial_window_size(4 << 20).initial_connection_window_size(8 << 20);
        let client = h2::Client::with(&builder, Steady::new(narrow(&gateway).await)).await;
        let answer = client.get("/").await.expect("all of it");
        assert_eq!((answer.status, answer.body.len()), (200, BODY_BYTES));
    });
}

#[test]
fn a_reader_that_takes_nothing_is_cut_by_http_1_and_http_2() {
    // The first is more than the gateway holds, the second is all in its hands when its stream has ended.
    for body_bytes in [8 << 20, 200 * 1024] {
        let (gateway, _upstream) = impatient(body_bytes);
        h2::run(async {
            let mut client = narrow(&gateway).await;
            let ask = b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut client, ask).await.expect("sent");
            let mut builder = ::h2::client::Builder::new();
            builder.initial_window_size(16 << 20).initial_connection_window_size(16 << 20);
            let io = Steady::new(narrow(&gateway).await);
            let (mut send, connection) = builder.handshake::<_, bytes::Bytes>(io).await.expect("HTTP/2");
            let (_answer, _) = send.send_request(h2::request("GET", "/"), true).expect("sent");
            // Its frames go out, and from then on nothing is read.
            let mut connection = Box::pin(connection);
            let started = std::future::poll_fn(|cx| {
                let _ = connection.as_mut().poll(cx);
                Poll::Ready(())
            });
            started.await;
            let open = |count: f64| gateway.metric("tidegate_connections") == Some(count);
            eventually("both are there", || open(2.0));
            eventually("both are gone", || open(0.0));
            drop((client, connection));
        });
    }
}
