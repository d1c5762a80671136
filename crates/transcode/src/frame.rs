//! Messages on the wire: one byte of flags, four of length, and the message (gRPC over HTTP/2, "Length-Prefixed-Message").
//! gRPC-Web and Connect's streams have the same form with flags of their own.

use std::io::{Read, Write};

use bytes::{Buf, Bytes, BytesMut};

/// Flag of a message that is compressed.
pub const COMPRESSED: u8 = 1;

/// Bytes before a message.
pub const PREFIX_BYTES: usize = 5;

/// A message, or what its flags say that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The flags.
    pub flags: u8,
    /// The bytes as they came.
    pub data: Bytes,
}

/// Why a stream of messages cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// A message has more bytes than are allowed.
    TooLarge(usize),
    /// What is compressed does not unpack.
    Garbled(String),
    /// It ended within a message.
    Unfinished,
    /// There is more than the one message that there may be.
    Further,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(max) => write!(f, "a message has more than {max} bytes"),
            Self::Garbled(why) => write!(f, "a message does not unpack: {why}"),
            Self::Unfinished => f.write_str("the stream ends within a message"),
            Self::Further => f.write_str("there is a second message where there is one"),
        }
    }
}

/// Takes a stream apart.
#[derive(Debug)]
pub struct Reader {
    buffer: BytesMut,
    bytes_max: usize,
}

impl Reader {
    /// A reader of messages up to so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), bytes_max }
    }

    /// Takes what has come.
    pub fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole message, if it is there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Broken> {
        let Some((&[flags, a, b, c, d], _)) = self.buffer.split_first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.bytes_max {
            return Err(Broken::TooLarge(self.bytes_max));
        }
        if self.buffer.len() - PREFIX_BYTES < length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(Frame { flags, data: self.buffer.split_to(length).freeze() }))
    }

    /// Whether something is left that is no whole message.
    pub fn is_within(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// Takes a stream that has one message.
#[derive(Debug)]
pub struct One {
    reader: Reader,
    message: Option<Bytes>,
}

impl One {
    /// A reader of one message up to so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { reader: Reader::new(bytes_max), message: None }
    }

    /// Takes what has come.
    pub fn push(&mut self, data: &[u8]) -> Result<(), Broken> {
        self.reader.push(data);
        while let Some(frame) = self.reader.next_frame()? {
            if self.message.is_some() {
                return Err(Broken::Further);
            }
            self.message = Some(frame.message(self.reader.bytes_max)?);
        }
        Ok(())
    }

    /// The message, if there was one.
    pub fn end(self) -> Result<Option<Bytes>, Broken> {
        match self.reader.is_within() {
            true => Err(Broken::Unfinished),
            false => Ok(self.message),
        }
    }
}

impl Frame {
    /// The message, unpacked where it is compressed.
    pub fn message(self, bytes_max: usize) -> Result<Bytes, Broken> {
        match self.flags & COMPRESSED {
            0 => Ok(self.data),
            _ => gunzip(&self.data, bytes_max).map(Bytes::from),
        }
    }
}

/// Writes a message with what stands before it.
pub fn put(flags: u8, message: &[u8], out: &mut Vec<u8>) {
    out.push(flags);
    // No message that is read or made here comes near four gigabytes.
    out.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(message);
}

/// Unpacks up to so many bytes.
pub fn gunzip(data: &[u8], bytes_max: usize) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::new();
    let mut bounded = flate2::read::MultiGzDecoder::new(data).take(bytes_max as u64 + 1);
    bounded.read_to_end(&mut out).map_err(|error| Broken::Garbled(error.to_string()))?;
    if out.len() > bytes_max {
        return Err(Broken::TooLarge(bytes_max));
    }
    Ok(out)
}

/// Packs bytes.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // A vector takes everything.
    let _ = packer.write_all(data);
    packer.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            messages in proptest::collection::vec(proptest::collection::vec(0u8.., 0..50), 0..6),
            cut in 1usize..20,
        ) {
            let mut wire = Vec::new();
            for (at, message) in messages.iter().enumerate() {
                match at % 2 {
                    0 => put(0, message, &mut wire),
                    _ => put(COMPRESSED, &gzip(message), &mut wire),
                }
            }
            let mut reader = Reader::new(1000);
            let mut found = Vec::new();
            for chunk in wire.chunks(cut) {
                reader.push(chunk);
                while let Some(frame) = reader.next_frame().expect("a frame") {
                    found.push(frame.message(1000).expect("a message").to_vec());
                }
            }
            proptest::prop_assert_eq!(found, messages);
            proptest::prop_assert!(!reader.is_within());
        }
    }

    #[test]
    fn one_message_is_one_however_it_comes() {
        let frames = |messages: &[&[u8]]| {
            let mut wire = Vec::new();
            messages.iter().for_each(|message| put(0, message, &mut wire));
            wire
        };
        let read = |wire: &[u8], cut: usize| {
            let mut one = One::new(10);
            wire.chunks(cut).try_for_each(|chunk| one.push(chunk))?;
            one.end()
        };
        for cut in [1, 3, 1000] {
            assert_eq!(read(&frames(&[]), cut), Ok(None));
            assert_eq!(read(&frames(&[b"a"]), cut), Ok(Some(Bytes::from_static(b"a"))));
            assert_eq!(read(&frames(&[b"a", b"b"]), cut), Err(Broken::Further));
            assert_eq!(read(&[&*frames(&[b"a"]), b"\0"].concat(), cut), Err(Broken::Unfinished));
            assert_eq!(read(&[0, 0, 0, 0, 11], cut), Err(Broken::TooLarge(10)));
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_here() {
        let mut reader = Reader::new(10);
        reader.push(&[0, 0, 0, 0, 11]);
        assert_eq!(reader.next_frame(), Err(Broken::TooLarge(10)));
        let packed = Frame { flags: COMPRESSED, data: gzip(&[7; 1000]).into() };
        assert_eq!(packed.message(999), Err(Broken::TooLarge(999)));
        let garbled = Frame { flags: COMPRESSED, data: Bytes::from_static(b"no gzip") };
        assert!(matches!(garbled.message(999), Err(Broken::Garbled(_))));
    }
}
