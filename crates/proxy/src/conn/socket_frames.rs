//! Frames of a WebSocket as they pass (RFC 6455 §5.2): where they begin and end, how large frames and messages are. Nothing of
//! what they hold is kept.

use bytes::BytesMut;

/// What a frame is.
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
const PONG: u8 = 10;
const CONTINUATION: u8 = 0;
/// From here on frames are about the connection, and may stand among the pieces of a message.
const CONTROL: u8 = 8;
/// Most bytes of a frame's head, and of what a frame about the connection holds.
const HEAD_BYTES_MAX: usize = 14;
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// Bounds of what one side sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes of a frame.
    pub(crate) frame: u64,
    /// Bytes of a message, its frames together.
    pub(crate) message: u64,
}

impl Bounds {
    /// None at all.
    pub(crate) const NONE: Self = Self { frame: u64::MAX, message: u64::MAX };
}

/// A frame or a message is larger than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// What passed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Something of a message.
    pub(crate) is_message: bool,
}

/// Follows the frames of one side.
#[derive(Debug)]
pub(crate) struct Follower {
    bounds: Bounds,
    /// The head that has begun; it passes when it is whole, so that something else may be said in its place.
    head: [u8; HEAD_BYTES_MAX],
    have: usize,
    /// What is left of the frame that passes.
    left: u64,
    is_message: bool,
    /// Bytes of the message so far.
    message: u64,
    /// The answer to a question of the gateway's own, while it is awaited; and as it comes, with its mask.
    awaited: Option<[u8; 8]>,
    answer: Option<([u8; 4], Vec<u8>)>,
}

impl Follower {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            head: [0; HEAD_BYTES_MAX],
            have: 0,
            left: 0,
            is_message: false,
            message: 0,
            awaited: None,
            answer: None,
        }
    }

    /// Whether something may be said between frames now.
    pub(crate) fn is_between(&self) -> bool {
        self.left == 0
    }

    /// The answer to this question is not for the other side.
    pub(crate) fn await_pong(&mut self, payload: [u8; 8]) {
        self.awaited = Some(payload);
    }

    /// Passes on what comes. A frame that is too large does not begin to pass.
    pub(crate) fn take(&mut self, mut data: &[u8], out: &mut BytesMut) -> Result<Passed, TooLarge> {
        let mut passed = Passed::default();
        while !data.is_empty() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len());
                let (piece, rest) = data.split_at(count);
                (data, self.left) = (rest, self.left - count as u64);
                passed.is_message |= self.is_message;
                match &mut self.answer {
                    None => out.extend_from_slice(piece),
                    Some((_, all)) => all.extend_from_slice(piece),
                }
                if self.left == 0 {
                    self.settle_answer(out);
                }
                continue;
            }
            let Some((first, rest)) = data.split_first() else { break };
            data = rest;
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            if let Some(length) = self.payload_bytes() {
                self.begin(length, out)?;
                passed.is_message |= self.is_message;
            }
        }
        Ok(passed)
    }

    /// Bytes of the frame's payload, once its head is whole.
    fn payload_bytes(&self) -> Option<u64> {
        let (second, have) = (self.head[1], self.have);
        let mask = if second & 0x80 != 0 { 4 } else { 0 };
        let [_, _, a, b, c, d, e, f, g, h, ..] = self.head;
        let (length, head) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([a, b])), 4),
            127 => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 10),
            short => (u64::from(short), 2),
        };
        (have >= 2 && have >= head + mask).then_some(length)
    }

    fn begin(&mut self, length: u64, out: &mut BytesMut) -> Result<(), TooLarge> {
        let opcode = self.head[0] & 0x0f;
        self.is_message = opcode < CONTROL;
        if self.is_message {
            if opcode != CONTINUATION {
                self.message = 0;
            }
            self.message = self.message.saturating_add(length);
            if length > self.bounds.frame || self.message > self.bounds.message {
                return Err(TooLarge);
            }
        }
        let have = std::mem::take(&mut self.have);
        self.left = length;
        let mut mask = [0; 4];
        if self.head[1] & 0x80 != 0 {
            mask.copy_from_slice(&self.head[have - 4..have]);
        }
        // Held until it is whole, for then it is known whose answer it is.
        if opcode == PONG && length == 8 && self.awaited.is_some() {
            self.answer = Some((mask, self.head[..have].to_vec()));
            return Ok(());
        }
        out.extend_from_slice(&self.head[..have]);
        Ok(())
    }

    /// An answer that has come whole passes on, unless it is the one that is awaited here.
    fn settle_answer(&mut self, out: &mut BytesMut) {
        let Some((mask, all)) = self.answer.take() else { return };
        let payload = all.iter().rev().take(8).rev().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
        if self.awaited.is_some_and(|awaited| payload.eq(awaited)) {
            self.awaited = None;
            return;
        }
        out.extend_from_slice(&all);
    }
}

/// A frame of the gateway's own about the connection; what goes to an upstream is masked.
pub(crate) fn control(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>, out: &mut BytesMut) {
    let payload = payload.get(..CONTROL_BYTES_MAX).unwrap_or(payload);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.extend_from_slice(&[0x80 | opcode, masked | payload.len() as u8]);
    let key = mask.unwrap_or_default();
    if mask.is_some() {
        out.extend_from_slice(&key);
    }
    let coded: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    out.extend_from_slice(&coded);
}

