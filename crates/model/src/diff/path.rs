//! Paths of doors: whether one takes every path that another takes, and whether any path comes through both.

use std::sync::OnceLock;

use regex::Regex;

use crate::resource::{
    path_template::{CaptureKind, PathTemplate, TemplateSegment},
    route_match::PathMatch,
};

/// The paths that a match takes.
#[derive(Debug, Clone)]
pub(super) enum Paths {
    /// Segment by segment, and what may follow them.
    Segments(Vec<Segment>, Tail),
    /// What a regular expression takes as a whole.
    Regex { text: String, prefix: String, compiled: OnceLock<Option<Regex>> },
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(String),
    Capture(CaptureKind),
}

/// What may follow the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    End,
    /// A slash and anything.
    Rest,
    /// Nothing, or a slash and anything.
    Prefix,
}

impl Paths {
    pub(super) fn of(path: Option<&PathMatch>) -> Self {
        let literals = |text: &str| {
            let rest = text.strip_prefix('/').unwrap_or(text);
            rest.split('/').map(|segment| Segment::Literal(spelling(segment))).collect::<Vec<_>>()
        };
        match path {
            None => Self::Segments(Vec::new(), Tail::Prefix),
            Some(PathMatch::Exact(text)) => Self::Segments(literals(text), Tail::End),
            Some(PathMatch::Prefix(text)) => {
                let text = text.strip_suffix('/').unwrap_or(text);
                Self::Segments(if text.is_empty() { Vec::new() } else { literals(text) }, Tail::Prefix)
            }
            Some(PathMatch::Template(text)) => match text.parse::<PathTemplate>() {
                Ok(template) if template.segments.is_empty() => Self::Segments(literals("/"), Tail::End),
                Ok(template) => Self::template(template),
                // No template: a configuration with one is refused, so that nothing comes through.
                Err(_) => Self::Segments(literals(text), Tail::End),
            },
            Some(PathMatch::Regex(text)) => {
                Self::Regex { text: text.clone(), prefix: literal_prefix(text), compiled: OnceLock::new() }
            }
        }
    }

    fn template(template: PathTemplate) -> Self {
        let mut tail = Tail::End;
        let mut segments = Vec::with_capacity(template.segments.len());
        for segment in template.segments {
            match segment {
                TemplateSegment::Literal(text) => segments.push(Segment::Literal(spelling(&text))),
                TemplateSegment::Capture { kind, .. } => segments.push(Segment::Capture(kind)),
                TemplateSegment::Rest { .. } => tail = Tail::Rest,
            }
        }
        Self::Segments(segments, tail)
    }

    /// The literal segments that all these paths begin with.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        let segments = match self {
            Self::Segments(segments, _) => &segments[..],
            Self::Regex { .. } => &[],
        };
        segments.iter().map_while(|segment| match segment {
            Segment::Literal(text) => Some(text.as_str()),
            Segment::Capture(_) => None,
        })
    }

    /// Whether these are the literal segments and nothing else.
    pub(super) fn is_one(&self) -> bool {
        matches!(self, Self::Segments(segments, Tail::End) if self.literals().count() == segments.len())
    }

    /// Exact paths, then segment by segment (a literal, a typed capture, any capture; then the end, the rest, a
    /// prefix), then regular expressions.
    pub(super) fn rank(&self) -> (u8, Vec<u8>) {
        match self {
            _ if self.is_one() => (0, Vec::new()),
            Self::Regex { .. } => (2, Vec::new()),
            Self::Segments(segments, tail) => {
                let kinds = segments.iter().map(|segment| match segment {
                    Segment::Literal(_) => 0,
                    Segment::Capture(CaptureKind::Int | CaptureKind::Uuid) => 1,
                    Segment::Capture(CaptureKind::Any) => 2,
                });
                let tail = match tail {
                    Tail::End => 3,
                    Tail::Rest => 4,
                    Tail::Prefix => 5,
                };
                (1, kinds.chain([tail]).collect())
            }
        }
    }

    /// Whether every path of the other is one of these.
    pub(super) fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Segments(mine, tail), Self::Segments(theirs, other_tail)) => {
                let begins = theirs.len() >= mine.len() && mine.iter().zip(theirs).all(|(a, b)| a.covers(b));
                let longer = theirs.len() > mine.len();
                begins
                    && match tail {
                        Tail::End => !longer && *other_tail == Tail::End,
                        Tail::Prefix => true,
                        Tail::Rest => longer || *other_tail == Tail::Rest,
                    }
            }
            (Self::Segments(mine, tail), Self::Regex { .. }) => mine.is_empty() && *tail == Tail::Prefix,
            (Self::Regex { text, .. }, Self::Regex { text: other, .. }) => text == other,
            (Self::Regex { .. }, Self::Segments(..)) => {
                other.one().is_some_and(|path| self.is_match(&path) == Some(true))
            }
        }
    }

    /// Whether a path may be one of both. True where that cannot be told.
    pub(super) fn meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Segments(mine, tail), Self::Segments(theirs, other_tail)) => {
                mine.iter().zip(theirs).all(|(a, b)| a.meets(b))
                    && match mine.len().cmp(&theirs.len()) {
                        std::cmp::Ordering::Less => *tail != Tail::End,
                        std::cmp::Ordering::Equal => true,
                        std::cmp::Ordering::Greater => *other_tail != Tail::End,
                    }
            }
            (Self::Regex { .. }, Self::Regex { prefix: theirs, .. }) => {
                let Self::Regex { prefix: mine, .. } = self else { return true };
                mine.starts_with(theirs.as_str()) || theirs.starts_with(mine.as_str())
            }
            (Self::Segments(..), Self::Regex { .. }) => other.meet(self),
            (Self::Regex { prefix, .. }, Self::Segments(..)) => match other.one() {
                Some(path) => self.is_match(&path) != Some(false),
                None => {
                    let literal: String = other.literals().flat_map(|segment| ["/", segment]).collect();
                    literal.starts_with(prefix.as_str()) || prefix.starts_with(&literal)
                }
            },
        }
    }

    /// The one path that this is, when it is one.
    fn one(&self) -> Option<String> {
        self.is_one().then(|| self.literals().flat_map(|segment| ["/", segment]).collect())
    }

    fn is_match(&self, path: &str) -> Option<bool> {
        let Self::Regex { text, compiled, .. } = self else { return None };
        let regex = compiled.get_or_init(|| Regex::new(&format!("^(?:{text})$")).ok());
        regex.as_ref().map(|regex| regex.is_match(path))
    }
}

