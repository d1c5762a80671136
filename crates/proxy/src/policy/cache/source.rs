//! Fetches the body of an answer that others may wait for, for all of them, and makes the copy of it that is kept.
//!
//! It goes on without whoever asked first, and as fast as the upstream gives as long as the copy has room. When nobody
//! reads any more it ends.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::Body as _;
use model::Stage;

use super::{
    coming::{Coming, PIECE_BYTES, Standing},
    entry::Stored,
    flights::Leader,
    store::Room,
    storing::Pending,
};
use crate::{
    body::Body,
    failure::{Failure, Problem},
};

/// How long all wait for those who read slowest, once the answer is too large to be kept.
const SLOW_PATIENCE: Duration = Duration::from_secs(5);
/// Frames after which others on the worker have their turn.
const FRAMES_AT_ONCE: usize = 32;

/// What is being fetched for many.
struct Source {
    body: Body,
    /// What is done with it when it is whole; none when it is not kept.
    pending: Option<Pending>,
    room: Room,
    /// The length that was announced.
    known: Option<usize>,
    came: usize,
    leader: Option<Leader>,
    coming: Arc<Coming>,
}

/// What came of fetching.
enum Step {
    /// There is more.
    More,
    /// The window is full.
    Held,
    Over,
}

/// Fetches a body for whoever asked and for those who wait; gives what the first reads. Of one that is there already
/// nobody takes care any further.
pub(super) fn fetch(body: Body, pending: Pending, leader: Leader) -> Body {
    let mut headers = pending.headers.clone();
    headers.remove(header::TRAILER);
    let (terms, selecting) = (pending.terms.clone(), pending.selecting.clone());
    let head = Stored::new(pending.status, headers, Bytes::new(), terms, pending.clock, selecting);
    let coming = Coming::new(head, pending.epoch, body.length());
    let Some(reader) = coming.reader(None) else { return body };
    let known = body.length().and_then(|length| usize::try_from(length).ok());
    let room = Room::none(&pending.kept);
    let mut source =
        Source { body, pending: Some(pending), room, known, came: 0, leader: Some(leader), coming };
    // Most are there with their heads: they need no task.
    match source.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Step::Over) => {}
        Poll::Ready(Step::More | Step::Held) | Poll::Pending => {
            if let Some(leader) = &source.leader {
                leader.is_coming(&source.coming);
            }
            tokio::task::spawn_local(source.run());
        }
    }
    Body::boxed(reader)
}

impl Source {
    async fn run(mut self) {
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Step::Over => return,
                Step::More => tokio::task::yield_now().await,
                Step::Held => {
                    let room = poll_fn(|cx| self.coming.poll_room(cx));
                    if tokio::time::timeout(SLOW_PATIENCE, room).await.is_err() {
                        self.coming.cut_slow();
                    }
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        for _ in 0..FRAMES_AT_ONCE {
            match self.coming.standing(cx) {
                Standing::Open => {}
                Standing::Held => return Poll::Ready(Step::Held),
                Standing::Left => return Poll::Ready(Step::Over),
            }
            if self.pending.is_none() && self.room.bytes() > 0 && self.coming.narrow() {
                self.room.give_back();
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let is_last = self.body.is_end_stream() || frame.is_trailers();
                    let trailers = match frame.into_data() {
                        Ok(data) => {
                            self.take(&data);
                            None
                        }
                        Err(frame) => frame.into_trailers().ok(),
                    };
                    // Whoever is told that this was all asks no further.
                    if is_last {
                        self.finish(trailers);
                        return Poll::Ready(Step::Over);
                    }
                }
                Some(Err(failure)) => {
                    self.coming.fail(failure);
                    return Poll::Ready(Step::Over);
                }
                None => {
                    self.finish(None);
                    return Poll::Ready(Step::Over);
                }
            }
        }
        Poll::Ready(Step::More)
    }

    fn take(&mut self, data: &Bytes) {
        self.came = self.came.saturating_add(data.len());
        if self.pending.is_some() && !self.has_room() {
            // From now on it is for those who read it already.
            (self.pending, self.leader) = (None, None);
            self.coming.hold_window();
        }
        self.coming.append(data);
    }

    /// Whether what came can still be kept; the room for it is taken.
    fn has_room(&mut self) -> bool {
        let Some(pending) = &self.pending else { return false };
        if self.came > pending.bytes_max {
            pending.kept.tiers.pass(&pending.key);
            if let Some(leader) = &self.leader {
                leader.not_for_others();
            }
            return false;
        }
        if self.came <= self.room.bytes() {
            return true;
        }
        let pieces = self.came.checked_next_multiple_of(PIECE_BYTES).unwrap_or(self.came);
        let wanted = self.known.map_or(pieces, |known| pieces.min(known)).max(self.came);
        self.room.grow(wanted - self.room.bytes())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) {
        let whole = self.pending.take().map(|pending| {
            let whole = self.coming.gathered();
            self.room.give_back();
            pending.keep(whole.clone());
            whole
        });
        self.coming.end(whole, trailers);
        // Only now may the others look.
        self.leader = None;
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // One that ends before its body does must not look whole.
        self.coming.fail(Failure::gateway(Stage::Body, Problem::UpstreamReset));
    }
}
