//! A text that comes in pieces: what may still become something is held back, everything else goes on at once.
//!
//! At each place, in order, it is asked what begins there within [`Hold::new`]'s bound. As long as the answer can
//! change with what comes, the place and what is behind it are held; at the bound, or at the end, what is there
//! decides. So what comes out does not depend on how the text was split, and never is more than the bound held back.

use super::scan::{At, Firsts, Found};

/// A piece of what goes out.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// Text in which nothing is.
    Clear(&'t str),
    /// Something.
    Found {
        /// Its text.
        text: &'t str,
        /// What it is.
        found: Found,
        /// In JSON, it stands inside a string.
        in_string: bool,
    },
}

/// Where in JSON the text is.
#[derive(Debug, Clone, Copy, Default)]
struct Json {
    in_string: bool,
    escaped: bool,
}

/// What is held back of one text.
#[derive(Debug)]
pub struct Hold {
    pending: String,
    before: Option<char>,
    bytes_max: usize,
    json: Option<Json>,
    /// The same text, looked at for something else, which does not keep it back.
    beside: Option<Box<Hold>>,
}

impl Hold {
    /// Holds at most this many bytes. `is_json`: the text is JSON as it is written, and what is found ends with the
    /// string that it stands in.
    pub fn new(bytes_max: usize, is_json: bool) -> Self {
        Self {
            pending: String::new(),
            before: None,
            bytes_max: bytes_max.max(1),
            json: is_json.then(Json::default),
            beside: None,
        }
    }

    /// The same text from its beginning on, for whoever looks at it for something else.
    pub fn beside(&mut self) -> &mut Self {
        let (bytes_max, is_json) = (self.bytes_max, self.is_json());
        self.beside.get_or_insert_with(|| Box::new(Self::new(bytes_max, is_json)))
    }

    /// Whether the text is JSON as it is written.
    pub fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.pending.len()
    }

    /// Takes a piece of the text. At the last one nothing stays behind.
    ///
    /// `firsts` says where `at` need not be asked.
    pub fn push(
        &mut self,
        text: &str,
        is_last: bool,
        firsts: &Firsts,
        mut at: impl FnMut(Option<char>, &str, bool) -> At,
        mut out: impl FnMut(Piece<'_>),
    ) {
        self.pending.push_str(text);
        let pending = std::mem::take(&mut self.pending);
        let (mut place, mut clear) = (0, 0);
        loop {
            if self.json.is_none() {
                let next = firsts.next(&pending, place, self.before);
                if next > place {
                    self.before = pending[..next].chars().next_back();
                    place = next;
                }
            }
            let Some(letter) = pending[place..].chars().next() else { break };
            let rest = &pending[place..];
            let (window, more) = match self.window(rest, is_last) {
                Some(window) => window,
                None => {
                    self.before = if self.steps_over(letter) { None } else { Some(letter) };
                    place += letter.len_utf8();
                    continue;
                }
            };
            match at(self.before, window, more) {
                At::Undecided if more => break,
                At::Something(length, found) if self.may_end(window, length) => {
                    if clear < place {
                        out(Piece::Clear(&pending[clear..place]));
                    }
                    let text = &pending[place..place + length];
                    let in_string = self.json.is_some_and(|json| json.in_string);
                    out(Piece::Found { text, found, in_string });
                    self.before = text.chars().next_back();
                    place += length;
                    clear = place;
                }
                At::Nothing | At::Undecided | At::Something(..) => {
                    self.before = Some(letter);
                    place += letter.len_utf8();
                }
            }
        }
        if clear < place {
            out(Piece::Clear(&pending[clear..place]));
        }
        self.pending.push_str(&pending[place..]);
    }

    /// What is looked at from a place, and whether more of it may come. `None` where JSON's own signs are.
    fn window<'t>(&self, rest: &'t str, is_last: bool) -> Option<(&'t str, bool)> {
        let bound = rest.len() >= self.bytes_max;
        let mut window = if bound { &rest[..floor(rest, self.bytes_max)] } else { rest };
        let mut more = !bound && !is_last;
        if let Some(json) = self.json {
            if json.escaped || window.starts_with(['"', '\\']) {
                return None;
            }
            if let Some(quote) = window.find('"') {
                window = window[..quote].trim_end_matches('\\');
                more = false;
            }
        }
        Some((window, more))
    }

    /// Passes one of JSON's own signs, or what is behind a backslash; tells whether a word may begin after it.
    fn steps_over(&mut self, letter: char) -> bool {
        let Some(json) = &mut self.json else { return false };
        if json.escaped {
            json.escaped = false;
        } else if letter == '\\' {
            json.escaped = json.in_string;
        } else if letter == '"' {
            json.in_string = !json.in_string;
        }
        true
    }

    /// In JSON, no half of an escape is taken.
    fn may_end(&self, window: &str, length: usize) -> bool {
        let found = window.get(..length).unwrap_or_default();
        let slashes = found.len() - found.trim_end_matches('\\').len();
        length > 0 && !found.is_empty() && (self.json.is_none() || slashes.is_multiple_of(2))
    }
}

