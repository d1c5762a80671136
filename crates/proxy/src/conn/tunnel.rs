//! What flows after a switch of protocols: bytes both ways, each side's end passed to the other.
//!
//! Either side is a connection of its own or a stream of HTTP/2 (RFC 8441). No request timeout holds here; a side that
//! vanished is found by TCP keep-alive, and by the PINGs of HTTP/2 connections to upstreams.

use std::{
    cell::RefCell,
    future::poll_fn,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join;
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::Notify;

use super::wire::Wire;
use crate::upstream::Guards;

/// The upstream's side of a switched protocol.
pub(crate) struct Tunnel {
    pub(crate) far: Far,
    /// What came with its agreement.
    pub(crate) early: Bytes,
    /// What the call holds of the upstream, until the tunnel ends.
    #[expect(dead_code, reason = "gives back what it holds when it is dropped")]
    pub(crate) guards: Box<Guards>,
    /// Whoever reads what passes, and may end it.
    pub(crate) watch: Option<Box<dyn Watch>>,
}

/// What goes on after something came, or instead of it.
#[derive(Default)]
pub(crate) struct Onward {
    pub(crate) to_client: BytesMut,
    pub(crate) to_upstream: BytesMut,
    /// Nothing goes on after that.
    pub(crate) is_over: bool,
}

/// Reads what passes through a tunnel, and says what goes on.
pub(crate) trait Watch {
    /// Something came from the client.
    fn by_client(&mut self, data: &[u8], on: &mut Onward);
    /// Something came from the upstream.
    fn by_upstream(&mut self, data: &[u8], on: &mut Onward);
    /// When [`Watch::time_out`] is due, unless something comes.
    fn deadline(&self) -> Instant;
    /// Nothing came in time.
    fn time_out(&mut self, on: &mut Onward);
}

/// How long a client may take to hear that a tunnel is over.
const LINGER: Duration = Duration::from_secs(2);

/// What carries the upstream's side.
pub(crate) enum Far {
    Wire(Box<Wire>),
    Stream(Box<(SendStream<Bytes>, RecvStream)>),
}

impl Tunnel {
    /// Carries bytes between a client's connection and the upstream until both have ended, or one broke. What came
    /// with the agreement has been sent.
    pub(crate) async fn with_connection(mut self, client: &Wire) {
        if let Some(watch) = self.watch.take() {
            return Box::pin(self.watched(watch, Source::Wire(client), Sink::Wire(client))).await;
        }
        // A source that breaks ends the tunnel. A sink that takes no more ends its direction alone: what its side had
        // sent before is still on its way.
        let _ = match self.far {
            Far::Wire(upstream) => {
                try_join(between_wires(client, &upstream), between_wires(&upstream, client)).await
            }
            Far::Stream(stream) => {
                let (mut send, mut recv) = *stream;
                let forth = from_wire(client, &mut send, Bytes::new());
                try_join(forth, to_wire(&mut recv, client)).await
            }
        };
    }

    /// The same for a client that is a stream of HTTP/2.
    pub(crate) async fn with_stream(mut self, mut send: SendStream<Bytes>, mut recv: RecvStream) {
        if let Some(watch) = self.watch.take() {
            return Box::pin(self.watched(watch, Source::Stream(&mut recv), Sink::Stream(&mut send))).await;
        }
        let _ = match self.far {
            Far::Wire(upstream) => {
                let back = from_wire(&upstream, &mut send, self.early);
                try_join(to_wire(&mut recv, &upstream), back).await
            }
            Far::Stream(stream) => {
                let (mut to_upstream, mut from_upstream) = *stream;
                let forth = between_streams(&mut recv, &mut to_upstream);
                try_join(forth, between_streams(&mut from_upstream, &mut send)).await
            }
        };
    }
}

/// Where bytes come from.
enum Source<'a> {
    Wire(&'a Wire),
    Stream(&'a mut RecvStream),
}

/// Where they go.
enum Sink<'a> {
    Wire(&'a Wire),
    Stream(&'a mut SendStream<Bytes>),
}

impl Source<'_> {
    /// What comes next; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Gone> {
        match self {
            Self::Wire(wire) => {
                let more = poll_fn(|cx| poll_more(wire, cx)).await?;
                Ok(more.then(|| wire.input.borrow_mut().split().freeze()))
            }
            Self::Stream(stream) => {
                let data = poll_fn(|cx| poll_data(stream, cx)).await?;
                if let Some(data) = &data {
                    let _ = stream.flow_control().release_capacity(data.len());
                }
                Ok(data)
            }
        }
    }
}

impl Sink<'_> {
    async fn send(&mut self, mut out: BytesMut) -> Result<(), Gone> {
        match self {
            Self::Wire(wire) => {
                poll_fn(|cx| wire.poll_write(cx, &mut out)).await.map(|_| ()).map_err(|_| Gone)
            }
            Self::Stream(stream) => send_all(stream, out.freeze()).await,
        }
    }

    async fn end(&mut self) {
        match self {
            Self::Wire(wire) => {
                let _ = wire.shutdown().await;
            }
            Self::Stream(stream) => {
                let _ = stream.send_data(Bytes::new(), true);
            }
        }
    }
}

