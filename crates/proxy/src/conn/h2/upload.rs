//! Sends a body on an HTTP/2 stream, as fast as the other side's window allows.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::{body::Body, failure::Failure};

/// A body on its way out on an HTTP/2 stream.
pub(crate) struct Upload {
    send: SendStream<Bytes>,
    body: Body,
    pending: Bytes,
    pub(crate) sent: u64,
    pub(crate) trailers: Option<http::HeaderMap>,
    done: bool,
}

/// Why a body could not be sent.
pub(crate) enum Broken {
    /// The source of the body broke.
    Source(Failure),
    /// The other side of the stream takes no more.
    Sink(Option<Reason>),
}

impl Upload {
    pub(crate) fn new(send: SendStream<Bytes>, body: Body) -> Self {
        Self { send, body, pending: Bytes::new(), sent: 0, trailers: None, done: false }
    }

    /// Sends what can be sent; ready when all of it is, or when that cannot be.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.done {
            return Poll::Ready(Ok(()));
        }
        loop {
            while !self.pending.is_empty() {
                if self.send.capacity() == 0 {
                    self.send.reserve_capacity(self.pending.len());
                    match ready!(self.send.poll_capacity(cx)) {
                        Some(Ok(0)) => continue,
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Poll::Ready(Err(Broken::Sink(error.reason()))),
                        None => return Poll::Ready(Err(Broken::Sink(None))),
                    }
                }
                let count = self.send.capacity().min(self.pending.len());
                let piece = self.pending.split_to(count);
                self.sent += count as u64;
                let last = self.pending.is_empty() && self.body.is_end_stream();
                if let Err(error) = self.send.send_data(piece, last) {
                    return Poll::Ready(Err(Broken::Sink(error.reason())));
                }
                if last {
                    self.done = true;
                    return Poll::Ready(Ok(()));
                }
            }
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    // A reset must be noticed while there is nothing to send.
                    return match self.send.poll_reset(cx) {
                        Poll::Ready(Ok(reason)) => Poll::Ready(Err(Broken::Sink(Some(reason)))),
                        Poll::Ready(Err(error)) => Poll::Ready(Err(Broken::Sink(error.reason()))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            };
            let sent = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.pending = data;
                        continue;
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.trailers = Some(trailers.clone());
                        self.send.send_trailers(trailers)
                    }
                },
                None => self.send.send_data(Bytes::new(), true),
                Some(Err(failure)) => {
                    self.send.send_reset(reset_reason(&failure));
                    self.done = true;
                    return Poll::Ready(Err(Broken::Source(failure)));
                }
            };
            self.done = true;
            return Poll::Ready(sent.map_err(|error| Broken::Sink(error.reason())));
        }
    }

    /// Whether there are bytes that the other side has given no room for.
    pub(crate) fn waits_for_sink(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Resets the stream: the other side has taken nothing for too long.
    pub(crate) fn give_up(&mut self) {
        self.send.send_reset(Reason::CANCEL);
        self.done = true;
    }

    /// Keeps the source's own other direction flowing while the sink is full.
    pub(crate) fn body_mut(&mut self) -> &mut Body {
        &mut self.body
    }
}

fn reset_reason(failure: &Failure) -> Reason {
    match failure.side() {
        crate::failure::Side::Client => Reason::CANCEL,
        _ => Reason::INTERNAL_ERROR,
    }
}
