//! Encrypts what is given to browsers and stores to keep, and knows it again: AES-256-GCM, with a key for each text that
//! is derived from the secret, what the text is for, and a salt, so that no key is used often.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac, rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// Tells this form from later ones.
const VERSION: u8 = 1;
const SALT_BYTES: usize = 16;
/// What stands before the encrypted text.
const HEAD_BYTES: usize = 1 + SALT_BYTES + NONCE_LEN;
/// Characters of a secret at least.
const SECRET_CHARS_MIN: usize = 32;

/// Keys for what one policy gives away.
pub(super) struct Seal {
    /// The first encrypts; all are tried.
    keys: Vec<hmac::Key>,
    /// Whose texts they are: those of another policy with the same secret are strange.
    context: String,
}

impl Seal {
    pub(super) fn new<'s>(secrets: impl Iterator<Item = &'s str>, context: String) -> Result<Self, String> {
        let mut keys = Vec::new();
        for secret in secrets {
            if secret.chars().count() < SECRET_CHARS_MIN {
                return Err(format!("a secret has at least {SECRET_CHARS_MIN} characters"));
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
        }
        Ok(Self { keys, context })
    }

    /// Encrypts a text that is for `purpose` alone; nothing when the system has no randomness.
    pub(super) fn seal(&self, purpose: &str, plain: &[u8]) -> Option<String> {
        let mut random = [0; SALT_BYTES + NONCE_LEN];
        rand::fill(&mut random).ok()?;
        let (salt, nonce) = random.split_at(SALT_BYTES);
        let key = self.key(self.keys.first()?, purpose, salt)?;
        let mut text = plain.to_vec();
        let nonce_of = Nonce::try_assume_unique_for_key(nonce).ok()?;
        key.seal_in_place_append_tag(nonce_of, Aad::from([VERSION]), &mut text).ok()?;
        let mut out = Vec::with_capacity(HEAD_BYTES + text.len());
        out.push(VERSION);
        out.extend_from_slice(&random);
        out.extend_from_slice(&text);
        Some(URL_SAFE_NO_PAD.encode(out))
    }

    /// Decrypts a text for `purpose`, and tells whether the secret of now did; nothing when it is no such text.
    pub(super) fn open(&self, purpose: &str, sealed: &[u8]) -> Option<(Vec<u8>, bool)> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (head, text) = bytes.split_at_checked(HEAD_BYTES)?;
        let (version, random) = head.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (salt, nonce) = random.split_at_checked(SALT_BYTES)?;
        self.keys.iter().enumerate().find_map(|(place, key)| {
            let key = self.key(key, purpose, salt)?;
            let mut text = text.to_vec();
            let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
            let length = key.open_in_place(nonce, Aad::from([VERSION]), &mut text).ok()?.len();
            text.truncate(length);
            Some((text, place == 0))
        })
    }

    fn key(&self, master: &hmac::Key, purpose: &str, salt: &[u8]) -> Option<LessSafeKey> {
        let mut context = hmac::Context::with_key(master);
        for part in ["tidegate oidc", &self.context, purpose] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        context.update(salt);
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, context.sign().as_ref()).ok()?))
    }
}

/// Random characters for what nobody is to guess: 256 bits.
pub(super) fn token() -> Option<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether two texts are equal, in a time that tells nothing about where they differ.
pub(super) fn same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old secret that nobody guesses at all";
    const NEW: &str = "a new secret that nobody guesses, either";

    fn seal(secrets: &[&str], context: &str) -> Seal {
        Seal::new(secrets.iter().copied(), context.to_owned()).expect("long enough")
    }

    #[test]
    fn what_is_sealed_is_opened_for_the_same_purpose_by_the_same_policy_alone() {
        let own = seal(&[NEW], "id shop");
        let text = own.seal("session", b"who it is").expect("sealed");
        assert_eq!(own.open("session", text.as_bytes()), Some((b"who it is".to_vec(), true)));
        assert_eq!(own.open("login", text.as_bytes()), None);
        assert_eq!(seal(&[NEW], "id bank").open("session", text.as_bytes()), None);
        assert_eq!(seal(&[OLD], "id shop").open("session", text.as_bytes()), None);
        assert_eq!(
            seal(&[OLD, NEW], "id shop").open("session", text.as_bytes()),
            Some((b"who it is".to_vec(), false))
        );
        assert_ne!(own.seal("session", b"who it is").expect("sealed"), text);
    }

    #[test]
    fn a_changed_or_cut_text_is_not_opened() {
        let own = seal(&[NEW], "id shop");
        let text = own.seal("session", b"who it is").expect("sealed");
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(own.open("session", &changed), None, "at {at}");
            assert_eq!(own.open("session", &text.as_bytes()[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(Seal::new(["short"].into_iter(), String::new()).is_err());
    }
}
