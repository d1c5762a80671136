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
    status::Status,
};

use super::{refused, send::of_failure};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The answer of a server, as its client reads it.
pub(super) struct Told {
    inner: Body,
    answer: Answer,
    out: Vec<u8>,
    /// The code that ended it, told in trailers for whoever records it.
    ended: Option<HeaderMap>,
    is_over: bool,
    record: Option<Arc<TranscodeRecord>>,
}

impl Told {
    /// An answer of which this much was read already.
    pub(super) fn new(inner: Body, answer: Answer, record: Option<Arc<TranscodeRecord>>) -> Self {
        Self { inner, answer, out: Vec::new(), ended: None, is_over: false, record }
    }

    /// Takes what came before.
    pub(super) fn take(&mut self, frame: Option<Result<Frame<Bytes>, Failure>>) {
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    if let Err(status) = self.answer.data(&data, &mut self.out) {
                        self.close(&status);
                    }
                }
                Err(frame) => self.end(&frame.into_trailers().unwrap_or_default()),
            },
            Some(Err(failure)) => self.close(&of_failure(&failure)),
            None => self.end(&HeaderMap::new()),
        }
        if let Some(record) = &self.record {
            record.state(self.answer.messages);
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
            if self.is_over {
                return Poll::Ready(self.ended.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
            self.take(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.out.is_empty() && self.ended.is_none()
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
}

impl Uploaded {
    pub(super) fn body(inner: Body, upload: Upload) -> Body {
        Body::boxed(Self { inner, upload, is_over: false })
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
            let mut out = Vec::new();
            let taken = match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.upload.data(&data, &mut out),
                    Err(_) => Ok(()),
                },
                Some(Err(failure)) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(failure)));
                }
                None => {
                    this.is_over = true;
                    this.upload.end(&mut out)
                }
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
