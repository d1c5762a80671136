//! The end of an exchange whose request is not yet read, and of the connection.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use super::Conn;

/// What is read of an unfinished request body after its answer, so that the connection can be used again.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;
/// How long the rest of an unfinished request is read and thrown away before the connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Takes what has already arrived of an unfinished request body; true when that was all of it.
pub(super) fn drain_now(conn: &Conn) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let before = conn.body.borrow().received;
    while let Poll::Ready(frame) = {
        conn.body.borrow_mut().expects = false;
        conn.poll_body(&mut cx)
    } {
        match frame {
            None => return true,
            Some(Ok(_)) if conn.body.borrow().received - before <= DRAIN_BYTES_MAX => {}
            Some(_) => return false,
        }
    }
    false
}

/// Ends our side, and reads a little of what still comes: closing a socket with unread bytes sends a reset, which
/// can destroy the answer before the client has read it (RFC 9112 §9.6). A client that reads nothing may leave no room
/// for the end of TLS, and is not waited for either.
pub(super) async fn linger(conn: &Conn) {
    conn.timer.arm(LINGER);
    let mut shutdown = pin!(conn.wire.shutdown());
    let mut is_shut = false;
    poll_fn(|cx| {
        loop {
            if conn.timer.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            is_shut = is_shut || shutdown.as_mut().poll(cx).is_ready();
            if is_shut && conn.wire.is_eof() {
                return Poll::Ready(());
            }
            conn.wire.input.borrow_mut().clear();
            match ready!(conn.wire.poll_fill(cx)) {
                Ok(0) | Err(_) if is_shut => return Poll::Ready(()),
                Ok(0) | Err(_) => return Poll::Pending,
                Ok(_) => {}
            }
        }
    })
    .await;
}