/// The last place up to `at` where a letter begins, behind the first letter.
fn floor(text: &str, at: usize) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    (first..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(first)
}

/// Whether nothing is in a whole text, looked at in windows of so many bytes.
pub fn is_clear(
    text: &str,
    bytes_max: usize,
    firsts: &Firsts,
    mut at: impl FnMut(Option<char>, &str, bool) -> At,
) -> bool {
    let mut place = firsts.next(text, 0, None);
    while let Some(letter) = text[place..].chars().next() {
        let rest = &text[place..];
        let window = if rest.len() >= bytes_max { &rest[..floor(rest, bytes_max)] } else { rest };
        if let At::Something(length, _) = at(text[..place].chars().next_back(), window, false)
            && length > 0
        {
            return false;
        }
        place = firsts.next(text, place + letter.len_utf8(), Some(letter));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{
        detect::Kind,
        patterns::Wanted,
        scan::{Looks, Scanner},
        vault::word,
    };

    fn scanner() -> Scanner {
        let kinds: Vec<_> = Kind::ALL.iter().map(|kind| (*kind, 0)).collect();
        let own = [
            (Wanted::Phrase("blue whale".into()), 1),
            (Wanted::Pattern("a.*z".into()), 2),
            (Wanted::Pattern("T-[0-9]+".into()), 3),
        ];
        Scanner::compile(&kinds, &own).expect("good")
    }

    fn told(scanner: &Scanner, pieces: &[&str], bytes_max: usize, is_json: bool) -> String {
        let mut hold = Hold::new(bytes_max, is_json);
        let mut cache = scanner.cache();
        let mut text = String::new();
        for (index, piece) in pieces.iter().enumerate() {
            let is_last = index + 1 == pieces.len();
            let at = |before, text: &str, more| scanner.at(&mut cache, Looks::ALL, before, text, more);
            hold.push(piece, is_last, scanner.firsts(), at, |piece| match piece {
                Piece::Clear(clear) => text.push_str(clear),
                Piece::Found { text: found, found: what, .. } => {
                    text.push_str(&format!("[{}:{}]", word(&format!("{what:?}")), found.len()));
                }
            });
            assert!(hold.held() <= bytes_max, "{} held", hold.held());
        }
        assert_eq!(hold.held(), 0);
        text
    }

    #[test]
    fn in_json_nothing_found_crosses_its_string() {
        let scanner = scanner();
        let text = told(&scanner, &[r#"{"t":"\na\"b","u":"z","m":"x\n"#, r#"a@b.co"}"#], 1024, true);
        assert_eq!(text, r#"{"t":"\na\"b","u":"z","m":"x\n[KIND_EMAIL__0_:6]"}"#);
    }

    #[test]
    fn what_is_sure_goes_on_at_once() {
        let scanner = Scanner::compile(&[(Kind::Email, 0), (Kind::Card, 0)], &[]).expect("good");
        let mut hold = Hold::new(4096, false);
        let mut out = String::new();
        let mut push = |text: &str| {
            out.clear();
            let at = |before, text: &str, more| scanner.at(&mut None, Looks::ALL, before, text, more);
            hold.push(text, false, scanner.firsts(), at, |piece| match piece {
                Piece::Clear(text) | Piece::Found { text, .. } => out.push_str(text),
            });
            out.clone()
        };
        assert_eq!(push("Hello, what a "), "Hello, what a ");
        assert_eq!(push("day ann"), "day ");
        assert_eq!(push("@"), "");
        assert_eq!(push(" home "), "ann@ home ");
    }

    proptest::proptest! {
        #[test]
        fn any_split_gives_the_same(
            text in "([a-z@. é]|blue +whale|4111 1111 1111 1111|a@b\\.co|[\"\\\\{}]|T-1+|\\+49 30 1234567|sk-[a-z0-9]{22}){0,24}",
            cuts in proptest::collection::vec(0_usize..200, 0..8),
            bytes_max in 4_usize..64,
            is_json: bool,
        ) {
            let scanner = scanner();
            let mut cache = scanner.cache();
            let whole = told(&scanner, &[&text], bytes_max, is_json);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| text.is_char_boundary(*at)).collect();
            cuts.push(0);
            cuts.push(text.len());
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).filter_map(|pair| text.get(pair[0]..pair[1])).collect();
            if !pieces.is_empty() {
                proptest::prop_assert_eq!(told(&scanner, &pieces, bytes_max, is_json), whole);
            }
            let at = |before, text: &str, more| scanner.at(&mut cache, Looks::ALL, before, text, more);
            let clear = is_clear(&text, bytes_max, scanner.firsts(), at);
            proptest::prop_assert_eq!(clear, told(&scanner, &[&text], bytes_max, false) == text);
            let letters: Vec<&str> = text.split("").filter(|letter| !letter.is_empty()).collect();
            if !letters.is_empty() {
                let whole = told(&scanner, &[&text], bytes_max, is_json);
                proptest::prop_assert_eq!(told(&scanner, &letters, bytes_max, is_json), whole);
            }
        }
    }
}
