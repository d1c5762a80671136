//! The first SETTINGS of an upstream: what it announces is known only once they are here.
//!
//! `h2` tells whether extended CONNECT was announced (RFC 8441 §3) and not whether anything was heard yet, and calls
//! may begin before that; so the first frame is followed on its way in, by its length alone.

use std::cell::Cell;

use tokio::sync::Notify;

/// Bytes of a frame's head.
const HEAD_BYTES: usize = 9;

/// Whether the first SETTINGS have come.
pub(super) struct Greeting {
    head: Cell<[u8; HEAD_BYTES]>,
    have: Cell<usize>,
    is_known: Cell<bool>,
    came: Notify,
}

impl Default for Greeting {
    fn default() -> Self {
        Self { head: Cell::default(), have: Cell::new(0), is_known: Cell::new(false), came: Notify::new() }
    }
}

impl Greeting {
    /// Follows the bytes that are heard first.
    pub(super) fn hear(&self, bytes: &[u8]) {
        let have = self.have.get();
        let mut head = self.head.get();
        for (place, byte) in head.iter_mut().skip(have).zip(bytes) {
            *place = *byte;
        }
        self.head.set(head);
        self.have.set(have.saturating_add(bytes.len()));
    }

    /// The connection has taken all that was heard so far. True once nothing more has to be followed.
    pub(super) fn taken(&self) -> bool {
        let [high, middle, low, ..] = self.head.get();
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        if !self.is_known.get() && self.have.get() >= HEAD_BYTES + length {
            self.end();
        }
        self.is_known.get()
    }

    /// Nothing more will be known.
    pub(super) fn end(&self) {
        self.is_known.set(true);
        self.came.notify_waiters();
    }

    pub(super) fn is_known(&self) -> bool {
        self.is_known.get()
    }

    /// Waits until it is known.
    pub(super) async fn wait(&self) {
        let came = self.came.notified();
        if !self.is_known.get() {
            came.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_frame_is_known_once_it_is_whole_however_it_is_parted() {
        let frame = [&[0, 0, 6, 4, 0, 0, 0, 0, 0][..], &[0, 8, 0, 0, 0, 1], b"more"].concat();
        for step in 1..frame.len() {
            let greeting = Greeting::default();
            let mut heard = 0;
            for part in frame.chunks(step) {
                assert_eq!(greeting.taken(), heard >= 15, "{heard} of parts of {step}");
                greeting.hear(part);
                heard += part.len();
            }
            assert!(greeting.taken() && greeting.is_known());
        }
        assert!(!Greeting::default().taken());
    }
}
