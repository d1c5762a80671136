//! Tokens counted without a vocabulary: what a text is worth where nobody tells.
//!
//! Vocabularies are megabytes each (see [`crate::vocabulary`]), and most vendors publish none. All of them cut texts alike: at
//! words, numbers of up to three digits, and signs. So does this, and takes for each piece what is usual. It is an
//! estimate and is called one wherever it shows.

mod steps;

use std::sync::LazyLock;

use memchr::memmem::Finder;

/// Letters of a word that are one token.
const WORD: u64 = 7;
/// Letters of a longer word that each further token has.
const REST: u64 = 4;
/// Bytes of an unbroken run that is no text any more, but something encoded.
const ENCODED_BYTES: u64 = 512;
/// Tokens that a picture or a document may be, however small its bytes.
pub(crate) const MEDIA_TOKENS: u64 = 2_000;
/// Bytes of something encoded for each token beyond these.
const MEDIA_BYTES: u64 = 64;
/// Parts of a body that stand for something that is not in it.
const REFERENCES: [&str; 6] =
    ["\"image_url\"", "\"input_image\"", "\"fileUri\"", "\"file_uri\"", "\"file_id\"", "\"input_file\""];

static REFERENCES_FINDERS: LazyLock<[Finder<'static>; 6]> = LazyLock::new(|| REFERENCES.map(Finder::new));
/// Of which one is in every reference.
static MEDIA_FINDERS: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["image", "ile"].map(Finder::new));

/// Begins an escape of a letter of ASCII.
static ESCAPES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u00"));

/// What a byte is to a tokenizer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Small,
    Capital,
    Digit,
    /// A sign that stands in base64.
    Code,
    Space,
    Sign,
    /// Of a letter outside of ASCII.
    Wide,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Sign; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' => Class::Small,
            b'A'..=b'Z' => Class::Capital,
            b'0'..=b'9' => Class::Digit,
            b' ' | b'\n' | b'\r' | b'\t' => Class::Space,
            b'+' | b'/' | b'=' | b'-' | b'_' => Class::Code,
            0x80.. => Class::Wide,
            _ => Class::Sign,
        };
        byte += 1;
    }
    classes
};

impl Class {
    /// Whether base64 is made of it, of which no text is for long.
    fn encodes(self) -> bool {
        matches!(self, Self::Small | Self::Capital | Self::Digit | Self::Code)
    }

    /// Whether a byte of the next class goes on with the piece of this one. A word begins with a hump.
    fn goes_on(self, next: Self) -> bool {
        self == next || self == Self::Capital && next == Self::Small
    }
}

/// Tokens of a text, about.
pub fn tokens(text: &[u8]) -> u64 {
    if may_be_encoded(text) { in_pieces(text) } else { steps::tokens(text) }
}

/// Whether a run of what may be encoded is long enough somewhere to be no text: then such a byte stands at a place that
/// the length divides.
fn may_be_encoded(text: &[u8]) -> bool {
    let is_code = |byte: &u8| CLASSES[usize::from(*byte)].encodes();
    let places = (ENCODED_BYTES as usize - 1..text.len()).step_by(ENCODED_BYTES as usize);
    places.into_iter().any(|at| {
        let (before, after) = text.split_at(at);
        let run = before.iter().rev().take_while(|byte| is_code(byte)).count();
        let rest = after.iter().take(ENCODED_BYTES as usize).take_while(|byte| is_code(byte)).count();
        rest > 0 && run + rest >= ENCODED_BYTES as usize
    })
}

/// The same for any text, piece by piece.
fn in_pieces(text: &[u8]) -> u64 {
    let mut count = 0;
    // Where the piece began, and where the run of what may be encoded did, with what was counted before it.
    let (mut from, mut encoded) = (0, (0, 0));
    let mut class = Class::Space;
    let mut rest = text.iter().enumerate();
    while let Some((mut at, byte)) = rest.next() {
        let mut next = CLASSES[usize::from(*byte)];
        if class.goes_on(next) {
            class = next;
            // Most of all bytes are in words.
            if class != Class::Small {
                continue;
            }
            let Some(end) = rest.find(|(_, byte)| CLASSES[usize::from(**byte)] != Class::Small) else {
                break;
            };
            at = end.0;
            next = CLASSES[usize::from(*end.1)];
        }
        count += piece(class, &text[from..at]);
        if class.encodes() != next.encodes() {
            if class.encodes() {
                count = unless_encoded(count, encoded, at);
            }
            encoded = (at, count);
        }
        (from, class) = (at, next);
    }
    count += piece(class, &text[from..]);
    if class.encodes() { unless_encoded(count, encoded, text.len()) } else { count }
}

/// What is counted at the end of a run of what may be encoded, which began at a place with a count.
fn unless_encoded(count: u64, (from, before): (usize, u64), at: usize) -> u64 {
    let length = (at - from) as u64;
    if length >= ENCODED_BYTES { before + MEDIA_TOKENS + length / MEDIA_BYTES } else { count }
}

/// Tokens of bytes of one class.
fn piece(class: Class, piece: &[u8]) -> u64 {
    let length = piece.len() as u64;
    match class {
        Class::Small | Class::Capital => word(length),
        Class::Digit => length.div_ceil(3),
        // One goes with the word behind it.
        Class::Space => u64::from(length > 1),
        Class::Code | Class::Sign => length.div_ceil(2),
        Class::Wide => wide(piece),
    }
}

fn word(letters: u64) -> u64 {
    if letters == 0 { 0 } else { 1 + letters.saturating_sub(WORD).div_ceil(REST) }
}

