//! What flows after a switch of protocols: bytes both ways, each side's end passed to the other.
//!
//! No request timeout holds here; a side that vanished is found by TCP keep-alive.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::wire::Wire;
use crate::upstream::Guards;

/// The upstream's side of a switched protocol.
pub(crate) struct Tunnel {
    pub(crate) wire: Box<Wire>,
    /// What came with its agreement.
    pub(crate) early: Bytes,
    /// What the call holds of the upstream, until the tunnel ends.
    pub(crate) guards: Box<Guards>,
}

/// Carries bytes between two connections until both have ended, or one broke.
pub(crate) async fn between(client: &Wire, upstream: &Wire) {
    let forth = one_way(client, upstream);
    let back = one_way(upstream, client);
    // A broken direction ends the tunnel; an ended one waits for the other.
    let _ = futures_util::future::try_join(forth, back).await;
}

async fn one_way(from: &Wire, to: &Wire) -> io::Result<()> {
    let mut out = BytesMut::new();
    loop {
        // A slow reader pushes back: nothing is read while something waits to be written.
        let more = poll_fn(|cx: &mut Context<'_>| {
            if from.input.borrow().is_empty() {
                match from.poll_fill(cx) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            out = from.input.borrow_mut().split();
            Poll::Ready(Ok(true))
        })
        .await?;
        if !more {
            return to.shutdown().await;
        }
        poll_fn(|cx| to.poll_write(cx, &mut out)).await?;
    }
}

/// Carries bytes between an HTTP/2 stream (RFC 8441) and a connection.
pub(crate) async fn stream_and_wire(
    mut send: h2::SendStream<bytes::Bytes>,
    mut recv: h2::RecvStream,
    wire: &Wire,
    early: bytes::Bytes,
) {
    let forth = async {
        while let Some(data) = poll_fn(|cx| recv.poll_data(cx)).await {
            let data = data.map_err(io::Error::other)?;
            let _ = recv.flow_control().release_capacity(data.len());
            let mut out = BytesMut::from(&data[..]);
            poll_fn(|cx| wire.poll_write(cx, &mut out)).await?;
        }
        wire.shutdown().await
    };
    let back = async {
        let mut out = early;
        loop {
            while !out.is_empty() {
                send.reserve_capacity(out.len());
                let room = match poll_fn(|cx| send.poll_capacity(cx)).await {
                    Some(room) => room.map_err(io::Error::other)?,
                    None => return Err(io::ErrorKind::BrokenPipe.into()),
                };
                let piece = out.split_to(room.min(out.len()));
                send.send_data(piece, false).map_err(io::Error::other)?;
            }
            let count = poll_fn(|cx| {
                if !wire.input.borrow().is_empty() {
                    return Poll::Ready(Ok(1));
                }
                if let Poll::Ready(reset) = send.poll_reset(cx) {
                    return Poll::Ready(Err(io::Error::other(format!("{reset:?}"))));
                }
                wire.poll_fill(cx)
            })
            .await?;
            out = wire.input.borrow_mut().split().freeze();
            if count == 0 {
                return send.send_data(bytes::Bytes::new(), true).map_err(io::Error::other);
            }
        }
    };
    let _ = futures_util::future::try_join(forth, back).await;
}