impl Segment {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(mine), Self::Literal(theirs)) => mine == theirs,
            (Self::Literal(_), Self::Capture(_)) => false,
            (Self::Capture(kind), Self::Literal(text)) => kind.accepts(text),
            (Self::Capture(mine), Self::Capture(theirs)) => mine == theirs || *mine == CaptureKind::Any,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

/// A segment as the router spells it: what needs no escape has none, and escapes are in capitals.
fn spelling(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match escaped {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => out.push(byte),
            Some(_) => out.extend(rest[..3].to_ascii_uppercase()),
            None => out.push(first),
        }
        rest = if escaped.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

/// What every match of a regular expression begins with, as far as that is plain to see.
fn literal_prefix(text: &str) -> String {
    let text = text.strip_prefix('^').unwrap_or(text);
    if text.contains('|') {
        return String::new();
    }
    let is_plain = |c: &char| c.is_alphanumeric() || "/-_~%".contains(*c);
    let mut prefix: String = text.chars().take_while(is_plain).collect();
    // What is repeated may be left out.
    if text[prefix.len()..].starts_with(['?', '*', '{', '+']) {
        prefix.pop();
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Paths {
        let (kind, text) = text.split_once(' ').expect("a kind and a text");
        let text = text.to_owned();
        Paths::of(Some(&match kind {
            "=" => PathMatch::Exact(text),
            "^" => PathMatch::Prefix(text),
            "t" => PathMatch::Template(text),
            _ => PathMatch::Regex(text),
        }))
    }

    #[test]
    fn paths_cover_and_meet_as_the_router_takes_them() {
        for (mine, theirs, covers, meets) in [
            ("^ /", "= /", true, true),
            ("^ /", "~ /a.*", true, true),
            ("^ /a", "= /a", true, true),
            ("^ /a/", "= /a", true, true),
            ("^ /a", "= /ab", false, false),
            ("^ /a", "^ /", false, true),
            ("^ /%61", "= /a/b", true, true),
            ("= /a", "^ /a", false, true),
            ("= /a", "= /a/", false, false),
            ("t /{x}", "= /a", true, true),
            ("t /{x}", "= /", false, false),
            ("t /{x:int}", "t /{x:uuid}", false, false),
            ("t /{x}/b", "^ /a", false, true),
            ("t /{x}/b", "^ /a/c", false, false),
            ("t /{x}/b", "t /a/{y}", false, true),
            ("t /a/{r*}", "= /a/b/c", true, true),
            ("t /a/{r*}", "^ /a", false, true),
            ("t /a/{r*}", "^ /b", false, false),
            ("~ /a/[0-9]+", "= /a/7", true, true),
            ("~ /a/[0-9]+", "= /a/x", false, false),
            ("~ /a/[0-9]+", "^ /b", false, false),
            ("~ /a/[0-9]+", "^ /a", false, true),
            ("~ /a/x?", "^ /a/y", false, true),
            ("~ /a|/b", "^ /b", false, true),
            ("~ /a.*", "~ /b.*", false, false),
        ] {
            let (mine, theirs) = (paths(mine), paths(theirs));
            assert_eq!((mine.cover(&theirs), mine.meet(&theirs)), (covers, meets), "{mine:?} {theirs:?}");
            assert_eq!(theirs.meet(&mine), meets, "{theirs:?} {mine:?}");
            assert!(mine.cover(&mine) && mine.meet(&mine), "{mine:?}");
        }
    }
}
