//! An answer as it is spoken: the body waits before its first token and between tokens, and may break off.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use ai::{canon::Event, dialect::StreamWriter};
use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::conduct::Conduct;

/// Until what has been said is on its way, before the connection breaks.
const FLUSHED: Duration = Duration::from_millis(20);

/// The body.
pub(crate) struct Spoken {
    writer: Option<Box<dyn StreamWriter>>,
    begin: Vec<Event>,
    tokens: VecDeque<Event>,
    end: Vec<Event>,
    conduct: Conduct,
    /// Tokens that have been said.
    said: u64,
    next: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// A whole answer of which half is sent.
    half: Option<Bytes>,
}

impl Spoken {
    pub(crate) fn new(
        writer: Box<dyn StreamWriter>,
        (begin, tokens, end): (Vec<Event>, Vec<Event>, Vec<Event>),
        conduct: Conduct,
    ) -> Self {
        Self {
            writer: Some(writer),
            begin,
            tokens: tokens.into(),
            end,
            conduct,
            said: 0,
            next: Instant::now() + conduct.first,
            timer: None,
            half: None,
        }
    }

    /// Half of a text, and no more.
    pub(crate) fn broken(text: Bytes) -> Self {
        Self {
            writer: None,
            begin: Vec::new(),
            tokens: VecDeque::new(),
            end: Vec::new(),
            conduct: Conduct { cut: Some(0), ..Conduct::default() },
            said: 0,
            next: Instant::now(),
            timer: None,
            half: Some(text.slice(..text.len() / 2)),
        }
    }

    /// What is due now, as bytes.
    fn due(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let Some(writer) = &mut self.writer else { return out };
        self.begin.drain(..).for_each(|event| writer.write(event, &mut out));
        let pause = self.conduct.pause();
        while let Some(token) = self.tokens.pop_front() {
            writer.write(token, &mut out);
            self.said += 1;
            self.next += pause;
            if self.conduct.cut == Some(self.said) {
                self.next = Instant::now() + FLUSHED.max(pause);
                break;
            }
            if !pause.is_zero() {
                break;
            }
        }
        if self.tokens.is_empty() && self.conduct.cut.is_none_or(|cut| self.said < cut) {
            self.end.drain(..).for_each(|event| writer.write(event, &mut out));
        }
        out
    }
}

impl Body for Spoken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Some(half) = this.half.take() {
            this.next = Instant::now() + FLUSHED;
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if this.tokens.is_empty() && this.end.is_empty() && this.conduct.cut.is_none() {
            return Poll::Ready(None);
        }
        if this.next > Instant::now() {
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(this.next)));
            if timer.deadline() != this.next {
                timer.as_mut().reset(this.next);
            }
            ready!(timer.as_mut().poll(cx));
        }
        if this.conduct.cut.is_some_and(|cut| this.said >= cut) {
            return Poll::Ready(Some(Err(io::Error::other("asked to break off, this provider breaks off"))));
        }
        Poll::Ready(Some(Ok(Frame::data(this.due().into()))))
    }
}
