//! Patterns of rules: linear-time where the language allows, bounded backtracking for the few others.
//!
//! Rules are written for PCRE, over bytes, with `.` matching line ends and `$` the very end, as ModSecurity compiles them.
//! [`pcre`] rewrites what the linear engine spells differently. Look-around, back-references and atomic groups need
//! backtracking: those patterns get a bound of steps, beyond which a rule has not matched and the call is told so.

mod pcre;
mod required;

use fancy_regex::{BytesMode, RegexBuilder};
use regex::bytes;

pub(crate) use self::required::{Required, required};

/// Bytes of a compiled pattern.
const PROGRAM_BYTES_MAX: usize = 64 << 20;
/// Bytes of the automaton that is built while it runs, per thread.
const LAZY_BYTES_MAX: usize = 1 << 20;
/// How often a pattern that needs it may try another way, where the rules say nothing of it.
pub(crate) const BACKTRACKS_MAX: usize = 100_000;
/// Longest text that a pattern with backtracking looks at.
const BACKTRACKED_BYTES_MAX: usize = 16 << 10;

/// A compiled pattern.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// In linear time.
    Linear(bytes::Regex),
    /// With a bound of steps.
    Backtracking(Box<fancy_regex::Regex>),
}

/// What a search found.
pub(crate) enum Searched {
    /// Nothing.
    No,
    /// The spans of the whole and of its groups.
    Yes(Vec<Option<(usize, usize)>>),
    /// It gave up.
    OutOfSteps,
}

impl Pattern {
    /// Compiles a pattern of a rule.
    pub(crate) fn new(text: &str, ignore_case: bool, backtracks: usize) -> Result<Self, String> {
        let rewritten = pcre::rewrite(text)?;
        if rewritten.needs_backtracking {
            let built = RegexBuilder::new(&rewritten.text)
                .case_insensitive(ignore_case)
                .dot_matches_new_line(true)
                .bytes_mode(BytesMode::Ascii)
                .backtrack_limit(backtracks)
                .delegate_size_limit(PROGRAM_BYTES_MAX)
                .delegate_dfa_size_limit(LAZY_BYTES_MAX)
                .build();
            return built.map(|built| Self::Backtracking(Box::new(built))).map_err(|error| error.to_string());
        }
        let built = bytes::RegexBuilder::new(&rewritten.text)
            .unicode(false)
            .dot_matches_new_line(true)
            .case_insensitive(ignore_case)
            .size_limit(PROGRAM_BYTES_MAX)
            .dfa_size_limit(LAZY_BYTES_MAX)
            .build();
        built.map(Self::Linear).map_err(|error| last_line(&error.to_string()))
    }

    /// Whether it is found, or nobody can say within the bound.
    pub(crate) fn is_match(&self, text: &[u8]) -> Option<bool> {
        match self {
            Self::Linear(regex) => Some(regex.is_match(text)),
            Self::Backtracking(_) if text.len() > BACKTRACKED_BYTES_MAX => None,
            Self::Backtracking(regex) => regex.is_match(text).ok(),
        }
    }

    /// Finds it, with the spans of its groups.
    pub(crate) fn search(&self, text: &[u8]) -> Searched {
        match self {
            Self::Linear(regex) => {
                let Some(found) = regex.captures(text) else { return Searched::No };
                Searched::Yes(
                    found.iter().map(|group| group.map(|group| (group.start(), group.end()))).collect(),
                )
            }
            Self::Backtracking(_) if text.len() > BACKTRACKED_BYTES_MAX => Searched::OutOfSteps,
            Self::Backtracking(regex) => match regex.captures(text) {
                Ok(None) => Searched::No,
                Ok(Some(found)) => Searched::Yes(
                    (0..found.len())
                        .map(|at| found.get(at).map(|group| (group.start(), group.end())))
                        .collect(),
                ),
                Err(_) => Searched::OutOfSteps,
            },
        }
    }

    /// Whether it needs backtracking.
    pub(crate) fn is_backtracking(&self) -> bool {
        matches!(self, Self::Backtracking(_))
    }
}

/// The one line of an error of many that says what is wrong.
fn last_line(error: &str) -> String {
    error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}