/// A watch, what waits to go on to either side, and who is told of that.
struct Watched {
    watch: RefCell<(Box<dyn Watch>, Onward)>,
    for_client: Notify,
    for_upstream: Notify,
}

impl Watched {
    /// What waits for the side that this one is carried to.
    fn waiting(&self, is_client: bool) -> (BytesMut, bool) {
        let on = &mut self.watch.borrow_mut().1;
        let waiting = if is_client { &mut on.to_upstream } else { &mut on.to_client };
        (std::mem::take(waiting), on.is_over)
    }

    /// Carries what one side says to the other, as the watch has it.
    async fn carry(&self, mut source: Source<'_>, mut sink: Sink<'_>, is_client: bool) -> Result<(), Gone> {
        let (own, others) = match is_client {
            true => (&self.for_upstream, &self.for_client),
            false => (&self.for_client, &self.for_upstream),
        };
        loop {
            // A slow reader pushes back: nothing is read while something waits to be written.
            let (out, is_over) = self.waiting(is_client);
            if !out.is_empty() && sink.send(out).await.is_err() {
                return if is_client { Ok(()) } else { Err(Gone) };
            }
            if is_over {
                sink.end().await;
                if is_client {
                    // Whoever has not read what was said last would lose it if its own words found nobody.
                    let until = tokio::time::Instant::now() + LINGER;
                    while let Ok(Ok(Some(_))) = tokio::time::timeout_at(until, source.next()).await {}
                }
                return Ok(());
            }
            let deadline = self.watch.borrow().0.deadline();
            let next = tokio::select! {
                () = own.notified() => continue,
                next = tokio::time::timeout_at(deadline.into(), source.next()) => next,
            };
            let (watch, on) = &mut *self.watch.borrow_mut();
            match next {
                Ok(Ok(Some(data))) if is_client => watch.by_client(&data, on),
                Ok(Ok(Some(data))) => watch.by_upstream(&data, on),
                Ok(Ok(None)) => break,
                Ok(Err(gone)) => return Err(gone),
                Err(_) if watch.deadline() <= Instant::now() => watch.time_out(on),
                Err(_) => {}
            }
            let waits = if is_client { &on.to_client } else { &on.to_upstream };
            if !waits.is_empty() || on.is_over {
                others.notify_one();
            }
        }
        sink.end().await;
        Ok(())
    }
}

impl Tunnel {
    /// Carries bytes while somebody reads them. What came with the agreement has been sent, unless the watch has it.
    async fn watched(self, watch: Box<dyn Watch>, client: Source<'_>, to_client: Sink<'_>) {
        let watched = Watched {
            watch: RefCell::new((watch, Onward::default())),
            for_client: Notify::new(),
            for_upstream: Notify::new(),
        };
        if !self.early.is_empty() {
            let (watch, on) = &mut *watched.watch.borrow_mut();
            watch.by_upstream(&self.early, on);
        }
        let _ = match self.far {
            Far::Wire(upstream) => {
                let forth = watched.carry(client, Sink::Wire(&upstream), true);
                try_join(forth, watched.carry(Source::Wire(&upstream), to_client, false)).await
            }
            Far::Stream(stream) => {
                let (mut send, mut recv) = *stream;
                let forth = watched.carry(client, Sink::Stream(&mut send), true);
                try_join(forth, watched.carry(Source::Stream(&mut recv), to_client, false)).await
            }
        };
    }
}

