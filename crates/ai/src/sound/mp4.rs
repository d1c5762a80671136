//! MP4: the lengths that the movie and its tracks tell (ISO/IEC 14496-12 §8.2.2, §8.4.2), found box in box.

use super::{Length, number};

/// Bytes of a second at most and at least: of sound alone, and with pictures.
const SOUND: (u64, u64) = (72_000, 1_000);
const PICTURES: (u64, u64) = (1_500_000, 1_000);
/// Boxes that are looked at.
const BOXES_MAX: usize = 10_000;

#[derive(Default)]
struct Found {
    seconds: u64,
    has_pictures: bool,
    boxes: usize,
}

/// The length in a head of a movie or of a track.
fn head(bytes: &[u8]) -> Option<u64> {
    let (scale, length) = match bytes.first()? {
        0 => (u32::from_be_bytes(number(bytes, 12)?), u64::from(u32::from_be_bytes(number(bytes, 16)?))),
        _ => (u32::from_be_bytes(number(bytes, 20)?), u64::from_be_bytes(number(bytes, 24)?)),
    };
    // All ones are a length that nobody knows.
    let is_known = length != u64::MAX && length != u64::from(u32::MAX);
    (scale > 0 && is_known).then(|| length.div_ceil(u64::from(scale)))
}

impl Found {
    /// Reads the boxes that follow each other; whether they are all of it.
    fn read(&mut self, mut bytes: &[u8], depth: usize) -> Option<()> {
        while !bytes.is_empty() {
            self.boxes += 1;
            if self.boxes > BOXES_MAX {
                return None;
            }
            let kind: [u8; 4] = number(bytes, 4)?;
            let (size, from) = match u32::from_be_bytes(number(bytes, 0)?) {
                0 => (bytes.len(), 8),
                1 => (usize::try_from(u64::from_be_bytes(number(bytes, 8)?)).ok()?, 16),
                size => (size as usize, 8),
            };
            let inner = bytes.get(from..size)?;
            match (&kind, depth) {
                (b"moov", 0) | (b"trak", 1) | (b"mdia", 2) => self.read(inner, depth + 1)?,
                (b"mvhd", 1) | (b"mdhd", 3) => self.seconds = self.seconds.max(head(inner).unwrap_or(0)),
                (b"hdlr", 3) => self.has_pictures |= inner.get(8..12) == Some(b"vide"),
                _ => {}
            }
            bytes = bytes.get(size..)?;
        }
        Some(())
    }
}

pub(super) fn length(bytes: &[u8]) -> Option<Length> {
    let mut found = Found::default();
    found.read(bytes, 0)?;
    let rates = if found.has_pictures { PICTURES } else { SOUND };
    Length::told(found.seconds, bytes.len(), rates)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], inner: &[u8]) -> Vec<u8> {
        [&(inner.len() as u32 + 8).to_be_bytes()[..], kind, inner].concat()
    }

    fn told(kind: &[u8; 4], seconds: u32) -> Vec<u8> {
        let mut inner = vec![0; 12];
        inner.extend(1000_u32.to_be_bytes());
        inner.extend((seconds * 1000).to_be_bytes());
        boxed(kind, &inner)
    }

    /// A sound of so many bytes, and the lengths that its movie, its track and something that is not read tell.
    pub(in super::super) fn mp4_of(bytes: usize, [movie, track, free]: [u32; 3]) -> Vec<u8> {
        let track = boxed(b"trak", &boxed(b"mdia", &told(b"mdhd", track)));
        let movie = if movie == 0 { Vec::new() } else { told(b"mvhd", movie) };
        let all = [
            boxed(b"ftyp", b"M4A ...."),
            boxed(b"free", &told(b"mvhd", free)),
            boxed(b"moov", &[movie, track].concat()),
            boxed(b"mdat", &vec![0; bytes]),
        ];
        all.concat()
    }

    #[test]
    fn lengths_are_those_of_the_movie_and_its_tracks_alone() {
        let of = |bytes, told| length(&mp4_of(bytes, told)).map(|found| (found.seconds, found.is_exact));
        assert_eq!(of(60_000, [6, 5, 0]), Some((6, false)));
        assert_eq!(of(60_000, [1, 7, 0]), Some((7, false)), "the longer one");
        assert_eq!(of(60_000, [0, 0, 9]), None, "what is in no movie is not read");
        assert_eq!(of(3_000_000, [1, 1, 0]), None, "no such sound is so dense");
        let cut = &mp4_of(60_000, [6, 5, 0])[..60_000];
        assert_eq!(length(cut), None);
    }
}
