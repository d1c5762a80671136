//! What a route matches: path, method, headers, query, cookies, client, SNI, and a condition.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Cidr, HeaderName, load::Context};

/// One way to match a route: everything given must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Match {
    /// The normalised path; any without it.
    pub path: Option<PathMatch>,
    /// Methods; any when empty. A path that matches with another method is 405.
    #[schemars(extend("items" = {"type": "string", "format": "method"}))]
    pub methods: Vec<String>,
    /// Headers that must hold.
    pub headers: Vec<HeaderMatch>,
    /// Query parameters that must hold.
    pub query: Vec<ValueMatch>,
    /// Cookies that must hold.
    pub cookies: Vec<ValueMatch>,
    /// The client's address is in one of these; any when empty.
    pub client_address: Vec<Cidr>,
    /// The name asked for in the TLS handshake, exact or `*.wildcard`; any when empty.
    pub sni: Vec<String>,
    /// A CEL condition over `request`, `client`, `tls` and `captures`.
    #[schemars(extend("format" = "cel"))]
    pub when: Option<String>,
}

/// How a path is matched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum PathMatch {
    /// The whole path.
    #[schemars(extend("format" = "absolute-path"))]
    Exact(String),
    /// A prefix on segment bounds: `/v1` matches `/v1` and `/v1/x`, never `/v10`.
    #[schemars(extend("format" = "absolute-path"))]
    Prefix(String),
    /// Segments with captures: `{id}` (one segment), `{id:int}` (digits), `{id:uuid}`, `{rest*}` (all that is
    /// left, last alone).
    #[schemars(extend("format" = "path-template"))]
    Template(String),
    /// A regular expression that the whole path must match; named groups are captures.
    #[schemars(extend("format" = "regex"))]
    Regex(String),
}

/// A header that must hold: by name alone it must be present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderMatch {
    /// Name of the header.
    pub name: HeaderName,
    /// How its value is matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// The value starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The whole value matches a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "regex"))]
    pub regex: Option<String>,
    /// It is there (true) or is not (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// A query parameter or cookie that must hold: by name alone it must be present.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueMatch {
    /// Name.
    pub name: String,
    /// The whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// The value starts so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The whole value matches a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "regex"))]
    pub regex: Option<String>,
    /// It is there (true) or is not (false).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// How a value is matched, as one choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueTest<'a> {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// The whole value.
    Exact(&'a str),
    /// The value starts so.
    Prefix(&'a str),
    /// The whole value matches a regular expression.
    Regex(&'a str),
}

impl PathMatch {
    /// Whether some path may be matched by both. Of a regular expression nobody can say, unless the other is one path.
    pub fn may_meet(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(path), other) | (other, Self::Exact(path)) => other.may_match(path),
            (Self::Regex(_), _) | (_, Self::Regex(_)) => true,
            (one, other) => {
                let (one, other) = (one.head(), other.head());
                is_below(one, other) || is_below(other, one)
            }
        }
    }

    /// Whether it surely matches every path that another matches; of a regular expression only one like it is said to be so.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (one, other) if one == other => true,
            (Self::Prefix(own), other) => is_below(other.head(), own),
            _ => false,
        }
    }

    /// Whether it may match a path; of a template only what stands before its first capture is looked at.
    pub fn may_match(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Prefix(_) | Self::Template(_) => is_below(path, self.head()),
            Self::Regex(pattern) => {
                let whole = format!("^(?:{pattern})$");
                let built =
                    regex::RegexBuilder::new(&whole).size_limit(crate::load::format::REGEX_BYTES_MAX).build();
                // What is no expression is told elsewhere.
                built.map_or(true, |regex| regex.is_match(path))
            }
        }
    }

    /// Tells of a star that stands for anything elsewhere. In the middle of a path it may well be a letter.
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        let Self::Prefix(path) = self else { return };
        let Some(plain) = path.strip_suffix("/*").or_else(|| path.strip_suffix("/**")) else { return };
        let plain = if plain.is_empty() { "/" } else { plain };
        at.field("prefix", |at| {
            at.warning_with(
                format!(
                    "a prefix has no wildcards: the star of `{path}` is a letter that paths have to have"
                ),
                format!("`prefix: {plain}` takes all that is below it"),
            );
        });
    }

    /// What every path begins with that it matches.
    fn head(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
            Self::Template(template) => template.split('{').next().unwrap_or_default(),
            Self::Regex(_) => "/",
        }
    }
}

/// Whether a path is another or below it.
fn is_below(path: &str, parent: &str) -> bool {
    let rest = path.strip_prefix(parent.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl HeaderMatch {
    /// The choice that was made.
    pub fn test(&self) -> ValueTest<'_> {
        test(&self.exact, &self.prefix, &self.regex, self.present)
    }
}

impl ValueMatch {
    /// The choice that was made.
    pub fn test(&self) -> ValueTest<'_> {
        test(&self.exact, &self.prefix, &self.regex, self.present)
    }
}

fn test<'a>(
    exact: &'a Option<String>,
    prefix: &'a Option<String>,
    regex: &'a Option<String>,
    present: Option<bool>,
) -> ValueTest<'a> {
    match (exact, prefix, regex, present) {
        (Some(exact), ..) => ValueTest::Exact(exact),
        (_, Some(prefix), ..) => ValueTest::Prefix(prefix),
        (_, _, Some(regex), _) => ValueTest::Regex(regex),
        (.., Some(false)) => ValueTest::Absent,
        _ => ValueTest::Present,
    }
}
