//! A prompt's answer as it comes: events `text`, and at the end `done` with the whole typed answer, or `error`.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ai::{
    canon::{Assembler, Delta, Error, ErrorKind, Event, Opening, events_of},
    dialect::StreamReader,
    stream::{Frame as Framed, FrameReader, sse},
};
use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde_json::json;

use super::{
    output::{Output, Said, tokens},
    reply::{ANSWER_BYTES_MAX, Asked, SPOKEN, failure},
};
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, problem_text},
};

/// Reads the model's stream and tells it. What it holds is the answer so far, within a bound.
pub(super) struct Events {
    inner: Body,
    source: Source,
    output: Arc<Output>,
    asked: Asked,
    request_id: HeaderValue,
    assembler: Assembler,
    /// Parts of the answer that are text for the caller and not yet complete.
    texts: BTreeSet<u32>,
    events: Vec<Event>,
    out: Vec<u8>,
    is_over: bool,
}

/// What the model's answer comes as.
enum Source {
    Stream {
        frames: FrameReader,
        reader: Box<dyn StreamReader>,
        whole: Vec<Framed>,
    },
    /// The provider does not stream.
    Whole(Vec<u8>),
}

impl Events {
    pub(super) fn new(
        response: Response<Body>,
        output: Arc<Output>,
        asked: Asked,
        request_id: HeaderValue,
    ) -> Self {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let framing = SPOKEN.provider_framing();
        let source = match kind.is_some_and(|kind| kind.starts_with(framing.media_type())) {
            true => Source::Stream {
                frames: FrameReader::new(framing),
                reader: SPOKEN.stream_reader(),
                whole: Vec::new(),
            },
            false => Source::Whole(Vec::new()),
        };
        Self {
            inner: response.into_body(),
            source,
            output,
            asked,
            request_id,
            assembler: Assembler::default(),
            texts: BTreeSet::new(),
            events: Vec::new(),
            out: Vec::new(),
            is_over: false,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let wrong = match &mut self.source {
            Source::Stream { frames, reader, whole } => {
                let framed = frames.push(bytes, whole);
                for frame in whole.drain(..) {
                    reader.read(frame, &mut self.events);
                }
                framed.err().map(|error| error.to_string())
            }
            Source::Whole(kept) if kept.len().saturating_add(bytes.len()) > ANSWER_BYTES_MAX => {
                Some(too_long())
            }
            Source::Whole(kept) => {
                kept.extend_from_slice(bytes);
                None
            }
        };
        self.events.extend(wrong.map(broken));
        self.tell();
    }

    fn end(&mut self) {
        match &mut self.source {
            Source::Stream { frames, reader, whole } => {
                frames.finish(whole);
                for frame in whole.drain(..) {
                    reader.read(frame, &mut self.events);
                }
                reader.end(&mut self.events);
            }
            Source::Whole(kept) => match SPOKEN.read_answer(kept) {
                Ok(answer) => self.events.extend(events_of(answer)),
                Err(error) => self.events.push(broken(error.message)),
            },
        }
        self.tell();
        if !self.is_over {
            self.fail(&failure(&Error::new(ErrorKind::Server, "the stream ended before its end")));
        }
    }

    fn tell(&mut self) {
        for event in std::mem::take(&mut self.events) {
            if self.is_over {
                return;
            }
            self.one(event);
        }
        if !self.is_over && self.assembler.bytes() > ANSWER_BYTES_MAX {
            self.fail(&failure(&Error::new(ErrorKind::Server, too_long())));
        }
    }

    fn one(&mut self, event: Event) {
        match &event {
            Event::Open { choice: 0, part, opening: Opening::Text } => {
                self.texts.insert(*part);
            }
            Event::Close { choice: 0, part } => {
                self.texts.remove(part);
            }
            Event::Delta { choice: 0, part, delta: Delta::Text(text) } if self.texts.contains(part) => {
                sse::write_json(Some("text"), &json!({"text": text}), &mut self.out);
            }
            Event::Ping => self.out.extend_from_slice(b": ping\n\n"),
            Event::Error(error) => {
                let failure = failure(error);
                self.fail(&failure);
                return;
            }
            Event::End => {
                self.done();
                return;
            }
            _ => {}
        }
        self.assembler.push(event);
    }

    fn done(&mut self) {
        match std::mem::take(&mut self.assembler).finish() {
            Err(error) => self.fail(&failure(&error)),
            Ok(answer) => {
                let said = Said::of(answer);
                match self.output.typed(&said) {
                    Err(unfit) => self.fail(&unfit.failure()),
                    Ok(output) => {
                        let done = json!({
                            "output": output,
                            "finish": said.finish,
                            "provider": self.asked.provider,
                            "model": self.asked.model,
                            "usage": said.usage.as_ref().map(tokens),
                        });
                        sse::write_json(Some("done"), &done, &mut self.out);
                        self.is_over = true;
                    }
                }
            }
        }
    }

    fn fail(&mut self, failure: &Failure) {
        sse::write(Some("error"), problem_text(failure, &self.request_id).as_bytes(), &mut self.out);
        self.is_over = true;
    }
}

fn broken(message: String) -> Event {
    Event::Error(Error::new(ErrorKind::Server, message))
}

fn too_long() -> String {
    format!("the model's answer is larger than {ANSWER_BYTES_MAX} bytes")
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
                let out = std::mem::take(&mut this.out);
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
            }
            if this.is_over {
                this.inner = Body::Empty;
                return Poll::Ready(None);
            }
            match std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.take(&data);
                    }
                }
                Some(Err(failure)) => this.fail(&failure),
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
