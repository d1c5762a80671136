//! A token that an upstream refuses before its end: a new one is had, and where the request is still there it is sent
//! once more.
//!
//! It stands within whatever else stands around the handler, so that what keeps answers keeps the second one. An answer
//! that policies of an upstream have seen is not asked for again: they have counted it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{
    body::Body,
    call::{Call, Upgrade},
    failure::Failure,
    handler::{
        ai::gathered::{Ungathered, gather},
        around::{Around, Next, put_innermost},
    },
};

/// Where the next token comes from. One that knows whose it is.
pub(super) trait Renewal: Send + Sync {
    /// The header's value after one that was refused; nothing where there is none.
    fn after<'a>(&'a self, refused: &'a HeaderValue) -> LocalBoxFuture<'a, Option<HeaderValue>>;
}

/// What is sent, and what is to be done when it is refused.
pub(super) struct Sent {
    pub(super) renewal: Arc<dyn Renewal>,
    pub(super) header: HeaderName,
    pub(super) value: HeaderValue,
    /// Bytes of a body that is kept.
    pub(super) body_bytes_max: usize,
}

/// Watches for the answer to a call: around its handler, or, where its upstream is chosen already, as a note that
/// [`look`] finds.
pub(super) fn watch<P: ?Sized>(policy: &P, call: &mut Call, sent: Sent) {
    match call.record.upstream.is_some() {
        true => call.keep(policy, sent),
        false => put_innermost(call, Box::new(sent)),
    }
}

/// Looks at the answer of an upstream that was chosen already: what it refuses is had anew for the next call.
pub(super) fn look<P: ?Sized>(policy: &P, call: &mut Call, answer: &Response<Body>) {
    if let Some(sent) = call.take::<P, Sent>(policy)
        && answer.status() == StatusCode::UNAUTHORIZED
    {
        tokio::task::spawn_local(async move { sent.renewal.after(&sent.value).await.is_some() });
    }
}

impl Around for Sent {
    fn run<'a>(
        self: Box<Self>,
        mut next: Next,
        call: &'a mut Call,
    ) -> LocalBoxFuture<'a, Result<Response<Body>, Failure>> {
        Box::pin(async move {
            let kept = self.keep(call, &mut next.body).await?;
            let again = kept.as_ref().and_then(|bytes| next.again(body(bytes)));
            let head = again.is_some().then(|| call.head.clone());
            let answer = next.go(call).await?;
            if answer.status() != StatusCode::UNAUTHORIZED
                || call.head.headers.get(&self.header) != Some(&self.value)
            {
                return Ok(answer);
            }
            let Some(fresh) = self.renewal.after(&self.value).await else { return Ok(answer) };
            match (again, head) {
                (Some(again), Some(mut head)) if !call.chain.is_beyond_choice() => {
                    drop(answer);
                    head.headers.insert(&self.header, fresh);
                    call.head = head;
                    call.asked = Some(std::time::Instant::now());
                    again.go(call).await
                }
                _ => Ok(answer),
            }
        })
    }
}

impl Sent {
    /// The request's body, where all of it can be kept; otherwise it flows on as it comes.
    async fn keep(&self, call: &Call, body: &mut Body) -> Result<Option<Bytes>, Failure> {
        if matches!(call.upgrade, Some(Upgrade::Stream | Upgrade::Connect | Upgrade::Connection)) {
            return Ok(None);
        }
        match body {
            Body::Empty => return Ok(Some(Bytes::new())),
            Body::Full(bytes) => return Ok(Some(bytes.clone())),
            // Whoever waits for leave to send it waits for the upstream's.
            _ if call.expects_continue || call.head.headers.contains_key(header::EXPECT) => return Ok(None),
            _ => {}
        }
        let fits = |length: u64| usize::try_from(length).is_ok_and(|length| length <= self.body_bytes_max);
        // gRPC and the like have trailers, and no length.
        if !body.length().is_some_and(fits) {
            return Ok(None);
        }
        match gather(std::mem::take(body), self.body_bytes_max).await {
            Ok(bytes) => {
                *body = self::body(&bytes);
                Ok(Some(bytes))
            }
            Err(Ungathered::Failed(failure)) => Err(failure),
            // Its length said that it is not.
            Err(Ungathered::TooLarge) => {
                Err(Failure::client(crate::failure::Stage::Body, crate::failure::Problem::BodyTooLarge))
            }
        }
    }
}

fn body(bytes: &Bytes) -> Body {
    if bytes.is_empty() { Body::Empty } else { Body::Full(bytes.clone()) }
}
