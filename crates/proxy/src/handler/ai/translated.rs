//! A provider's stream, told in the caller's dialect as it comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ai::{
    canon::{Error, ErrorKind, Event, Losses, Usage},
    dialect::{Dialect, StreamReader, StreamWriter},
    stream::{Frame as Framed, FrameReader},
};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Told,
    dropped::named_from,
    guards::Filter,
    metered::{note, usage},
    onward::{Found, Heirs, Onward},
    pause::Pause,
};
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
    pause: Option<Pause>,
    /// The way on when it breaks off.
    onward: Option<Box<Onward>>,
    /// Whose tokens come now.
    speaker: Told,
    /// Why it breaks off, where that is known.
    reason: Option<&'static str>,
    /// What it broke off with, while somebody is asked for the rest.
    broken: Option<Error>,
    /// What was spent until then.
    spent: Usage,
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
            speaker: told.clone(),
            told,
            losses: Default::default(),
            filter: None,
            pause: None,
            onward: None,
            reason: None,
            broken: None,
            spent: Usage::default(),
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

    /// With a bound of the pauses between tokens.
    pub(super) fn pausing(mut self, most: Option<Duration>) -> Self {
        self.pause = most.map(Pause::new);
        self
    }

    /// With a way on when it breaks off.
    pub(super) fn going_on(mut self, heirs: Option<Box<Heirs>>) -> Self {
        self.onward = heirs.map(|heirs| Box::new(Onward::new(heirs)));
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
        if self.is_waiting() {
            return;
        }
        self.reader.end(&mut self.events);
        self.write();
        if self.is_waiting() {
            return;
        }
        self.speaker.end();
        self.is_over = true;
    }

    /// Somebody is asked for the rest.
    fn is_waiting(&self) -> bool {
        self.broken.is_some()
    }

    fn fail(&mut self, message: String) {
        if !self.is_over && !self.is_waiting() {
            self.events.push(Event::Error(Error { status: 502, ..Error::new(ErrorKind::Server, message) }));
            self.write();
        }
    }

    fn broke(&mut self, failure: &Failure) {
        self.reason = Some(failure.problem().slug());
        self.fail(format!("the provider's stream broke off: {}", failure.problem().title()));
    }

    fn tell(&mut self) {
        for frame in self.whole.drain(..) {
            self.reader.read(frame, &mut self.events);
        }
        self.write();
    }

    /// Leaves out the error that the stream breaks off with, and what comes after it, when somebody can go on.
    fn go_on(&mut self) {
        let Some(onward) = &mut self.onward else { return };
        let error = self.events.iter().position(|event| matches!(event, Event::Error(_)));
        let rest = error.map(|at| self.events.split_off(at)).unwrap_or_default();
        onward.pass(&mut self.events);
        let mut rest = rest.into_iter();
        let Some(Event::Error(error)) = rest.next() else { return };
        if onward.ask(self.reason.unwrap_or("provider-error")) {
            self.spent = usage(&self.told);
            self.inner = Body::Empty;
            self.broken = Some(error);
        } else {
            self.events.push(Event::Error(error));
        }
    }

    /// Goes on with what somebody else says, or tells that nobody does.
    fn went_on(&mut self, answer: Option<Found>) {
        let Some(mut error) = self.broken.take() else { return };
        match answer {
            Some(found) => {
                self.reason = None;
                self.inner = found.body;
                self.frames = FrameReader::new(found.dialect.provider_framing());
                self.reader = found.dialect.stream_reader();
                self.speaker = found.told;
                self.pause = found.between.map(Pause::new);
                if let Some(filter) = &mut self.filter {
                    filter.forget();
                }
            }
            None => {
                if let Some(kind) = self.onward.take().and_then(|onward| onward.stopped_by()) {
                    error.message += &format!("; `{kind}` has no room for asking another model for the rest");
                }
                self.events.push(Event::Error(error));
                self.write();
            }
        }
    }

    fn write(&mut self) {
        if let Some(pause) = &mut self.pause {
            pause.hear(self.events.iter());
        }
        // What each of them spent is its own.
        for event in &self.events {
            if matches!(event, Event::Delta { .. }) {
                self.speaker.speak();
            }
            note(&self.speaker, event);
        }
        self.go_on();
        for event in &self.events {
            match event {
                // Of several only the last came to its end.
                Event::End => self.speaker.end(),
                Event::Error(_) => self.told.break_off(self.reason.unwrap_or("provider-error")),
                _ => {}
            }
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
        if losses.len() > *noted {
            self.told.hide(named_from(losses, self.caller, *noted));
            *noted = losses.len();
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
            if let Some(onward) = &mut this.onward
                && let Some(asking) = &mut onward.asking
            {
                let asked = std::task::ready!(asking.as_mut().poll(cx));
                let found = onward.take(asked, this.spent);
                this.went_on(found);
                continue;
            }
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => match this.pause.as_mut().and_then(|pause| pause.over(cx)) {
                    Some(failure) => Some(Err(failure)),
                    None => return Poll::Pending,
                },
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.take(&data);
                    }
                }
                Some(Err(failure)) => this.broke(&failure),
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
