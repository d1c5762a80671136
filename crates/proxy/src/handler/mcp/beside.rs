//! The stream that a server with sessions has beside its calls, while calls are made whose clients can be asked.
//!
//! What a server asks there may be about any call of the session, or none: nobody is asked it, and the server learns so
//! at once. Without somebody who listens it would wait for an answer until its own patience ends.

use std::{pin::pin, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use tokio::{sync::watch, time::timeout};

use super::{
    lane::Lane,
    server::Server,
    session::{Leg, Live, Session, locked},
    streams::Merged,
    subscriptions::Wish,
    wire::Sender,
};

/// How long a stream stays after the last call that it stands beside.
const LINGER: Duration = Duration::from_secs(60);
/// How long a call waits until there is one.
const READY_MAX: Duration = Duration::from_secs(2);

/// A stream, as calls of all workers share it.
pub(super) struct Beside {
    /// Calls that it stands beside.
    calls: watch::Sender<usize>,
    /// It is open, or there is none.
    is_ready: watch::Sender<bool>,
}

/// A call that wants it to stay.
pub(super) struct Stays(Arc<Beside>);

impl Drop for Stays {
    fn drop(&mut self) {
        self.0.calls.send_modify(|calls| *calls -= 1);
    }
}

/// Forgets a stream when whoever reads it is gone.
struct Reading {
    live: Arc<Live>,
    key: String,
    beside: Arc<Beside>,
}

impl Reading {
    /// Whether nobody wants it: nobody gets it from then on.
    fn is_over(&self) -> bool {
        let mut all = locked(&self.live.beside);
        let is_over = *self.beside.calls.borrow() == 0;
        if is_over {
            all.remove(&self.key);
        }
        is_over
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut all = locked(&self.live.beside);
        if all.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.beside)) {
            all.remove(&self.key);
        }
    }
}

/// Has the stream of a session stay while a call is made. A server that gave the session no id has none.
pub(super) async fn stay(
    sender: &Sender,
    session: &Session,
    server: &Arc<Server>,
    leg: &Leg,
) -> Option<Stays> {
    let key = format!("{} {}", server.name, leg.id.as_deref()?);
    let (beside, is_new) = {
        let mut all = locked(&session.live.beside);
        let known = all.get(&key).cloned();
        let is_new = known.is_none();
        let beside = known.unwrap_or_else(|| {
            Arc::new(Beside { calls: watch::Sender::new(0), is_ready: watch::Sender::new(false) })
        });
        if is_new {
            all.insert(key.clone(), beside.clone());
        }
        beside.calls.send_modify(|calls| *calls += 1);
        (beside, is_new)
    };
    let stays = Stays(beside.clone());
    if is_new {
        // Of a caller who is nobody the session ends with the call, and the stream with both.
        let linger = if session.guest.is_some() { Duration::ZERO } else { LINGER };
        let mut own = session.clone();
        own.guest = None;
        let reading = Reading { live: session.live.clone(), key, beside: beside.clone() };
        let (sender, server, leg) = (sender.clone(), server.clone(), leg.clone());
        tokio::task::spawn_local(async move { read(&sender, &own, &server, leg, &reading, linger).await });
    }
    let mut is_ready = beside.is_ready.subscribe();
    let ready = timeout(READY_MAX, is_ready.wait_for(|is_ready| *is_ready)).await;
    if ready.is_err() {
        tracing::debug!(server = %server.name, "a server's own stream is not there yet");
    }
    Some(stays)
}

/// Reads a stream until no call wants it any more.
async fn read(
    sender: &Sender,
    session: &Session,
    server: &Arc<Server>,
    leg: Leg,
    reading: &Reading,
    linger: Duration,
) {
    let lane = Lane::new(sender, session, server, leg, None, "{}");
    let mut stream = Merged::new(sender, vec![lane], false);
    stream.wish = Some(Wish::nothing());
    stream.settle().await;
    reading.beside.is_ready.send_replace(true);
    loop {
        let mut unwanted = pin!(unwanted(&reading.beside, linger));
        loop {
            tokio::select! {
                () = &mut unwanted => break,
                // What it says is nothing to anybody; what it asks has been refused.
                frame = stream.frame() => {
                    if frame.is_none_or(|frame| frame.is_err()) {
                        return;
                    }
                }
            }
        }
        if reading.is_over() {
            return;
        }
    }
}

/// Ready when no call has wanted a stream for so long.
async fn unwanted(beside: &Beside, linger: Duration) {
    let mut calls = beside.calls.subscribe();
    loop {
        if calls.wait_for(|calls| *calls == 0).await.is_err() {
            return;
        }
        if timeout(linger, calls.wait_for(|calls| *calls > 0)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_stays_as_long_as_a_call_wants_it_and_a_while_longer() {
        let beside = Beside { calls: watch::Sender::new(0), is_ready: watch::Sender::new(false) };
        beside.calls.send_replace(1);
        assert!(timeout(LINGER * 10, unwanted(&beside, LINGER)).await.is_err());
        beside.calls.send_replace(0);
        let start = tokio::time::Instant::now();
        unwanted(&beside, LINGER).await;
        assert!(start.elapsed() >= LINGER);
        let both = async {
            let wait = async {
                tokio::time::sleep(LINGER / 2).await;
                beside.calls.send_replace(1);
                tokio::time::sleep(LINGER * 2).await;
                beside.calls.send_replace(0);
            };
            tokio::join!(wait, unwanted(&beside, LINGER))
        };
        let start = tokio::time::Instant::now();
        both.await;
        assert!(start.elapsed() >= LINGER * 3);
    }
}
