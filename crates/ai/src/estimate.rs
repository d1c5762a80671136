//! Tokens counted without a vocabulary: what a text is worth where nobody tells.
//!
//! Vocabularies of the vendors are megabytes each, and most vendors publish none. All of them cut texts alike: at
//! words, numbers of up to three digits, and signs. So does this, and takes for each piece what is usual. It is an
//! estimate and is called one wherever it shows.

/// Letters of a word that are one token.
const WORD: u64 = 7;
/// Letters of a longer word that each further token has.
const REST: u64 = 4;
/// Bytes of an unbroken run that is no text any more, but something encoded.
const ENCODED_BYTES: u64 = 512;
/// Tokens that a picture or a document may be, however small its bytes.
const MEDIA_TOKENS: u64 = 2_000;
/// Bytes of something encoded for each token beyond these.
const MEDIA_BYTES: u64 = 64;
/// Parts of a body that stand for something that is not in it.
const REFERENCES: [&[u8]; 6] = [
    b"\"image_url\"",
    b"\"input_image\"",
    b"\"fileUri\"",
    b"\"file_uri\"",
    b"\"file_id\"",
    b"\"input_file\"",
];

/// What a byte is to a tokenizer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Letter,
    Digit,
    Space,
    Sign,
    /// Of a letter outside of ASCII.
    Wide,
}

fn class(byte: u8) -> Class {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
        b'0'..=b'9' => Class::Digit,
        b' ' | b'\n' | b'\r' | b'\t' => Class::Space,
        0x80.. => Class::Wide,
        _ => Class::Sign,
    }
}

/// What base64 is made of, and no text is for long.
fn encodes(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

/// Tokens of a text, about.
pub fn tokens(text: &[u8]) -> u64 {
    let mut count = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let encoded = encodes(rest[0]);
        let length = rest.iter().take_while(|byte| encodes(**byte) == encoded).count();
        let (run, behind) = rest.split_at(length);
        rest = behind;
        let length = length as u64;
        count += match encoded && length >= ENCODED_BYTES {
            true => MEDIA_TOKENS + length / MEDIA_BYTES,
            false => run.chunk_by(|a, b| class(*a) == class(*b)).map(pieces).sum(),
        };
    }
    count
}

/// Tokens of bytes of one class.
fn pieces(run: &[u8]) -> u64 {
    let length = run.len() as u64;
    match run.first().map(|byte| class(*byte)) {
        None => 0,
        Some(Class::Letter) => words(run),
        Some(Class::Digit) => length.div_ceil(3),
        // One goes with the word behind it.
        Some(Class::Space) => u64::from(length > 1),
        Some(Class::Sign) => length.div_ceil(2),
        Some(Class::Wide) => wide(run),
    }
}

/// A run of letters is as many words as it has humps.
fn words(run: &[u8]) -> u64 {
    let mut tokens = 0;
    let mut length = 0_u64;
    let mut was_small = false;
    for byte in run {
        if byte.is_ascii_uppercase() && was_small {
            tokens += word(length);
            length = 0;
        }
        was_small = byte.is_ascii_lowercase();
        length += 1;
    }
    tokens + word(length)
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

/// The most tokens that a request is taken for, and that all but few stay under: what its body seems to be and a tenth
/// more, and for each reference to a picture or a file what such a thing may be.
pub fn most(body: &[u8]) -> u64 {
    let references: u64 =
        REFERENCES.iter().map(|name| memchr::memmem::find_iter(body, name).count() as u64).sum();
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
    fn nothing_that_is_added_makes_less() {
        let text = "Straße 12, naïve façade: {\"a\": [1, 2.5e10]} 日本語 👍🏽 end".as_bytes();
        let counts: Vec<u64> = (0..=text.len()).map(|end| tokens(&text[..end])).collect();
        assert!(counts.windows(2).all(|pair| pair[0] <= pair[1]), "{counts:?}");
    }
}
