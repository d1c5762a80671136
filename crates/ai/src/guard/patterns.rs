//! An operator's own words and patterns, all of them as one automaton that is walked byte by byte: once over a text to
//! see whether any is in it, in linear time whatever the pattern, and then from each place where one may begin, as far as
//! the window goes. It is able to say that more text decides.

use std::sync::Mutex;

use regex_automata::{
    Anchored, Input, MatchKind,
    hybrid::dfa::{Cache, DFA},
    nfa::thompson,
    util::{start, syntax},
};

use super::{detect::Begins, words::Words};

/// Bytes of the compiled patterns of one policy.
const COMPILED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Letters that nobody sees: soft hyphens, joiners, marks of direction, selectors of variants. They part words for the
/// eye of no reader, and for that of a model little more.
const UNSEEN: &str = r"\u{AD}\u{200B}-\u{200F}\u{202A}-\u{202E}\u{2060}-\u{206F}\u{FE00}-\u{FE0F}\u{FEFF}";

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A word or phrase, in any case, with any white space between its words, and not as part of a longer word. Letters
    /// that nobody sees may stand anywhere in it, also in place of its white space.
    Phrase(String),
    /// A regular expression.
    Pattern(String),
}

/// Several patterns as one.
#[derive(Debug)]
pub struct Patterns {
    dfa: DFA,
    is_phrase: Vec<bool>,
    /// Where a text begins or ends means something to one.
    is_anchored: bool,
    /// Of every phrase a word, where only phrases are looked for: in a text of ASCII the word stands as it is written.
    words: Option<Words>,
    /// Caches that nobody uses: what they have built of the automaton is there for the next.
    spare: Mutex<Vec<Cache>>,
}

/// Caches that are kept.
const SPARE_MAX: usize = 32;

impl Patterns {
    /// Compiles patterns. The error names the one that is wrong by its place.
    pub fn compile(wanted: &[Wanted]) -> Result<Self, (usize, String)> {
        let written: Vec<String> = wanted.iter().map(Wanted::written).collect();
        for (index, text) in written.iter().enumerate() {
            let one = build(std::slice::from_ref(text)).map_err(|error| (index, error))?;
            let mut cache = one.create_cache();
            let one = Self {
                dfa: one,
                is_phrase: vec![false],
                is_anchored: true,
                words: None,
                spare: Mutex::default(),
            };
            if one.empty_matches(&mut cache) {
                return Err((index, "it matches where nothing stands".to_owned()));
            }
        }
        let dfa = build(&written).map_err(|error| (0, error))?;
        let is_phrase = wanted.iter().map(|one| matches!(one, Wanted::Phrase(_))).collect();
        let is_anchored = written.iter().any(|text| is_anchored(text));
        Ok(Self { dfa, is_phrase, is_anchored, words: Words::of(wanted), spare: Mutex::default() })
    }

    /// Whether what stands in a text may depend on where the text begins or ends.
    pub fn are_anchored(&self) -> bool {
        self.is_anchored
    }

    /// What a walk needs. It is bounded, and may be used for any number of walks.
    pub fn cache(&self) -> Cache {
        // Nobody waits for another: a new one is always at hand.
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_else(|| self.dfa.create_cache())
    }

    /// Takes a cache back.
    pub fn keep(&self, cache: Cache) {
        if let Ok(mut spare) = self.spare.try_lock()
            && spare.len() < SPARE_MAX
        {
            spare.push(cache);
        }
    }

    /// Marks the bytes with which one may begin, inside of words and elsewhere.
    pub fn firsts(&self, in_word: &mut [bool; 256], elsewhere: &mut [bool; 256]) {
        let mut cache = self.cache();
        let all_phrases = self.is_phrase.iter().all(|is_phrase| *is_phrase);
        for byte in 0..=u8::MAX {
            // What stands before may decide: nothing, a letter, a byte of a wide one, something else.
            let may = [None, Some(b'a'), Some(0xA9), Some(b' '), Some(b'\n')].into_iter().any(|behind| {
                let config = start::Config::new().anchored(Anchored::Yes).look_behind(behind);
                let Ok(state) = self.dfa.start_state(&mut cache, &config) else { return true };
                self.dfa.next_state(&mut cache, state, byte).map_or(true, |state| !state.is_dead())
            });
            elsewhere[usize::from(byte)] |= may;
            in_word[usize::from(byte)] |= may && !all_phrases;
        }
    }

