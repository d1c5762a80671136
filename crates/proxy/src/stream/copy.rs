//! Bytes both ways between two connections, each side's end passed to the other.
//!
//! A side that has ended its stream may still be written to: the other direction goes on. A slow reader pushes back, for
//! nothing is read while something waits to be written.

use std::{future::poll_fn, pin::pin, sync::atomic::AtomicU64, task::Poll, time::Duration};

use bytes::BytesMut;
use futures_util::future::try_join;

use super::{report::Ended, route::add};
use crate::{conn::wire::Wire, timer::Timer};

/// One direction.
pub(super) struct Way<'a> {
    pub(super) from: &'a Wire,
    pub(super) to: &'a Wire,
    /// Bytes of this connection.
    pub(super) bytes: &'a AtomicU64,
    /// Bytes of all.
    pub(super) total: &'a AtomicU64,
    /// Told once, when the first bytes come.
    pub(super) begins: Option<&'a dyn Fn()>,
}

/// One side has broken the connection off.
struct Broken;

/// Carries bytes until both sides have ended, one broke, or nothing flows for too long.
pub(super) async fn both(forth: Way<'_>, back: Way<'_>, idle: Duration) -> Ended {
    let timer = Timer::new();
    timer.arm(idle);
    let flow = try_join(forth.carry(&timer, idle), back.carry(&timer, idle));
    let mut flow = pin!(flow);
    poll_fn(|cx| {
        if let Poll::Ready(ended) = flow.as_mut().poll(cx) {
            return Poll::Ready(if ended.is_ok() { Ended::Closed } else { Ended::Reset });
        }
        timer.poll(cx).map(|()| Ended::Idle)
    })
    .await
}

impl Way<'_> {
    async fn carry(self, timer: &Timer, idle: Duration) -> Result<(), Broken> {
        let Self { from, to, bytes, total, mut begins } = self;
        let mut out = BytesMut::new();
        loop {
            let is_waiting = !from.input.borrow().is_empty();
            if !is_waiting && poll_fn(|cx| from.poll_fill(cx)).await.map_err(|_| Broken)? == 0 {
                // Said to the other side, which may go on all the same.
                let _ = to.shutdown().await;
                return Ok(());
            }
            out.unsplit(from.input.borrow_mut().split());
            if let Some(begins) = begins.take() {
                begins();
            }
            let count = out.len() as u64;
            timer.arm(idle);
            let mut left = out.len();
            let written = poll_fn(|cx| {
                let polled = to.poll_write(cx, &mut out);
                // Who reads slowly reads, however large the piece that it is at.
                if out.len() < left {
                    left = out.len();
                    timer.arm(idle);
                }
                polled
            });
            written.await.map_err(|_| Broken)?;
            timer.arm(idle);
            add(bytes, count);
            add(total, count);
        }
    }
}
