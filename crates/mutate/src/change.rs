//! Changes to inputs: what a fuzzer does without knowing what the bytes mean.

use crate::{corpus::Corpus, random::Random};

/// Changes that one input gets at most.
const CHANGES_MAX: usize = 6;
/// Bytes of an input at most.
const INPUT_BYTES_MAX: usize = 16 * 1024;
/// Bytes on which parsers turn.
const TURNING: &[u8] = b"\0\t\n\r \"#%&'()*+,-./0:;<=>?@A[\\]^_`a{|}~\x7f\x80\xc0\xe0\xff";
/// Numbers at the edges of what fits.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "1e999",
];

/// Makes inputs out of a corpus.
pub(crate) struct Changer<'a> {
    corpus: &'a Corpus,
}

impl<'a> Changer<'a> {
    pub(crate) fn new(corpus: &'a Corpus) -> Self {
        Self { corpus }
    }

    /// One input: an entry with a few changes.
    pub(crate) fn input(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.entry(random).to_vec();
        for _ in 0..=random.below(CHANGES_MAX) {
            self.change(&mut bytes, random);
        }
        bytes.truncate(INPUT_BYTES_MAX);
        bytes
    }

    fn entry(&self, random: &mut Random) -> &[u8] {
        random.one_of(&self.corpus.entries).map_or(&[], |(_, bytes)| bytes)
    }

    fn change(&self, bytes: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(bytes.len() + 1);
        match random.below(10) {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            2 => insert(bytes, at, &[random.next() as u8]),
            3 => insert(bytes, at, random.one_of(TURNING).map_or(&[], std::slice::from_ref)),
            4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.one_of(TURNING).copied().unwrap_or_default();
                }
            }
            5 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                // A part of the input again, elsewhere.
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                insert(bytes, to, &part);
            }
            7 => {
                let other = self.entry(random);
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            8 => insert(bytes, at, random.one_of(NUMBERS).map_or("", |number| number).as_bytes()),
            _ => match random.one_of(&self.corpus.words) {
                Some(word) => insert(bytes, at, word),
                None => bytes.truncate(at),
            },
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    if bytes.len() + part.len() <= INPUT_BYTES_MAX {
        bytes.splice(at..at, part.iter().copied());
    }
}