    fn empty_matches(&self, cache: &mut Cache) -> bool {
        let config = start::Config::new().anchored(Anchored::Yes);
        let Ok(state) = self.dfa.start_state(cache, &config) else { return true };
        self.dfa.next_eoi_state(cache, state).is_ok_and(|state| state.is_match())
    }

    /// Whether one may be in a text: a phrase as part of a longer word is none, and seen here.
    pub fn may_be_in(&self, cache: &mut Cache, text: &str) -> bool {
        if self.words.as_ref().is_some_and(|words| words.clear(text)) {
            return false;
        }
        let found = self.dfa.try_search_fwd(cache, &Input::new(text).earliest(true));
        !matches!(found, Ok(None))
    }

    /// Whether one begins at the start of a text, and which: the longest, and of those the first.
    pub fn begins(&self, cache: &mut Cache, before: Option<char>, text: &str, more: bool) -> (Begins, usize) {
        let mut last = before.map(|letter| letter.encode_utf8(&mut [0; 4]).as_bytes().last().copied());
        let config = start::Config::new().anchored(Anchored::Yes).look_behind(last.take().flatten());
        let Ok(mut state) = self.dfa.start_state(cache, &config) else { return (Begins::No, 0) };
        let inside = before.is_some_and(char::is_alphanumeric);
        let mut found: Option<(usize, usize)> = None;
        for (at, byte) in text.bytes().enumerate() {
            let Ok(next) = self.dfa.next_state(cache, state, byte) else { return (Begins::No, 0) };
            state = next;
            if state.is_match() {
                found = self.matched(cache, state, text, at, inside).or(found);
            } else if state.is_dead() || state.is_quit() {
                return decided(found);
            }
        }
        if more {
            return (Begins::More, 0);
        }
        if let Ok(state) = self.dfa.next_eoi_state(cache, state)
            && state.is_match()
        {
            found = self.matched(cache, state, text, text.len(), inside).or(found);
        }
        decided(found)
    }

    fn matched(
        &self,
        cache: &Cache,
        state: regex_automata::hybrid::LazyStateID,
        text: &str,
        end: usize,
        inside: bool,
    ) -> Option<(usize, usize)> {
        if end == 0 || !text.is_char_boundary(end) {
            return None;
        }
        (0..self.dfa.match_len(cache, state))
            .map(|index| self.dfa.match_pattern(cache, state, index).as_usize())
            .filter(|pattern| {
                let is_phrase = self.is_phrase.get(*pattern).copied().unwrap_or_default();
                let goes_on = || text[end..].chars().next().is_some_and(char::is_alphanumeric);
                !(is_phrase && (inside || goes_on()))
            })
            .min()
            .map(|pattern| (end, pattern))
    }
}

fn decided(found: Option<(usize, usize)>) -> (Begins, usize) {
    found.map_or((Begins::No, 0), |(end, pattern)| (Begins::Yes(end), pattern))
}

impl Wanted {
    fn written(&self) -> String {
        match self {
            Self::Pattern(pattern) => ascii_boundaries(pattern),
            Self::Phrase(phrase) => {
                let words: Vec<String> = phrase.split_whitespace().map(escape).collect();
                format!("(?i:{})", words.join(&format!(r"[\s{UNSEEN}]+")))
            }
        }
    }
}

