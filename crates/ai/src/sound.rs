//! How long a piece of sound is, as its own bytes tell: what is paid by the second is held for and settled by it.
//!
//! Containers are read as far as their length needs it: WAV (RIFF), MP3 and ADTS (frame by frame), FLAC, Ogg (the last
//! page) and MP4 (`mvhd`). Whatever else a provider may take tells nothing here.

use memchr::memmem;

/// Seconds of a sound, begun ones whole; `None` where its bytes do not tell.
pub fn seconds(bytes: &[u8]) -> Option<u64> {
    if bytes.starts_with(b"RIFF") {
        let (rate, at) = wav(bytes)?;
        return Some((bytes.len().saturating_sub(at) as u64).div_ceil(rate.max(1)));
    }
    if bytes.starts_with(b"fLaC") {
        return flac(bytes);
    }
    if bytes.starts_with(b"OggS") {
        return ogg(bytes);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return mp4(bytes);
    }
    frames(bytes)
}

/// Bytes of one second of a sound that begins like this, where that is the same all through: WAV, and MP3 of a constant
/// rate.
pub fn rate(head: &[u8]) -> Option<u64> {
    if head.starts_with(b"RIFF") {
        return wav(head).map(|(rate, _)| rate);
    }
    let from = tagged(head);
    let frame = frame(head.get(from..)?)?;
    // Micro-seconds of one frame are never nought.
    Some((frame.bytes as u64).saturating_mul(1_000_000) / frame.micros.max(1))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Bytes of a second, and where the samples begin. The rate is reckoned as decoders do it: the field that tells it may
/// say something else.
fn wav(bytes: &[u8]) -> Option<(u64, usize)> {
    let format = memmem::find(bytes.get(..512.min(bytes.len()))?, b"fmt ")? + 8;
    let coding = u16::from_le_bytes(number(bytes, format)?);
    let channels = u64::from(u16::from_le_bytes(number(bytes, format + 2)?));
    let samples = u64::from(u32::from_le_bytes(number(bytes, format + 4)?));
    let told = u64::from(u32::from_le_bytes(number(bytes, format + 8)?));
    let bits = u64::from(u16::from_le_bytes(number(bytes, format + 14)?));
    // PCM, whole numbers or floats, is as long as its samples; what is packed is as long as it says.
    let rate = if matches!(coding, 1 | 3 | 0xfffe) { channels * samples * bits / 8 } else { told };
    let data = memmem::find(bytes, b"data").map_or(format, |at| at + 8);
    (rate > 0).then_some((rate, data))
}

/// The total of samples is in the first block (RFC 9639 §8.2).
fn flac(bytes: &[u8]) -> Option<u64> {
    let packed = u64::from_be_bytes(number(bytes, 18)?);
    let (rate, samples) = (packed >> 44, packed & 0xf_ffff_ffff);
    (rate > 0 && samples > 0).then(|| samples.div_ceil(rate))
}

/// The last page tells the samples until then (RFC 3533 §6); those of Opus are 48,000 a second (RFC 7845 §4).
fn ogg(bytes: &[u8]) -> Option<u64> {
    let last = memmem::rfind(bytes, b"OggS")?;
    let samples = u64::from_le_bytes(number(bytes, last + 6)?);
    let head = bytes.get(..256.min(bytes.len()))?;
    let rate = if memmem::find(head, b"OpusHead").is_some() {
        48_000
    } else {
        let vorbis = memmem::find(head, b"\x01vorbis")?;
        u64::from(u32::from_le_bytes(number(bytes, vorbis + 12)?))
    };
    (rate > 0 && samples > 0 && samples < u64::MAX / 2).then(|| samples.div_ceil(rate))
}

/// The movie's header tells its length (ISO/IEC 14496-12 §8.2.2).
fn mp4(bytes: &[u8]) -> Option<u64> {
    let at = memmem::find(bytes, b"mvhd")? + 4;
    let (scale, length) = match bytes.get(at)? {
        0 => (
            u64::from(u32::from_be_bytes(number(bytes, at + 12)?)),
            u64::from(u32::from_be_bytes(number(bytes, at + 16)?)),
        ),
        _ => (
            u64::from(u32::from_be_bytes(number(bytes, at + 20)?)),
            u64::from_be_bytes(number(bytes, at + 24)?),
        ),
    };
    (scale > 0 && length > 0).then(|| length.div_ceil(scale))
}

/// Where frames begin behind an ID3 tag, whose size has seven bits in each byte.
fn tagged(bytes: &[u8]) -> usize {
    match (bytes.starts_with(b"ID3"), number::<4>(bytes, 6)) {
        (true, Some(size)) => 10 + size.iter().fold(0, |size, byte| (size << 7) | usize::from(byte & 0x7f)),
        _ => 0,
    }
}

struct Frame {
    bytes: usize,
    micros: u64,
}

/// Kilobits a second of MPEG's layer III: of version 1, and of versions 2 and 2.5.
const BITRATES: [[u64; 15]; 2] = [
    [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
const MPEG_RATES: [u64; 3] = [44_100, 48_000, 32_000];
const ADTS_RATES: [u64; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];

/// The frame at the beginning: of MP3, or of AAC in ADTS.
fn frame(bytes: &[u8]) -> Option<Frame> {
    let head: [u8; 6] = number(bytes, 0).or_else(|| {
        let short: [u8; 4] = number(bytes, 0)?;
        Some([short[0], short[1], short[2], short[3], 0, 0])
    })?;
    if head[0] != 0xff || head[1] & 0xe0 != 0xe0 {
        return None;
    }
    if head[1] & 0xf6 == 0xf0 {
        let rate = *ADTS_RATES.get(usize::from((head[2] >> 2) & 0xf))?;
        let bytes = usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
        return (bytes > 0).then_some(Frame { bytes, micros: 1024 * 1_000_000 / rate });
    }
    let version = (head[1] >> 3) & 3;
    if (head[1] >> 1) & 3 != 1 || version == 1 {
        return None;
    }
    let is_first = version == 3;
    let kilobits = *BITRATES[usize::from(!is_first)].get(usize::from(head[2] >> 4))?;
    let halves = match version {
        3 => 1,
        2 => 2,
        _ => 4,
    };
    let rate = MPEG_RATES.get(usize::from((head[2] >> 2) & 3))? / halves;
    let samples = if is_first { 1152 } else { 576 };
    let padding = u64::from((head[2] >> 1) & 1);
    let bytes = usize::try_from(samples / 8 * kilobits * 1000 / rate + padding).ok()?;
    (kilobits > 0).then_some(Frame { bytes, micros: samples * 1_000_000 / rate })
}

fn frames(bytes: &[u8]) -> Option<u64> {
    let mut at = tagged(bytes);
    let (mut micros, mut count) = (0_u64, 0_u64);
    while let Some(one) = bytes.get(at..).and_then(frame) {
        micros = micros.saturating_add(one.micros);
        count += 1;
        at = at.saturating_add(one.bytes);
    }
    // What follows the frames may be a tag; where most of it is no frames, it is no such sound.
    (count > 0 && at.saturating_mul(2) >= bytes.len()).then(|| micros.div_ceil(1_000_000).max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wav_of(seconds: usize, told: u32) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
        out.extend(16_000_u32.to_le_bytes());
        out.extend(told.to_le_bytes());
        out.extend(b"\x02\0\x10\0data\0\0\0\0");
        out.extend(vec![0; 32_000 * seconds]);
        out
    }

    #[test]
    fn sounds_are_as_long_as_they_say() {
        assert_eq!(seconds(&wav_of(3, 32_000)), Some(3));
        assert_eq!(seconds(&wav_of(3, u32::MAX)), Some(3), "what the rate's field says is not asked");
        // 128 kbit/s at 44,100: 417 bytes and 26 ms each.
        let mp3: Vec<u8> =
            std::iter::repeat_n([&[0xff, 0xfb, 0x90, 0][..], &[0; 413]].concat(), 100).flatten().collect();
        assert_eq!((seconds(&mp3), rate(&mp3)), (Some(3), Some(15_963)));
        let mut flac = b"fLaC\0\0\0\x22".to_vec();
        flac.extend([0; 10]);
        flac.extend(((44_100_u64 << 44) | 88_201).to_be_bytes());
        assert_eq!(seconds(&flac), Some(3));
        let mut ogg = b"OggS\0\x02\0\0\0\0\0\0\0\0xxxxOpusHead".to_vec();
        ogg.extend(b"OggS\0\x04");
        ogg.extend(96_000_u64.to_le_bytes());
        assert_eq!(seconds(&ogg), Some(2));
        let mut mp4 = b"\0\0\0\x18ftypM4A ....\0\0\0\x6cmvhd\0\0\0\0".to_vec();
        mp4.extend([0; 8]);
        mp4.extend(1000_u32.to_be_bytes());
        mp4.extend(5500_u32.to_be_bytes());
        assert_eq!(seconds(&mp4), Some(6));
        for odd in [&b""[..], b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"text that is no sound"] {
            assert_eq!(seconds(odd), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(start in 0_usize..7, rest in proptest::collection::vec(any::<u8>(), 0..600)) {
            let starts: [&[u8]; 7] = [b"RIFFxxxxWAVEfmt ", b"fLaC", b"OggS", b"\0\0\0\0ftypmvhd", b"ID3", b"\xff\xfb\x90", b"\xff\xf1"];
            let bytes = [starts[start], &rest].concat();
            let _ = (seconds(&bytes), rate(&bytes));
        }
    }
}
