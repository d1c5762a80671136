//! The client's streams of one direction, and the server's control stream (RFC 9114 §6.2, RFC 9204 §4.2).

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    error::{Code, Error},
    frame::{self, HeadReader},
    qpack, varint,
};

/// Bytes of a frame on the control stream.
const FRAME_BYTES_MAX: u64 = 4096;
/// Frames on the control stream that say nothing, before they are [forgiven](ControlDecoder::forgive).
const USELESS_FRAMES_MAX: u32 = 1000;
/// Streams that one whose client uses no dynamic table may cancel, before that is forgiven.
const CANCELS_MAX: u32 = 100_000;

const CONTROL_STREAM: u64 = 0x00;
const PUSH_STREAM: u64 = 0x01;
const ENCODER_STREAM: u64 = 0x02;
const DECODER_STREAM: u64 = 0x03;
const SETTING_DYNAMIC_TABLE: u64 = 0x01;
const SETTING_SECTION_BYTES: u64 = 0x06;
const SETTING_BLOCKED_STREAMS: u64 = 0x07;

/// What a stream of one direction is for, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// The client's control stream.
    Control,
    /// Instructions for a dynamic table that is not there.
    Encoder,
    /// Receipts for a dynamic table that is not used.
    Decoder,
    /// A kind that nobody knows; it is there to be ignored.
    Unknown,
}

impl StreamKind {
    /// Reads it from the front of what has come, with its length. None when bytes are missing.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Error> {
        let Some((kind, used)) = varint::read(bytes) else { return Ok(None) };
        let kind = match kind {
            CONTROL_STREAM => Self::Control,
            ENCODER_STREAM => Self::Encoder,
            DECODER_STREAM => Self::Decoder,
            // Only servers push (§6.2.2).
            PUSH_STREAM => return Err(Error::Connection(Code::STREAM_CREATION_ERROR)),
            _ => Self::Unknown,
        };
        Ok(Some((kind, used)))
    }
}

/// What the server's control stream begins with: its kind, and the settings.
pub fn greeting(section_bytes: usize) -> Bytes {
    let mut settings = BytesMut::new();
    for (name, value) in [
        (SETTING_DYNAMIC_TABLE, 0),
        (SETTING_BLOCKED_STREAMS, 0),
        (SETTING_SECTION_BYTES, section_bytes as u64),
    ] {
        varint::write(name, &mut settings);
        varint::write(value, &mut settings);
    }
    let mut out = BytesMut::new();
    varint::write(CONTROL_STREAM, &mut out);
    varint::write(frame::SETTINGS, &mut out);
    varint::write(settings.len() as u64, &mut out);
    out.extend_from_slice(&settings);
    out.freeze()
}

/// The last id that a request's stream could have: a [`goaway`] from there on asks for no new requests, and refuses none.
pub const LAST_STREAM: u64 = (1 << 62) - 4;

/// Says that requests from this stream on are not looked at.
pub fn goaway(stream: u64) -> Bytes {
    let mut id = BytesMut::new();
    varint::write(stream, &mut id);
    let mut out = BytesMut::new();
    varint::write(frame::GOAWAY, &mut out);
    varint::write(id.len() as u64, &mut out);
    out.extend_from_slice(&id);
    out.freeze()
}

/// Reads the client's control stream, behind its kind.
#[derive(Debug, Default)]
pub struct ControlDecoder {
    reader: HeadReader,
    /// The frame that is under way, and what is missing of it.
    frame: Option<(u64, usize)>,
    payload: BytesMut,
    is_greeted: bool,
    push_id: Option<u64>,
    goaway: Option<u64>,
    useless: u32,
}

impl ControlDecoder {
    /// Forgets what was counted: a connection that lives for long may say as much again, if it takes its time.
    pub fn forgive(&mut self) {
        self.useless = 0;
    }

