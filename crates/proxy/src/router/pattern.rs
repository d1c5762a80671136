//! Path patterns: read from the configuration into the same canonical spelling that request paths have.

use std::{fmt, sync::Arc};

use model::resource::route_match::PathMatch;
use regex::Regex;

use super::captures::{CAPTURES_MAX, Ranges};
use crate::guard::path::canonical_pattern;

/// What one segment of a path must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    /// ASCII digits, at least one.
    Int,
    /// A UUID in its usual 8-4-4-4-12 form.
    Uuid,
    /// Anything but an empty segment.
    Any,
}

impl Segment {
    pub(super) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => **literal == *text,
            Self::Int => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Uuid => is_uuid(text.as_bytes()),
            Self::Any => !text.is_empty(),
        }
    }

    /// Whether every text that the other accepts is accepted.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match other {
            Self::Literal(text) => self.accepts(text),
            other => self == other || *self == Self::Any,
        }
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// What may follow the segments of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    End,
    /// A slash and anything, captured.
    Rest,
    /// Nothing, or a slash and anything.
    Prefix,
}

/// How a path is recognised.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    Exact(Box<str>),
    Segments(Box<[Segment]>, Tail),
    Regex(Regex),
}

/// A path pattern, ready to match.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    pub(super) shape: Shape,
    pub(super) names: Arc<[Box<str>]>,
    /// As the operator wrote it.
    text: String,
}

impl Pattern {
    /// Reads a pattern; none at all is every path.
    pub(super) fn compile(path: Option<&PathMatch>, merge_slashes: bool) -> Result<Self, String> {
        match path {
            None => Ok(Self::of(Shape::Segments(Box::default(), Tail::Prefix), Vec::new(), "/*".to_owned())),
            Some(PathMatch::Exact(text)) => {
                let path = canonical(text, merge_slashes)?;
                Ok(Self::of(Shape::Exact(path.into()), Vec::new(), format!("= {text}")))
            }
            Some(PathMatch::Prefix(text)) => {
                let path = canonical(text, merge_slashes)?;
                // As in the Gateway API, a slash at the end of a prefix says nothing.
                let path = path.strip_suffix('/').unwrap_or(&path);
                let segments = path.split('/').skip(1).map(|text| Segment::Literal(text.into())).collect();
                let text = format!("{}/*", text.strip_suffix('/').unwrap_or(text));
                Ok(Self::of(Shape::Segments(segments, Tail::Prefix), Vec::new(), text))
            }
            Some(PathMatch::Template(text)) => template(text, merge_slashes),
            Some(PathMatch::Regex(text)) => regex(text),
        }
    }

    fn of(shape: Shape, names: Vec<Box<str>>, text: String) -> Self {
        Self { shape, names: names.into(), text }
    }

    /// Whether this path matches, on its own, without a tree: for explanations.
    pub(super) fn matches(&self, path: &str) -> Option<Ranges> {
        match &self.shape {
            Shape::Exact(exact) => (**exact == *path).then(Ranges::default),
            Shape::Regex(regex) => regex_ranges(regex, &self.names, path),
            Shape::Segments(segments, tail) => segment_ranges(segments, *tail, path),
        }
    }
}

/// A pattern on its own, for whoever tells paths apart within a route.
pub(crate) struct PathTest(Pattern);

impl PathTest {
    pub(crate) fn compile(path: Option<&PathMatch>) -> Result<Self, String> {
        Pattern::compile(path, true).map(Self)
    }

    /// Whether a canonical path is one that is meant.
    pub(crate) fn accepts(&self, path: &str) -> bool {
        self.0.matches(path).is_some()
    }
}

