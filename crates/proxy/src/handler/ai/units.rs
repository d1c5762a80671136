//! What calls spend beside tokens: pictures, letters, seconds of sound, searches. What a request asks for is noted when
//! a provider has taken it, and put right by what the answer tells or is.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use ai::{cost::Units, sound, units};
use bytes::Bytes;
use http::{HeaderName, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::{TokenUsage, UnitUsage};

use super::{Told, prepare::Conversation};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Fields of an answer's head that tell units, in the order of [`UnitUsage::named`].
pub(super) const FIELDS: [HeaderName; 5] = [
    HeaderName::from_static("x-tidegate-images"),
    HeaderName::from_static("x-tidegate-characters"),
    HeaderName::from_static("x-tidegate-seconds-in"),
    HeaderName::from_static("x-tidegate-seconds-out"),
    HeaderName::from_static("x-tidegate-queries"),
];

/// Bytes of a sound's beginning that are looked at for its rate.
const HEAD_BYTES_MAX: usize = 4096;
/// Bytes of a second of `pcm`: 24,000 samples of 16 bits (OpenAI's speech guide).
const PCM_BYTES_A_SECOND: u64 = 48_000;

fn usage(units: Units) -> UnitUsage {
    UnitUsage {
        images: units.images,
        characters: units.characters,
        seconds_in: units.seconds_in,
        seconds_out: units.seconds_out,
        queries: units.queries,
    }
}

/// Notes what a provider was asked for that has begun to answer.
pub(super) fn note(conversation: &Conversation<'_>, told: &Told) {
    let Some(asked) = conversation.units() else { return };
    let mut units = usage(asked.likely);
    let price = |units: &UnitUsage| told.prices.as_ref().and_then(|prices| prices.of_units(units));
    // How long something is spoken is a guess until it is heard, and no matter where letters are paid.
    let by_letters = price(&UnitUsage { seconds_out: 0, ..units }).is_some();
    if by_letters {
        units.seconds_out = 0;
    }
    told.measure(units, !asked.is_exact || units.seconds_out > 0);
    if units.images == 0 && told.prices.is_some() && price(&units).is_none() {
        // Then it is paid by tokens, whether or not somebody tells them.
        told.owe(true);
    }
}

/// Reads what a whole answer tells of its units.
pub(super) fn hear(told: &Told, body: &[u8]) {
    let now = told.units();
    if now == UnitUsage::default() {
        return;
    }
    let Some(found) = units::told(told.operation, body) else { return };
    if let (Some(input), None) = (found.tokens, told.spending().filter(|spent| spent.usage.input > 0)) {
        told.spend(TokenUsage { input, ..TokenUsage::default() });
    }
    if found.units != Units::default() {
        told.measure(usage(found.units), false);
    }
}

/// Whether an answer is sound, which is played while it comes.
pub(super) fn is_sound(response: &Response<Body>) -> bool {
    kind(response).is_some_and(|kind| kind.starts_with("audio/"))
}

fn kind(response: &Response<Body>) -> Option<&str> {
    response.headers().get(header::CONTENT_TYPE)?.to_str().ok()
}

/// Listens to sound that passes, where its length is paid.
pub(super) fn listened(response: Response<Body>, told: &Told) -> Response<Body> {
    if told.units().seconds_out == 0 {
        return response;
    }
    let is_raw = kind(&response).is_some_and(|kind| kind.starts_with("audio/pcm"));
    let told = told.clone();
    response.map(|inner| {
        Body::boxed(Listening { inner, told, is_raw, head: Vec::new(), bytes: 0, is_over: false })
    })
}

/// Sound that passes, and is as long as its bytes.
struct Listening {
    inner: Body,
    told: Told,
    is_raw: bool,
    head: Vec<u8>,
    bytes: u64,
    is_over: bool,
}

impl Listening {
    fn hear(&mut self, data: &Bytes) {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        let more = HEAD_BYTES_MAX.saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(data.get(..more).unwrap_or_default());
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let rate = if self.is_raw { Some(PCM_BYTES_A_SECOND) } else { sound::rate(&self.head) };
        if let Some(rate) = rate.filter(|rate| *rate > 0) {
            let seconds_out = self.bytes.div_ceil(rate);
            self.told.measure(UnitUsage { seconds_out, ..self.told.units() }, false);
        }
        self.told.end();
    }
}

impl Wrapper for Listening {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Listening {
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
                    self.hear(&data);
                }
            }
            // What breaks off stays the guess that it was.
            Some(Err(_)) => self.is_over = true,
            None => self.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
