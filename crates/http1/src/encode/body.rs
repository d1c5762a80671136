//! Bodies on their way out: chunk framing, and lengths kept to their word.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::{EncodeError, head::write_field};
use crate::{Framing, rules};

/// Writes one body.
#[derive(Debug)]
pub struct BodyEncoder {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Chunked,
    UntilClose,
    Done,
}

impl BodyEncoder {
    /// An encoder for a body framed so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Writes `data` with its framing. Empty data writes nothing.
    ///
    /// # Errors
    ///
    /// When the length would be exceeded, or after the end.
    pub fn data(&mut self, data: &Bytes, out: &mut BytesMut) -> Result<(), EncodeError> {
        if data.is_empty() {
            return Ok(());
        }
        out.reserve(data.len() + CHUNK_FRAMING_BYTES_MAX);
        self.data_framing(data.len(), out)?;
        out.extend_from_slice(data);
        self.data_end(out);
        Ok(())
    }

    /// Writes what comes before `len` bytes that the caller writes itself: a chunk's size, or nothing. `len` must
    /// not be 0, which would end the body; [`BodyEncoder::data_end`] must follow the bytes.
    ///
    /// # Errors
    ///
    /// When the length would be exceeded, or after the end.
    pub fn data_framing(&mut self, len: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        match &mut self.state {
            State::Length(remaining) => {
                *remaining = remaining.checked_sub(len as u64).ok_or(EncodeError::BodyTooLong)?;
                Ok(())
            }
            State::Chunked if len == 0 => Err(EncodeError::Ended),
            State::Chunked => {
                write_chunk_size(len as u64, out);
                Ok(())
            }
            State::UntilClose => Ok(()),
            State::Done => Err(EncodeError::Ended),
        }
    }

    /// Writes what comes after those bytes: a chunk's CRLF, or nothing.
    pub fn data_end(&mut self, out: &mut BytesMut) {
        if self.state == State::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Ends the body. Trailers go out with chunks alone, and those that [`rules`] keeps out are left out.
    ///
    /// # Errors
    ///
    /// When the length was not reached.
    pub fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self.state {
            State::Length(0) | State::UntilClose => {}
            State::Length(_) => return Err(EncodeError::BodyTooShort),
            State::Done => return Err(EncodeError::Ended),
            State::Chunked => {
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if !rules::is_refused_trailer(name) && !rules::is_dropped_trailer(name) {
                        write_field(name, value, out);
                    }
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        self.state = State::Done;
        Ok(())
    }
}

/// Digits and CRLF before the data, CRLF behind.
const CHUNK_FRAMING_BYTES_MAX: usize = 16 + 2 + 2;

fn write_chunk_size(size: u64, out: &mut BytesMut) {
    let mut line = [0u8; 18];
    let mut at = 16;
    let mut rest = size;
    loop {
        at -= 1;
        line[at] = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    line[16..].copy_from_slice(b"\r\n");
    out.extend_from_slice(&line[at..]);
}
