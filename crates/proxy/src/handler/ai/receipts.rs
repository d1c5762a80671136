//! Receipts: what an answer cost, on its head where that is known in time, and in the record always.
//!
//! An answer that is no stream is read whole before its head goes out, so that its head can tell. One that is larger
//! than [`READ_BYTES_MAX`] passes as it comes, and is told in the record, and behind the answer where the caller asks.

use std::{
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
};

use ai::{canon::Answer, dialect::Dialect};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use memchr::memmem::Finder;
use model::Usd;

use super::{Told, begun::begun, metered, reply, units};
use crate::{
    body::{Body, Wrapper},
    call::Call,
    failure::Failure,
};

/// Bytes of an answer that are read before its head goes out.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

const ATTEMPTS: HeaderName = HeaderName::from_static("x-tidegate-attempts");
const PRICE_TABLE: HeaderName = HeaderName::from_static("x-tidegate-price-table");
const INPUT_TOKENS: HeaderName = HeaderName::from_static("x-tidegate-input-tokens");
const OUTPUT_TOKENS: HeaderName = HeaderName::from_static("x-tidegate-output-tokens");
const CACHE_READ_TOKENS: HeaderName = HeaderName::from_static("x-tidegate-cache-read-tokens");
const CACHE_WRITE_TOKENS: HeaderName = HeaderName::from_static("x-tidegate-cache-write-tokens");
const REASONING_TOKENS: HeaderName = HeaderName::from_static("x-tidegate-reasoning-tokens");
const INPUT_AUDIO_TOKENS: HeaderName = HeaderName::from_static("x-tidegate-input-audio-tokens");
const OUTPUT_AUDIO_TOKENS: HeaderName = HeaderName::from_static("x-tidegate-output-audio-tokens");
const COST: HeaderName = HeaderName::from_static("x-tidegate-cost");
static TIER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("service_tier"));
/// What may stand behind a stream.
const FOLLOWING: HeaderValue = HeaderValue::from_static(
    "x-tidegate-input-tokens, x-tidegate-output-tokens, x-tidegate-cost, x-tidegate-estimate",
);
const ESTIMATE: HeaderName = HeaderName::from_static("x-tidegate-estimate");

/// Reads an answer that is no stream, if it can be read. What is longer goes on where it was.
pub(super) async fn read_whole(
    response: Response<Body>,
    dialect: Dialect,
    told: &Told,
) -> Result<Response<Body>, Failure> {
    let is_encoded = response.headers().contains_key(header::CONTENT_ENCODING);
    let is_long = response.body().length().is_some_and(|length| length > READ_BYTES_MAX as u64);
    let passes = is_encoded || is_long || reply::is_stream(&response) || units::is_sound(&response);
    if !response.status().is_success() || passes {
        return Ok(response);
    }
    let (parts, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    let mut first: Option<Bytes> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        // Most answers come in one piece, which is kept as it is.
        match first.take() {
            None if read.is_empty() => first = Some(data),
            None => read.extend_from_slice(&data),
            Some(begin) => {
                read.extend_from_slice(&begin);
                read.extend_from_slice(&data);
            }
        }
        let length = read.len() + first.as_ref().map_or(0, Bytes::len);
        if length > READ_BYTES_MAX {
            let first = first.unwrap_or_else(|| read.freeze());
            return Ok(Response::from_parts(parts, begun([first], body)));
        }
    }
    let whole = first.unwrap_or_else(|| read.freeze());
    // What was said is no account of what it cost, whatever it looks like.
    if !is_text(&parts) {
        self::read(&whole, dialect, told);
    }
    told.end();
    Ok(Response::from_parts(parts, Body::Full(whole)))
}

/// Notes what an answer cost that its provider has made and nobody is given.
pub(super) fn unwanted(response: &Response<Body>, dialect: Dialect, told: &Told) {
    if let (true, Body::Full(whole)) = (response.status().is_success(), response.body()) {
        read(whole, dialect, told);
        told.end();
    }
}

/// Whether an answer is words alone, such as a transcript.
fn is_text(parts: &http::response::Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/"))
}

