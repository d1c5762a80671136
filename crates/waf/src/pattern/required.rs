//! What a text must hold somewhere for a pattern to be found in it: a set of literals, one of which is there.
//!
//! A scan of all literals of all rules says of each text which patterns are worth trying. A pattern for which no such
//! set is found, or none that is telling, is tried always. Literals are lower-case and compared without case.

use std::collections::BTreeSet;

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};

use super::pcre;

/// Literals, lower-case, of which one is in every text in which the pattern is found.
pub(crate) type Required = BTreeSet<Vec<u8>>;

/// How many literals a pattern may ask for.
const LITERALS_MAX: usize = 400;
/// How many texts a part may be spelled out as.
const SPELLED_MAX: usize = 32;
/// How many characters a class may stand for when it is spelled out.
const CLASS_MAX: usize = 8;
const LITERAL_BYTES_MAX: usize = 24;

/// The literals that a pattern requires, or nothing when it requires none.
pub(crate) fn required(pattern: &str) -> Option<Required> {
    let rewritten = pcre::rewrite(pattern).ok().filter(|rewritten| !rewritten.needs_backtracking)?;
    let mut parser = ParserBuilder::new().unicode(false).utf8(false).dot_matches_new_line(true).build();
    let hir = parser.parse(&rewritten.text).ok()?;
    finish(part(&hir))
}

/// What is known of a part of a pattern.
enum Part {
    /// It is one of these texts, and nothing else.
    Exact(BTreeSet<Vec<u8>>),
    /// It holds one of these.
    Holds(Required),
    /// Nothing.
    Anything,
}

fn finish(part: Part) -> Option<Required> {
    match part {
        Part::Exact(set) | Part::Holds(set) => is_telling(&set).then_some(set),
        Part::Anything => None,
    }
}

/// Whether a set is worth scanning for: not so short that every text has it.
fn is_telling(set: &Required) -> bool {
    let is_rare = |literal: &Vec<u8>| match literal.as_slice() {
        [] => false,
        [one] => {
            !one.is_ascii_alphanumeric()
                && !matches!(one, b' ' | b'.' | b'-' | b'_' | b'/' | b'=' | b',' | b';')
        }
        _ => true,
    };
    !set.is_empty() && set.len() <= LITERALS_MAX && set.iter().all(is_rare)
}

/// How telling a set is: the length of its shortest literal first, then how few there are.
fn weight(set: &Required) -> (usize, std::cmp::Reverse<usize>) {
    (set.iter().map(Vec::len).min().unwrap_or_default().min(4), std::cmp::Reverse(set.len()))
}

fn part(hir: &Hir) -> Part {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Part::Exact(BTreeSet::from([Vec::new()])),
        HirKind::Literal(literal) => Part::Exact(BTreeSet::from([literal.0.to_ascii_lowercase()])),
        HirKind::Class(class) => class_part(class),
        HirKind::Capture(capture) => part(&capture.sub),
        HirKind::Repetition(repetition) => match (repetition.min, part(&repetition.sub)) {
            (0, Part::Exact(mut set)) if repetition.max == Some(1) && set.len() < SPELLED_MAX => {
                set.insert(Vec::new());
                Part::Exact(set)
            }
            (0, _) => Part::Anything,
            (1, exact @ Part::Exact(_)) if repetition.max == Some(1) => exact,
            (_, Part::Exact(set)) if is_telling(&set) => Part::Holds(set),
            (_, Part::Exact(_)) => Part::Anything,
            (_, other) => other,
        },
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(parts) => alternation(parts),
    }
}

