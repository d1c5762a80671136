//! Bytes that pass untouched while their usage is read.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use ai::{
    canon::{Error, ErrorKind, Event, Usage},
    dialect::{Dialect, StreamReader, Telling},
    stream::{Frame as Framed, FrameReader, Framing, sse},
};
use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::TokenUsage;

use super::{Told, pause::Pause};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Bytes of a whole answer that are kept until its end to read the usage: a longer one goes uncounted here.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads the usage on the way.
pub(super) struct Metered {
    inner: Body,
    dialect: Dialect,
    told: Told,
    way: Way,
    pause: Option<Pause>,
    is_over: bool,
}

enum Way {
    /// A stream: frames that speak of usage are read.
    Stream { frames: FrameReader, reader: Box<dyn StreamReader>, hides_usage: bool },
    /// A whole answer: its pieces are kept, shared with what goes out.
    Whole { pieces: Vec<Bytes>, bytes: usize },
}

impl Metered {
    pub(super) fn new(
        inner: Body,
        dialect: Dialect,
        framing: Option<Framing>,
        hides_usage: bool,
        told: Told,
    ) -> Self {
        let way = match framing {
            Some(framing) => Way::Stream {
                frames: FrameReader::new(framing),
                reader: dialect.stream_reader(),
                hides_usage,
            },
            None => Way::Whole { pieces: Vec::new(), bytes: 0 },
        };
        Self { inner, dialect, told, way, pause: None, is_over: false }
    }

    /// With a bound of the pauses between tokens.
    pub(super) fn pausing(mut self, most: Option<Duration>) -> Self {
        self.pause = most.map(Pause::new);
        self
    }

    /// What goes out for what came.
    fn take(&mut self, data: Bytes) -> Bytes {
        match &mut self.way {
            Way::Whole { pieces, bytes } => {
                *bytes = bytes.saturating_add(data.len());
                if *bytes <= KEPT_BYTES_MAX {
                    pieces.push(data.clone());
                }
                data
            }
            Way::Stream { frames, reader, hides_usage } => {
                self.told.speak();
                let mut whole = Vec::new();
                if frames.push(&data, &mut whole).is_err() {
                    // Nothing more can be counted; what comes goes out as it is.
                    self.way = Way::Whole { pieces: Vec::new(), bytes: usize::MAX };
                    return data;
                }
                let hides_usage = *hides_usage;
                let out = hides_usage.then(|| shown(&whole));
                spent(reader.as_mut(), whole, &self.told, self.pause.as_mut());
                out.unwrap_or(data)
            }
        }
    }

    /// What tells the caller of a stream that it has broken off, where that can be said between two events.
    fn last_words(&self, failure: &Failure) -> Option<Bytes> {
        let Way::Stream { frames, hides_usage, .. } = &self.way else {
            return None;
        };
        if !frames.is_between() && !hides_usage {
            return None;
        }
        let message = format!("the provider's stream broke off: {}", failure.problem().title());
        let error = Error { status: 502, ..Error::new(ErrorKind::Server, message) };
        let mut out = Vec::new();
        self.dialect.stream_writer(Telling::default()).write(Event::Error(error), &mut out);
        Some(out.into())
    }

    fn end(&mut self) -> Option<Bytes> {
        match &mut self.way {
            Way::Stream { frames, reader, hides_usage } => {
                let mut whole = Vec::new();
                frames.finish(&mut whole);
                let out = hides_usage.then(|| shown(&whole)).filter(|out| !out.is_empty());
                spent(reader.as_mut(), whole, &self.told, None);
                out
            }
            Way::Whole { pieces, bytes } if *bytes <= KEPT_BYTES_MAX => {
                let joined = match pieces.as_slice() {
                    [one] => one.clone(),
                    many => many
                        .iter()
                        .fold(BytesMut::with_capacity(*bytes), |mut all, piece| {
                            all.extend_from_slice(piece);
                            all
                        })
                        .freeze(),
                };
                super::receipts::read(&joined, self.dialect, &self.told);
                None
            }
            Way::Whole { .. } => None,
        }
    }
}

/// Reads what frames tell of the usage, and counts what they bring.
fn spent(reader: &mut dyn StreamReader, frames: Vec<Framed>, told: &Told, pause: Option<&mut Pause>) {
    let mut events = Vec::new();
    for frame in frames {
        reader.read(frame, &mut events);
    }
    for event in &events {
        note(told, event);
    }
    if let Some(pause) = pause {
        pause.hear(events.iter());
    }
}

/// The events of a stream without the one that tells the usage alone: its list of choices is empty.
fn shown(frames: &[Framed]) -> Bytes {
    let mut out = Vec::new();
    for frame in frames {
        let tells_usage = memchr::memmem::find(&frame.data, b"\"choices\":[]").is_some()
            && memchr::memmem::find(&frame.data, b"\"usage\":{").is_some();
        if !tells_usage {
            sse::write(Some(frame.event.as_str()).filter(|event| !event.is_empty()), &frame.data, &mut out);
        }
    }
    out.into()
}

/// Writes into the record what an event tells of the usage, where the last word counts, and what it brings.
pub(super) fn note(told: &Told, event: &Event) {
    match event {
        Event::Usage(usage) => spend(told, usage),
        Event::Tier(tier) => told.serve_in(tier),
        other => told.hear(other.said()),
    }
}

/// What was spent until now, as events tell it.
pub(super) fn usage(told: &model::AiRecord) -> Usage {
    let spent = told.spending().unwrap_or_default().usage;
    Usage {
        input: spent.input,
        cache_read: spent.cache_read,
        cache_write: spent.cache_write,
        cache_write_long: spent.cache_write_long,
        input_audio: spent.input_audio,
        input_image: spent.input_image,
        output: spent.output,
        reasoning: spent.reasoning,
        output_audio: spent.output_audio,
        output_image: spent.output_image,
    }
}

/// Writes what was spent into the record.
pub(super) fn spend(told: &model::AiRecord, usage: &Usage) {
    told.spend(counted(usage));
}

/// A usage as the record counts it.
pub(super) fn counted(usage: &Usage) -> TokenUsage {
    TokenUsage {
        input: usage.input,
        cache_read: usage.cache_read,
        cache_write: usage.cache_write,
        cache_write_long: usage.cache_write_long,
        input_audio: usage.input_audio,
        input_image: usage.input_image,
        output: usage.output,
        reasoning: usage.reasoning,
        output_audio: usage.output_audio,
        output_image: usage.output_image,
    }
}

impl Wrapper for Metered {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Metered {
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
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => match this.pause.as_mut().and_then(|pause| pause.over(cx)) {
                    Some(failure) => Some(Err(failure)),
                    None => return Poll::Pending,
                },
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let out = this.take(data);
                        if !out.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(out))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(failure)) => {
                    this.told.break_off(failure.problem().slug());
                    let Some(last) = this.last_words(&failure) else {
                        return Poll::Ready(Some(Err(failure)));
                    };
                    this.is_over = true;
                    this.inner = Body::Empty;
                    return Poll::Ready(Some(Ok(Frame::data(last))));
                }
                None => {
                    this.is_over = true;
                    let out = this.end();
                    this.told.end();
                    if let Some(out) = out {
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // What has come must be counted first.
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        match &self.way {
            Way::Stream { hides_usage: true, .. } => SizeHint::default(),
            _ => self.inner.size_hint(),
        }
    }
}
