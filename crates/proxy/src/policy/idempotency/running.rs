//! The first request with a key on its way: out of its client's reach, so that it ends whoever waits for it.

use std::{
    any::Any,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{mpsc, oneshot};

use super::{
    KEPT, TOO_LARGE, Terms, UNKEPT, answer,
    store::{Ended, Place},
};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::{Failure, Problem, Stage},
    handler::{
        around::{Around, Next},
        backends::steer,
    },
    policy::chain,
};

/// Tells on an answer that the next request with the key does not get it.
const NOT_KEPT: HeaderName = HeaderName::from_static("x-tidegate-idempotency");
/// Frames of an answer between the upstream and a client that reads slowly.
const FRAMES: usize = 2;

/// A request that has claimed its key.
pub(super) struct Running {
    claim: Claim,
}

/// The claim to a key. Whoever drops it gives the key free.
struct Claim {
    terms: Arc<Terms>,
    place: Place,
    fingerprint: [u8; 32],
    token: String,
    is_open: bool,
}

impl Claim {
    async fn finish(&mut self, answer: Bytes) {
        self.is_open = false;
        let (place, token) = (self.place.clone(), std::mem::take(&mut self.token));
        let (fingerprint, ttl) = (self.fingerprint, self.terms.ttl);
        self.terms.store.finish(Ended { place, fingerprint, token, answer, ttl }).await;
    }

    fn give_back(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.terms.counted.note(UNKEPT);
            self.terms.store.release(&self.place, &self.token);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Running {
    pub(super) fn new(terms: Arc<Terms>, place: Place, fingerprint: [u8; 32], token: String) -> Self {
        Self { claim: Claim { terms, place, fingerprint, token, is_open: true } }
    }
}

/// What the client's call is told of the one that stands in for it.
struct Told {
    result: Result<Response<Body>, Failure>,
    /// The call that stood in, for what it found out.
    record: model::CallRecord,
    trail: crate::upstream::span::Trail,
    answer_headers: HeaderMap,
    consumer: Option<Arc<crate::consumer::Consumer>>,
}

impl Around for Running {
    fn run<'a>(
        self: Box<Self>,
        next: Next,
        call: &'a mut Call,
    ) -> LocalBoxFuture<'a, Result<Response<Body>, Failure>> {
        Box::pin(async move {
            let ((tell, told), (hold, held)) = (oneshot::channel(), oneshot::channel());
            tokio::task::spawn_local(alone(self.claim, next, stand_in(call), tell, held));
            let mut waiting = Waiting { call, hold: Some(hold) };
            let told = told.await;
            // From here on its client has its answer.
            waiting.hold = None;
            let call = &mut *waiting.call;
            let Ok(told) = told else {
                return Err(Failure::gateway(Stage::Policy, Problem::Internal));
            };
            call.record = told.record;
            call.trail = told.trail;
            call.consumer = told.consumer;
            call.answer_headers.extend(told.answer_headers);
            told.result
        })
    }
}

/// What policies keep of a call.
type Notes = Vec<(usize, Box<dyn Any>)>;

/// A client's call that waits for the one that stands in for it. Where the client leaves before, the other has its notes, for places
/// are among them: as long as the upstream works for it they are taken.
struct Waiting<'c> {
    call: &'c mut Call,
    hold: Option<oneshot::Sender<Notes>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            let _ = hold.send(std::mem::take(&mut self.call.notes));
        }
    }
}

/// A call that stands in for a client's.
fn stand_in(call: &mut Call) -> Box<Call> {
    let mut own = call.errand(call.head.clone());
    own.started = call.started;
    own.host = call.host.clone();
    own.host_from_endpoint = call.host_from_endpoint;
    own.captures = call.captures.clone();
    own.claims = call.claims.clone();
    own.token = call.token.clone();
    own.forms = call.forms;
    own.shown_key = call.shown_key;
    own.stands_in = call.stands_in;
    own.random = call.random;
    own.received = call.received.clone();
    own.dialect = call.dialect;
    own.rpc = call.rpc.clone();
    own.ai = std::mem::take(&mut call.ai);
    steer::hand_over(call, &mut own);
    own.record = call.record.clone();
    own
}

