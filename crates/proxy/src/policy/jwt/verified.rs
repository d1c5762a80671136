//! Signatures that a key set has verified lately, so that a token that comes with each request is verified once.
//!
//! Only what was good is remembered, by its SHA-256 over all that was signed and the signature. What a token claims is
//! judged anew each time. The memory is the key set's own: when its keys are replaced, it is gone with them.

use std::sync::{Mutex, OnceLock};

use aws_lc_rs::digest;

/// Places: one per digest, the newer takes it.
const PLACES: usize = 4096;

type Digest = [u8; 32];

/// The memory: 160 KiB from the first signature on.
#[derive(Default)]
pub(super) struct Verified {
    places: OnceLock<Box<[Mutex<Option<Digest>>]>>,
}

/// One signature over one message.
pub(super) struct Signed(Digest);

impl Signed {
    pub(super) fn of(message: &[u8], signature: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        // Its length says where the message ends: signatures are any bytes, full stops among them.
        let length = (message.len() as u64).to_be_bytes();
        for part in [&length[..], message, signature] {
            context.update(part);
        }
        let mut own = Digest::default();
        own.copy_from_slice(context.finish().as_ref());
        Self(own)
    }

    fn place(&self) -> usize {
        usize::from(u16::from_le_bytes([self.0[0], self.0[1]])) % PLACES
    }
}

impl Verified {
    /// Whether it was remembered. Where another thread is just looking, it is not: nobody waits here.
    pub(super) fn knows(&self, signed: &Signed) -> bool {
        let Some(places) = self.places.get() else { return false };
        places[signed.place()].try_lock().is_ok_and(|place| *place == Some(signed.0))
    }

    pub(super) fn remember(&self, signed: &Signed) {
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| Mutex::new(None)).collect());
        if let Ok(mut place) = places[signed.place()].try_lock() {
            *place = Some(signed.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_is_known_and_nothing_else() {
        let verified = Verified::default();
        let one = Signed::of(b"a.b", b"sig");
        assert!(!verified.knows(&one));
        verified.remember(&one);
        assert!(verified.knows(&Signed::of(b"a.b", b"sig")));
        for other in [
            Signed::of(b"a.b", b"sih"),
            Signed::of(b"a.c", b"sig"),
            Signed::of(b"a.bs", b"ig"),
            Signed::of(b"a", b"b.sig"),
            Signed::of(b"a.b.s", b"ig"),
            Signed::of(b"", b""),
        ] {
            assert!(!verified.knows(&other));
        }
    }

    #[test]
    fn a_newer_one_takes_the_place_and_no_more_are_kept_than_there_are() {
        let verified = Verified::default();
        let all: Vec<Signed> =
            (0..3 * PLACES as u32).map(|number| Signed::of(b"a.b", &number.to_le_bytes())).collect();
        for signed in &all {
            verified.remember(signed);
            assert!(verified.knows(signed));
        }
        let known = all.iter().filter(|signed| verified.knows(signed)).count();
        assert!(known > PLACES / 2 && known <= PLACES, "{known}");
    }
}
