//! Diagnostics: what is wrong with a configuration, where, and what was expected.

mod render;

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

/// A text of a configuration and the name that diagnostics call it by.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its path, or a name such as `stdin`.
    pub name: String,
    /// The YAML.
    pub text: String,
}

impl Source {
    /// A text with its name. Relative paths in it start at the directory of the name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Where relative paths start.
    pub(crate) fn directory(&self) -> PathBuf {
        PathBuf::from(&self.name).parent().map(PathBuf::from).unwrap_or_default()
    }
}

/// A part of a source, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Which source.
    pub source: u32,
    /// First byte.
    pub start: u32,
    /// After the last byte.
    pub end: u32,
}

impl Place {
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Whether a configuration can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It cannot be used.
    Error,
    /// It can, but hardly as it was meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The key's full path, such as `routes[3].policies[0].rateLimit.limit`; empty for a whole file.
    pub path: String,
    /// What was expected and what was found.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
    /// Where, when it is in a source.
    pub place: Option<Place>,
    /// A second place that belongs to it, and what is there.
    pub other: Option<(Place, String)>,
}

impl Diagnostic {
    /// An error at a path.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.into(),
            message: message.into(),
            help: None,
            place: None,
            other: None,
        }
    }

    /// A warning at a path.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With a place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }
}

/// All findings about a configuration, with the sources that they point into.
#[derive(Clone, Default)]
pub struct Diagnostics {
    pub(crate) sources: Arc<[Source]>,
    pub(crate) items: Vec<Diagnostic>,
    pub(crate) files: Vec<PathBuf>,
}

impl Diagnostics {
    /// Nothing found yet about these sources.
    pub fn new(sources: &[Source]) -> Self {
        Self { sources: sources.into(), items: Vec::new(), files: Vec::new() }
    }

    /// One more finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// Files that the configuration refers to, whether they could be read or not.
    pub fn referenced_files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The findings, in the order of the sources.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether the configuration cannot be used.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|item| item.severity == Severity::Error)
    }

    /// The errors alone.
    #[must_use]
    pub fn errors(&self) -> Self {
        let errors = self.items.iter().filter(|item| item.severity == Severity::Error);
        Self { items: errors.cloned().collect(), ..self.clone() }
    }

    /// Line and column of a place, both from 1; columns count characters.
    pub fn line_column(&self, place: Place) -> (usize, usize) {
        let text = self.sources.get(place.source as usize).map_or("", |source| source.text.as_str());
        let before = text.get(..place.start as usize).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `file:line:column` of a finding, or nothing when it is in no source.
    pub fn location(&self, diagnostic: &Diagnostic) -> Option<String> {
        let place = diagnostic.place?;
        let (line, column) = self.line_column(place);
        Some(format!("{}:{line}:{column}", self.sources.get(place.source as usize)?.name))
    }

    /// Widens places to whole characters: one byte is shown for a list or a mapping, and it may begin a longer one.
    pub(crate) fn widen(&mut self) {
        let sources = &self.sources;
        let whole = |place: &mut Place| {
            if let Some(source) = sources.get(place.source as usize) {
                place.end = source.text.ceil_char_boundary(place.end as usize) as u32;
            }
        };
        for item in &mut self.items {
            item.place.iter_mut().for_each(whole);
            item.other.iter_mut().for_each(|(place, _)| whole(place));
        }
    }

    pub(crate) fn sort(&mut self) {
        self.items.sort_by_key(|item| (item.place.is_none(), item.place, item.severity));
        self.items.dedup();
    }
}

/// One line per finding: `file:line:column: path: message (help)`.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            if let Some(location) = self.location(item) {
                write!(f, "{location}: ")?;
            }
            if item.severity == Severity::Warning {
                f.write_str("warning: ")?;
            }
            if !item.path.is_empty() {
                write!(f, "{}: ", item.path)?;
            }
            f.write_str(&item.message)?;
            if let Some(help) = &item.help {
                write!(f, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Diagnostics {}
