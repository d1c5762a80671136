//! A stream of events that is made of another one: what comes in is taken apart and told as it should be.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::mcp::sse::{Event, Reader};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// What is read, and what is to be told.
pub(super) struct Flow {
    pub(super) inner: Body,
    pub(super) reader: Reader,
    pub(super) events: Vec<Event>,
    pub(super) out: Vec<u8>,
    /// Nothing more is read.
    pub(super) is_over: bool,
}

impl Flow {
    pub(super) fn new(inner: Body) -> Self {
        let (reader, events, out) = (Reader::default(), Vec::new(), Vec::new());
        Self { inner, reader, events, out, is_over: false }
    }
}

/// How a stream is told.
pub(super) trait Retell: Unpin {
    fn flow(&mut self) -> &mut Flow;
    fn flow_of(&self) -> &Flow;
    /// Takes what has come.
    fn take(&mut self, data: &[u8]);
    /// The stream broke off.
    fn broke_off(&mut self, failure: &Failure);
    /// The stream has ended.
    fn ended(&mut self);
}

/// The stream as a body.
pub(super) struct Retold<T>(pub(super) T);

impl<T: Retell> Wrapper for Retold<T> {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.0.flow().inner)
    }
}

impl<T: Retell> HttpBody for Retold<T> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut self.0;
        loop {
            let flow = this.flow();
            if !flow.out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(std::mem::take(&mut flow.out))))));
            }
            if flow.is_over {
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut flow.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.take(&data);
                    }
                }
                Some(Err(failure)) => this.broke_off(&failure),
                None => this.ended(),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let flow = self.0.flow_of();
        flow.is_over && flow.out.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
