//! One provider: where it is, what it speaks, how it wants to be asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use super::{CatalogueError, Credential, Surface, families::Family, pattern, quirks::Quirks};
use crate::{dialect::Dialect, words::Words};

/// A provider of models.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Provider {
    /// Its name in configuration.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Where its documentation is.
    pub docs: String,
    /// The address that paths are appended to; may hold `{placeholders}`.
    pub base_url: String,
    /// The chat dialect that it speaks best.
    #[serde(deserialize_with = "dialect")]
    pub dialect: Dialect,
    /// Further dialects that it speaks natively.
    #[serde(default)]
    pub also: Vec<Also>,
    /// How to authenticate, the customary way first.
    pub auth: Vec<Credential>,
    /// What its user must say, by the placeholder's name.
    #[serde(default)]
    pub placeholders: BTreeMap<String, Placeholder>,
    /// Paths that are not the dialect's own; may hold placeholders and `{model}`.
    #[serde(default)]
    pub paths: BTreeMap<Surface, String>,
    /// The same, where a stream is asked for by another path.
    #[serde(default)]
    pub stream_paths: BTreeMap<Surface, String>,
    /// Header fields that every request bears; values may hold placeholders.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Fields that every body bears; values may hold placeholders.
    #[serde(default)]
    pub body: BTreeMap<String, String>,
    /// Fields that no body may bear, though the dialect has them.
    #[serde(default)]
    pub body_without: Vec<String>,
    /// What it offers beside conversations.
    #[serde(default)]
    pub operations: Vec<Surface>,
    /// Those of them that are asked for in words of its own, which are no dialect's: they are not passed to it.
    #[serde(default)]
    pub own_words: Vec<Surface>,
    /// Those of them that are asked for in words of its own into which they are translated.
    #[serde(default)]
    pub words: BTreeMap<Surface, Words>,
    /// In OpenAI's chat dialect, it takes tools of the type `custom`; else they become functions.
    #[serde(default)]
    pub custom_tools: bool,
    /// Families of models whose rules hold here too.
    #[serde(default)]
    pub(super) families: Vec<Family>,
    #[serde(default)]
    pub(super) quirks: Quirks,
    #[serde(default)]
    pub(super) rules: Vec<Quirks>,
}

/// A further dialect of a provider's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Also {
    /// The dialect.
    #[serde(deserialize_with = "dialect")]
    pub dialect: Dialect,
    /// Where, if not at the provider's address: another path of the same host, for a provider is one upstream.
    pub base_url: Option<String>,
    /// Patterns of the models that speak nothing but this dialect.
    #[serde(default)]
    pub only: Vec<String>,
}

/// What a provider's user must say.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Placeholder {
    /// What it is.
    pub about: String,
    /// What holds when nothing is said.
    pub default: Option<String>,
}

/// The scheme and the host of an address.
fn host(url: &str) -> &str {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(begin..).unwrap_or_default();
    url.get(..begin + rest.find('/').unwrap_or(rest.len())).unwrap_or(url)
}

fn dialect<'de, D: Deserializer<'de>>(from: D) -> Result<Dialect, D::Error> {
    let name = String::deserialize(from)?;
    Dialect::ALL.into_iter().find(|dialect| dialect.name() == name).ok_or_else(|| {
        let known: Vec<&str> = Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
        de::Error::custom(format!("`{name}` is no dialect: expected one of {}", known.join(", ")))
    })
}

impl Provider {
    /// From TOML; `file` is for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, CatalogueError> {
        let broken = |what: String| CatalogueError::Broken { file: file.to_owned(), what };
        let provider: Self = toml::from_str(text).map_err(|error| broken(error.to_string()))?;
        let own = host(&provider.base_url);
        match provider.also.iter().filter_map(|also| also.base_url.as_deref()).find(|url| host(url) != own) {
            Some(url) => Err(broken(format!(
                "`also.base-url`: `{url}` is at another host than `{own}`: make it a provider of its own"
            ))),
            None => Ok(provider),
        }
    }

    /// Where a dialect is spoken, if it is: the address, with its placeholders.
    pub fn speaks(&self, dialect: Dialect) -> Option<&str> {
        if self.dialect == dialect {
            return Some(&self.base_url);
        }
        let also = self.also.iter().find(|also| also.dialect == dialect)?;
        Some(also.base_url.as_deref().unwrap_or(&self.base_url))
    }

    /// The dialect to speak to a model, when the caller's is no reason for another.
    pub fn dialect_of(&self, model: &str) -> Dialect {
        let only = |also: &&Also| also.only.iter().any(|pattern| pattern::fits(pattern, model));
        self.also.iter().find(only).map_or(self.dialect, |also| also.dialect)
    }

    /// A text of this provider's with its placeholders filled in; what nobody gave a value is named in the error.
    /// `value` gives what the configuration says, and `{model}` where the text has it.
    pub fn fill(&self, text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, CatalogueError> {
        let mut out = String::with_capacity(text.len());
        let mut missing = Vec::new();
        for piece in pieces(text) {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Placeholder(name) => {
                    let default =
                        || self.placeholders.get(name).and_then(|placeholder| placeholder.default.clone());
                    match value(name).or_else(default) {
                        Some(value) => out.push_str(&value),
                        None => missing.push(name),
                    }
                }
            }
        }
        if missing.is_empty() {
            return Ok(out);
        }
        let about = |name: &&str| {
            let about = self.placeholders.get(*name).map_or("", |placeholder| placeholder.about.as_str());
            format!("`{name}` ({about})")
        };
        let missing: Vec<String> = missing.iter().map(about).collect();
        Err(CatalogueError::Broken {
            file: format!("provider `{}`", self.name),
            what: format!("`{text}` needs a value for {}", missing.join(" and ")),
        })
    }
}

/// A piece of a text with placeholders.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As it stands.
    Text(&'a str),
    /// The name between braces.
    Placeholder(&'a str),
}

/// The pieces of a text. A brace that nothing closes is text.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let open = rest.find('{').filter(|open| rest[*open..].contains('}'));
        match open {
            Some(0) => {
                let close = rest.find('}')?;
                let name = &rest[1..close];
                rest = &rest[close + 1..];
                Some(Piece::Placeholder(name))
            }
            _ => {
                let (text, after) = rest.split_at(open.unwrap_or(rest.len()));
                rest = after;
                Some(Piece::Text(text))
            }
        }
    })
}
