//! Everything that is looked for in texts, asked at one place of a text at a time.

use regex_automata::hybrid::dfa::Cache;

use super::{
    detect::{Begins, Kind},
    patterns::{Patterns, Wanted},
    sift::Sift,
};

/// What was found, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Personal data.
    Kind(Kind, usize),
    /// An operator's own word or pattern.
    Pattern(usize),
    /// A placeholder of this call.
    Placeholder,
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Nothing.
    Nothing,
    /// More text decides.
    Undecided,
    /// Something, so many bytes long.
    Something(usize, Found),
}

/// What a text may hold: where it is nothing, no place of it need be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// Personal data.
    kinds: bool,
    /// An operator's own words and patterns.
    patterns: bool,
}

impl Looks {
    /// Anything.
    pub const ALL: Self = Self { kinds: true, patterns: true };

    /// Whether it is sure to hold nothing.
    pub fn is_clear(self) -> bool {
        !self.kinds && !self.patterns
    }
}

/// Everything that is looked for.
#[derive(Debug, Default)]
pub struct Scanner {
    kinds: Vec<(Kind, usize)>,
    patterns: Option<Patterns>,
    rules: Vec<usize>,
    firsts: Firsts,
    sift: Sift,
}

/// By the byte that stands at a place, whether anything may begin there: most places of a text need no further look.
#[derive(Debug, Clone)]
pub struct Firsts {
    in_word: [bool; 256],
    elsewhere: [bool; 256],
    /// Which of the kinds may, a bit each.
    kinds: [u8; 256],
}

impl Default for Firsts {
    fn default() -> Self {
        Self { in_word: [false; 256], elsewhere: [false; 256], kinds: [0; 256] }
    }
}

impl Firsts {
    fn of(kinds: &[(Kind, usize)], patterns: Option<&Patterns>) -> Self {
        let mut firsts = Self::default();
        for byte in 0..=u8::MAX {
            let begins = |kind: Kind| {
                // A letter outside of ASCII is more than its first byte: any may begin something.
                byte >= 0x80
                    || kind.begins(None, char::from(byte).encode_utf8(&mut [0; 4]), true) != Begins::No
            };
            let kinds = kinds.iter().enumerate().filter(|(_, (kind, _))| begins(*kind));
            let kinds = kinds.fold(0, |all, (index, _)| all | 1 << index);
            firsts.kinds[usize::from(byte)] = kinds;
            // Nothing of these begins inside a word.
            firsts.elsewhere[usize::from(byte)] = kinds != 0;
        }
        if let Some(patterns) = patterns {
            patterns.firsts(&mut firsts.in_word, &mut firsts.elsewhere);
        }
        firsts
    }

    /// With what begins with one more byte.
    pub fn and(mut self, byte: u8) -> Self {
        self.in_word[usize::from(byte)] = true;
        self.elsewhere[usize::from(byte)] = true;
        self
    }

    /// The next place from `at` on where something may begin; the end where there is none.
    pub fn next(&self, text: &str, mut at: usize, before: Option<char>) -> usize {
        let mut is_in_word = before.is_some_and(char::is_alphanumeric);
        while let Some(byte) = text.as_bytes().get(at) {
            let table = if is_in_word { &self.in_word } else { &self.elsewhere };
            if table[usize::from(*byte)] {
                return at;
            }
            if byte.is_ascii() {
                is_in_word = byte.is_ascii_alphanumeric();
                at += 1;
            } else {
                let letter = text.get(at..).and_then(|rest| rest.chars().next());
                is_in_word = letter.is_some_and(char::is_alphanumeric);
                at += letter.map_or(1, char::len_utf8);
            }
        }
        at
    }
}

impl Scanner {
    /// Compiles what rules look for, rules by their numbers. The error names a rule.
    pub fn compile(kinds: &[(Kind, usize)], patterns: &[(Wanted, usize)]) -> Result<Self, (usize, String)> {
        let mut kinds = kinds.to_vec();
        kinds.sort_by_key(|(kind, rule)| (Kind::ALL.iter().position(|known| known == kind), *rule));
        kinds.dedup_by_key(|(kind, _)| *kind);
        let rules: Vec<usize> = patterns.iter().map(|(_, rule)| *rule).collect();
        let wanted: Vec<Wanted> = patterns.iter().map(|(wanted, _)| wanted.clone()).collect();
        let patterns = match wanted.as_slice() {
            [] => None,
            some => Some(
                Patterns::compile(some)
                    .map_err(|(at, error)| (rules.get(at).copied().unwrap_or_default(), error))?,
            ),
        };
        let firsts = Firsts::of(&kinds, patterns.as_ref());
        let sift = Sift::of(&kinds);
        Ok(Self { kinds, patterns, rules, firsts, sift })
    }

    /// Whether several texts can be looked at as one, in which a quotation mark stands between them: what is in none of
    /// them is then not in it either, though it may hold what none of them does.
    pub fn takes_texts_as_one(&self) -> bool {
        self.patterns.as_ref().is_none_or(|patterns| !patterns.are_anchored())
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.patterns.is_none()
    }

    /// What walks over texts need.
    pub fn cache(&self) -> Option<Cache> {
        self.patterns.as_ref().map(Patterns::cache)
    }

