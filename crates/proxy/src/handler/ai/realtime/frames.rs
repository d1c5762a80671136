//! Frames of a WebSocket (RFC 6455 §5.2), whole and as they came.

use bytes::{Bytes, BytesMut};

/// What a frame is.
pub(in crate::handler) const CONTINUATION: u8 = 0;
pub(in crate::handler) const TEXT: u8 = 1;
pub(in crate::handler) const BINARY: u8 = 2;
pub(in crate::handler) const CLOSE: u8 = 8;
/// From here on frames are about the connection, and may stand among the pieces of a message.
pub(in crate::handler) const CONTROL: u8 = 8;

/// Why what came is no frame.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::handler) enum Broken {
    /// Larger than it may be.
    TooLarge,
    /// Against the protocol, or of an extension that was not agreed on.
    Strange,
}

/// One frame.
#[derive(Debug)]
pub(in crate::handler) struct Frame {
    /// All of it, as it came.
    pub(in crate::handler) raw: Bytes,
    pub(in crate::handler) opcode: u8,
    /// It is the last of its message.
    pub(in crate::handler) is_last: bool,
    mask: Option<[u8; 4]>,
    payload_at: usize,
}

impl Frame {
    /// Whether it is masked, as those of clients have to be (§5.1).
    pub(in crate::handler) fn is_masked(&self) -> bool {
        self.mask.is_some()
    }

    /// Adds what it holds, in clear.
    pub(in crate::handler) fn read(&self, into: &mut Vec<u8>) {
        let payload = self.raw.get(self.payload_at..).unwrap_or_default();
        let from = into.len();
        into.extend_from_slice(payload);
        if let Some(mask) = self.mask {
            let added = into.iter_mut().skip(from);
            added.zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        }
    }
}

/// Frames cut out of what comes.
pub(in crate::handler) struct Frames {
    came: BytesMut,
    payload_bytes_max: u64,
}

impl Frames {
    pub(in crate::handler) fn new(payload_bytes_max: u64) -> Self {
        Self { came: BytesMut::new(), payload_bytes_max }
    }

    pub(in crate::handler) fn push(&mut self, data: &[u8]) {
        self.came.extend_from_slice(data);
    }

    /// The next whole frame.
    pub(in crate::handler) fn next(&mut self) -> Result<Option<Frame>, Broken> {
        let (&[first, second], rest) = match self.came.split_first_chunk::<2>() {
            Some((head, rest)) => (head, rest),
            None => return Ok(None),
        };
        let opcode = first & 0x0f;
        let is_last = first & 0x80 != 0;
        if first & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || (opcode >= CONTROL && !is_last) {
            return Err(Broken::Strange);
        }
        let (length, rest, head) = match second & 0x7f {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest, 4),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest, 10),
                None => return Ok(None),
            },
            short => (u64::from(short), rest, 2),
        };
        if length > self.payload_bytes_max {
            return Err(Broken::TooLarge);
        }
        if opcode >= CONTROL && length > 125 {
            return Err(Broken::Strange);
        }
        let (mask, payload_at) = match second & 0x80 != 0 {
            false => (None, head),
            true => match rest.first_chunk::<4>() {
                Some(mask) => (Some(*mask), head + 4),
                None => return Ok(None),
            },
        };
        let length = usize::try_from(length).map_err(|_| Broken::TooLarge)?;
        if self.came.len() < payload_at + length {
            return Ok(None);
        }
        let raw = self.came.split_to(payload_at + length).freeze();
        Ok(Some(Frame { raw, opcode, is_last, mask, payload_at }))
    }
}

