//! Streams of events and lines, each taken through steps as it comes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, future::LocalBoxFuture};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use serde_json::Value;

use super::steps::{Reads, Steps, Wrong};
use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
};

/// Bytes of what came that are looked at next. A whole stream may come at once: its pieces are bounded, and not it.
const TAKEN_BYTES: usize = 64 * 1024;

/// The mark with which a text in UTF-8 may begin.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// How the pieces of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Server-sent events.
    Events,
    /// A value in each line.
    Lines,
}

/// A stream whose pieces go through steps.
pub(crate) struct Events {
    inner: Body,
    format: Format,
    steps: Arc<Steps>,
    facts: Arc<Value>,
    /// What came and is not in the buffer yet.
    incoming: Bytes,
    buffer: BytesMut,
    /// Bytes of the buffer in which no piece ends.
    looked_at: usize,
    is_over: bool,
    trailers: Option<HeaderMap>,
    pending: Option<LocalBoxFuture<'static, Result<Bytes, Failure>>>,
}

impl Events {
    pub(crate) fn new(inner: Body, format: Format, steps: Arc<Steps>, facts: Value) -> Self {
        Self {
            inner,
            format,
            steps,
            facts: Arc::new(facts),
            incoming: Bytes::new(),
            buffer: BytesMut::new(),
            looked_at: 0,
            is_over: false,
            trailers: None,
            pending: None,
        }
    }

    /// The next piece with what ends it.
    fn piece(&mut self) -> Option<Bytes> {
        let from = self.looked_at.saturating_sub(3);
        let end = self.buffer.get(from..).and_then(|fresh| end_of(self.format, fresh)).map(|end| from + end);
        match end {
            Some(end) => {
                self.looked_at = 0;
                Some(self.buffer.split_to(end).freeze())
            }
            None if self.is_over && !self.buffer.is_empty() => {
                self.looked_at = 0;
                Some(self.buffer.split().freeze())
            }
            None => {
                self.looked_at = self.buffer.len();
                None
            }
        }
    }
}

/// Where the first piece ends.
fn end_of(format: Format, bytes: &[u8]) -> Option<usize> {
    match format {
        Format::Lines => memchr::memchr(b'\n', bytes).map(|at| at + 1),
        Format::Events => {
            // A line may end in each of three ways, whatever the one before it ended in (WHATWG HTML §9.2.5). Of those
            // that begin at one place the longest: the others are parts of it.
            let ends = [&b"\r\n\r\n"[..], b"\n\r\n", b"\n\n", b"\r\r", b"\n\r"];
            // Whatever is found, what stands behind it is not looked at: there may be thousands of small pieces.
            memchr::memchr2_iter(b'\n', b'\r', bytes).find_map(|at| {
                let rest = bytes.get(at..)?;
                ends.iter().find(|end| rest.starts_with(end)).map(|end| at + end.len())
            })
        }
    }
}

/// Takes one piece through the steps. What is no JSON passes as it is: marks such as `[DONE]`, comments.
async fn one(format: Format, steps: Arc<Steps>, facts: Arc<Value>, piece: Bytes) -> Result<Bytes, Failure> {
    let wrong = |wrong: Wrong| match wrong {
        Wrong::Full => Failure::gateway(Stage::Body, Problem::Overloaded),
        Wrong::Malformed(told) | Wrong::Failed(told) => {
            Failure::upstream(Stage::Body, Problem::BadUpstreamAnswer, told)
        }
    };
    let is_json = |bytes: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    if format == Format::Lines {
        // A mark at the beginning is none of the value's bytes, and readers drop it.
        let line = piece.trim_ascii();
        let line = line.strip_prefix(MARK).unwrap_or(line);
        let is_json = is_json(line);
        if line.is_empty() || !(is_json || steps.reads == Reads::Texts) {
            return Ok(piece);
        }
        let made = steps.run(piece.slice_ref(line), is_json, &facts).await.map_err(wrong)?;
        let mut out = made.to_vec();
        out.retain(|byte| !matches!(byte, b'\n' | b'\r'));
        out.push(b'\n');
        return Ok(out.into());
    }
    // Clients read what is no UTF-8 so, and take a mark at the beginning for none.
    let text = String::from_utf8_lossy(&piece);
    let lines = text
        .trim_start_matches('\u{feff}')
        .split('\n')
        .flat_map(|line| line.trim_end_matches('\r').split('\r'))
        .filter(|line| !line.is_empty());
    let (mut data, mut others) = (Vec::new(), Vec::new());
    for line in lines {
        match line.strip_prefix("data:") {
            Some(value) => data.push(value.strip_prefix(' ').unwrap_or(value)),
            None => others.push(line),
        }
    }
    let data = data.join("\n");
    let is_json = is_json(data.as_bytes());
    // Names, ids and comments are texts, too.
    let mut beside = others.join("\n");
    if steps.reads == Reads::Texts && !beside.is_empty() {
        let made = steps.run(beside.clone().into(), false, &facts).await.map_err(wrong)?;
        let made = String::from_utf8_lossy(&made);
        if data.is_empty() && made != beside {
            return Ok(format!("{made}\n\n").into());
        }
        beside = made.into_owned();
    }
    if data.is_empty() || !(is_json || steps.reads == Reads::Texts) {
        return Ok(piece);
    }
    let made = steps.run(data.into(), is_json, &facts).await.map_err(wrong)?;
    let made = String::from_utf8_lossy(&made).replace('\r', "");
    let mut out = String::new();
    if !beside.is_empty() {
        out.push_str(&beside);
        out.push('\n');
    }
    for line in made.split('\n') {
        out.push_str("data: ");
        out.push_str(line);
        out.push('\n');
    }
    out.push('\n');
    Ok(out.into())
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
        loop {
            if let Some(pending) = &mut self.pending {
                let Poll::Ready(done) = pending.poll_unpin(cx) else { return Poll::Pending };
                self.pending = None;
                match done {
                    Ok(bytes) if bytes.is_empty() => continue,
                    Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Err(failure) => {
                        // Nothing more comes of a stream that broke.
                        self.is_over = true;
                        self.buffer.clear();
                        self.incoming = Bytes::new();
                        self.inner = Body::Empty;
                        return Poll::Ready(Some(Err(failure)));
                    }
                }
            }
            if let Some(piece) = self.piece() {
                self.pending =
                    Some(Box::pin(one(self.format, self.steps.clone(), self.facts.clone(), piece)));
                continue;
            }
            if !self.incoming.is_empty() {
                if self.buffer.len() >= self.steps.bytes_max.saturating_add(TAKEN_BYTES) {
                    let told = format!("a piece of the stream has more than {} bytes", self.steps.bytes_max);
                    self.is_over = true;
                    self.buffer.clear();
                    self.incoming = Bytes::new();
                    self.inner = Body::Empty;
                    return Poll::Ready(Some(Err(Failure::upstream(
                        Stage::Body,
                        Problem::BadUpstreamAnswer,
                        told,
                    ))));
                }
                let length = self.incoming.len().min(TAKEN_BYTES);
                let taken = self.incoming.split_to(length);
                self.buffer.extend_from_slice(&taken);
                continue;
            }
            if self.is_over {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.is_over = true,
                Poll::Ready(Some(Err(failure))) => return Poll::Ready(Some(Err(failure))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.incoming = data,
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }
}
