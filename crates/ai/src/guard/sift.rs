//! Whether a whole text is sure to hold none of the personal data that is looked for: a few quick passes over its bytes,
//! which most texts need no more than.
//!
//! What is true of every datum of a kind is asked of the text as a whole: an address of e-mail has an `@`, numbers have
//! digits that stand together, keys begin as their vendors have them begin. A text of which that is not true is clear;
//! of any other nothing is known.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::{detect::Kind, secrets};

/// Digits of the shortest national id: a national insurance number of the United Kingdom.
const NATIONAL_DIGITS_MIN: u32 = 6;
/// Digits of the shortest phone number.
const PHONE_DIGITS_MIN: u32 = 8;
/// Digits of the shortest card number.
const CARD_DIGITS_MIN: u32 = 13;

/// The beginnings of keys. Where no automaton can be built of them, nothing is sure.
static SECRETS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let build = AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(secrets::beginnings());
    build.ok()
});

/// What to ask of a text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sift {
    email: bool,
    iban: bool,
    secret: bool,
    /// Digits, one near the other, that the shortest number has; none is looked for at 0.
    digits_min: u32,
}

impl Sift {
    pub(super) fn of(kinds: &[(Kind, usize)]) -> Self {
        let has = |wanted: Kind| kinds.iter().any(|(kind, _)| *kind == wanted);
        let digits = [
            (Kind::NationalId, NATIONAL_DIGITS_MIN),
            (Kind::Phone, PHONE_DIGITS_MIN),
            (Kind::Card, CARD_DIGITS_MIN),
        ];
        let digits_min = digits.into_iter().filter(|(kind, _)| has(*kind)).map(|(_, least)| least).min();
        Self {
            email: has(Kind::Email),
            iban: has(Kind::Iban),
            secret: has(Kind::Secret),
            digits_min: digits_min.unwrap_or_default(),
        }
    }

    /// Whether nothing is in a text. Where this is not so, something may be.
    pub(super) fn clears(self, text: &[u8]) -> bool {
        if self.email && memchr::memchr(b'@', text).is_some() {
            return false;
        }
        if self.iban || self.digits_min > 0 {
            let digits = digits(text);
            if self.iban && digits >= 2 && has_iban_begin(text) {
                return false;
            }
            if self.digits_min > 0 && digits >= self.digits_min as usize && together(text, self.digits_min) {
                return false;
            }
        }
        !self.secret || SECRETS.as_ref().is_some_and(|secrets| !secrets.is_match(text))
    }
}

/// How many digits there are. Sums of few bytes fit into one, of which many are added at once.
fn digits(text: &[u8]) -> usize {
    let some = |some: &[u8]| some.iter().map(|byte| u8::from(byte.is_ascii_digit())).sum::<u8>();
    text.chunks(usize::from(u8::MAX)).map(|chunk| usize::from(some(chunk))).sum()
}

/// Whether two letters stand somewhere with two digits behind them.
fn has_iban_begin(text: &[u8]) -> bool {
    text.windows(4).any(|four| {
        matches!(four, [a, b, c, d] if c.is_ascii_digit()
            && d.is_ascii_digit()
            && a.is_ascii_alphabetic()
            && b.is_ascii_alphabetic())
    })
}

/// Whether so many digits stand somewhere with nothing but separators between them.
fn together(text: &[u8], least: u32) -> bool {
    let mut run = 0;
    text.iter().any(|byte| {
        match byte {
            b'0'..=b'9' => run += 1,
            b' ' | b'-' | b'.' | b'(' | b')' | b'/' => {}
            _ => run = 0,
        }
        run >= least
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::detect::Begins;

    proptest::proptest! {
        #[test]
        fn what_a_detector_finds_is_never_cleared(
            text in "(a@b\\.co|jörg@müller\\.de|4111 1111 1111 1111|5500-0000-0000-0004|\\+49 30 1234567|0049 170 1234567|\\(212\\) 555-0123|0171/1234567|DE89 3704 0044 0532 0130 00|GB82WEST12345698765432|536-90-4399|X1234567L|12345678Z|529\\.982\\.247-25|AB 12 34 56 C|2 55 08 14 168 025 38|44051401359|AKIAIOSFODNN7EXAMPLE|eyJhbGciOiJIUzI1NiJ9\\.eyJzdWIiOiIxMjM0In0\\.dozjgNryP4J3jVmNHl0w|-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----|sk-a1B2a1B2a1B2a1B2a1B2|[0-9 ().+/-]{4,16}|[a-zA-Z é.,]{1,8}){1,4}",
        ) {
            for kind in Kind::ALL {
                let found = text.char_indices().any(|(at, _)| {
                    let before = text[..at].chars().next_back();
                    matches!(kind.begins(before, &text[at..], false), Begins::Yes(_))
                });
                if found {
                    proptest::prop_assert!(!Sift::of(&[(kind, 0)]).clears(text.as_bytes()), "{:?} in {}", kind, text);
                }
            }
        }
    }

    #[test]
    fn no_beginning_of_a_key_is_cleared() {
        let sift = Sift::of(&[(Kind::Secret, 0)]);
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w";
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----";
        for secret in [jwt, pem] {
            assert!(matches!(Kind::Secret.begins(None, secret, false), Begins::Yes(_)), "{secret}");
            assert!(!sift.clears(secret.as_bytes()), "{secret}");
        }
        for beginning in secrets::beginnings() {
            let secret = format!("see {beginning}{}", "a1B2".repeat(20));
            assert!(!sift.clears(secret.as_bytes()), "{secret}");
        }
    }

    #[test]
    fn plain_texts_are_cleared() {
        let all: Vec<_> = Kind::ALL.iter().map(|kind| (*kind, 0)).collect();
        let sift = Sift::of(&all);
        for text in
            ["", "What is a tide?", "In 2024 there were 1,500 ships, and 17 of them sank.", "größer als 12"]
        {
            assert!(sift.clears(text.as_bytes()), "{text}");
        }
        for text in ["a@b.co", "call 212 555 0123", "key sk-", "DE89"] {
            assert!(!sift.clears(text.as_bytes()), "{text}");
        }
        assert!(Sift::of(&[]).clears(b"a@b.co 4111 1111 1111 1111"));
    }
}