/// Letters outside of ASCII: those of three bytes are mostly a token each, of two bytes two or three make one.
fn wide(run: &[u8]) -> u64 {
    let (mut pairs, mut others) = (0_u64, 0_u64);
    for byte in run {
        match byte {
            0xC0..=0xDF => pairs += 1,
            0xE0..=0xEF => others += 1,
            0xF0.. => others += 2,
            _ => {}
        }
    }
    pairs.div_ceil(2) + others
}

/// Letters, digits and underscores that are written as escapes, which no program does of itself: each could be in a word
/// that is looked for.
pub(crate) fn hidden_letters(body: &[u8]) -> u64 {
    let is_hidden = |at: &usize| {
        let code = body.get(at + 4..at + 6).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        // One behind another backslash is a backslash and no escape.
        let before = body.get(..*at).unwrap_or_default().iter().rev();
        code.is_some_and(|code| code.is_ascii_alphanumeric() || code == b'_')
            && before.take_while(|byte| **byte == b'\\').count() % 2 == 0
    };
    ESCAPES.find_iter(body).filter(is_hidden).count() as u64
}

/// The most tokens that a request is taken for, and that all but few stay under: what its body seems to be and a tenth
/// more, and for each reference to a picture or a file what such a thing may be.
pub fn most(body: &[u8]) -> u64 {
    let may_refer = MEDIA_FINDERS.iter().any(|finder| finder.find(body).is_some());
    let count = |finder: &Finder<'_>| finder.find_iter(body).count() as u64;
    let references: u64 = if may_refer { REFERENCES_FINDERS.iter().map(count).sum() } else { 0 };
    let references = references + hidden_letters(body);
    let seen = tokens(body);
    seen + seen / 10 + 16 + references * MEDIA_TOKENS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_about_what_vocabularies_make_of_them() {
        for (text, least, most) in [
            ("", 0, 0),
            ("Hello, world!", 3, 5),
            ("The quick brown fox jumps over the lazy dog.", 9, 12),
            ("let total = items.iter().map(|item| item.price).sum::<u64>();", 16, 26),
            ("1234567890", 4, 4),
            ("Die Würde des Menschen ist unantastbar.", 8, 16),
            ("すべての人間は、生まれながらにして自由である", 10, 24),
            ("getUserAccountName", 3, 5),
        ] {
            let found = tokens(text.as_bytes());
            assert!((least..=most).contains(&found), "{text}: {found}");
        }
    }

    #[test]
    fn what_is_encoded_is_worth_what_it_stands_for() {
        let picture = format!("see \"{}\" there", "iVBORw0KGgoAAAANSUhEUg/+".repeat(4000));
        let found = tokens(picture.as_bytes());
        assert!((MEDIA_TOKENS..6_000).contains(&found), "{found}");
        assert!(
            most(br#"{"type":"image_url","image_url":{"url":"https://a.test/b.png"}}"#) > 2 * MEDIA_TOKENS
        );
    }

    #[test]
    fn a_reference_is_one_however_its_letters_are_written() {
        let plain = most(br#"{"type":"image_url","image_url":{"url":"https://a.test/b.png"}}"#);
        let hidden = most(br#"{"type":"im\u0061ge_url","image\u005Furl":{"url":"https://a.test/b.png"}}"#);
        assert!(hidden >= plain, "{hidden} {plain}");
        assert!(most(br#"{"text":"W\u00fcrde, \\u0061"}"#) < MEDIA_TOKENS);
    }

    #[test]
    fn the_counts_of_some_texts_stay_as_they_are() {
        let mixed =
            "Straße 12, naïve façade: {\"a\": [1, 2.5e10]} 日本語 👍🏽 x=(y-z)/2__ HTTPServerError  \n\n end";
        let found = [mixed, "getUserAccountName", "a-b_c+d/e=f", "((()))==--", "ABC def Ghi"]
            .map(|text| tokens(text.as_bytes()));
        assert_eq!(found, [46, 4, 11, 5, 3]);
    }

    proptest::proptest! {
        #[test]
        fn both_ways_to_count_come_to_the_same(
            text in "([a-z]{0,15}|[A-Z]{1,6}[a-z]{0,9}|[0-9]{1,9}|[ \n]{1,4}|[-+_/=]{1,5}|[.,:{}\"]{1,5}|[éß]{1,4}|[日本]{1,3}|👍){0,30}",
            length in 0_usize..1200,
        ) {
            proptest::prop_assert_eq!(steps::tokens(text.as_bytes()), in_pieces(text.as_bytes()), "{}", text);
            // Cut anywhere, a text is no UTF-8 any more.
            let cut = &text.as_bytes()[text.len().min(1)..];
            proptest::prop_assert_eq!(tokens(cut), in_pieces(cut));
            let long = [text.as_bytes(), " ".as_bytes(), &b"aB3/".repeat(300)[..length], text.as_bytes()].concat();
            proptest::prop_assert_eq!(tokens(&long), in_pieces(&long), "{} {}", text, length);
            for between in [" ", "  ", "x  ", "x "] {
                let parts = [&*text; 9].join(between);
                proptest::prop_assert_eq!(tokens(parts.as_bytes()), in_pieces(parts.as_bytes()), "{} {}", text, between);
            }
        }
    }

    #[test]
    fn nothing_that_is_added_makes_less() {
        let text = "Straße 12, naïve façade: {\"a\": [1, 2.5e10]} 日本語 👍🏽 end".as_bytes();
        let counts: Vec<u64> = (0..=text.len()).map(|end| tokens(&text[..end])).collect();
        assert!(counts.windows(2).all(|pair| pair[0] <= pair[1]), "{counts:?}");
    }
}
