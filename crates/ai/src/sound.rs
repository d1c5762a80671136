//! How long a piece of sound is, as its own bytes tell: what is paid by the second is held for and settled by it.
//!
//! What a container says of its length is its sender's word. So sound is counted where that can be: WAV by its samples,
//! MP3, AAC in ADTS and FLAC frame by frame, Opus in Ogg packet by packet. Where a length is only told (MP4, Vorbis, packed
//! WAV), it is an estimate, and none at all where no sound of its kind is so dense; then it tells as little as whatever else
//! a provider may take.

mod flac;
mod mp4;
mod ogg;

/// How long a sound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Begun seconds whole.
    pub seconds: u64,
    /// At most.
    pub most: u64,
    /// It was counted, not only told.
    pub is_exact: bool,
}

/// Bytes of a second of sound whose length its bytes do not tell: of speech packed as well as can be, and as usual.
pub(crate) const BYTES_A_SECOND_LEAST: u64 = 500;
pub(crate) const BYTES_A_SECOND: u64 = 2_000;
/// Bytes of tags behind a sound, about.
const TAG_BYTES: u64 = 4096;
/// Bytes of a second of samples at most: eight channels of 192,000 samples of 32 bits.
const PCM_MOST: u64 = 8 * 192_000 * 4;
/// Bytes of a second of packed samples in WAV, at least.
const PACKED_LEAST: u64 = 1_000;

impl Length {
    /// Of frames that were counted. What is between and behind them is taken for sound that could not be read; where that
    /// is half of all, it is no such sound.
    fn counted(micros: u64, unread: u64, bytes: usize) -> Option<Self> {
        let seconds = micros.div_ceil(1_000_000);
        let is_exact = unread <= TAG_BYTES;
        let more = |each: u64| if is_exact { 0 } else { unread.div_ceil(each) };
        (micros > 0 && unread.saturating_mul(2) <= bytes as u64).then(|| Self {
            seconds: seconds.saturating_add(more(BYTES_A_SECOND)),
            most: seconds.saturating_add(more(BYTES_A_SECOND_LEAST)),
            is_exact,
        })
    }

    /// As it is told, where a second can have so few bytes; `rates` are those that one has at most and at least.
    fn told(seconds: u64, bytes: usize, rates: (u64, u64)) -> Option<Self> {
        let bytes = bytes as u64;
        let most = bytes.div_ceil(rates.1).max(seconds);
        (seconds > 0 && seconds >= bytes / rates.0).then_some(Self { seconds, most, is_exact: false })
    }
}

/// How long a sound is; `None` where its bytes do not tell.
pub fn length(bytes: &[u8]) -> Option<Length> {
    if bytes.starts_with(b"RIFF") {
        let wav = wav(bytes)?;
        let data = bytes.len().saturating_sub(wav.data?);
        return match wav.is_plain {
            true if wav.rate <= PCM_MOST => {
                let micros = (data as u64).saturating_mul(1_000_000) / wav.rate;
                Length::counted(micros.max(1), 0, bytes.len())
            }
            true => None,
            false => Length::told((data as u64).div_ceil(wav.rate), data, (wav.densest, PACKED_LEAST)),
        };
    }
    if bytes.starts_with(b"fLaC") {
        return flac::length(bytes);
    }
    if bytes.starts_with(b"OggS") {
        return ogg::length(bytes);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return mp4::length(bytes);
    }
    frames(bytes)
}

