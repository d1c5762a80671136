//! A provider's stream, told in the caller's dialect as it comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use ai::{
    canon::{Error, ErrorKind, Event, Losses},
    dialect::{Dialect, StreamReader, StreamWriter},
    stream::{Frame as Framed, FrameReader},
};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Told, chat::named, guards::Filter, metered::note};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Reads frames, tells events. What it holds is one frame of the provider's and what that became.
pub(super) struct Translated {
    inner: Body,
    frames: FrameReader,
    reader: Box<dyn StreamReader>,
    caller: Dialect,
    writer: Box<dyn StreamWriter>,
    told: Told,
    /// What the caller's dialect has no place for, and how much of it is noted.
    losses: (Losses, usize),
    filter: Option<Filter>,
    whole: Vec<Framed>,
    events: Vec<Event>,
    out: Vec<u8>,
    is_over: bool,
}

impl Translated {
    pub(super) fn new(
        inner: Body,
        dialect: Dialect,
        caller: Dialect,
        writer: Box<dyn StreamWriter>,
        told: Told,
    ) -> Self {
        Self {
            inner,
            frames: FrameReader::new(dialect.provider_framing()),
            reader: dialect.stream_reader(),
            caller,
            writer,
            told,
            losses: Default::default(),
            filter: None,
            whole: Vec::new(),
            events: Vec::new(),
            out: Vec::new(),
            is_over: false,
        }
    }

    /// The same, with every event given to a filter first.
    pub(super) fn filtered(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    fn take(&mut self, bytes: &[u8]) {
        let framed = self.frames.push(bytes, &mut self.whole);
        self.tell();
        if let Err(error) = framed {
            self.fail(error.to_string());
        }
    }

    fn end(&mut self) {
        self.frames.finish(&mut self.whole);
        self.tell();
        self.reader.end(&mut self.events);
        self.write();
        self.told.end();
        self.is_over = true;
    }

    fn fail(&mut self, message: String) {
        if !self.is_over {
            self.events.push(Event::Error(Error { status: 502, ..Error::new(ErrorKind::Server, message) }));
            self.write();
        }
    }

    fn tell(&mut self) {
        for frame in self.whole.drain(..) {
            self.reader.read(frame, &mut self.events);
        }
        self.write();
    }

    fn write(&mut self) {
        for event in &self.events {
            match event {
                Event::Delta { .. } => self.told.speak(),
                Event::End => self.told.end(),
                // What was noted before says more.
                Event::Error(_) => self.told.break_off("provider-error"),
                _ => {}
            }
            note(&self.told, event);
        }
        if let Some(filter) = &mut self.filter {
            filter.pass(&mut self.events);
        }
        for event in self.events.drain(..) {
            if self.is_over {
                continue;
            }
            self.is_over = matches!(event, Event::Error(_) | Event::End);
            self.caller.unshown_event(&event, &mut self.losses.0);
            self.writer.write(event, &mut self.out);
        }
        let (losses, noted) = &mut self.losses;
        if !losses.is_empty() && losses.iter().count() > *noted {
            *noted = losses.iter().count();
            self.told.hide(named(losses, self.caller));
        }
    }
}

impl Wrapper for Translated {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Translated {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        loop {
            if !this.out.is_empty() {
                let out = std::mem::take(&mut this.out);
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
            }
            if this.is_over {
                // What a provider sends after its end is nobody's, and its connection goes with the rest of it.
                this.inner = Body::Empty;
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.take(&data);
                    }
                }
                Some(Err(failure)) => {
                    this.told.break_off(failure.problem().slug());
                    this.fail(format!("the provider's stream broke off: {}", failure.problem().title()))
                }
                None => this.end(),
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
