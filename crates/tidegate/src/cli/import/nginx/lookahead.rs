//! Negative lookahead, which regular expressions here do not have, where it can be spelled out: `/\\.(?!well-known).*`.

use std::collections::BTreeMap;

/// Texts of a lookahead by their first letters; a text that ends takes all that goes on.
#[derive(Default)]
struct Texts {
    ends: bool,
    next: BTreeMap<char, Texts>,
}

/// Longer texts than these are not spelled out.
const LETTERS_MAX: usize = 256;

/// The pattern without its lookahead: one, with plain texts, behind which anything may follow. None for all others.
pub(super) fn spelled(pattern: &str) -> Option<String> {
    let (before, rest) = pattern.split_once("(?!")?;
    let (inside, after) = closed(rest)?;
    let is_free = matches!(after, "" | ".*" | ".*$" | "(.*)" | "(.*)$");
    if !is_free || depth(before)? != 0 || before.contains('|') || before.contains("(?") {
        return None;
    }
    let inside = inside.strip_prefix("(?:").and_then(|inner| inner.strip_suffix(')')).unwrap_or(inside);
    if inside.len() > LETTERS_MAX {
        return None;
    }
    let mut texts = Texts::default();
    for one in inside.split('|') {
        texts.add(&plain(one)?);
    }
    Some(format!("{before}{}", texts.others()))
}

/// What stands before the bracket that closes a group, and behind it.
fn closed(text: &str) -> Option<(&str, &str)> {
    let mut open = 1;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '[' => return None,
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

/// How many groups are open at the end; none within a class.
fn depth(text: &str) -> Option<usize> {
    let (mut open, mut in_class) = (0_usize, false);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => open += 1,
            ')' if !in_class => open = open.checked_sub(1)?,
            _ => {}
        }
    }
    (!in_class).then_some(open)
}

/// A text without anything that means more than itself.
fn plain(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => out.push(letters.next().filter(|next| !next.is_ascii_alphanumeric())?),
            '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            letter => out.push(letter),
        }
    }
    (!out.is_empty()).then_some(out)
}

impl Texts {
    fn add(&mut self, text: &str) {
        let mut at = self;
        for letter in text.chars() {
            at = at.next.entry(letter).or_default();
        }
        at.ends = true;
    }

    /// All that begins with none of the texts.
    fn others(&self) -> String {
        let class: String = self.next.keys().map(|letter| regex::escape(&letter.to_string())).collect();
        let mut ways = vec!["$".to_owned(), format!("[^{class}].*")];
        for (letter, next) in self.next.iter().filter(|(_, next)| !next.ends) {
            ways.push(format!("{}{}", regex::escape(&letter.to_string()), next.others()));
        }
        format!("(?:{})", ways.join("|"))
    }
}

/// A pattern that takes what the given one does and more, as far as that can be told: without what looks around.
pub(super) fn wider(pattern: &str) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = ["(?!", "(?=", "(?<!", "(?<="].iter().filter_map(|sign| rest.find(sign)).min() {
        let inner = rest[at..].trim_start_matches(['(', '?', '<', '!', '=']);
        let Some((_, after)) = closed(inner) else { return ".*".to_owned() };
        out.push_str(&rest[..at]);
        rest = after;
    }
    out.push_str(rest);
    if regex::Regex::new(&out).is_ok() { out } else { ".*".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_follow_is_spelled_out() {
        let taken = |pattern: &str, path: &str| {
            let pattern = spelled(pattern).expect("it can be spelled out");
            regex::Regex::new(&format!("^.*(?:{pattern}).*$")).expect("it compiles").is_match(path)
        };
        for (path, is_taken) in [
            ("/.env", true),
            ("/.", true),
            ("/.wel", true),
            ("/.wellx", true),
            ("/.well-known/acme", false),
            ("/a/.git/config", true),
            ("/.well-known/.git", true),
            ("/a", false),
        ] {
            assert_eq!(taken("/\\.(?!well-known).*", path), is_taken, "{path}");
        }
        for (path, is_taken) in [
            ("/api/x", false),
            ("/ap", true),
            ("/login", false),
            ("/a", true),
            ("/", true),
            ("/loginx", false),
        ] {
            assert_eq!(taken("^/(?!(?:api/|login))", path), is_taken, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_spelled_out_is_none_and_a_wider_one_is_found() {
        for pattern in
            ["a", "(?!a)b", "(?!a.*)", "(x(?!a))", "a|(?!b)", "(?!a)(?!b)", "(?!", "[(?!a)]", "(?!a[)])"]
        {
            assert_eq!(spelled(pattern), None, "{pattern}");
        }
        for (pattern, wide) in
            [("^/(?!a)b", "^/b"), ("(?<!a)b(?=c)", "b"), ("a(?>b)", ".*"), ("(?!", ".*"), ("^/(a)\\1", ".*")]
        {
            assert_eq!(wider(pattern), wide, "{pattern}");
        }
    }
}