    /// Takes back what walks needed.
    pub fn keep(&self, cache: Option<Cache>) {
        if let (Some(patterns), Some(cache)) = (&self.patterns, cache) {
            patterns.keep(cache);
        }
    }

    /// What of all that is looked for a whole text may hold.
    pub fn look(&self, cache: &mut Option<Cache>, text: &str) -> Looks {
        let patterns = match (&self.patterns, cache) {
            (None, _) => false,
            (Some(patterns), Some(cache)) => patterns.may_be_in(cache, text),
            (Some(_), None) => true,
        };
        Looks { kinds: !self.kinds.is_empty() && !self.sift.clears(text.as_bytes()), patterns }
    }

    /// Where anything may begin.
    pub fn firsts(&self) -> &Firsts {
        &self.firsts
    }

    /// What begins at the start of a text, which `before` stands in front of, of what the whole may hold.
    pub fn at(
        &self,
        cache: &mut Option<Cache>,
        looks: Looks,
        before: Option<char>,
        text: &str,
        more: bool,
    ) -> At {
        let first = text.as_bytes().first().copied().unwrap_or_default();
        let may = if looks.kinds { self.firsts.kinds[usize::from(first)] } else { 0 };
        let is_word = is_word(text);
        for (index, (kind, rule)) in self.kinds.iter().enumerate() {
            if may & (1 << index) == 0 || is_word && kind.has_a_digit_soon() {
                continue;
            }
            match kind.begins(before, text, more) {
                Begins::No => {}
                Begins::More => return At::Undecided,
                Begins::Yes(length) => return At::Something(length, Found::Kind(*kind, *rule)),
            }
        }
        let (Some(patterns), Some(cache), true) = (&self.patterns, cache, looks.patterns) else {
            return At::Nothing;
        };
        match patterns.begins(cache, before, text, more) {
            (Begins::No, _) => At::Nothing,
            (Begins::More, _) => At::Undecided,
            (Begins::Yes(length), which) => {
                At::Something(length, Found::Pattern(self.rules.get(which).copied().unwrap_or_default()))
            }
        }
    }
}

/// Whether a text begins with three letters.
fn is_word(text: &str) -> bool {
    text.as_bytes().get(..3).is_some_and(|begin| begin.iter().all(u8::is_ascii_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanner() -> Scanner {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| (*kind, 0)).collect();
        let own = [
            (Wanted::Phrase("blue whale".into()), 1),
            (Wanted::Pattern(r"\bT-[0-9]+".into()), 2),
            (Wanted::Pattern("ñ+x".into()), 3),
        ];
        Scanner::compile(&kinds, &own).expect("good")
    }

    proptest::proptest! {
        #[test]
        fn where_nothing_may_begin_nothing_does(
            text in "([a-zA-Z@. éñ_]|blue whale|4111 1111 1111 1111|a@b\\.co|T-1|ñx|\\+49 30 1234567|X1234567L|DE89370400440532013000){1,12}",
            more: bool,
        ) {
            let scanner = scanner();
            let mut cache = scanner.cache();
            for (at, _) in text.char_indices() {
                let before = text[..at].chars().next_back();
                if scanner.firsts.next(&text, at, before) != at {
                    proptest::prop_assert_eq!(scanner.at(&mut cache, Looks::ALL, before, &text[at..], more), At::Nothing, "{}", &text[at..]);
                }
                for kind in Kind::ALL.iter().filter(|kind| is_word(&text[at..]) && kind.has_a_digit_soon()) {
                    proptest::prop_assert_eq!(kind.begins(before, &text[at..], more), Begins::No);
                }
                let looks = scanner.look(&mut cache, &text);
                let found = scanner.at(&mut cache, Looks::ALL, before, &text[at..], false);
                proptest::prop_assert_eq!(scanner.at(&mut cache, looks, before, &text[at..], false), found);
                if let At::Something(..) = found {
                    proptest::prop_assert!(!looks.is_clear(), "{}", &text[at..]);
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_in_one_of_several_texts_is_in_all_as_one(
            texts in proptest::collection::vec("([a-z@. é_\\-]{0,4}|blue whale|blue|whale|4111 1111 1111 1111|4111 1111|a@b\\.co|T-1|T-|ñx|\\+49 30 1234567|X1234567L|DE89370400440532013000|AKIAIOSFODNN7EXAMPLE){0,3}", 1..5),
        ) {
            let scanner = scanner();
            proptest::prop_assert!(scanner.takes_texts_as_one());
            let mut cache = scanner.cache();
            let all = scanner.look(&mut cache, &texts.join("\""));
            for text in &texts {
                let looks = scanner.look(&mut cache, text);
                proptest::prop_assert!(all.kinds || !looks.kinds, "{:?}", texts);
                proptest::prop_assert!(all.patterns || !looks.patterns, "{:?}", texts);
            }
        }
    }

    #[test]
    fn most_places_of_a_text_are_passed_over() {
        let scanner = Scanner::compile(&[(Kind::Email, 0), (Kind::Card, 0)], &[]).expect("good");
        let text = "What, then, is a tide? (It rises.)";
        let mut places = Vec::new();
        let mut at = 0;
        while at < text.len() {
            at = scanner.firsts.next(text, at, text[..at].chars().next_back());
            places.extend(text[at..].chars().next());
            at += 1;
        }
        assert_eq!(places.iter().collect::<String>(), "WtiatIr");
    }
}
