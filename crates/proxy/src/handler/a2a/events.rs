//! An agent's events for a client, one by one, with ids that are the client's.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::{A2aRecord, resource::a2a::A2aMethod as Method};

use super::{Inner, json::quoted, results::Outbound};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
    handler::mcp::sse::{Event, Reader},
};

/// What a stream is for.
pub(super) struct Whose {
    pub(super) inner: Arc<Inner>,
    pub(super) agent: Arc<str>,
    pub(super) who: String,
    pub(super) method: Method,
    /// The id of the request, as JSON.
    pub(super) id: Box<str>,
    pub(super) address: String,
    pub(super) record: Arc<A2aRecord>,
}

/// Reads an agent's stream and tells it.
pub(super) struct Events {
    inner: Body,
    whose: Whose,
    reader: Reader,
    events: Vec<Event>,
    out: Vec<u8>,
    is_over: bool,
}

impl Events {
    pub(super) fn new(inner: Body, whose: Whose) -> Self {
        Self { inner, whose, reader: Reader::default(), events: Vec::new(), out: Vec::new(), is_over: false }
    }

    fn take(&mut self, bytes: &[u8]) {
        let pushed = self.reader.push(bytes, &mut self.events);
        let whose = &self.whose;
        let ids = whose.inner.keys.of(&whose.agent, &whose.who);
        let outbound = Outbound {
            ids: &ids,
            record: &whose.record,
            cards: &whose.inner.cards,
            address: &whose.address,
            context: None,
        };
        let mut broken = pushed.err().map(|_| "the agent sent an event that is too large");
        for mut event in self.events.drain(..) {
            if event.data.is_empty() {
                continue;
            }
            if event.data.len() > whose.inner.event_bytes_max {
                broken = Some("the agent sent an event that is too large");
                break;
            }
            let text = std::str::from_utf8(&event.data).ok();
            let told = text.and_then(|text| outbound.message(whose.method, &whose.id, text));
            let Some(told) = told else {
                broken = Some("the agent sent an event that is no answer");
                break;
            };
            whose.record.event();
            event.data = told.into_bytes();
            // An id of an event is the agent's own, and nothing here takes it back.
            event.id = None;
            event.write(&mut self.out);
        }
        if let Some(why) = broken {
            self.fail(why);
        }
    }

    /// Ends the stream with an error, which every client understands.
    fn fail(&mut self, why: &str) {
        self.is_over = true;
        self.whose.record.fail(-32603);
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":-32603,\"message\":{}}}}}",
            self.whose.id,
            quoted(why)
        );
        Event::message(text).write(&mut self.out);
    }
}

impl Wrapper for Events {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Events {
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
            if this.is_over {
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.take(&data);
                    }
                }
                Some(Err(failure)) => {
                    tracing::debug!(agent = %this.whose.agent, "an agent's stream broke off: {failure}");
                    this.fail("the agent's stream broke off");
                }
                None => this.is_over = true,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.out.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