/// A law for whatever bytes: what passes is what came, but for a head that is not whole and for what is too large, and it is
/// judged the same however it is parted.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn law(bytes: &[u8]) {
    const BOUNDS: Bounds = Bounds { frame: 500, message: 1000 };
    let follow = |parts: &mut dyn Iterator<Item = &[u8]>| {
        let (mut follower, mut out, mut is_message) = (Follower::new(BOUNDS), BytesMut::new(), false);
        for part in parts {
            match follower.take(part, &mut out) {
                Ok(passed) => is_message |= passed.is_message,
                Err(TooLarge) => {
                    assert!(follower.is_between(), "nothing of it has passed");
                    return (out, is_message, true);
                }
            }
        }
        assert!(out.len() + HEAD_BYTES_MAX > bytes.len().saturating_sub(1), "all but a head passes");
        (out, is_message, false)
    };
    let (size, bytes) = bytes.split_first().map_or((1, bytes), |(size, rest)| (*size, rest));
    let whole = follow(&mut std::iter::once(bytes));
    assert!(bytes.starts_with(&whole.0), "what passes is what came");
    let (out, _, is_too_large) = follow(&mut bytes.chunks(usize::from(size).max(1)));
    assert_eq!((&out, is_too_large), (&whole.0, whole.2));
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { frame: 300, message: 700 };

    fn frame(first: u8, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { 0x80 } else { 0 };
        let mut out = vec![first];
        match length {
            0..126 => out.push(masked | length as u8),
            126..0x1_0000 => {
                out.push(masked | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask.map(|mask| mask.to_vec()).unwrap_or_default());
        out.extend(std::iter::repeat_n(0xab, length));
        out
    }

    /// What passes of all of it, and whether it is too large, in pieces of this size.
    fn passed(all: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let (mut follower, mut out) = (Follower::new(BOUNDS), BytesMut::new());
        let is_too_large = all.chunks(piece).any(|part| follower.take(part, &mut out).is_err());
        (out.to_vec(), is_too_large)
    }

    #[test]
    fn what_is_within_bounds_passes_as_it_came_and_what_is_not_never_begins() {
        let mask = Some([9, 8, 7, 250]);
        let good = [
            frame(0x81, 300, mask),
            frame(0x02, 0, None),
            frame(0x00, 300, None),
            // About the connection, in the middle of a message.
            frame(0x89, 125, mask),
            frame(0x80, 300, mask),
        ]
        .concat();
        for (bad, is_too_large) in [
            (frame(0x82, 301, mask), true),
            (frame(0x82, 70_000, None), true),
            ([frame(0x01, 300, None), frame(0x00, 300, None), frame(0x80, 101, None)].concat(), true),
            ([frame(0x01, 300, None), frame(0x00, 300, None), frame(0x80, 100, None)].concat(), false),
            (vec![0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], true),
        ] {
            for piece in [1, 3, 64, 10_000] {
                let (out, is) = passed(&[&good[..], &bad].concat(), piece);
                assert_eq!(is, is_too_large, "{:x?} in pieces of {piece}", &bad[..4]);
                assert!(out.starts_with(&good) && (is || out.len() == good.len() + bad.len()));
            }
        }
    }

    #[test]
    fn only_messages_are_messages() {
        let seen = |first| {
            let (mut follower, mut out) = (Follower::new(Bounds::NONE), BytesMut::new());
            follower.take(&frame(first, 5, None), &mut out).expect("no bounds").is_message
        };
        assert!(seen(0x81) && seen(0x82) && seen(0x00));
        assert!(!seen(0x88) && !seen(0x89) && !seen(0x8a));
    }

    #[test]
    fn the_answer_to_a_question_of_the_gateways_own_does_not_pass() {
        let (mine, other) = (*b"question", *b"another!");
        for piece in [1, 5, 100] {
            let (mut follower, mut out) = (Follower::new(Bounds::NONE), BytesMut::new());
            follower.await_pong(mine);
            let mut all = BytesMut::new();
            control(PONG, &other, Some([1, 2, 3, 4]), &mut all);
            let passes = all.clone();
            control(PONG, &mine, Some([4, 3, 2, 1]), &mut all);
            // The same once more is nothing that was asked here.
            let again = all.len();
            control(PONG, &mine, None, &mut all);
            all.chunks(piece).for_each(|part| {
                follower.take(part, &mut out).expect("no bounds");
            });
            assert_eq!(out, [&passes[..], &all[again..]].concat(), "in pieces of {piece}");
            assert!(follower.is_between());
        }
    }

    #[test]
    fn whatever_bytes_come_the_law_holds() {
        let mut bytes = vec![7];
        for length in [0, 5, 125, 126, 400, 70_000] {
            bytes.extend(frame(0x82, length, Some([1, 2, 3, 4])));
            law(&bytes);
            law(&bytes[..bytes.len() - bytes.len().min(3)]);
        }
        law(&[]);
    }
}
