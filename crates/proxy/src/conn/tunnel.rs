//! What flows after a switch of protocols: bytes both ways, each side's end passed to the other.
//!
//! Either side is a connection of its own or a stream of HTTP/2 (RFC 8441). No request timeout holds here; a side that
//! vanished is found by TCP keep-alive, and by the PINGs of HTTP/2 connections to upstreams.

use std::{
    any::Any,
    future::poll_fn,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join;
use h2::{Reason, RecvStream, SendStream};

use super::{
    watched::{Sink, Source, Watch, Watched},
    wire::Wire,
};
use crate::upstream::Guards;

/// The upstream's side of a switched protocol.
pub(crate) struct Tunnel {
    pub(crate) far: Far,
    /// What came with its agreement.
    pub(crate) early: Bytes,
    /// What the call holds of the upstream, until the tunnel ends.
    #[expect(dead_code, reason = "gives back what it holds when it is dropped")]
    pub(crate) guards: Box<Guards>,
    /// The same of whoever wrapped it.
    pub(crate) held: Option<Box<dyn Any>>,
    /// Whoever reads what passes, and may end it.
    pub(crate) watch: Option<Box<dyn Watch>>,
}

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
            let client = (Source::Wire(client), Sink::Wire(client));
            return Box::pin(Watched::carry(watch, &self.early, client, &mut self.far)).await;
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
            let client = (Source::Stream(&mut recv), Sink::Stream(&mut send));
            return Box::pin(Watched::carry(watch, &self.early, client, &mut self.far)).await;
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

/// A side from which nothing more comes, though it has not ended.
pub(super) struct Gone;

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
pub(super) fn poll_more(from: &Wire, cx: &mut Context<'_>) -> Poll<Result<bool, Gone>> {
    if !from.input.borrow().is_empty() {
        return Poll::Ready(Ok(true));
    }
    from.poll_fill(cx).map(|read| read.map(|count| count > 0).map_err(|_| Gone))
}

/// What comes next on a stream; none at its end. A peer that resets with NO_ERROR has said all and wants to hear no
/// more (RFC 9113 §8.1).
pub(super) fn poll_data(from: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Gone>> {
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
