//! AWS event streams (`application/vnd.amazon.eventstream`), read and written.
//!
//! A message is: its length (4 bytes, big-endian), the length of its headers (4), CRC-32 of these eight (4), headers,
//! payload, CRC-32 of everything before (4). A header is: length of its name (1), name, type (1; 7 is text), and for
//! text its length (2) and bytes. Source: the Smithy specification, "Amazon Event Stream".

use super::{FRAME_BYTES_MAX, Frame, FrameError};

const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;
const TEXT: u8 = 7;

/// Reads messages from bytes, however they are split.
#[derive(Debug, Default)]
pub struct Reader {
    held: Vec<u8>,
}

const MALFORMED: FrameError = FrameError::Malformed("an AWS event stream");

impl Reader {
    /// Takes bytes; whole messages are appended to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Frame>) -> Result<(), FrameError> {
        self.held.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(length) = message_length(&self.held[at..])? {
            if self.held.len() - at < length {
                break;
            }
            out.push(message(&self.held[at..at + length])?);
            at += length;
        }
        self.held.drain(..at);
        Ok(())
    }

    /// Whether all that came belongs to messages that are whole.
    pub fn is_between(&self) -> bool {
        self.held.is_empty()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes)
}

/// The length of the message that begins here, when its prelude is there.
fn message_length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    if bytes.len() < PRELUDE_BYTES {
        return Ok(None);
    }
    if u32_at(bytes, 8) != Some(crc32fast::hash(&bytes[..8])) {
        return Err(FrameError::Checksum);
    }
    let length = u32_at(bytes, 0).map_or(0, |length| length as usize);
    if length < PRELUDE_BYTES + CHECKSUM_BYTES {
        return Err(MALFORMED);
    }
    if length > FRAME_BYTES_MAX { Err(FrameError::TooLarge) } else { Ok(Some(length)) }
}

fn message(bytes: &[u8]) -> Result<Frame, FrameError> {
    let (covered, checksum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if u32_at(checksum, 0) != Some(crc32fast::hash(covered)) {
        return Err(FrameError::Checksum);
    }
    let headers_length = u32_at(covered, 4).map_or(0, |length| length as usize);
    let rest = &covered[PRELUDE_BYTES..];
    if headers_length > rest.len() {
        return Err(MALFORMED);
    }
    let (mut headers, payload) = rest.split_at(headers_length);
    let mut frame = Frame { data: payload.to_vec(), ..Frame::default() };
    while !headers.is_empty() {
        let (name, value, left) = header(headers).ok_or(MALFORMED)?;
        match (name, value) {
            (b":event-type" | b":exception-type" | b":error-code", Some(text)) => {
                frame.event = String::from_utf8_lossy(text).into_owned();
            }
            (b":message-type", Some(text)) => frame.exception = text != b"event",
            _ => {}
        }
        headers = left;
    }
    Ok(frame)
}

/// A header's name, its text if it is one, and what comes after it.
type Header<'b> = (&'b [u8], Option<&'b [u8]>, &'b [u8]);

/// The first of some headers.
fn header(bytes: &[u8]) -> Option<Header<'_>> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (kind, rest) = rest.split_first()?;
    let fixed = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | &TEXT => {
            let (length, rest) = rest.split_at_checked(2)?;
            let (value, rest) =
                rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))?;
            return Some((name, (*kind == TEXT).then_some(value), rest));
        }
        _ => return None,
    };
    rest.split_at_checked(fixed).map(|(_, rest)| (name, None, rest))
}

/// Appends a message with JSON as its payload.
pub fn write(event: &str, exception: bool, data: &[u8], out: &mut Vec<u8>) {
    let mut headers = Vec::with_capacity(96);
    let (kind, message_type) =
        if exception { (":exception-type", "exception") } else { (":event-type", "event") };
    for (name, value) in
        [(kind, event), (":content-type", "application/json"), (":message-type", message_type)]
    {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(TEXT);
        headers.extend_from_slice(&(value.len().min(usize::from(u16::MAX)) as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let begin = out.len();
    let length = PRELUDE_BYTES + headers.len() + data.len() + CHECKSUM_BYTES;
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.extend_from_slice(&(headers.len() as u32).to_be_bytes());
    let checksum = crc32fast::hash(&out[begin..]);
    out.extend_from_slice(&checksum.to_be_bytes());
    out.extend_from_slice(&headers);
    out.extend_from_slice(data);
    let checksum = crc32fast::hash(&out[begin..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        write("messageStart", false, br#"{"role":"assistant"}"#, &mut out);
        write("throttlingException", true, br#"{"message":"slow down"}"#, &mut out);
        out
    }

    #[test]
    fn any_split_gives_the_same_messages() {
        let bytes = sample();
        for first in 0..=bytes.len() {
            let (mut reader, mut out) = (Reader::default(), Vec::new());
            reader.push(&bytes[..first], &mut out).expect("whole");
            reader.push(&bytes[first..], &mut out).expect("whole");
            let got: Vec<_> =
                out.iter().map(|frame| (frame.event.as_str(), frame.exception, &frame.data[..])).collect();
            let want = [
                ("messageStart", false, &br#"{"role":"assistant"}"#[..]),
                ("throttlingException", true, br#"{"message":"slow down"}"#),
            ];
            assert_eq!(got, want, "split at {first}");
        }
    }

    #[test]
    fn a_damaged_byte_is_noticed() {
        let bytes = sample();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let mut out = Vec::new();
            assert!(Reader::default().push(&damaged, &mut out).is_err(), "byte {at}");
        }
    }
}
