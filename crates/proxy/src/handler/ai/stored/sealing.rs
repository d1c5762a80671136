//! Ids of what a provider keeps, sealed where they stand in an answer: every other byte stays as it is.
//!
//! The ids are those of the object that the answer tells of: its own, that of the answer before it, that of its
//! conversation. In a stream the first event tells them.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde::Deserialize;

use super::{Owner, is_plain};
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
    handler::ai::{provider::Provider, reply::ANSWER_BYTES_MAX},
};

/// What an answer or an event tells of ids.
#[derive(Deserialize, Default)]
struct Names<'a> {
    #[serde(borrow, default)]
    object: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    previous_response_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    conversation: Option<Talk<'a>>,
    #[serde(borrow, default)]
    response: Option<Box<Names<'a>>>,
}

#[derive(Deserialize)]
struct Talk<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// Seals ids in what passes.
pub(super) struct Sealing {
    owner: Arc<Owner>,
    provider: Arc<Provider>,
    mark: Box<str>,
    /// Each as it stands in JSON, quotes included, and what is put there.
    learnt: Vec<(String, String)>,
}

impl Sealing {
    pub(super) fn new(owner: Arc<Owner>, provider: Arc<Provider>, mark: Box<str>) -> Self {
        Self { owner, provider, mark, learnt: Vec::new() }
    }

    /// A whole answer.
    pub(super) fn whole(&mut self, body: &Bytes) -> Bytes {
        // A stream may have come whole.
        match body.first() {
            Some(b'{') => self.learn(body),
            _ => body.split(|byte| *byte == b'\n').for_each(|line| self.look(line)),
        }
        self.replaced(body)
    }

    /// An answer that comes in pieces.
    pub(super) fn over(self, inner: Body) -> Flowing {
        Flowing { inner, sealing: self, tail: BytesMut::new(), is_over: false }
    }

    /// Looks at a line of a stream, until one has told the ids.
    fn look(&mut self, line: &[u8]) {
        if let (true, Some(data)) = (self.learnt.is_empty(), line.strip_prefix(b"data:")) {
            self.learn(data);
        }
    }

    fn learn(&mut self, json: &[u8]) {
        let Ok(names) = serde_json::from_slice::<Names<'_>>(json) else { return };
        let names = match names.response {
            Some(response) => *response,
            None => names,
        };
        let is_kept = names
            .object
            .as_deref()
            .is_some_and(|object| object.starts_with("response") || object.starts_with("conversation"));
        let own = names.id.filter(|_| is_kept);
        let talk = names.conversation.map(|talk| talk.id);
        for id in own.into_iter().chain(names.previous_response_id).chain(talk) {
            if id.is_empty() || !is_plain(&id) {
                continue;
            }
            if let Some(sealed) = self.owner.sealed(&self.provider, &self.mark, &id) {
                self.learnt.push((format!("\"{id}\""), format!("\"{sealed}\"")));
            }
        }
    }

    fn replaced(&self, bytes: &Bytes) -> Bytes {
        let mut out = bytes.clone();
        for (raw, sealed) in &self.learnt {
            let mut found = memchr::memmem::find_iter(&out, raw.as_bytes()).peekable();
            if found.peek().is_none() {
                continue;
            }
            let mut new = BytesMut::with_capacity(out.len() + 256);
            let mut from = 0;
            for at in found {
                new.extend_from_slice(out.get(from..at).unwrap_or_default());
                new.extend_from_slice(sealed.as_bytes());
                from = at + raw.len();
            }
            new.extend_from_slice(out.get(from..).unwrap_or_default());
            out = new.freeze();
        }
        out
    }
}

/// An answer that comes in pieces: lines go on when they are whole, as events do.
pub(super) struct Flowing {
    inner: Body,
    sealing: Sealing,
    tail: BytesMut,
    is_over: bool,
}

impl Flowing {
    fn take(&mut self, data: &Bytes) -> Bytes {
        self.tail.extend_from_slice(data);
        match memchr::memrchr(b'\n', &self.tail) {
            Some(end) => {
                let lines = self.tail.split_to(end + 1).freeze();
                self.pass(&lines)
            }
            None => Bytes::new(),
        }
    }

    fn pass(&mut self, lines: &Bytes) -> Bytes {
        if self.sealing.learnt.is_empty() {
            // What is no stream is one document.
            match lines.first() {
                Some(b'{') => self.sealing.learn(lines),
                _ => lines.split(|byte| *byte == b'\n').for_each(|line| self.sealing.look(line)),
            }
        }
        self.sealing.replaced(lines)
    }
}

impl Wrapper for Flowing {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Flowing {
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
            match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    let out = this.take(&data);
                    if this.tail.len() > ANSWER_BYTES_MAX {
                        let error = format!(
                            "a line of the provider's answer is larger than {ANSWER_BYTES_MAX} bytes"
                        );
                        this.is_over = true;
                        return Poll::Ready(Some(Err(Failure::upstream(
                            Stage::Body,
                            Problem::BadUpstreamAnswer,
                            error,
                        ))));
                    }
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                }
                Some(Err(failure)) => return Poll::Ready(Some(Err(failure))),
                None => {
                    this.is_over = true;
                    let rest = std::mem::take(&mut this.tail).freeze();
                    if !rest.is_empty() {
                        let out = this.pass(&rest);
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                }
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
