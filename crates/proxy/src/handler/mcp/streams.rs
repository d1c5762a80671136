//! What servers have to say of themselves: the streams of all of them, which are [`Lane`]s, as one.
//!
//! The last event of each lane stands in the id of every event that the client gets, so that a client that comes back
//! finds all lanes where it left them.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{
    Inner, answer, ids,
    lane::{Lane, PAUSE_MAX, State},
    session::Session,
    subscriptions::Wish,
    wire::{LAST_EVENT, Sender},
};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::{Failure, Problem, Stage},
};

/// How long the answer waits for servers that have not answered, before it begins without them.
const PATIENCE: Duration = Duration::from_secs(1);
/// A client that is gone is noticed by then.
const PULSE: Duration = Duration::from_secs(25);

/// All lanes as one body.
pub(super) struct Merged {
    sender: Sender,
    lanes: Vec<Lane>,
    /// One stream that is taken up again, rather than all that servers have to say.
    is_single: bool,
    /// What a client of the revision without sessions wants to hear.
    pub(super) wish: Option<Wish>,
    pub(super) out: Vec<u8>,
    pulse: Pin<Box<Sleep>>,
    next: usize,
}

/// Answers a GET.
pub(super) async fn listen(
    inner: &Arc<Inner>,
    sender: &Sender,
    session: &Session,
    call: &mut Call,
) -> Result<Response<Body>, Failure> {
    let seen = match call.head.headers.get(LAST_EVENT) {
        None => None,
        Some(id) => {
            let seen = id.to_str().ok().and_then(ids::seen);
            let hint = "`Last-Event-ID` is none of this endpoint's";
            Some(seen.ok_or_else(|| answer::refusal(StatusCode::BAD_REQUEST, answer::INVALID_REQUEST, hint))?)
        }
    };
    let mut lanes = Vec::new();
    let is_single = matches!(seen, Some(ids::Seen::Stream(..)));
    for server in &inner.servers {
        let Some(leg) = session.leg(&server.name) else { continue };
        let last = match &seen {
            None => None,
            Some(ids::Seen::Stream(name, id)) if **name == *server.name => Some(id.clone()),
            Some(ids::Seen::Stream(..)) => continue,
            Some(ids::Seen::Merged(all)) => {
                all.iter().find(|(name, _)| **name == *server.name).map(|(_, id)| id.clone())
            }
        };
        lanes.push(Lane::new(sender, session, server, leg, last, EVERYTHING));
    }
    let mut merged = Merged::new(sender, lanes, is_single);
    merged.settle().await;
    if merged.is_over() {
        return Err(Failure::client(Stage::Router, Problem::MethodNotAllowed)
            .with_hint("no server here has a stream of its own")
            .with_header(header::ALLOW, HeaderValue::from_static("POST, DELETE")));
    }
    Ok(answer::stream(Body::boxed(merged)))
}

/// What a client hears that did not say what it wants.
const EVERYTHING: &str = r#"{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}"#;

impl Merged {
    pub(super) fn new(sender: &Sender, lanes: Vec<Lane>, is_single: bool) -> Self {
        Self {
            sender: sender.clone(),
            lanes,
            is_single,
            wish: None,
            out: Vec::new(),
            pulse: Box::pin(sleep(PULSE)),
            next: 0,
        }
    }

    fn is_over(&self) -> bool {
        // Who said what it wants to hear waits for it, even where nobody has anything to say.
        self.wish.is_none() && self.lanes.iter().all(|lane| matches!(lane.state, State::Gone))
    }

    /// Waits until every server has answered, or for as long as there is patience.
    pub(super) async fn settle(&mut self) {
        let mut patience = Box::pin(sleep(PATIENCE));
        std::future::poll_fn(|cx| {
            for lane in &mut self.lanes {
                lane.drive(&self.sender, self.is_single, cx);
            }
            let is_opening = self.lanes.iter().any(|lane| matches!(lane.state, State::Opening(_)));
            if !is_opening { Poll::Ready(()) } else { patience.as_mut().poll(cx) }
        })
        .await;
    }

    /// Takes bytes of a lane.
    fn take(&mut self, at: usize, data: &[u8]) {
        let mut events = Vec::new();
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if lane.reader.push(data, &mut events).is_err() {
            tracing::warn!(server = %lane.server.name, "a server's stream is closed: an event is too large");
            lane.ended(self.is_single);
        }
        for mut event in events {
            let Some(lane) = self.lanes.get_mut(at) else { return };
            if !event.data.is_empty() {
                let text = std::str::from_utf8(&event.data).unwrap_or_default();
                let Some(text) = lane.shown(&self.sender, text, self.is_single, self.wish.as_ref()) else {
                    continue;
                };
                event.data = text.into_bytes();
            } else if self.wish.is_some() {
                continue;
            }
            lane.has_said = true;
            if let Some(retry) = event.retry {
                lane.pause = Duration::from_millis(retry).min(PAUSE_MAX);
            }
            if self.wish.is_some() {
                (event.id, event.retry) = (None, None);
            }
            if let Some(id) = event.id.take() {
                lane.last = Some(id.clone());
                event.id =
                    if self.is_single { Some(ids::event(&lane.server.name, &id)) } else { self.how_far() };
            }
            event.write(&mut self.out);
        }
    }

    fn how_far(&self) -> Option<String> {
        ids::merged(self.lanes.iter().filter_map(|lane| Some((&*lane.server.name, lane.last.as_deref()?))))
    }

    /// Polls one lane. Whether something changed.
    fn turn(&mut self, at: usize, cx: &mut Context<'_>) -> bool {
        let is_single = self.is_single;
        let Some(lane) = self.lanes.get_mut(at) else { return false };
        let State::Open(body) = &mut lane.state else { return lane.drive(&self.sender, is_single, cx) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.take(at, &data);
                }
                true
            }
            Poll::Ready(Some(Err(_)) | None) => {
                lane.ended(is_single);
                true
            }
        }
    }
}

impl Wrapper for Merged {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Merged {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        loop {
            if !this.out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(std::mem::take(&mut this.out))))));
            }
            if this.is_over() {
                return Poll::Ready(None);
            }
            // Each lane has its turn first, so that a busy server does not silence the others.
            let mut is_changed = false;
            this.next = (this.next + 1) % this.lanes.len().max(1);
            for step in 0..this.lanes.len() {
                let at = (this.next + step) % this.lanes.len();
                is_changed |= this.turn(at, cx);
                if !this.out.is_empty() {
                    break;
                }
            }
            if is_changed {
                continue;
            }
            if this.pulse.as_mut().poll(cx).is_ready() {
                this.pulse = Box::pin(sleep(PULSE));
                this.out.extend_from_slice(b": still here\n\n");
                continue;
            }
            return Poll::Pending;
        }
    }

    fn is_end_stream(&self) -> bool {
        self.out.is_empty() && self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
