//! Everything that is looked for in texts, asked at one place of a text at a time.

use regex_automata::hybrid::dfa::Cache;

use super::{
    detect::{Begins, Kind},
    patterns::{Patterns, Wanted},
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

/// Everything that is looked for.
#[derive(Debug, Default)]
pub struct Scanner {
    kinds: Vec<(Kind, usize)>,
    patterns: Option<Patterns>,
    rules: Vec<usize>,
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
        Ok(Self { kinds, patterns, rules })
    }

    /// Whether nothing is looked for.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.patterns.is_none()
    }

    /// What walks over texts need.
    pub fn cache(&self) -> Option<Cache> {
        self.patterns.as_ref().map(Patterns::cache)
    }

    /// What begins at the start of a text, which `before` stands in front of.
    pub fn at(&self, cache: &mut Option<Cache>, before: Option<char>, text: &str, more: bool) -> At {
        for (kind, rule) in &self.kinds {
            match kind.begins(before, text, more) {
                Begins::No => {}
                Begins::More => return At::Undecided,
                Begins::Yes(length) => return At::Something(length, Found::Kind(*kind, *rule)),
            }
        }
        let (Some(patterns), Some(cache)) = (&self.patterns, cache) else { return At::Nothing };
        match patterns.begins(cache, before, text, more) {
            (Begins::No, _) => At::Nothing,
            (Begins::More, _) => At::Undecided,
            (Begins::Yes(length), which) => {
                At::Something(length, Found::Pattern(self.rules.get(which).copied().unwrap_or_default()))
            }
        }
    }
}
