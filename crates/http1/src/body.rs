//! Bodies as they arrive: slices of the input, trailers, the end.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use crate::{
    Framing, Limits, ParseError, ParseErrorKind, chunk, fields,
    find::find,
    framing::Facts,
    lines::{Lines, Scan, headers_max},
    rules,
};

/// What a body's bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyEvent {
    /// Nothing more without more bytes.
    NeedMore,
    /// Some of the body, never empty: a slice of the input, not a copy.
    Data(Bytes),
    /// The trailers of a chunked body, if it has any that are let through; the end follows.
    Trailers(HeaderMap),
    /// The body has ended; it stays so.
    End,
}

/// Reads one body.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    limits: Limits,
    /// What is left of [`Limits::chunk_line_bytes`].
    extension_bytes: usize,
    /// How far an incomplete chunk-size line was searched.
    scanned: usize,
}

#[derive(Debug)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers(Lines),
    Done,
}

impl BodyDecoder {
    /// A decoder for a body framed so.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, limits: *limits, extension_bytes: limits.chunk_line_bytes, scanned: 0 }
    }

    /// Takes the next event off `buf`. Bytes behind the body's end are left there.
    ///
    /// # Errors
    ///
    /// On anything that [`rules`] does not accept; the connection is then of no further use.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<BodyEvent, ParseError> {
        loop {
            match &mut self.state {
                State::Done => return Ok(BodyEvent::End),
                _ if buf.is_empty() => return Ok(BodyEvent::NeedMore),
                State::Length(remaining) => {
                    let data = take(buf, remaining);
                    if *remaining == 0 {
                        self.state = State::Done;
                    }
                    return Ok(BodyEvent::Data(data));
                }
                State::UntilClose => return Ok(BodyEvent::Data(buf.split().freeze())),
                State::ChunkData(remaining) => {
                    let data = take(buf, remaining);
                    if *remaining == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(BodyEvent::Data(data));
                }
                State::ChunkEnd => match (buf[0], buf.get(1)) {
                    (b'\r', Some(b'\n')) => {
                        buf.advance(2);
                        self.state = State::ChunkSize;
                    }
                    (b'\r', None) => return Ok(BodyEvent::NeedMore),
                    _ => return Err(ParseErrorKind::MissingChunkEnd.into()),
                },
                State::ChunkSize => match self.chunk_size(buf)? {
                    Some(0) => self.state = State::Trailers(Lines::default()),
                    Some(size) => self.state = State::ChunkData(size),
                    None => return Ok(BodyEvent::NeedMore),
                },
                State::Trailers(lines) => {
                    let Some(trailers) = read_trailers(lines, &self.limits, buf)? else {
                        return Ok(BodyEvent::NeedMore);
                    };
                    self.state = State::Done;
                    if !trailers.is_empty() {
                        return Ok(BodyEvent::Trailers(trailers));
                    }
                }
            }
        }
    }

    /// Tells that no more bytes come.
    ///
    /// # Errors
    ///
    /// [`ParseErrorKind::Incomplete`] when the body had not ended.
    pub fn finish_eof(&mut self) -> Result<(), ParseError> {
        match self.state {
            State::UntilClose | State::Done => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(ParseErrorKind::Incomplete.into()),
        }
    }

    /// Whether the whole body, with its trailers, was taken off the input.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether nothing but the end of the connection tells where the body ends.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// How many bytes are still to come: at least, and at most if that is known.
    pub fn remaining_hint(&self) -> (u64, Option<u64>) {
        match self.state {
            State::Length(remaining) => (remaining, Some(remaining)),
            State::ChunkData(remaining) => (remaining, None),
            State::UntilClose | State::ChunkSize | State::ChunkEnd => (0, None),
            State::Trailers(_) | State::Done => (0, Some(0)),
        }
    }

    fn chunk_size(&mut self, buf: &mut BytesMut) -> Result<Option<u64>, ParseErrorKind> {
        // Digits, CRLF and what extensions may still take: a longer line is refused before its end has come.
        let line_max = chunk::SIZE_DIGITS_MAX + 2 + self.extension_bytes;
        let window = &buf[..buf.len().min(line_max)];
        let Some(offset) = find(b'\n', &window[self.scanned..]) else {
            self.scanned = window.len();
            return if window.len() == line_max {
                Err(ParseErrorKind::ChunkExtensionsTooLong)
            } else {
                Ok(None)
            };
        };
        let feed = self.scanned + offset;
        if feed == 0 || window[feed - 1] != b'\r' {
            return Err(ParseErrorKind::BareLf);
        }
        let line = chunk::parse(&window[..feed - 1])?;
        self.extension_bytes = self
            .extension_bytes
            .checked_sub(line.extension_bytes)
            .ok_or(ParseErrorKind::ChunkExtensionsTooLong)?;
        buf.advance(feed + 1);
        self.scanned = 0;
        Ok(Some(line.size))
    }
}

fn take(buf: &mut BytesMut, remaining: &mut u64) -> Bytes {
    let len = usize::try_from(*remaining).unwrap_or(usize::MAX).min(buf.len());
    *remaining -= len as u64;
    buf.split_to(len).freeze()
}

fn read_trailers(
    lines: &mut Lines,
    limits: &Limits,
    buf: &mut BytesMut,
) -> Result<Option<HeaderMap>, ParseErrorKind> {
    let end = match lines.scan(buf, limits.trailer_bytes, headers_max(limits))? {
        Scan::Complete(end) => end,
        Scan::Partial => return Ok(None),
        Scan::TooLong => return Err(ParseErrorKind::TrailersTooLarge),
    };
    let section = buf.split_to(end).freeze();
    let mut trailers = HeaderMap::with_capacity(lines.len());
    let mut facts = Facts::default();
    for line in lines.iter() {
        let (name, _, _) = fields::split(&section, line)?;
        if rules::is_refused_trailer(&name) {
            return Err(ParseErrorKind::ForbiddenTrailer);
        }
        fields::read(&section, line, &mut trailers, &mut facts)?;
        if rules::is_dropped_trailer(&name) {
            trailers.remove(&name);
        }
    }
    Ok(Some(trailers))
}
