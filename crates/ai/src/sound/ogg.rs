//! Ogg, page by page (RFC 3533 §6): Opus packet by packet, for each says how long it is; of Vorbis the last of the places
//! that its pages tell.

use super::{Length, number};

const PAGE_HEAD: usize = 27;
/// Bytes of a second of Vorbis, at most and at least.
const VORBIS: (u64, u64) = (62_500, 2_000);
/// Micro-seconds of an Opus frame, by the four settings of each mode (RFC 6716 §3.1).
const SILK: [u64; 4] = [10_000, 20_000, 40_000, 60_000];
const HYBRID: [u64; 4] = [10_000, 20_000, 10_000, 20_000];
const CELT: [u64; 4] = [2_500, 5_000, 10_000, 20_000];

/// How long a packet of Opus is.
fn opus(packet: &[u8]) -> u64 {
    let Some(first) = packet.first() else { return 0 };
    let setting = first >> 3;
    let of_mode = match setting {
        0..=11 => SILK,
        12..=15 => HYBRID,
        _ => CELT,
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => packet.get(1).map_or(0, |second| u64::from(second & 0x3f)),
    };
    of_mode.get(usize::from(setting & 3)).copied().unwrap_or_default().saturating_mul(frames)
}

pub(super) fn length(bytes: &[u8]) -> Option<Length> {
    let first = bytes.get(PAGE_HEAD + usize::from(*bytes.get(26)?)..)?;
    let is_opus = first.starts_with(b"OpusHead");
    let rate = match first.starts_with(b"\x01vorbis") {
        true => u64::from(u32::from_le_bytes(number(first, 12)?)),
        false if is_opus => 48_000,
        false => return None,
    };
    let (mut at, mut micros, mut samples) = (0_usize, 0_u64, 0_u64);
    // Of a packet that goes on from page to page the beginning tells its length.
    let (mut is_open, mut heads) = (false, 0);
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(b"OggS")) {
        let Some(count) = bytes.get(at + 26) else { break };
        let from = at + PAGE_HEAD + usize::from(*count);
        let Some(table) = bytes.get(at + PAGE_HEAD..from) else { break };
        let place = u64::from_le_bytes(number(bytes, at + 6)?);
        if place < u64::MAX / 2 {
            samples = samples.max(place);
        }
        at = from;
        for lace in table {
            if !is_open && heads < 2 {
                heads += 1;
            } else if !is_open {
                micros = micros.saturating_add(bytes.get(at..).map_or(0, opus));
            }
            is_open = *lace == 255;
            at += usize::from(*lace);
        }
    }
    let unread = bytes.len().saturating_sub(at) as u64;
    match is_opus {
        true => Length::counted(micros, unread, bytes.len()),
        false if unread == 0 => Length::told(samples.div_ceil(rate.max(1)), bytes.len(), VORBIS),
        false => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn page(place: u64, packets: &[&[u8]]) -> Vec<u8> {
        let mut out = b"OggS\0\0".to_vec();
        out.extend(place.to_le_bytes());
        out.extend([0; 12]);
        out.push(packets.len() as u8);
        out.extend(packets.iter().map(|packet| packet.len() as u8));
        packets.iter().for_each(|packet| out.extend(*packet));
        out
    }

    /// So many pages of 50 packets of 20 ms each, and a last one that tells the place.
    pub(in super::super) fn opus_of(pages: usize, last: u64) -> Vec<u8> {
        let packet = [&[1 << 3][..], &[0; 59]].concat();
        let mut out = [page(0, &[b"OpusHead\x01\x01"]), page(0, &[b"OpusTags"])].concat();
        (0..pages).for_each(|_| out.extend(page(0, &[&packet[..]; 50])));
        out.extend(page(last, &[]));
        out
    }

    #[test]
    fn packets_are_counted_whatever_the_last_page_says() {
        for last in [1, 48_000, 480_000] {
            let found = length(&opus_of(3, last)).map(|found| (found.seconds, found.is_exact));
            assert_eq!(found, Some((3, true)), "{last}");
        }
        let behind = [opus_of(1, 1), vec![0; 20_000]].concat();
        assert_eq!(length(&behind), None, "most of it is no pages");
        let mut vorbis = page(0, &[b"\x01vorbis\0\0\0\0\x01\x40\x1f\0\0"]);
        vorbis.extend(page(80_000, &[&[0; 200]]));
        assert_eq!(length(&vorbis).map(|found| (found.seconds, found.is_exact)), Some((10, false)));
        vorbis.extend(page(1, &[&[0; 200][..]; 200]));
        assert_eq!(length(&vorbis).map(|found| found.seconds), Some(10), "a later page says less");
    }
}
