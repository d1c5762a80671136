//! What flows: messages of the server's as its client reads them, and a client's as the server does.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::TranscodeRecord;
use transcode::{
    answer::{Answer, Upload},
    status::{Code, Status},
};

use super::{refused, send::of_failure};
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// What a body does in one turn, if no single message is more; then others have theirs.
const TURN_BYTES: usize = 256 * 1024;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The answer of a server, as its client reads it.
pub(super) struct Told {
    inner: Body,
    answer: Answer,
    out: Vec<u8>,
    /// The code that ended it, told in trailers for whoever records it.
    ended: Option<HeaderMap>,
    is_over: bool,
    /// What breaks it off where no word of an end may stand in it.
    broken: Option<Failure>,
    /// Done in this turn.
    spent: usize,
    record: Option<Arc<TranscodeRecord>>,
}

impl Told {
    /// An answer of which this much was read already.
    pub(super) fn new(inner: Body, answer: Answer, record: Option<Arc<TranscodeRecord>>) -> Self {
        let (out, ended, broken) = (Vec::new(), None, None);
        Self { inner, answer, out, ended, is_over: false, broken, spent: 0, record }
    }

    /// Waits for the type of a body of any kind; none when it ends without a message.
    pub(super) async fn kind(&mut self) -> Option<String> {
        std::future::poll_fn(|cx| {
            while self.answer.kind.is_none() && !self.is_over {
                std::task::ready!(self.step(cx));
            }
            Poll::Ready(())
        })
        .await;
        self.answer.kind.clone()
    }

    /// What broke it off, when it did before anything was told.
    pub(super) fn broken(&mut self) -> Option<Failure> {
        self.broken.take()
    }

    /// Turns the next piece, or takes what comes next.
    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.spent > TURN_BYTES {
            self.spent = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.answer.next(&mut self.out) {
            Ok(0) => {
                let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
                    self.spent = 0;
                    return Poll::Pending;
                };
                self.take(frame);
            }
            Ok(spent) => self.spent += spent,
            Err(status) => self.close(&status),
        }
        if let Some(record) = &self.record {
            record.state(self.answer.messages);
        }
        Poll::Ready(())
    }

    /// Takes what came before.
    pub(super) fn take(&mut self, frame: Option<Result<Frame<Bytes>, Failure>>) {
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => self.answer.data(&data, &mut self.out),
                Err(frame) => self.end(&frame.into_trailers().unwrap_or_default()),
            },
            Some(Err(failure)) => self.close(&of_failure(&failure)),
            None => self.end(&HeaderMap::new()),
        }
    }

    fn end(&mut self, trailers: &HeaderMap) {
        let status = self.answer.end(trailers, &mut self.out);
        self.over(&status);
    }

    /// Ends it with what else went wrong; the server is told that nobody listens any more.
    fn close(&mut self, status: &Status) {
        self.answer.close(status, &HeaderMap::new(), &mut self.out);
        self.over(status);
    }

    fn over(&mut self, status: &Status) {
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS, HeaderValue::from(status.code.number()));
        if self.answer.is_raw() && status.code != Code::Ok {
            let why = format!("{}: {}", status.code.name(), status.message);
            self.broken = Some(Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, why));
        }
        self.ended = Some(trailers);
        self.is_over = true;
        self.inner = Body::Empty;
    }
}

impl Wrapper for Told {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Told {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            if !self.out.is_empty() {
                let out = std::mem::take(&mut self.out);
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
            }
            if let Some(failure) = self.broken.take() {
                self.ended = None;
                return Poll::Ready(Some(Err(failure)));
            }
            if self.is_over {
                return Poll::Ready(self.ended.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            std::task::ready!(self.step(cx));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.out.is_empty() && self.ended.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// What a client sends, as the server reads it.
pub(super) struct Uploaded {
    inner: Body,
    upload: Upload,
    is_over: bool,
    /// Done in this turn.
    spent: usize,
}

impl Uploaded {
    pub(super) fn body(inner: Body, upload: Upload) -> Body {
        Body::boxed(Self { inner, upload, is_over: false, spent: 0 })
    }
}

impl Wrapper for Uploaded {
    /// What is wrapped is the request, which has no other direction.
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}

impl HttpBody for Uploaded {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        loop {
            if this.is_over {
                return Poll::Ready(None);
            }
            if this.spent > TURN_BYTES {
                this.spent = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut out = Vec::new();
            let taken = match this.upload.next(&mut out) {
                Ok(0) => match Pin::new(&mut this.inner).poll_frame(cx) {
                    Poll::Pending => {
                        this.spent = 0;
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => this.upload.data(&data, &mut out),
                        Err(_) => Ok(()),
                    },
                    Poll::Ready(Some(Err(failure))) => {
                        this.is_over = true;
                        return Poll::Ready(Some(Err(failure)));
                    }
                    Poll::Ready(None) => {
                        this.is_over = true;
                        this.upload.end(&mut out)
                    }
                },
                Ok(spent) => {
                    this.spent += spent;
                    Ok(())
                }
                Err(wrong) => Err(wrong),
            };
            if let Err(wrong) = taken {
                this.is_over = true;
                return Poll::Ready(Some(Err(refused(&wrong))));
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
