//! What placeholders stand for: `<EMAIL_1>` is the first address of a call, wherever it stands, and comes back as what
//! it was.
//!
//! One vault lives as long as one call. Numbers are given in the order of the conversation, so that its next turn has
//! the same and prompt caches still hit. What looks like a placeholder in the caller's own text is none, and its number
//! is not given.

use std::collections::{HashMap, HashSet};

use super::detect::Begins;

/// Bytes that are kept of one call, or of one conversation that goes on and on.
const VAULT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of an entry beside its texts, about.
const ENTRY_BYTES: usize = 128;
/// Bytes of the longest placeholder that is looked for.
const PLACEHOLDER_BYTES_MAX: usize = 64;

/// What placeholders stand for.
#[derive(Debug, Default)]
pub struct Vault {
    /// By word and datum.
    known: HashMap<(String, String), String>,
    /// By placeholder.
    meaning: HashMap<String, String>,
    counts: HashMap<String, u64>,
    taken: HashSet<String>,
    /// Bytes of all that is kept, and of what is taken.
    bytes: usize,
    taken_bytes: usize,
}

impl Vault {
    /// Keeps the placeholders that stand in a caller's text from being given.
    pub fn reserve(&mut self, text: &str) {
        let mut from = 0;
        while let Some(at) = text[from..].find('<') {
            from += at;
            if let Some(length) = shape(&text[from..])
                && self.taken_bytes < VAULT_BYTES_MAX
                && self.taken.insert(text[from..from + length].to_owned())
            {
                self.taken_bytes += length + ENTRY_BYTES;
            }
            from += 1;
        }
    }

    /// The next request of a conversation begins.
    pub fn reserve_anew(&mut self) {
        self.taken.clear();
        self.taken_bytes = 0;
    }

    /// The placeholder of a datum. One without a number is masked for good: more is not kept.
    pub fn mask(&mut self, word: &str, datum: &str) -> String {
        let key = (word.to_owned(), datum.to_owned());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let bytes = 2 * (word.len() + datum.len()) + ENTRY_BYTES;
        if self.bytes.saturating_add(bytes) > VAULT_BYTES_MAX {
            return format!("<{word}>");
        }
        self.bytes += bytes;
        let count = self.counts.entry(word.to_owned()).or_default();
        let placeholder = loop {
            *count += 1;
            let placeholder = format!("<{word}_{count}>");
            if !self.taken.contains(&placeholder) {
                break placeholder;
            }
        };
        self.meaning.insert(placeholder.clone(), datum.to_owned());
        self.known.insert(key, placeholder.clone());
        placeholder
    }

    /// What a placeholder stands for.
    pub fn meaning(&self, placeholder: &str) -> Option<&str> {
        self.meaning.get(placeholder).map(String::as_str)
    }

    /// Whether nothing is masked.
    pub fn is_empty(&self) -> bool {
        self.meaning.is_empty()
    }

    /// Whether a placeholder of this vault begins at the start of a text.
    pub fn begins(&self, text: &str, more: bool) -> Begins {
        if self.meaning.is_empty() || !text.starts_with('<') {
            return Begins::No;
        }
        match shape(text) {
            Some(length) if self.meaning.contains_key(&text[..length]) => Begins::Yes(length),
            Some(_) => Begins::No,
            None if more && may_become(text) => Begins::More,
            None => Begins::No,
        }
    }

    /// A text with what its placeholders stand for.
    pub fn unmask(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        while let Some(at) = text[from..].find('<') {
            out.push_str(&text[from..from + at]);
            from += at;
            let found = match self.begins(&text[from..], false) {
                Begins::Yes(length) => {
                    self.meaning(&text[from..from + length]).map(|meaning| (meaning, length))
                }
                Begins::No | Begins::More => None,
            };
            let (piece, length) = found.unwrap_or(("<", 1));
            out.push_str(piece);
            from += length;
        }
        out.push_str(&text[from..]);
        out
    }
}

fn is_inner(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

/// The length of what looks like a placeholder at the start of a text.
fn shape(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('<')?;
    let end = inner.bytes().take(PLACEHOLDER_BYTES_MAX).position(|byte| !is_inner(byte))?;
    let (_, number) = inner[..end].rsplit_once('_')?;
    let good = inner.as_bytes().get(end) == Some(&b'>')
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit());
    good.then_some(end + 2)
}

/// Whether more text can make a placeholder of this.
fn may_become(text: &str) -> bool {
    text.len() <= PLACEHOLDER_BYTES_MAX && text.bytes().skip(1).all(is_inner)
}

/// A name as the word of placeholders.
pub fn word(name: &str) -> String {
    let word: String = name
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' })
        .take(32)
        .collect();
    if word.is_empty() { "MASKED".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let mut vault = Vault::default();
        for number in 0..200_000 {
            vault.reserve(&format!("<A_{number}>"));
        }
        assert!(vault.taken.len() < 100_000, "{}", vault.taken.len());
        vault.reserve_anew();
        assert!(vault.taken.is_empty());
        let last = (0..200_000).map(|number| vault.mask("A", &format!("datum {number}"))).last();
        assert_eq!(last.as_deref(), Some("<A>"), "more is masked for good");
        assert!(vault.meaning.len() < 100_000);
        assert_eq!(vault.mask("A", "datum 7"), "<A_8>");
    }

    #[test]
    fn one_datum_has_one_placeholder_and_comes_back() {
        let mut vault = Vault::default();
        vault.reserve("as in <EMAIL_1>, <EMAIL_2 > and <EMAIL_>");
        assert_eq!(vault.mask("EMAIL", "a@b.co"), "<EMAIL_2>");
        assert_eq!(vault.mask("EMAIL", "c@d.co"), "<EMAIL_3>");
        assert_eq!(vault.mask("EMAIL", "a@b.co"), "<EMAIL_2>");
        assert_eq!(vault.unmask("<EMAIL_1> <<EMAIL_2>> <EMAIL_9> <"), "<EMAIL_1> <a@b.co> <EMAIL_9> <");
    }

    #[test]
    fn names_become_words() {
        assert_eq!(word("my-rule 2"), "MY_RULE_2");
        assert_eq!(word(""), "MASKED");
    }
}