    /// Takes what has come. It may not end: that is [`Code::CLOSED_CRITICAL_STREAM`].
    pub fn decode(&mut self, input: &mut Bytes) -> Result<(), Error> {
        loop {
            let Some((kind, left)) = self.frame else {
                let Some((kind, length)) = self.reader.read(input) else { return Ok(()) };
                self.begin(kind, length)?;
                continue;
            };
            let piece = input.split_to(left.min(input.len()));
            self.payload.extend_from_slice(&piece);
            if piece.len() < left {
                self.frame = Some((kind, left - piece.len()));
                return Ok(());
            }
            self.frame = None;
            let payload = std::mem::take(&mut self.payload);
            self.take(kind, &payload)?;
        }
    }

    fn begin(&mut self, kind: u64, length: u64) -> Result<(), Error> {
        if !self.is_greeted && kind != frame::SETTINGS {
            return Err(Error::Connection(Code::MISSING_SETTINGS));
        }
        match kind {
            frame::SETTINGS if self.is_greeted => return Err(Error::Connection(Code::FRAME_UNEXPECTED)),
            frame::DATA | frame::HEADERS | frame::PUSH_PROMISE => {
                return Err(Error::Connection(Code::FRAME_UNEXPECTED));
            }
            kind if frame::is_of_http2(kind) => return Err(Error::Connection(Code::FRAME_UNEXPECTED)),
            frame::SETTINGS => {}
            _ => {
                self.useless += 1;
                if self.useless > USELESS_FRAMES_MAX {
                    return Err(Error::Connection(Code::EXCESSIVE_LOAD));
                }
            }
        }
        if length > FRAME_BYTES_MAX {
            return Err(Error::Connection(Code::EXCESSIVE_LOAD));
        }
        self.frame = Some((kind, length as usize));
        Ok(())
    }

    fn take(&mut self, kind: u64, payload: &[u8]) -> Result<(), Error> {
        let one = || match varint::read(payload) {
            Some((value, used)) if used == payload.len() => Ok(value),
            _ => Err(Error::Connection(Code::FRAME_ERROR)),
        };
        let wrong_id = Err(Error::Connection(Code::ID_ERROR));
        match kind {
            frame::SETTINGS => {
                self.is_greeted = true;
                settings(payload)
            }
            frame::GOAWAY => {
                let id = one()?;
                if self.goaway.replace(id).is_some_and(|before| id > before) {
                    return wrong_id;
                }
                Ok(())
            }
            frame::MAX_PUSH_ID => {
                let id = one()?;
                if self.push_id.replace(id).is_some_and(|before| id < before) {
                    return wrong_id;
                }
                Ok(())
            }
            // Nothing was ever pushed (§7.2.3).
            frame::CANCEL_PUSH => one().and(wrong_id),
            _ => Ok(()),
        }
    }
}

fn settings(mut payload: &[u8]) -> Result<(), Error> {
    let wrong = Error::Connection(Code::SETTINGS_ERROR);
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let (name, used) = varint::read(payload).ok_or(Error::Connection(Code::FRAME_ERROR))?;
        payload = &payload[used..];
        let (_, used) = varint::read(payload).ok_or(Error::Connection(Code::FRAME_ERROR))?;
        payload = &payload[used..];
        // Those of HTTP/2 are reserved; none comes twice (§7.2.4).
        if matches!(name, 0x00 | 0x02..=0x05) || seen.contains(&name) {
            return Err(wrong);
        }
        // Few have a meaning: whoever sends more is not told apart from one who repeats.
        if seen.len() < 64 {
            seen.push(name);
        }
    }
    Ok(())
}

/// Reads the client's encoder or decoder stream, behind its kind: with no dynamic table there is little to say.
#[derive(Debug)]
pub struct QpackDecoder {
    is_encoder: bool,
    /// The number that is under way.
    begun: Vec<u8>,
    cancels: u32,
}

impl QpackDecoder {
    /// Of this kind.
    pub fn new(kind: StreamKind) -> Self {
        Self { is_encoder: kind == StreamKind::Encoder, begun: Vec::new(), cancels: 0 }
    }