/// A word with anything unseen between its letters.
fn escape(word: &str) -> String {
    let mut out = String::new();
    for (place, letter) in word.chars().enumerate() {
        if place > 0 {
            out.push_str(&format!("[{UNSEEN}]*"));
        }
        if letter.is_ascii_punctuation() {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// `\b` looks at ASCII letters: an automaton of bytes knows no others.
fn ascii_boundaries(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('b') => out.push_str(r"(?-u:\b)"),
                Some(next) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            (letter, false) => out.push(letter),
        }
    }
    out
}

/// Whether where a text or a line begins or ends means something to a pattern.
fn is_anchored(pattern: &str) -> bool {
    syntax::parse(pattern).map_or(true, |parsed| parsed.properties().look_set().contains_anchor())
}

fn build(patterns: &[String]) -> Result<DFA, String> {
    DFA::builder()
        .configure(DFA::config().match_kind(MatchKind::All).skip_cache_capacity_check(true))
        .thompson(thompson::Config::new().nfa_size_limit(Some(COMPILED_BYTES_MAX)))
        .syntax(syntax::Config::new().nest_limit(64))
        .build_many(patterns)
        .map_err(|error| {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text = inner.to_string();
                source = inner.source();
            }
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(wanted: &[Wanted], text: &str) -> Option<(usize, String, usize)> {
        let patterns = Patterns::compile(wanted).expect("good");
        let mut cache = patterns.cache();
        text.char_indices().find_map(|(at, _)| {
            let before = text[..at].chars().next_back();
            match patterns.begins(&mut cache, before, &text[at..], false) {
                (Begins::Yes(length), which) => Some((at, text[at..at + length].to_owned(), which)),
                _ => None,
            }
        })
    }

    #[test]
    fn letters_that_nobody_sees_part_no_word_and_stand_for_white_space() {
        let wanted = [Wanted::Phrase("forbidden".into()), Wanted::Phrase("Acme Corp".into())];
        for (text, which) in [
            ("a for\u{200b}bidden word", 0),
            ("f\u{ad}o\u{200d}r\u{2060}b\u{feff}i\u{fe0f}dden", 0),
            ("by acme\u{200b}corp.", 1),
            ("by ac\u{200b}me \u{200b} corp", 1),
        ] {
            assert_eq!(first(&wanted, text).map(|(.., which)| which), Some(which), "{text:?}");
        }
        for text in ["for bidden", "unfor\u{200b}bidden", "forbidde\u{200b}", "acmecorp"] {
            assert_eq!(first(&wanted, text), None, "{text:?}");
        }
        // Lists are long.
        let many: Vec<Wanted> =
            (0..2000).map(|number| Wanted::Phrase(format!("word number {number}"))).collect();
        assert_eq!(first(&many, "is word num\u{200b}ber 1999 there?").map(|(.., which)| which), Some(1999));
    }

    #[test]
    fn phrases_are_whole_words_in_any_case() {
        let wanted = [Wanted::Phrase("Acme corp.".into()), Wanted::Phrase("größe".into())];
        assert_eq!(first(&wanted, "buy ACME\n Corp. now"), Some((4, "ACME\n Corp.".into(), 0)));
        assert_eq!(first(&wanted, "die GRÖSSE, die GRÖßE"), Some((17, "GRÖßE".into(), 1)));
        assert_eq!(first(&wanted, "größer, übergröße"), None);
    }

    #[test]
    fn the_longest_of_the_first_pattern_is_taken() {
        let wanted = [Wanted::Pattern(r"\bT-\d+".into()), Wanted::Pattern("T-1".into())];
        assert_eq!(first(&wanted, "xT-1 T-123,"), Some((1, "T-1".into(), 1)));
        assert_eq!(first(&wanted[..1], "xT-1 é T-123,"), Some((8, "T-123".into(), 0)));
    }

    #[test]
    fn anchors_are_seen_wherever_they_stand() {
        for (pattern, want) in [
            (r"\bT-\d+", false),
            ("a|b", false),
            ("[$^]a", false),
            (r"\$a", false),
            ("^a", true),
            ("(?m)x(y$|z)", true),
            (r"a\z", true),
            (r"\Aa", true),
        ] {
            let patterns = Patterns::compile(&[Wanted::Phrase("a".into()), Wanted::Pattern(pattern.into())]);
            assert_eq!(patterns.expect("good").are_anchored(), want, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for bad in ["(", "a*", "", r"^"] {
            assert!(Patterns::compile(&[Wanted::Pattern(bad.into())]).is_err(), "{bad}");
        }
        assert!(Patterns::compile(&[Wanted::Pattern("((a{1000}){1000}){1000}".into())]).is_err());
    }
}