/// Bytes of one second of a sound that begins like this, where that is the same all through: WAV, and MP3 of a constant
/// rate.
pub fn rate(head: &[u8]) -> Option<u64> {
    if head.starts_with(b"RIFF") {
        return wav(head).map(|wav| wav.rate);
    }
    let from = tagged(head);
    let frame = frame(head.get(from..)?)?;
    // Micro-seconds of one frame are never nought.
    Some((frame.bytes as u64).saturating_mul(1_000_000) / frame.micros.max(1))
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// What the head of a WAV tells.
struct Wav {
    /// Bytes of a second, never nought.
    rate: u64,
    /// The most that packed samples can be.
    densest: u64,
    /// Its samples are not packed.
    is_plain: bool,
    /// Where they begin.
    data: Option<usize>,
}

/// Reads the chunks of a WAV until its samples. The rate is reckoned as decoders do it: the field that tells it may say
/// something else.
fn wav(bytes: &[u8]) -> Option<Wav> {
    let mut at = 12_usize;
    let mut found = None;
    loop {
        let Some(kind) = number::<4>(bytes, at) else { return found };
        let from = at + 8;
        if &kind == b"data" {
            return found.map(|wav| Wav { data: Some(from), ..wav });
        }
        if &kind == b"fmt " {
            found = Some(format(bytes, from)?);
        }
        let Some(size) = number::<4>(bytes, at + 4).map(u32::from_le_bytes) else { return found };
        // Chunks begin at even places.
        at = from.checked_add(size as usize)?.checked_add(size as usize & 1)?;
    }
}

fn format(bytes: &[u8], at: usize) -> Option<Wav> {
    let short = |place: usize| number(bytes, at + place).map(u16::from_le_bytes);
    let coding = match short(0)? {
        // What it is stands behind.
        0xfffe => short(24).unwrap_or(1),
        coding => coding,
    };
    let channels = u64::from(short(2)?);
    let samples = u64::from(u32::from_le_bytes(number(bytes, at + 4)?));
    let told = u64::from(u32::from_le_bytes(number(bytes, at + 8)?));
    let bits = u64::from(short(14)?);
    // PCM, whole numbers or floats, is as long as its samples; what is packed is as long as it says.
    let is_plain = matches!(coding, 1 | 3);
    let rate = if is_plain { channels * samples * bits / 8 } else { told };
    (rate > 0).then_some(Wav {
        rate,
        densest: (channels * samples * 2).clamp(1, PCM_MOST),
        is_plain,
        data: None,
    })
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
        let size = usize::from(head[3] & 3) << 11 | usize::from(head[4]) << 3 | usize::from(head[5] >> 5);
        // One frame may be up to four blocks.
        let blocks = 1 + u64::from(number::<1>(bytes, 6).map_or(0, |[last]| last & 3));
        return (size > 6).then_some(Frame { bytes: size, micros: blocks * 1024 * 1_000_000 / rate });
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

fn frames(bytes: &[u8]) -> Option<Length> {
    let mut at = tagged(bytes);
    let mut micros = 0_u64;
    while let Some(one) = bytes.get(at..).and_then(frame) {
        micros = micros.saturating_add(one.micros);
        at = at.saturating_add(one.bytes);
    }
    Length::counted(micros, bytes.len().saturating_sub(at) as u64, bytes.len())
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

    fn seconds(bytes: &[u8]) -> Option<(u64, bool)> {
        length(bytes).map(|found| (found.seconds, found.is_exact))
    }

    #[test]
    fn sounds_are_as_long_as_they_are() {
        assert_eq!(seconds(&wav_of(3, 32_000)), Some((3, true)));
        assert_eq!(seconds(&wav_of(3, u32::MAX)), Some((3, true)), "what the rate's field says is not asked");
        // 128 kbit/s at 44,100: 417 bytes and 26 ms each.
        let mp3: Vec<u8> =
            std::iter::repeat_n([&[0xff, 0xfb, 0x90, 0][..], &[0; 413]].concat(), 100).flatten().collect();
        assert_eq!((seconds(&mp3), rate(&mp3)), (Some((3, true)), Some(15_963)));
        let more = [&mp3[..], &[0; 30_000]].concat();
        assert_eq!(seconds(&more), Some((18, false)), "what is no frame is taken for sound");
        assert_eq!(seconds(&[&mp3[..], &[0; 50_000]].concat()), None, "it is no such sound");
        // A frame of four blocks.
        let adts: Vec<u8> =
            std::iter::repeat_n([&[0xff, 0xf1, 0x60, 0, 0x0c, 0x80, 3][..], &[0; 93]].concat(), 6)
                .flatten()
                .collect();
        assert_eq!(seconds(&adts), Some((2, true)));
        for odd in [&b""[..], b"RIFF", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"text that is no sound"] {
            assert_eq!(seconds(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn what_a_sound_says_of_itself_is_not_its_length() {
        // Each is three mebibytes and says that it is a moment.
        let bytes = 3 << 20;
        let mut packed = wav_of(0, u32::MAX);
        packed[20] = 0x11;
        packed.extend(vec![0; bytes]);
        let dense = {
            let mut dense = wav_of(0, 0);
            dense[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
            [dense, vec![0; bytes]].concat()
        };
        let flac = [&flac::tests::flac_of(0, 1)[..], &vec![0; bytes]].concat();
        let movie = mp4::tests::mp4_of(bytes, [1, 1, 1]);
        for (name, sound) in [("packed", packed), ("dense", dense), ("flac", flac), ("mp4", movie)] {
            assert_eq!(seconds(&sound), None, "{name}");
        }
        let opus = ogg::tests::opus_of(1000, 1);
        assert_eq!(seconds(&opus), Some((1000, true)));
        // What may be as it says is an estimate, and the most is reckoned by its bytes.
        let mut packed = wav_of(0, 16_000);
        packed[20] = 0x11;
        packed.extend([0; 32_000]);
        assert_eq!(length(&packed), Some(Length { seconds: 2, most: 32, is_exact: false }));
        // What hides in a chunk of something else is not read.
        let mut hidden = b"RIFF\0\0\0\0WAVELIST\x1c\0\0\0".to_vec();
        hidden.extend(&wav_of(0, u32::MAX)[12..40]);
        hidden.extend(&wav_of(2, 32_000)[12..]);
        assert_eq!(seconds(&hidden), Some((2, true)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(start in 0_usize..7, rest in proptest::collection::vec(any::<u8>(), 0..600)) {
            let starts: [&[u8]; 7] = [b"RIFFxxxxWAVEfmt ", b"fLaC", b"OggS", b"\0\0\0\0ftypmvhd", b"ID3", b"\xff\xfb\x90", b"\xff\xf1"];
            let bytes = [starts[start], &rest].concat();
            let _ = (length(&bytes), rate(&bytes));
        }
    }
}
