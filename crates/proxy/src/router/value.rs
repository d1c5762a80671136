//! Tests of named values: headers, query parameters, cookies. Every value of a repeated name is judged.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, header};
use model::resource::route_match::{HeaderMatch, ValueMatch, ValueTest};
use regex::Regex;

use super::pattern::whole;

/// What the values of one name must be.
#[derive(Debug, Clone)]
pub(super) enum Test {
    Present,
    Absent,
    Exact(Box<str>),
    Prefix(Box<str>),
    Regex(Regex),
}

impl Test {
    fn compile(test: ValueTest<'_>) -> Result<Self, String> {
        Ok(match test {
            ValueTest::Present => Self::Present,
            ValueTest::Absent => Self::Absent,
            ValueTest::Exact(text) => Self::Exact(text.into()),
            ValueTest::Prefix(text) => Self::Prefix(text.into()),
            ValueTest::Regex(text) => Self::Regex(whole(text).map_err(|error| format!("`{text}`: {error}"))?),
        })
    }

    /// Whether there is a value and all of them pass; for [`Test::Absent`], whether there is none.
    fn holds<'v>(&self, mut values: impl Iterator<Item = Option<Cow<'v, str>>>) -> bool {
        let Some(first) = values.next() else { return matches!(self, Self::Absent) };
        // A value that is no text passes no test of its text.
        let pass = |value: Option<Cow<'_, str>>| match (self, value) {
            (Self::Present, _) => true,
            (Self::Absent, _) | (_, None) => false,
            (Self::Exact(text), Some(value)) => **text == *value,
            (Self::Prefix(text), Some(value)) => value.starts_with(&**text),
            (Self::Regex(regex), Some(value)) => regex.is_match(&value),
        };
        pass(first) && values.all(pass)
    }

    /// Whether whatever passes the other passes this one, as far as it is plain to see.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, other) => matches!(other, Self::Absent),
            (Self::Present, other) => !matches!(other, Self::Absent),
            (Self::Exact(one), Self::Exact(two)) => one == two,
            (Self::Prefix(prefix), Self::Prefix(text) | Self::Exact(text)) => text.starts_with(&**prefix),
            (Self::Regex(one), Self::Regex(two)) => one.as_str() == two.as_str(),
            (Self::Regex(regex), Self::Exact(text)) => regex.is_match(text),
            _ => false,
        }
    }

    fn describe(&self, name: &str) -> String {
        match self {
            Self::Present => format!("{name} present"),
            Self::Absent => format!("{name} absent"),
            Self::Exact(text) => format!("{name} = {text:?}"),
            Self::Prefix(text) => format!("{name} begins with {text:?}"),
            Self::Regex(regex) => {
                let text = regex.as_str();
                let text = text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text);
                format!("{name} ~ {text:?}")
            }
        }
    }
}

/// A test of a header.
#[derive(Debug, Clone)]
pub(super) struct HeaderTest {
    name: HeaderName,
    test: Test,
}

impl HeaderTest {
    pub(super) fn compile(settings: &HeaderMatch) -> Result<Self, String> {
        Ok(Self { name: settings.name.to_http(), test: Test::compile(settings.test())? })
    }

    /// The header.
    pub(super) fn name(&self) -> &HeaderName {
        &self.name
    }

    pub(super) fn holds(&self, headers: &HeaderMap) -> bool {
        let values = headers.get_all(&self.name).iter();
        self.test.holds(values.map(|value| std::str::from_utf8(value.as_bytes()).ok().map(Cow::Borrowed)))
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.name == other.name && self.test.covers(&other.test)
    }

    pub(super) fn describe(&self) -> String {
        self.test.describe(&format!("header {}", self.name))
    }
}

/// A test of a query parameter or a cookie.
#[derive(Debug, Clone)]
pub(super) struct NamedTest {
    name: Box<str>,
    test: Test,
}

impl NamedTest {
    pub(super) fn compile(settings: &ValueMatch) -> Result<Self, String> {
        Ok(Self { name: settings.name.as_str().into(), test: Test::compile(settings.test())? })
    }

    pub(super) fn holds_in_query(&self, query: Option<&str>) -> bool {
        let named = parameters(query.unwrap_or_default()).filter(|(name, _)| *name == *self.name);
        self.test.holds(named.map(|(_, value)| Some(value)))
    }

    pub(super) fn holds_in_cookies(&self, headers: &HeaderMap) -> bool {
        let named = cookies(headers).filter(|(name, _)| **name == *self.name);
        self.test.holds(named.map(|(_, value)| Some(Cow::Borrowed(value))))
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        self.name == other.name && self.test.covers(&other.test)
    }

    pub(super) fn describe(&self, kind: &str) -> String {
        self.test.describe(&format!("{kind} {}", self.name))
    }
}

/// The parameters of a query, decoded as forms are: `+` is a space.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let digit = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let byte = text.as_bytes()[at];
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) => bytes.push(b' '),
            _ => bytes.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The cookies of a request, over all its `Cookie` lines.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines =
        headers.get_all(header::COOKIE).iter().filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        Some((name.trim(), quoted.unwrap_or(value)))
    })
}
