//! FLAC, frame by frame: what the first block says of the whole is the caller's word, and decoders do not need it.

use super::{Length, number};

/// Bytes of a block's head, and of the first block whole.
const BLOCK_HEAD: usize = 4;
/// Bytes beyond what a frame's samples can take: its heads and checksums.
const FRAME_BYTES_BESIDE: u64 = 64;
const RATES: [u64; 12] =
    [0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000];

/// What a frame's head says (RFC 9639 §9.1).
struct Frame {
    samples: u64,
    /// Of a second; 0 where the first block tells.
    rate: u64,
    channels: u64,
    head: usize,
}

/// CRC-8 with the polynomial x^8 + x^2 + x + 1 (RFC 9639 §9.1.8).
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ byte, |sum: u8, _| if sum & 0x80 == 0 { sum << 1 } else { (sum << 1) ^ 7 })
    })
}

fn frame(bytes: &[u8]) -> Option<Frame> {
    let [first, second, sizes, kinds, coded]: [u8; 5] = number(bytes, 0)?;
    let is_one = first == 0xff && second & 0xfe == 0xf8 && kinds & 1 == 0 && kinds >> 4 <= 10;
    let mut at = 4 + match coded.leading_ones() {
        0 => 1,
        length @ 2..=7 => length as usize,
        _ => return None,
    };
    let mut more = |count: usize| {
        let found = bytes.get(at..at + count)?;
        at += count;
        Some(found.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let samples = match sizes >> 4 {
        0 => return None,
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 => more(1)? + 1,
        7 => more(2)? + 1,
        code => 256 << (code - 8),
    };
    let rate = match sizes & 15 {
        12 => more(1)? * 1000,
        13 => more(2)?,
        14 => more(2)? * 10,
        code => *RATES.get(usize::from(code))?,
    };
    let is_whole = is_one && bytes.get(at) == Some(&checksum(bytes.get(..at)?));
    let channels = if kinds >> 4 < 8 { u64::from(kinds >> 4) + 1 } else { 2 };
    is_whole.then_some(Frame { samples, rate, channels, head: at + 1 })
}

/// Where frames begin: behind the last block.
fn behind_blocks(bytes: &[u8]) -> Option<usize> {
    let mut at = 4_usize;
    loop {
        let [kind, size @ ..]: [u8; BLOCK_HEAD] = number(bytes, at)?;
        let size = size.iter().fold(0, |size, byte| size << 8 | usize::from(*byte));
        at = at.checked_add(BLOCK_HEAD + size)?;
        if kind & 0x80 != 0 {
            return Some(at);
        }
    }
}

pub(super) fn length(bytes: &[u8]) -> Option<Length> {
    let told = u64::from_be_bytes(number(bytes, 18)?) >> 44;
    let mut at = behind_blocks(bytes)?;
    let beginning = at;
    let (mut micros, mut could) = (0_u64, 0_u64);
    while let Some(more) = bytes.get(at..).and_then(|rest| memchr::memchr(0xff, rest)) {
        at += more;
        let Some(one) = bytes.get(at..).and_then(frame) else {
            at += 1;
            continue;
        };
        let rate = if one.rate == 0 { told } else { one.rate };
        micros = micros.saturating_add(one.samples.saturating_mul(1_000_000).checked_div(rate)?);
        // A frame is never larger than its samples as they are, of 32 bits at most.
        could = could.saturating_add(one.samples * one.channels * 4 + FRAME_BYTES_BESIDE);
        at += one.head;
    }
    let unread = (bytes.len().saturating_sub(beginning) as u64).saturating_sub(could);
    Length::counted(micros, unread, bytes.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A sound of so many frames of 4,096 samples at 16,000, whose first block says what it likes.
    pub(in super::super) fn flac_of(frames: usize, samples: u64) -> Vec<u8> {
        let mut out = b"fLaC\x80\0\0\x22".to_vec();
        out.extend([0; 10]);
        out.extend(((16_000_u64 << 44) | (15 << 36) | samples).to_be_bytes());
        out.extend([0; 16]);
        for number in 0..frames {
            let mut head = vec![0xff, 0xf8, 0xc5, 0x08, number as u8 & 0x7f];
            head.push(checksum(&head));
            out.extend(head);
            out.extend([7; 1000]);
        }
        out
    }

    #[test]
    fn frames_are_counted_whatever_the_first_block_says() {
        for said in [1, 0, 40_960] {
            // Ten frames of 256 ms.
            assert_eq!(
                length(&flac_of(10, said)).map(|found| (found.seconds, found.is_exact)),
                Some((3, true))
            );
        }
        let silent = [&flac_of(1, 1)[..], &[0; 400_000]].concat();
        assert_eq!(length(&silent), None, "most of it is no frames");
        assert_eq!(length(b"fLaC\x80\0\0\x22"), None);
    }
}
