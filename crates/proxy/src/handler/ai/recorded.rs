//! The texts of a call in its record, where the route wants them: what was sent, with what guardrails masked, and what
//! the caller was told, masked anew where it was unmasked for the caller.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use ai::{
    canon::{Delta, Event},
    dialect::StreamReader,
    endpoint::Operation,
    guard::{
        leaves::{self, Part},
        screen::Screen,
    },
    stream::FrameReader,
};
use bytes::Bytes;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{AiGateway, Told, guards::Guard, prepare::Conversation, reply::is_stream};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::Failure,
};

/// Bytes beyond those that are recorded, so that no datum is cut before it is masked.
const BEYOND_BYTES: usize = 1024;
/// Bytes of an answer beyond those that are recorded, for masks are shorter than what they stand for.
const ANSWER_BEYOND_BYTES: usize = 8 * BEYOND_BYTES;
/// Bytes of a letter in UTF-8, at most.
const LETTER_BYTES_MAX: usize = 4;
/// Bytes of a whole answer that are read for its text.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is wanted of a call's texts.
pub(super) struct Recording {
    bytes_max: usize,
    /// As it came, before anything was masked.
    came: Bytes,
    guards: Vec<Arc<Guard>>,
}

/// Begins to record a call, before any rule has read it.
pub(super) fn begin(gateway: &AiGateway, call: &Call, conversation: &Conversation<'_>) -> Option<Recording> {
    let bytes_max = gateway.record_text.filter(|_| !conversation.peek.is_form())?;
    Some(Recording { bytes_max, came: conversation.body.clone(), guards: call.ai.guards.clone() })
}

/// Records what was asked, and what is answered as it goes out.
pub(super) fn keep(
    recording: Option<Recording>,
    call: &Call,
    conversation: &Conversation<'_>,
    response: Response<Body>,
) -> Response<Body> {
    let (Some(recording), Some(told)) = (recording, &call.record.ai) else { return response };
    let Recording { bytes_max, came, guards } = recording;
    let mut said = End::new(bytes_max);
    let read = leaves::edit(&conversation.body, |leaf| {
        if leaf.part != Part::Piece {
            said.push(&leaf.text);
        }
        None
    });
    if read.is_ok() {
        told.tell_prompt(said.text().to_owned());
    }
    if conversation.endpoint.operation != Operation::Chat || !response.status().is_success() {
        return response;
    }
    // Where something was masked, the same data get the same placeholders again: the rules read the request as it came.
    let was_masked = came != conversation.body;
    let screen = |guard: Arc<Guard>| {
        let mut screen = guard.screen();
        if was_masked {
            let _ = screen.request(&came);
        }
        screen
    };
    let screens: Vec<Screen> = guards.into_iter().map(screen).collect();
    let dialect = conversation.endpoint.dialect;
    let mut text = Text { told: told.clone(), screens, text: String::new(), bytes_max };
    let framing = dialect.caller_framing(conversation.query.as_deref());
    match response.body() {
        Body::Full(bytes) if !conversation.stream => {
            if let Some(answer) =
                (bytes.len() <= ANSWER_BYTES_MAX).then(|| dialect.read_answer(bytes).ok()).flatten()
            {
                ai::canon::events_of(answer).iter().for_each(|event| text.hear(event));
            }
            text.end();
            response
        }
        Body::Empty => response,
        _ if conversation.stream || is_stream(&response) => response.map(|inner| {
            let (frames, reader) = (FrameReader::new(framing), dialect.stream_reader());
            Body::boxed(Recorded { inner, frames, reader, text, is_over: false })
        }),
        _ => response,
    }
}

/// The end of texts that come one by one, each in a line of its own.
struct End {
    text: String,
    bytes_max: usize,
}

impl End {
    fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max }
    }

    fn push(&mut self, text: &str) {
        let most = self.bytes_max.saturating_add(BEYOND_BYTES);
        // White space at the end is not recorded, and may be behind all that is.
        let is_long = text.len() > most || text.trim_end().is_empty();
        self.text.push_str(last(if is_long { text.trim_end() } else { text }, most));
        self.text.push('\n');
        if self.text.len() > most.saturating_mul(2) {
            self.text = last(&self.text, most).to_owned();
        }
    }

    fn text(&self) -> &str {
        last(self.text.trim_end(), self.bytes_max)
    }
}

/// The end of a text, at most so many bytes of it.
fn last(text: &str, bytes_max: usize) -> &str {
    let from = text.len().saturating_sub(bytes_max);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(from..).unwrap_or_default()
}

/// The beginning of a text, at most so many bytes of it.
fn first(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// What was answered until now.
struct Text {
    told: Told,
    screens: Vec<Screen>,
    text: String,
    bytes_max: usize,
}

impl Text {
    /// Bytes that are still read.
    fn room(&self) -> usize {
        self.bytes_max.saturating_add(ANSWER_BEYOND_BYTES).saturating_sub(self.text.len())
    }

    fn hear(&mut self, event: &Event) {
        if let Event::Delta { delta: Delta::Text(text) | Delta::Transcript(text), .. } = event {
            self.text.push_str(first(text, self.room()));
        }
    }

    fn end(&mut self) {
        // A datum that is cut off at the end is not known for one, and is not recorded: masks before it may have made
        // room.
        let cut = if self.room() < LETTER_BYTES_MAX { BEYOND_BYTES } else { 0 };
        let mut text = std::mem::take(&mut self.text);
        for screen in &mut self.screens {
            if let Some(masked) = screen.whole(&text) {
                text = masked;
            }
        }
        if !text.is_empty() {
            let most = text.len().saturating_sub(cut).min(self.bytes_max);
            self.told.tell_answer(first(&text, most).to_owned());
        }
    }
}

/// A stream that passes, and is read as the caller reads it.
struct Recorded {
    inner: Body,
    frames: FrameReader,
    reader: Box<dyn StreamReader>,
    text: Text,
    is_over: bool,
}

impl Recorded {
    fn take(&mut self, data: &[u8]) {
        if self.is_over || self.text.room() < LETTER_BYTES_MAX {
            return;
        }
        let (mut whole, mut events) = (Vec::new(), Vec::new());
        if self.frames.push(data, &mut whole).is_err() {
            return self.end();
        }
        whole.into_iter().for_each(|frame| self.reader.read(frame, &mut events));
        events.iter().for_each(|event| self.text.hear(event));
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.text.end();
        }
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.end();
    }
}

impl Wrapper for Recorded {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let data = data.clone();
                    self.take(&data);
                }
            }
            Some(Err(_)) | None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_texts_the_end_is_kept() {
        for bytes_max in [1, 7, 300, 5000] {
            let (mut end, mut all) = (End::new(bytes_max), String::new());
            for number in 0..2000 {
                let text = "é".repeat(1 + number % 12) + " ";
                end.push(&text);
                all = all + &text + "\n";
            }
            end.push(" \n");
            assert_eq!(end.text().trim_end(), last(all.trim_end(), bytes_max), "{bytes_max}");
            assert!(end.text.len() <= 2 * (bytes_max + BEYOND_BYTES));
        }
    }

    #[test]
    fn texts_are_cut_between_letters() {
        assert_eq!((first("Würde", 2), first("Würde", 3), first("W", 9)), ("W", "Wü", "W"));
        assert_eq!((last("Würde", 4), last("Würde", 3), last("W", 9)), ("rde", "rde", "W"));
    }
}