/// Reads what a whole answer tells of its usage; where it tells nothing, what it says is counted.
pub(super) fn read(body: &[u8], dialect: Dialect, told: &Told) {
    if let Some(tier) = tier(body) {
        told.serve_in(&tier);
    }
    if let Some(usage) = dialect.peek_usage(body) {
        metered::spend(told, &usage);
    } else if let Ok(answer) = dialect.read_answer(body) {
        // Vectors, say, are no answer: they have no tokens.
        hear(told, &answer);
    }
    units::hear(told, body);
}

/// Notes what a whole answer tells and says.
pub(super) fn hear(told: &Told, answer: &Answer) {
    if let Some(tier) = &answer.tier {
        told.serve_in(tier);
    }
    match &answer.usage {
        Some(usage) => metered::spend(told, usage),
        None => ai::canon::events_of(answer.clone()).iter().for_each(|event| told.hear(event.said())),
    }
    told.end();
}

/// The class in which an answer was served, as it says at its top.
fn tier(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Top {
        #[serde(default)]
        service_tier: Option<String>,
    }
    TIER.find(body)?;
    serde_json::from_slice::<Top>(body).ok()?.service_tier
}

/// Tells on the answer's head what it cost, when it is all there.
pub(super) fn put(call: &Call, response: &mut Response<Body>, told: &Told) {
    let is_whole = matches!(response.body(), Body::Full(_) | Body::Empty);
    let headers = response.headers_mut();
    headers.insert(ATTEMPTS, HeaderValue::from(call.record.attempts));
    if let Some(table) = told.prices.as_ref().and_then(|prices| HeaderValue::from_str(prices.table()).ok()) {
        headers.insert(PRICE_TABLE, table);
    }
    let is_known = is_whole || told.is_known_ahead();
    if is_known {
        tell(told, headers);
    }
}

/// Lets stand behind a stream what it cost, where the caller takes fields there (RFC 9110 §6.5.1). Of `TE` that is all
/// that comes this far.
pub(super) fn follow(call: &Call, mut response: Response<Body>) -> Response<Body> {
    let is_wanted = call.head.headers.contains_key(header::TE) && response.status().is_success();
    let Some(told) = call.record.ai.clone().filter(|_| is_wanted && response.body().length().is_none())
    else {
        return response;
    };
    response.headers_mut().insert(header::TRAILER, FOLLOWING);
    response.map(|inner| Body::boxed(Followed { inner, told, is_over: false }))
}

/// Tells what was spent.
fn tell(told: &Told, headers: &mut HeaderMap) {
    let Some(spending) = told.spending() else { return };
    let usage = &spending.usage;
    headers.insert(INPUT_TOKENS, HeaderValue::from(usage.input));
    headers.insert(OUTPUT_TOKENS, HeaderValue::from(usage.output));
    let tokens = [
        (CACHE_READ_TOKENS, usage.cache_read),
        (CACHE_WRITE_TOKENS, usage.cache_write),
        (REASONING_TOKENS, usage.reasoning),
        (INPUT_AUDIO_TOKENS, usage.input_audio),
        (OUTPUT_AUDIO_TOKENS, usage.output_audio),
    ];
    let units = units::FIELDS.into_iter().zip(spending.units.named().map(|(_, count)| count));
    for (name, count) in tokens.into_iter().chain(units).filter(|(_, count)| *count > 0) {
        headers.insert(name, HeaderValue::from(count));
    }
    if let Some(cost) =
        spending.picodollars.and_then(|cost| HeaderValue::try_from(Usd::of(cost).to_string()).ok())
    {
        headers.insert(COST, cost);
    }
    if spending.is_estimate {
        headers.insert(ESTIMATE, HeaderValue::from_static("true"));
    }
}

/// A stream behind which stands what it cost.
struct Followed {
    inner: Body,
    told: Told,
    is_over: bool,
}

impl Wrapper for Followed {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut trailers = match std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(own) => own,
                Err(data) => return Poll::Ready(Some(Ok(data))),
            },
            Some(Err(failure)) => {
                self.is_over = true;
                return Poll::Ready(Some(Err(failure)));
            }
            None => HeaderMap::new(),
        };
        self.is_over = true;
        tell(&self.told, &mut trailers);
        Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}