/// A frame of the gateway's own. What goes to a server is masked.
pub(in crate::handler) fn written(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.extend_from_slice(&[0x80 | opcode]);
    match payload.len() {
        short @ 0..=125 => out.extend_from_slice(&[masked | short as u8]),
        middle @ 126..=0xffff => {
            out.extend_from_slice(&[masked | 126]);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.extend_from_slice(&[masked | 127]);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let from = match mask {
        Some(mask) => {
            out.extend_from_slice(&mask);
            out.len()
        }
        None => out.len(),
    };
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        let added = out.iter_mut().skip(from);
        added.zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    }
}

/// A law for whatever bytes: frames are the same however they are parted, are what came, and read the same when they are
/// written anew.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn law(bytes: &[u8]) {
    const MOST: u64 = 4096;
    let cut = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let mut frames = Frames::new(MOST);
        let mut found = Vec::new();
        for part in parts {
            frames.push(part);
            loop {
                match frames.next() {
                    Ok(Some(frame)) => found.push(frame),
                    Ok(None) => break,
                    Err(broken) => return (found, Some(broken)),
                }
            }
        }
        (found, None)
    };
    let (size, bytes) = bytes.split_first().map_or((1, bytes), |(size, rest)| (*size, rest));
    let (whole, broken) = cut(&mut std::iter::once(bytes));
    let (parted, early) = cut(&mut bytes.chunks(usize::from(size).max(1)));
    assert_eq!(broken, early, "the same verdict");
    assert_eq!(whole.len(), parted.len(), "as many frames");
    let mut rest = bytes;
    for (one, other) in whole.iter().zip(&parted) {
        assert_eq!((&one.raw, one.opcode, one.is_last), (&other.raw, other.opcode, other.is_last));
        rest = rest.strip_prefix(&*one.raw).expect("frames are what came");
        let mut payload = Vec::new();
        one.read(&mut payload);
        assert!(payload.len() as u64 <= MOST && (one.opcode < CONTROL || payload.len() <= 125));
        let mut anew = BytesMut::new();
        written(one.opcode, &payload, one.mask, &mut anew);
        let (again, none) = cut(&mut std::iter::once(&*anew));
        let mut read = Vec::new();
        again.iter().for_each(|frame| frame.read(&mut read));
        assert_eq!((again.len(), none, read), (1, None, payload), "what is written reads the same");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_out_wherever_the_bytes_are_split() {
        for length in [0, 1, 125, 126, 0xffff, 0x10000] {
            for mask in [None, Some([1, 2, 3, 250])] {
                let payload: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
                let mut wire = BytesMut::new();
                written(TEXT, &payload, mask, &mut wire);
                written(9, b"ping", mask, &mut wire);
                let splits = (0..wire.len().min(20)).chain([wire.len() / 2, wire.len() - 1]);
                for split in splits {
                    let mut frames = Frames::new(0x10000);
                    let mut found = Vec::new();
                    for piece in [&wire[..split], &wire[split..]] {
                        frames.push(piece);
                        while let Some(frame) = frames.next().expect("good frames") {
                            found.push(frame);
                        }
                    }
                    let mut read = Vec::new();
                    found[0].read(&mut read);
                    assert_eq!((read == payload, found[0].opcode, found[1].opcode), (true, TEXT, 9));
                    let raw: Vec<u8> = found.iter().flat_map(|frame| frame.raw.to_vec()).collect();
                    assert_eq!(raw, wire, "as it came");
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_or_strange_is_refused_by_its_head() {
        let next = |bytes: &[u8]| {
            let mut frames = Frames::new(1000);
            frames.push(bytes);
            frames.next().map(|frame| frame.is_some())
        };
        assert_eq!(next(&[0x81, 126, 0x03, 0xe9]), Err(Broken::TooLarge));
        assert_eq!(next(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]), Err(Broken::TooLarge));
        assert_eq!(next(&[0xc1, 0]), Err(Broken::Strange), "compressed");
        assert_eq!(next(&[0x83, 0]), Err(Broken::Strange));
        assert_eq!(next(&[0x09, 0]), Err(Broken::Strange), "a control frame in pieces");
        assert_eq!(next(&[0x88, 126, 0, 200]), Err(Broken::Strange));
        assert_eq!(next(&[0x81]), Ok(false));
    }
}