/// A side from which nothing more comes, though it has not ended.
struct Gone;

async fn between_wires(from: &Wire, to: &Wire) -> Result<(), Gone> {
    let mut out = BytesMut::new();
    loop {
        // A slow reader pushes back: nothing is read while something waits to be written.
        let more = poll_fn(|cx| poll_more(from, cx)).await?;
        if !more {
            let _ = to.shutdown().await;
            return Ok(());
        }
        out.unsplit(from.input.borrow_mut().split());
        if poll_fn(|cx| to.poll_write(cx, &mut out)).await.is_err() {
            return Ok(());
        }
    }
}

async fn to_wire(from: &mut RecvStream, to: &Wire) -> Result<(), Gone> {
    let mut nothing = BytesMut::new();
    while let Some(mut data) = poll_fn(|cx| poll_data(from, cx)).await? {
        let count = data.len();
        if poll_fn(|cx| to.poll_write_pair(cx, &mut nothing, &mut data)).await.is_err() {
            return Ok(());
        }
        // The window opens as bytes leave, so that a slow reader pushes back.
        let _ = from.flow_control().release_capacity(count);
    }
    let _ = to.shutdown().await;
    Ok(())
}

async fn from_wire(from: &Wire, to: &mut SendStream<Bytes>, early: Bytes) -> Result<(), Gone> {
    let mut out = early;
    loop {
        if send_all(to, out).await.is_err() {
            return Ok(());
        }
        let more = poll_fn(|cx| match poll_more(from, cx) {
            Poll::Pending if to.poll_reset(cx).is_ready() => Poll::Ready(Ok(None)),
            more => more.map_ok(Some),
        });
        match more.await? {
            Some(true) => out = from.input.borrow_mut().split().freeze(),
            Some(false) => {
                let _ = to.send_data(Bytes::new(), true);
                return Ok(());
            }
            None => return Ok(()),
        }
    }
}

async fn between_streams(from: &mut RecvStream, to: &mut SendStream<Bytes>) -> Result<(), Gone> {
    loop {
        let next = poll_fn(|cx| match poll_data(from, cx) {
            Poll::Pending if to.poll_reset(cx).is_ready() => Poll::Ready(Ok(None)),
            data => data.map_ok(Some),
        });
        match next.await? {
            Some(Some(data)) => {
                let count = data.len();
                if send_all(to, data).await.is_err() {
                    return Ok(());
                }
                let _ = from.flow_control().release_capacity(count);
            }
            Some(None) => {
                let _ = to.send_data(Bytes::new(), true);
                return Ok(());
            }
            None => return Ok(()),
        }
    }
}

/// Whether there are bytes to be taken, or the end.
fn poll_more(from: &Wire, cx: &mut Context<'_>) -> Poll<Result<bool, Gone>> {
    if !from.input.borrow().is_empty() {
        return Poll::Ready(Ok(true));
    }
    from.poll_fill(cx).map(|read| read.map(|count| count > 0).map_err(|_| Gone))
}

/// What comes next on a stream; none at its end. A peer that resets with NO_ERROR has said all and wants to hear no
/// more (RFC 9113 §8.1).
fn poll_data(from: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
    from.poll_data(cx).map(|data| match data {
        Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Ok(None),
        Some(Err(_)) => Err(Gone),
        Some(Ok(data)) => Ok(Some(data)),
        None => Ok(None),
    })
}

/// Sends as the window of the stream's reader allows.
async fn send_all(stream: &mut SendStream<Bytes>, mut out: Bytes) -> Result<(), Gone> {
    while !out.is_empty() {
        stream.reserve_capacity(out.len());
        let room = match poll_fn(|cx| stream.poll_capacity(cx)).await {
            // The other side has taken back what it had granted.
            Some(Ok(0)) => continue,
            Some(Ok(room)) => room,
            _ => return Err(Gone),
        };
        let piece = out.split_to(room.min(out.len()));
        stream.send_data(piece, false).map_err(|_| Gone)?;
    }
    Ok(())
}
