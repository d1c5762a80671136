//! A digest of several parts, in which no part can flow into the next.

use sha2::{Digest as _, Sha256};

/// Hex digits of a digest: enough to tell revisions apart, short enough to read aloud.
const SHOWN_DIGITS: usize = 16;

#[derive(Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    /// Adds a part, its length first.
    pub(crate) fn add(&mut self, part: impl AsRef<[u8]>) {
        self.0.update((part.as_ref().len() as u64).to_le_bytes());
        self.0.update(part.as_ref());
    }

    /// The digest as hex digits.
    pub(crate) fn finish(self) -> String {
        let bytes = self.0.finalize();
        let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.truncate(SHOWN_DIGITS);
        text
    }
}