/// The prefixes that a route's matches name, the longest first.
pub(crate) fn prefixes_of(route: &model::Route) -> Vec<String> {
    let mut prefixes: Vec<String> = route
        .matches
        .iter()
        .filter_map(|one| match &one.path {
            Some(PathMatch::Prefix(text)) => canonical(text, true).ok(),
            _ => None,
        })
        .collect();
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
    prefixes
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a regular expression's named groups lie, when it matches the whole path.
pub(super) fn regex_ranges(regex: &Regex, names: &[Box<str>], path: &str) -> Option<Ranges> {
    let mut ranges = Ranges::default();
    if names.is_empty() {
        return regex.is_match(path).then_some(ranges);
    }
    let groups = regex.captures(path)?;
    for name in names {
        ranges.push(groups.name(name).map_or(0..0, |group| group.range()));
    }
    Some(ranges)
}

fn segment_ranges(segments: &[Segment], tail: Tail, path: &str) -> Option<Ranges> {
    let mut ranges = Ranges::default();
    let mut next = Some(1);
    for segment in segments {
        let start = next?;
        let end = path[start..].find('/').map_or(path.len(), |length| start + length);
        if !segment.accepts(&path[start..end]) {
            return None;
        }
        if !matches!(segment, Segment::Literal(_)) {
            ranges.push(start..end);
        }
        next = (end < path.len()).then_some(end + 1);
    }
    match (tail, next) {
        (Tail::End, None) | (Tail::Prefix, _) => {}
        (Tail::Rest, Some(start)) => ranges.push(start..path.len()),
        (Tail::End, Some(_)) | (Tail::Rest, None) => return None,
    }
    Some(ranges)
}

fn canonical(text: &str, merge_slashes: bool) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` must begin with `/`"));
    }
    canonical_pattern(text, merge_slashes).map_err(|refusal| format!("`{text}` can never match: {refusal}"))
}

fn template(text: &str, merge_slashes: bool) -> Result<Pattern, String> {
    let Some(body) = text.strip_prefix('/') else { return Err(format!("`{text}` must begin with `/`")) };
    let (mut segments, mut names, mut tail) = (Vec::new(), Vec::<Box<str>>::new(), Tail::End);
    let mut parts = body.split('/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        if part.is_empty() && !last && merge_slashes {
            continue;
        }
        let Some(capture) = part.strip_prefix('{') else {
            segments.push(Segment::Literal(literal(part, text)?));
            continue;
        };
        let capture = capture.strip_suffix('}').ok_or_else(|| whole_segment(text))?;
        let (name, segment) = match (capture.strip_suffix('*'), capture.split_once(':')) {
            (Some(_), _) if !last => {
                return Err(format!("`{{{capture}}}` must be the last segment of `{text}`"));
            }
            (Some(name), _) => (name, None),
            (None, Some((name, "int"))) => (name, Some(Segment::Int)),
            (None, Some((name, "uuid"))) => (name, Some(Segment::Uuid)),
            (None, Some((_, kind))) => {
                return Err(format!("`{kind}` in `{text}` is no type of capture: `int` and `uuid` are"));
            }
            (None, None) => (capture, Some(Segment::Any)),
        };
        check_name(name, &names, text)?;
        names.push(name.into());
        match segment {
            Some(segment) => segments.push(segment),
            None => tail = Tail::Rest,
        }
    }
    // Without a capture it is an exact path by another name, and is to rank as one.
    if names.is_empty() {
        return Ok(Pattern::of(Shape::Exact(canonical(text, merge_slashes)?.into()), names, text.to_owned()));
    }
    Ok(Pattern::of(Shape::Segments(segments.into(), tail), names, text.to_owned()))
}

fn whole_segment(text: &str) -> String {
    format!("a capture of `{text}` must be a whole segment, such as `/{{id}}/`")
}

fn literal(part: &str, text: &str) -> Result<Box<str>, String> {
    if part.contains(['{', '}']) {
        return Err(whole_segment(text));
    }
    let path = canonical(&format!("/{part}"), false)?;
    if path[1..].is_empty() && !part.is_empty() {
        return Err(format!("`{text}` can never match: paths hold no dot segments"));
    }
    Ok(path[1..].into())
}

fn check_name(name: &str, names: &[Box<str>], text: &str) -> Result<(), String> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(word) || name.as_bytes()[0].is_ascii_digit() {
        return Err(format!("`{name}` in `{text}` is no name: letters, digits and `_`, not a digit first"));
    }
    if names.iter().any(|known| **known == *name) {
        return Err(format!("`{text}` captures `{name}` twice"));
    }
    if names.len() == CAPTURES_MAX {
        return Err(format!("`{text}` captures more than {CAPTURES_MAX} values"));
    }
    Ok(())
}

fn regex(text: &str) -> Result<Pattern, String> {
    let regex = whole(&canonical_escapes(text)).map_err(|error| format!("`{text}`: {error}"))?;
    let mut names = Vec::<Box<str>>::new();
    for name in regex.capture_names().flatten() {
        check_name(name, &names, text)?;
        names.push(name.into());
    }
    Ok(Pattern::of(Shape::Regex(regex), names, format!("~ {text}")))
}

/// A regular expression that must match the whole of a text.
pub(super) fn whole(text: &str) -> Result<Regex, String> {
    // On its own first, so that `a)(b` cannot close the group around it.
    Regex::new(text).map_err(|error| last_line(&error))?;
    Regex::new(&format!("^(?:{text})$")).map_err(|error| last_line(&error))
}

fn last_line(error: &regex::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Spells the escapes in a regular expression as canonical paths do.
fn canonical_escapes(text: &str) -> String {
    let mut spelled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        spelled.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3).filter(|escape| escape[1..].bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(escape) = escape else {
            spelled.push('%');
            rest = &rest[at + 1..];
            continue;
        };
        match canonical_pattern(&format!("/x{escape}"), true) {
            Ok(path) => spelled.push_str(&regex::escape(&path[2..])),
            Err(_) => spelled.push_str(escape),
        }
        rest = &rest[at + 3..];
    }
    spelled.push_str(rest);
    spelled
}