    /// Forgets what was counted, as [`ControlDecoder::forgive`].
    pub fn forgive(&mut self) {
        self.cancels = 0;
    }

    /// Takes what has come. It may not end: that is [`Code::CLOSED_CRITICAL_STREAM`].
    pub fn decode(&mut self, input: &mut Bytes) -> Result<(), Error> {
        let code = if self.is_encoder { Code::ENCODER_STREAM_ERROR } else { Code::DECODER_STREAM_ERROR };
        let wrong = Error::Connection(code);
        while !input.is_empty() {
            let byte = input.get_u8();
            self.begun.push(byte);
            let first = self.begun[0];
            let prefix = match self.is_encoder {
                // Set the capacity (RFC 9204 §4.3.1).
                true if first & 0xe0 == 0x20 => 5,
                // A stream is cancelled (§4.4.2).
                false if first & 0xc0 == 0x40 => 6,
                // Nothing can be inserted, nothing was, and no section needs a receipt.
                _ => return Err(wrong),
            };
            let full = (1u8 << prefix) - 1;
            let is_whole = if self.begun.len() == 1 { byte & full != full } else { byte & 0x80 == 0 };
            if !is_whole {
                if self.begun.len() > 10 {
                    return Err(wrong);
                }
                continue;
            }
            let value = qpack::integer(&mut &self.begun[..], prefix).map_err(|_| wrong)?;
            self.begun.clear();
            if self.is_encoder && value > 0 {
                return Err(wrong);
            }
            self.cancels += 1;
            if self.cancels > CANCELS_MAX {
                return Err(Error::Connection(Code::EXCESSIVE_LOAD));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(bytes: &[u8]) -> Result<(), Error> {
        let run = |piece: usize| {
            let mut decoder = ControlDecoder::default();
            bytes.chunks(piece).try_for_each(|part| decoder.decode(&mut Bytes::copy_from_slice(part)))
        };
        let end = run(bytes.len().max(1));
        assert_eq!(run(1), end, "{bytes:x?}");
        end
    }

    fn after_greeting(more: &[u8]) -> Result<(), Error> {
        control(&[&greeting(1000)[1..], more].concat())
    }

    #[test]
    fn our_own_greeting_is_read() {
        let bytes = greeting(64 * 1024);
        assert_eq!(StreamKind::read(&bytes), Ok(Some((StreamKind::Control, 1))));
        assert_eq!(control(&bytes[1..]), Ok(()));
        assert_eq!(after_greeting(&goaway(4 * 70_000)), Ok(()));
    }

    #[test]
    fn kinds_of_streams_are_told() {
        for (bytes, kind) in [
            (&[0x02][..], Ok(Some((StreamKind::Encoder, 1)))),
            (&[0x03], Ok(Some((StreamKind::Decoder, 1)))),
            (&[0x21], Ok(Some((StreamKind::Unknown, 1)))),
            (&[0x40, 0x54, 0x00], Ok(Some((StreamKind::Unknown, 2)))),
            (&[0x40], Ok(None)),
            (&[], Ok(None)),
            (&[0x01], Err(Error::Connection(Code::STREAM_CREATION_ERROR))),
        ] {
            assert_eq!(StreamKind::read(bytes), kind, "{bytes:x?}");
        }
    }

    #[test]
    fn a_control_stream_begins_with_settings_and_holds_its_own_frames() {
        for (bytes, code) in [
            (&[0x07, 0x01, 0x00][..], Code::MISSING_SETTINGS),
            (&[0x04, 0x02, 0x02, 0x01], Code::SETTINGS_ERROR),
            (&[0x04, 0x04, 0x06, 0x01, 0x06, 0x01], Code::SETTINGS_ERROR),
            (&[0x04, 0x01, 0x06], Code::FRAME_ERROR),
            (&[0x04, 0x80, 0x10, 0x00, 0x00], Code::EXCESSIVE_LOAD),
        ] {
            assert_eq!(control(bytes), Err(Error::Connection(code)), "{bytes:x?}");
        }
        for (bytes, code) in [
            (&[0x04, 0x00][..], Code::FRAME_UNEXPECTED),
            (&[0x00, 0x00], Code::FRAME_UNEXPECTED),
            (&[0x01, 0x00], Code::FRAME_UNEXPECTED),
            (&[0x05, 0x00], Code::FRAME_UNEXPECTED),
            (&[0x06, 0x00], Code::FRAME_UNEXPECTED),
            (&[0x07, 0x02, 0x00, 0x00], Code::FRAME_ERROR),
            (&[0x07, 0x01, 0x04, 0x07, 0x01, 0x08], Code::ID_ERROR),
            (&[0x0d, 0x01, 0x04, 0x0d, 0x01, 0x03], Code::ID_ERROR),
            (&[0x03, 0x01, 0x00], Code::ID_ERROR),
            (&[0x21, 0x80, 0x10, 0x00, 0x00], Code::EXCESSIVE_LOAD),
        ] {
            assert_eq!(after_greeting(bytes), Err(Error::Connection(code)), "{bytes:x?}");
        }
        assert_eq!(after_greeting(&[0x0d, 0x01, 0x03, 0x0d, 0x01, 0x04, 0x21, 0x02, 0x00, 0x00]), Ok(()));
        assert_eq!(after_greeting(&[0x21, 0x00].repeat(1000)), Ok(()));
        let flood = after_greeting(&[0x21, 0x00].repeat(1001));
        assert_eq!(flood, Err(Error::Connection(Code::EXCESSIVE_LOAD)));
    }

    #[test]
    fn what_is_said_over_a_long_life_is_no_flood() {
        let mut decoder = ControlDecoder::default();
        let say =
            |decoder: &mut ControlDecoder, bytes: &[u8]| decoder.decode(&mut Bytes::copy_from_slice(bytes));
        say(&mut decoder, &greeting(1000)[1..]).expect("settings");
        // PRIORITY_UPDATE (RFC 9218 §7.2), as browsers send it for each picture that comes into sight.
        let update = [&[0x80, 0x0f, 0x07, 0x00, 0x04][..], b"\x00u=1"].concat().repeat(900);
        for _ in 0..10 {
            say(&mut decoder, &update).expect("no flood");
            decoder.forgive();
        }
        let flood = say(&mut decoder, &update).and_then(|()| say(&mut decoder, &update));
        assert_eq!(flood, Err(Error::Connection(Code::EXCESSIVE_LOAD)));
    }

    #[test]
    fn nothing_is_inserted_and_no_receipt_is_owed() {
        let read = |kind, bytes: &[u8]| {
            let mut decoder = QpackDecoder::new(kind);
            bytes.iter().try_for_each(|byte| decoder.decode(&mut Bytes::copy_from_slice(&[*byte])))
        };
        let (encoder, decoder) = (StreamKind::Encoder, StreamKind::Decoder);
        assert_eq!(read(encoder, &[0x20, 0x20]), Ok(()));
        assert_eq!(read(decoder, &[0x44, 0x7f, 0x80, 0x01]), Ok(()));
        for bytes in [&[0x21][..], &[0x3f, 0x01], &[0xc0, 0x00], &[0x41, b'a'], &[0x00]] {
            let wrong = Err(Error::Connection(Code::ENCODER_STREAM_ERROR));
            assert_eq!(read(encoder, bytes), wrong, "{bytes:x?}");
        }
        let endless = [&[0x7f][..], &[0xff; 20]].concat();
        for bytes in [&[0x80][..], &[0x01], &endless] {
            let wrong = Err(Error::Connection(Code::DECODER_STREAM_ERROR));
            assert_eq!(read(decoder, bytes), wrong, "{bytes:x?}");
        }
    }
}