async fn alone(
    mut claim: Claim,
    next: Next,
    mut own: Box<Call>,
    tell: oneshot::Sender<Told>,
    held: oneshot::Receiver<Notes>,
) {
    let result = next.go(&mut own).await;
    drop(held);
    let told = |own: &mut Call, result| Told {
        result,
        record: own.record.clone(),
        trail: std::mem::take(&mut own.trail),
        answer_headers: std::mem::take(&mut own.answer_headers),
        consumer: own.consumer.clone(),
    };
    // What the policies of the upstream do to its answers, and those of whom they have found, is kept with them.
    let result = match result {
        Ok(mut response) => chain::judged(&mut own, &mut response).await.map(|()| response),
        Err(failure) => Err(failure),
    };
    let response = match result {
        Ok(response) => response,
        Err(failure) => {
            drop(claim);
            let _ = tell.send(told(&mut own, Err(failure)));
            return;
        }
    };
    let (mut parts, mut body) = response.into_parts();
    let bytes_max = claim.terms.answer_bytes_max;
    let mut copy = match is_kept(parts.status) {
        false => Copying::Not,
        true if body.length().is_some_and(|length| length > bytes_max as u64) || body.has_no_end() => {
            Copying::TooLarge
        }
        true => Copying::Into(answer::head(parts.status, &parts.headers), bytes_max),
    };
    match copy {
        Copying::TooLarge => {
            parts.headers.insert(NOT_KEPT, HeaderValue::from_static("not-kept"));
            too_large(&mut claim).await;
        }
        Copying::Not => claim.give_back(),
        Copying::Into(..) => {}
    }
    if body.is_empty() {
        keep(&mut claim, &mut copy).await;
        let _ = tell.send(told(&mut own, Ok(Response::from_parts(parts, body))));
        return;
    }
    let (frames, receiver) = mpsc::channel(FRAMES);
    let relayed = Relayed { receiver, left: body.length(), is_over: false };
    let is_alone = tell.send(told(&mut own, Ok(Response::from_parts(parts, Body::boxed(relayed))))).is_err();
    pump(&mut claim, &mut body, copy, &frames, is_alone).await;
}

/// Passes an answer on, and makes a copy of it. What is copied does not wait for whoever reads it, nor does it need anybody who
/// does: a client that takes its time would hold the key for longer than its lease, and the request be done twice.
async fn pump(
    claim: &mut Claim,
    body: &mut Body,
    mut copy: Copying,
    frames: &mpsc::Sender<Passed>,
    mut is_alone: bool,
) {
    // What is ahead of the client, no more than is copied.
    let mut ahead: VecDeque<Frame<Bytes>> = VecDeque::new();
    let end = loop {
        let is_copied = matches!(copy, Copying::Into(..));
        if is_alone && !is_copied {
            return;
        }
        let patience = if is_alone { claim.terms.lease } else { Duration::MAX };
        let next = tokio::time::timeout(patience, poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)));
        let frame = tokio::select! {
            biased;
            room = frames.reserve(), if !ahead.is_empty() => {
                match (room, ahead.pop_front()) {
                    (Ok(room), Some(frame)) => room.send(Passed::Frame(Ok(frame))),
                    (Ok(_), None) => {}
                    (Err(_), _) => {
                        is_alone = true;
                        ahead.clear();
                    }
                }
                continue;
            }
            // Also while nothing comes: an upstream that says no more is not held for nobody.
            () = frames.closed(), if !is_alone => {
                is_alone = true;
                ahead.clear();
                continue;
            }
            frame = next, if is_copied || ahead.is_empty() => {
                frame.unwrap_or_else(|_| Some(Err(Failure::gateway(Stage::Policy, Problem::UpstreamTimeout))))
            }
        };
        match frame {
            Some(Ok(frame)) => {
                if copy.take(&frame) {
                    too_large(claim).await;
                }
                // It is kept before its client has all of it.
                if body.is_end_stream() || frame.is_trailers() {
                    keep(claim, &mut copy).await;
                }
                if !is_alone {
                    ahead.push_back(frame);
                }
            }
            // What broke off is not kept: the claim is given back.
            Some(Err(failure)) => {
                claim.give_back();
                break Passed::Frame(Err(failure));
            }
            None => {
                keep(claim, &mut copy).await;
                break Passed::End;
            }
        }
    };
    for frame in ahead {
        if frames.send(Passed::Frame(Ok(frame))).await.is_err() {
            return;
        }
    }
    let _ = frames.send(end).await;
}

