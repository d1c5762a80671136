//! Whether a text is sure to hold none of an operator's phrases: of each a word is looked for, many bytes at a time, which
//! costs a fraction of a walk through the automaton that finds the phrases themselves.

use std::cell::RefCell;

use aho_corasick::{AhoCorasick, MatchKind};

use super::patterns::Wanted;

/// Bytes of a text in small letters that a thread keeps room for.
const ROOM_BYTES_MAX: usize = 64 * 1024;

thread_local! {
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A word of every phrase, in small letters.
#[derive(Debug)]
pub(super) struct Words(AhoCorasick);

impl Words {
    /// The longest word of each. `None` where something is no phrase, or one has no word of ASCII: letters of other
    /// alphabets are the same as some of ASCII to a search that knows no case.
    pub(super) fn of(wanted: &[Wanted]) -> Option<Self> {
        let word = |wanted: &Wanted| match wanted {
            Wanted::Phrase(phrase) => {
                let words = phrase.split_whitespace().filter(|word| word.is_ascii());
                words.max_by_key(|word| word.len()).map(str::to_ascii_lowercase)
            }
            Wanted::Pattern(_) => None,
        };
        let words: Option<Vec<String>> = wanted.iter().map(word).collect();
        AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(words?).ok().map(Self)
    }

    /// Whether none is in a text. Of one that has letters outside of ASCII nothing is known: unseen ones may stand
    /// between those of a word.
    pub(super) fn clear(&self, text: &str) -> bool {
        if !text.is_ascii() {
            return false;
        }
        ROOM.with(|room| {
            // Whoever is in here already has the room: then nothing is known.
            let Ok(mut room) = room.try_borrow_mut() else { return false };
            room.clear();
            room.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
            let is_clear = !self.0.is_match(&*room);
            if room.capacity() > ROOM_BYTES_MAX {
                *room = Vec::new();
            }
            is_clear
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{detect::Begins, patterns::Patterns};

    #[test]
    fn a_phrase_needs_a_word_of_ascii() {
        let phrase = |text: &str| Wanted::Phrase(text.into());
        let words = Words::of(&[phrase("Acme Corp"), phrase("die Größe")]).expect("ASCII");
        assert!(words.clear("an acme here") && !words.clear("a CORP here") && !words.clear("größe"));
        assert!(Words::of(&[phrase("Acme Corp"), phrase("Größe")]).is_none());
        // The long s is an s to whoever knows no case.
        assert!(Words::of(&[phrase("\u{17f}ea")]).is_none());
        assert!(Words::of(&[phrase("Acme"), Wanted::Pattern("x".into())]).is_none());
    }

    proptest::proptest! {
        #[test]
        fn what_is_clear_holds_no_phrase(
            text in "(acme|ACME|Corp|corp\\.|whale|\u{200b}|\u{212a}|[a-z]|[ \n\"-]){0,12}",
        ) {
            let wanted = ["Acme Corp.", "whale", "k whale"].map(|text| Wanted::Phrase(text.into()));
            let words = Words::of(&wanted).expect("ASCII");
            let patterns = Patterns::compile(&wanted).expect("good");
            let mut cache = patterns.cache();
            let found = text.char_indices().any(|(at, _)| {
                let before = text[..at].chars().next_back();
                matches!(patterns.begins(&mut cache, before, &text[at..], false).0, Begins::Yes(_))
            });
            proptest::prop_assert!(!(found && words.clear(&text)), "{}", text);
            // A whale and a corporation need these.
            proptest::prop_assert!(!text.is_ascii() || words.clear(&text.replace(['a', 'A', 'p', 'P'], "")) , "{}", text);
        }
    }
}
