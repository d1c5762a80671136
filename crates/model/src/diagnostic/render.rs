//! Draws findings with the lines of the source that they are about.

use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, NamedSource, SourceCode, SourceSpan,
    SpanContents,
};

use super::{Diagnostic, Diagnostics, Place, Severity};

/// Findings that are drawn at most; the rest is counted.
const DRAWN_MAX: usize = 100;

impl Diagnostics {
    /// All findings as text for a terminal, with colours or without: errors first, and how many there are when there are both.
    pub fn render(&self, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_links(false);
        let mut text = String::new();
        let of = |severity| self.items.iter().filter(move |item| item.severity == severity);
        // What keeps it from being used stands before what is merely odd.
        for item in of(Severity::Error).chain(of(Severity::Warning)).take(DRAWN_MAX) {
            let report = Report { all: self, item, source: self.source(item.place) };
            if handler.render_report(&mut text, &report).is_err() {
                text.push_str(&item.message);
            }
        }
        if let Some(more) = self.items.len().checked_sub(DRAWN_MAX).filter(|more| *more > 0) {
            text.push_str(&format!("and {more} more\n"));
        }
        let (errors, warnings) = (of(Severity::Error).count(), of(Severity::Warning).count());
        if errors > 0 && warnings > 0 {
            let plural = |count: usize| if count == 1 { "" } else { "s" };
            text.push_str(&format!(
                "{errors} error{}, {warnings} warning{}\n",
                plural(errors),
                plural(warnings)
            ));
        }
        text
    }

    fn source(&self, place: Option<Place>) -> Option<NamedSource<String>> {
        let source = self.sources.get(place?.source as usize)?;
        Some(NamedSource::new(&source.name, source.text.clone()))
    }
}

/// One finding as miette sees it.
struct Report<'a> {
    all: &'a Diagnostics,
    item: &'a Diagnostic,
    source: Option<NamedSource<String>>,
}

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item.path.is_empty() {
            true => f.write_str(&self.item.message),
            false => write!(f, "{}: {}", self.item.path, self.item.message),
        }
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.item.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let elsewhere = self.elsewhere();
        match (&self.item.help, elsewhere) {
            (None, None) => None,
            (Some(help), None) => Some(Box::new(help)),
            (None, Some(place)) => Some(Box::new(place)),
            (Some(help), Some(place)) => Some(Box::new(format!("{help}; {place}"))),
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|_| self as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.item.place?;
        let first = LabeledSpan::new_primary_with_span(Some("here".to_owned()), span(place));
        let second = self.item.other.iter().filter(move |(other, _)| other.source == place.source);
        let second = second.map(|(other, text)| LabeledSpan::new_with_span(Some(text.clone()), span(*other)));
        Some(Box::new(std::iter::once(first).chain(second)))
    }
}

impl Report<'_> {
    /// Where the second place is, when it is in another source and cannot be drawn beside the first.
    fn elsewhere(&self) -> Option<String> {
        let (other, text) = self.item.other.as_ref()?;
        if other.source == self.item.place?.source {
            return None;
        }
        let (line, column) = self.all.line_column(*other);
        let name = &self.all.sources.get(other.source as usize)?.name;
        Some(format!("{text}: {name}:{line}:{column}"))
    }
}

impl SourceCode for Report<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        match &self.source {
            Some(source) => source.read_span(span, before, after),
            None => Err(MietteError::OutOfBounds),
        }
    }
}

fn span(place: Place) -> SourceSpan {
    let range = place.range();
    (range.start, range.len()).into()
}
