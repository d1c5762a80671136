//! Signs of life of an HTTP/2 connection: what was heard on it, and PINGs into its silence.
//!
//! A path that swallows bytes answers nothing, not even a PING. One is sent after [`SILENCE`] while streams wait, then
//! rarely: servers of gRPC take four in a row for an attack.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client::Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::greeting::Greeting;
use crate::conn::{h2::KeepAlive, wire::Io};

/// How long a connection may be silent while streams wait, before it is asked.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the second question waits, and each further one: grpc-go's servers allow two within five minutes.
const SILENCE_AGAIN: Duration = Duration::from_secs(20);
const SILENCE_STILL: Duration = Duration::from_secs(310);
/// How long the answer to a PING may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// Reads of a connection so far.
pub(super) type Heard = Rc<Cell<u64>>;

/// A transport that counts what is heard on it.
pub(super) struct Listening {
    pub(super) io: Io,
    pub(super) heard: Heard,
    pub(super) greeting: Rc<Greeting>,
}

impl AsyncRead for Listening {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.heard.set(self.heard.get() + 1);
            if !self.greeting.is_known() {
                self.greeting.hear(&buf.filled()[before..]);
            }
        }
        read
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Drives a connection until it ends, or answers no more.
pub(super) async fn drive(
    mut connection: Connection<Listening, Bytes>,
    heard: Heard,
    greeting: Rc<Greeting>,
    streams: Rc<Cell<usize>>,
    terms: Option<KeepAlive>,
) {
    let Some(pings) = connection.ping_pong() else { return };
    let connected = async {
        let mut connection = pin!(connection);
        let greeted = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Pending if !greeting.taken() => Poll::Pending,
            polled => Poll::Ready(polled.is_ready()),
        });
        // Every stream has its own error; the connection's adds nothing.
        if !greeted.await {
            let _ = connection.await;
        }
    };
    tokio::select! {
        () = connected => {}
        () = watch(pings, heard, streams, terms) => {}
    }
}

/// Ends when the connection has answered nothing for too long.
async fn watch(mut pings: PingPong, heard: Heard, streams: Rc<Cell<usize>>, terms: Option<KeepAlive>) {
    let patience = terms.map_or(ANSWER_PATIENCE, |terms| terms.timeout);
    let asks_idle = terms.is_some_and(|terms| terms.while_idle);
    let mut asked = 0u32;
    loop {
        let before = heard.get();
        tokio::time::sleep(match (terms, asked) {
            // Who says how often knows what the upstream bears.
            (Some(terms), _) => terms.interval,
            (None, 0) => SILENCE,
            (None, 1) => SILENCE_AGAIN,
            (None, _) => SILENCE_STILL,
        })
        .await;
        if heard.get() != before || (streams.get() == 0 && !asks_idle) {
            asked = 0;
            continue;
        }
        asked = asked.saturating_add(1);
        let mut pong = pin!(pings.ping(Ping::opaque()));
        if !matches!(tokio::time::timeout(patience, &mut pong).await, Ok(Ok(_))) {
            return;
        }
    }
}