fn class_part(class: &Class) -> Part {
    let mut set = BTreeSet::new();
    let ranges: Vec<(u32, u32)> = match class {
        Class::Bytes(class) => class.iter().map(|range| (range.start().into(), range.end().into())).collect(),
        Class::Unicode(class) => {
            class.iter().map(|range| (range.start().into(), range.end().into())).collect()
        }
    };
    for (start, end) in ranges {
        if end > 0xFF || (end - start) as usize > 2 * CLASS_MAX {
            return Part::Anything;
        }
        set.extend((start..=end).map(|byte| vec![(byte as u8).to_ascii_lowercase()]));
    }
    if set.len() > CLASS_MAX { Part::Anything } else { Part::Exact(set) }
}

fn concat(parts: &[Hir]) -> Part {
    let mut best: Option<Required> = None;
    let mut offer = |set: Required| {
        if is_telling(&set) && best.as_ref().is_none_or(|best| weight(&set) > weight(best)) {
            best = Some(set);
        }
    };
    let mut is_exact = true;
    let mut run = BTreeSet::from([Vec::new()]);
    for hir in parts {
        match part(hir) {
            Part::Exact(set) => {
                let longest = run.iter().map(Vec::len).max().unwrap_or_default();
                if run.len() * set.len() <= SPELLED_MAX && longest < LITERAL_BYTES_MAX {
                    run = run.iter().flat_map(|one| set.iter().map(|two| [&one[..], two].concat())).collect();
                } else {
                    is_exact = false;
                    offer(std::mem::replace(&mut run, set));
                }
            }
            other => {
                is_exact = false;
                offer(std::mem::replace(&mut run, BTreeSet::from([Vec::new()])));
                if let Part::Holds(set) = other {
                    offer(set);
                }
            }
        }
    }
    if is_exact {
        return Part::Exact(run);
    }
    offer(run);
    best.map_or(Part::Anything, Part::Holds)
}

fn alternation(parts: &[Hir]) -> Part {
    let mut all = BTreeSet::new();
    let mut is_exact = true;
    for hir in parts {
        match part(hir) {
            Part::Exact(set) => all.extend(set),
            Part::Holds(set) => {
                is_exact = false;
                all.extend(set);
            }
            Part::Anything => return Part::Anything,
        }
    }
    match is_exact && all.len() <= SPELLED_MAX {
        true => Part::Exact(all),
        false if is_telling(&all) => Part::Holds(all),
        false => Part::Anything,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Pattern, *};

    fn of(pattern: &str) -> Option<Vec<String>> {
        required(pattern)
            .map(|set| set.into_iter().map(|one| String::from_utf8_lossy(&one).into_owned()).collect())
    }

    #[test]
    fn a_pattern_tells_what_it_cannot_be_found_without() {
        let want = |texts: &[&str]| Some(texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(r"(?i)union\s+select"), want(&["union"]));
        assert_eq!(of(r"\b(?:cat|dog)food\b"), want(&["catfood", "dogfood"]));
        assert_eq!(of(r"x*(?:eval|system)\s*\("), want(&["eval", "system"]));
        assert_eq!(of(r"[<>]"), want(&["<", ">"]));
        assert_eq!(of(r"\d+"), None);
        assert_eq!(of(r"(?:abc)?"), None);
        assert_eq!(of(r"^$"), None);
    }

    proptest! {
        /// Whatever a pattern is found in holds one of the literals that it requires.
        #[test]
        fn nothing_is_found_without_them(
            pattern in r"(?:\(\?i\))?(?:[abAB]|[ab]{2,4}|\[ab\]|\(\?:ab\|ba?\)|a\{1,2\}|b\?|\.|\\s|\||[ab]\+){1,6}",
            text in "[abAB ]{0,12}",
        ) {
            if let (Ok(compiled), Some(set)) = (Pattern::new(&pattern, false, 1_000), required(&pattern))
                && compiled.is_match(text.as_bytes()) == Some(true)
            {
                let lower = text.to_ascii_lowercase();
                prop_assert!(
                    set.iter().any(|one| memchr::memmem::find(lower.as_bytes(), one).is_some()),
                    "{} in {:?}: {:?}", pattern, text, set
                );
            }
        }
    }
}