async fn too_large(claim: &mut Claim) {
    claim.terms.counted.note(TOO_LARGE);
    claim.finish(Bytes::from_static(answer::UNKEPT)).await;
}

async fn keep(claim: &mut Claim, copy: &mut Copying) {
    if let Copying::Into(bytes, _) = std::mem::replace(copy, Copying::Not) {
        claim.terms.counted.note(KEPT);
        claim.finish(bytes.freeze()).await;
    }
}

/// Whether an answer of this status says what became of the request once and for all.
fn is_kept(status: StatusCode) -> bool {
    !status.is_server_error()
        && !status.is_informational()
        && ![StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS]
            .contains(&status)
}

/// A copy of an answer in the making.
enum Copying {
    /// Head and body so far, and how many bytes may follow.
    Into(BytesMut, usize),
    /// It is too large, or of a kind that is not kept: that there was one is kept.
    TooLarge,
    Not,
}

impl Copying {
    /// Whether it has just become too large.
    fn take(&mut self, frame: &Frame<Bytes>) -> bool {
        let Self::Into(bytes, left) = self else { return false };
        match frame.data_ref() {
            Some(data) if data.len() <= *left => {
                *left -= data.len();
                bytes.extend_from_slice(data);
                false
            }
            _ => {
                *self = Self::TooLarge;
                true
            }
        }
    }
}

/// What is passed on of an answer.
enum Passed {
    Frame(Result<Frame<Bytes>, Failure>),
    /// That was all of it.
    End,
}

/// An answer's body as it comes from the call that stands in.
struct Relayed {
    receiver: mpsc::Receiver<Passed>,
    /// Bytes that are to come, where that is known.
    left: Option<u64>,
    is_over: bool,
}

impl Wrapper for Relayed {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Relayed {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let passed = std::task::ready!(self.receiver.poll_recv(cx));
        Poll::Ready(match passed {
            Some(Passed::Frame(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(length));
                Some(Ok(frame))
            }
            Some(Passed::Frame(Err(failure))) => {
                self.is_over = true;
                Some(Err(failure))
            }
            Some(Passed::End) => {
                self.is_over = true;
                None
            }
            // One that does not come to its end must not look whole.
            None => {
                self.is_over = true;
                (self.left != Some(0)).then(|| Err(Failure::gateway(Stage::Policy, Problem::UpstreamReset)))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_otherwise_the_next_time_is_not_kept() {
        for (status, want) in [
            (200, true),
            (201, true),
            (303, true),
            (400, true),
            (409, true),
            (422, true),
            (408, false),
            (425, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            assert_eq!(is_kept(StatusCode::from_u16(status).expect("a status")), want, "{status}");
        }
    }

    #[test]
    fn a_copy_ends_where_it_becomes_too_large_or_has_trailers() {
        let copy = || Copying::Into(BytesMut::new(), 5);
        let data = |text: &'static str| Frame::data(Bytes::from_static(text.as_bytes()));
        let mut fits = copy();
        assert!(!fits.take(&data("abc")) && !fits.take(&data("de")));
        assert!(matches!(&fits, Copying::Into(bytes, 0) if &bytes[..] == b"abcde"));
        assert!(fits.take(&data("f")) && !fits.take(&data("g")), "told once");
        assert!(copy().take(&Frame::trailers(HeaderMap::new())));
    }
}
