//! The stream of a request, from its client (RFC 9114 §4.1): a head, data, perhaps trailers.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, request::Parts};

use crate::{
    Limits,
    error::{Code, Error, MALFORMED},
    frame::{self, HeadReader},
    head,
};

/// What a stream tells.
#[derive(Debug)]
pub enum Event {
    /// The head; it comes once, and first.
    Head(Box<Parts>),
    /// Bytes of the body.
    Data(Bytes),
    /// Trailers; nothing comes after them.
    Trailers(HeaderMap),
}

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Body,
    Ended,
}

/// Where a frame is.
#[derive(Debug, Clone, Copy)]
enum Frame {
    Head,
    Section { left: usize },
    Data { left: u64 },
    Skipped { left: u64 },
}

/// Reads the stream of a request.
#[derive(Debug)]
pub struct RequestDecoder {
    limits: Limits,
    stage: Stage,
    frame: Frame,
    reader: HeadReader,
    /// A section that came in pieces.
    section: BytesMut,
    /// What is left of the length that the head states.
    promised: Option<u64>,
    useless: u32,
}

impl RequestDecoder {
    /// Begins a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            stage: Stage::Head,
            frame: Frame::Head,
            reader: HeadReader::default(),
            section: BytesMut::new(),
            promised: None,
            useless: 0,
        }
    }

    /// The next event of what has come. None when all of it is taken.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Event>, Error> {
        loop {
            match self.frame {
                Frame::Head => {
                    let Some((kind, length)) = self.reader.read(input) else { return Ok(None) };
                    self.begin(kind, length)?;
                }
                Frame::Section { left } => {
                    let count = left.min(input.len());
                    let whole = count == left && self.section.is_empty();
                    let piece = input.split_to(count);
                    if !whole {
                        self.section.extend_from_slice(&piece);
                    }
                    if count < left {
                        self.frame = Frame::Section { left: left - count };
                        return Ok(None);
                    }
                    self.frame = Frame::Head;
                    let gathered = std::mem::take(&mut self.section).freeze();
                    return self.read(if whole { &piece } else { &gathered }).map(Some);
                }
                Frame::Data { left: 0 } | Frame::Skipped { left: 0 } => self.frame = Frame::Head,
                Frame::Data { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    self.frame = Frame::Data { left: left - count as u64 };
                    return Ok(Some(Event::Data(input.split_to(count))));
                }
                Frame::Skipped { left } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    input.advance(count);
                    self.frame = Frame::Skipped { left: left - count as u64 };
                }
            }
        }
    }

    /// Whether the stream may end here.
    pub fn end(&self) -> Result<(), Error> {
        match (self.frame, self.stage) {
            (Frame::Head, _) if self.reader.has_begun() => Err(Error::Connection(Code::FRAME_ERROR)),
            (Frame::Section { .. } | Frame::Data { left: 1.. } | Frame::Skipped { left: 1.. }, _) => {
                Err(Error::Connection(Code::FRAME_ERROR))
            }
            (_, Stage::Head) => Err(Error::Stream(Code::REQUEST_INCOMPLETE)),
            _ if self.promised.is_some_and(|left| left > 0) => Err(MALFORMED),
            _ => Ok(()),
        }
    }

    /// Bytes of the body that the head promises and that have not begun to come.
    pub fn promised(&self) -> Option<u64> {
        self.promised
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<(), Error> {
        let unexpected = Err(Error::Connection(Code::FRAME_UNEXPECTED));
        match kind {
            frame::HEADERS if self.stage == Stage::Ended => return unexpected,
            frame::HEADERS => {
                let left = usize::try_from(length).ok().filter(|left| *left <= self.limits.section_bytes);
                self.frame = Frame::Section { left: left.ok_or(Error::TooLarge)? };
            }
            frame::DATA if self.stage != Stage::Body => return unexpected,
            frame::DATA => {
                if length == 0 {
                    self.note_useless()?;
                }
                if let Some(promised) = &mut self.promised {
                    *promised = promised.checked_sub(length).ok_or(MALFORMED)?;
                }
                self.frame = Frame::Data { left: length };
            }
            frame::CANCEL_PUSH
            | frame::SETTINGS
            | frame::PUSH_PROMISE
            | frame::GOAWAY
            | frame::MAX_PUSH_ID => return unexpected,
            kind if frame::is_of_http2(kind) => return unexpected,
            // Kinds that nobody knows are there to be skipped (§9).
            _ => {
                self.note_useless()?;
                self.frame = Frame::Skipped { left: length };
            }
        }
        Ok(())
    }

    fn note_useless(&mut self) -> Result<(), Error> {
        self.useless += 1;
        if self.useless > self.limits.useless_frames {
            return Err(Error::Connection(Code::EXCESSIVE_LOAD));
        }
        Ok(())
    }

    fn read(&mut self, section: &[u8]) -> Result<Event, Error> {
        if self.stage == Stage::Head {
            let head = head::request(section, self.limits.section_bytes)?;
            self.promised = head::content_length(&head.headers)?;
            self.stage = Stage::Body;
            return Ok(Event::Head(head));
        }
        let trailers = head::trailers(section, self.limits.section_bytes)?;
        self.stage = Stage::Ended;
        Ok(Event::Trailers(trailers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{qpack, varint};

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint::write(kind, &mut out);
        varint::write(payload.len() as u64, &mut out);
        [&out[..], payload].concat()
    }

    fn section(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        qpack::begin(&mut out);
        fields.iter().for_each(|(name, value)| qpack::encode(name, value.as_bytes(), &mut out));
        out
    }

    fn head(more: &[(&str, &str)]) -> Vec<u8> {
        let own = [(":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")];
        frame(frame::HEADERS, &section(&[&own[..], more].concat()))
    }

    /// What a stream tells when it comes in pieces of this size, and how it ends.
    fn told(bytes: &[u8], piece: usize) -> (String, Result<(), Error>) {
        let mut decoder = RequestDecoder::new(Limits { section_bytes: 1000, ..Limits::default() });
        let mut told = String::new();
        for part in bytes.chunks(piece) {
            let mut part = Bytes::copy_from_slice(part);
            loop {
                match decoder.decode(&mut part) {
                    Ok(Some(Event::Head(head))) => told += &format!("{} {}|", head.method, head.uri),
                    Ok(Some(Event::Data(data))) => told += &String::from_utf8_lossy(&data),
                    Ok(Some(Event::Trailers(trailers))) => told += &format!("|{trailers:?}"),
                    Ok(None) => break,
                    Err(error) => return (told, Err(error)),
                }
            }
            assert!(part.is_empty());
        }
        (told, decoder.end())
    }

    #[track_caller]
    fn check(parts: &[Vec<u8>], wanted: &str, end: Result<(), Error>) {
        let bytes = parts.concat();
        for piece in [1, 2, 7, bytes.len()] {
            assert_eq!(told(&bytes, piece), (wanted.to_owned(), end), "in pieces of {piece}");
        }
    }

    const GREASE: u64 = 0x1f * 7 + 0x21;

    #[test]
    fn a_message_is_a_head_data_and_trailers_with_unknown_frames_between() {
        let trailers = frame(frame::HEADERS, &section(&[("x-sum", "1")]));
        let data = |text: &str| frame(frame::DATA, text.as_bytes());
        let unknown = frame(GREASE, b"whatever");
        let parts =
            [unknown.clone(), head(&[]), data("ab"), unknown.clone(), data(""), data("c"), trailers, unknown];
        check(&parts, "POST https://a.test/|abc|{\"x-sum\": \"1\"}", Ok(()));
        check(&[head(&[])], "POST https://a.test/|", Ok(()));
    }

    #[test]
    fn frames_have_their_place() {
        let unexpected = Err(Error::Connection(Code::FRAME_UNEXPECTED));
        let trailers = frame(frame::HEADERS, &section(&[("x-sum", "1")]));
        check(&[frame(frame::DATA, b"x")], "", unexpected);
        for kind in [0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0d] {
            check(&[frame(kind, b"")], "", unexpected);
            check(&[head(&[]), frame(kind, b"")], "POST https://a.test/|", unexpected);
        }
        let after = "POST https://a.test/||{\"x-sum\": \"1\"}";
        check(&[head(&[]), trailers.clone(), frame(frame::DATA, b"x")], after, unexpected);
        check(&[head(&[]), trailers.clone(), trailers], after, unexpected);
    }

    #[test]
    fn streams_end_between_frames_and_after_a_head() {
        let error = Err(Error::Connection(Code::FRAME_ERROR));
        let mut cut = head(&[]);
        cut.pop();
        check(&[cut], "", error);
        check(&[head(&[]), vec![0]], "POST https://a.test/|", error);
        check(&[head(&[]), vec![0, 3, b'x']], "POST https://a.test/|x", error);
        check(&[frame(GREASE, b"")], "", Err(Error::Stream(Code::REQUEST_INCOMPLETE)));
    }

    #[test]
    fn the_length_that_is_stated_is_the_length_that_comes() {
        let data = |text: &str| frame(frame::DATA, text.as_bytes());
        let stated = |length| head(&[("content-length", length)]);
        let told = "POST https://a.test/|";
        check(&[stated("3"), data("ab"), data("c")], &format!("{told}abc"), Ok(()));
        check(&[stated("0")], told, Ok(()));
        check(&[stated("3"), data("ab")], &format!("{told}ab"), Err(MALFORMED));
        check(&[stated("3"), data("ab"), data("cd")], &format!("{told}ab"), Err(MALFORMED));
        check(&[stated("x")], "", Err(MALFORMED));
    }

    #[test]
    fn sections_are_bounded_before_they_are_read() {
        let huge = [&[0x01, 0x80, 0x10, 0x00, 0x00][..], b"never read"].concat();
        assert_eq!(told(&huge, 3), (String::new(), Err(Error::TooLarge)));
        let long = "v".repeat(990);
        assert_eq!(told(&head(&[("x-a", &long)]), 100), (String::new(), Err(Error::TooLarge)));
    }

    #[test]
    fn frames_without_a_use_are_counted() {
        let many = |kind, count| vec![frame(kind, b""); count].concat();
        let flood = Err(Error::Connection(Code::EXCESSIVE_LOAD));
        assert_eq!(told(&[head(&[]), many(GREASE, 100)].concat(), 64).1, Ok(()));
        assert_eq!(told(&[head(&[]), many(GREASE, 101)].concat(), 64).1, flood);
        assert_eq!(told(&[head(&[]), many(frame::DATA, 101)].concat(), 64).1, flood);
    }
}
