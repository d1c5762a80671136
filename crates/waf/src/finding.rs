//! What is wrong with a file of rules: where, what, and what to do about it.

use std::{fmt, sync::Arc};

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1 on.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One thing that is wrong, or that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// What, and the remedy.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that was found: errors refuse the rules, warnings say what has no effect here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What makes the rules unusable.
    pub(crate) errors: Vec<Finding>,
    /// What has no effect, or another one than in ModSecurity.
    pub(crate) warnings: Vec<Finding>,
}

impl Findings {
    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.errors.push(Finding { place: place.clone(), message: message.into() });
    }

    pub(crate) fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(Finding { place: place.clone(), message: message.into() });
    }
}
