//! `ipReputation`: refuses client addresses that lists tell of.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, headers::FRAMING, jwt::is_private_enough};
use crate::{
    Cidr, Duration, Enforcement, FilePath, HeaderName, Size,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::Context,
};

/// Refuses clients whose addresses are on lists of bad ones with 403. Lists are files or are fetched in the background:
/// addresses, networks and ranges by line, as Spamhaus' DROP and FireHOL's netsets have them, or JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpReputation {
    /// The lists.
    #[schemars(length(min = 1, max = 32))]
    pub lists: Vec<ReputationList>,
    /// Networks that pass, whatever lists say.
    #[serde(default)]
    pub allow: Vec<Cidr>,
    /// Whether it refuses.
    #[serde(default)]
    pub mode: Enforcement,
    /// A header in which the upstream gets the names of the lists that tell of the client. One of the client's own is
    /// removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderName>,
    /// What is done with calls until every list was fetched once.
    #[serde(default)]
    pub until_loaded: UntilLoaded,
}

/// A list of bad addresses: a `file` or a `url`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReputationList {
    /// Its name in records and headers: letters, digits, `-` and `_`.
    pub name: String,
    /// A file, read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePath>,
    /// An address, `https`, or `http` on loopback. A fetch that fails leaves the list as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url"))]
    pub url: Option<String>,
    /// Between two fetches.
    #[serde(default = "refresh")]
    pub refresh: Duration,
    /// Bound of a fetch.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// Bytes of the list; a longer one is not taken.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// Networks that the list has at least; one with fewer is not taken, such as one of which only the head came. With 0 it may
    /// be empty.
    #[serde(default = "min_entries")]
    #[schemars(range(max = 10_000_000))]
    pub min_entries: u32,
    /// Networks of the list; one with more is not taken.
    #[serde(default = "max_entries")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_entries: u32,
}

/// What is done with calls until every list was fetched once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UntilLoaded {
    /// They are judged by the lists that are there.
    #[default]
    Open,
    /// 503.
    Closed,
}

fn refresh() -> Duration {
    Duration::from_secs(3600)
}

fn timeout() -> Duration {
    Duration::from_secs(30)
}

fn max_size() -> Size {
    Size::mib(16)
}

fn min_entries() -> u32 {
    1
}

fn max_entries() -> u32 {
    500_000
}

impl Settings for IpReputation {
    fn place(&self) -> Place<'_> {
        Place::IpRestriction(self)
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.lists.is_empty() {
            at.field("lists", |at| at.error("expected at least one list"));
        }
        let mut known: Vec<&str> = Vec::new();
        at.each("lists", &self.lists, |at, list| {
            list.validate(at);
            if known.contains(&list.name.as_str()) {
                at.field("name", |at| at.error(format!("there is another list `{}`", list.name)));
            }
            known.push(&list.name);
        });
        if let Some(name) = &self.header
            && FRAMING.contains(&name.as_str())
        {
            at.field("header", |at| at.error(format!("`{name}` is the gateway's own to set")));
        }
    }
}

impl ReputationList {
    fn validate(&self, at: &mut Context<'_, '_>) {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(is_plain) {
            at.field("name", |at| at.error("expected 1 to 64 letters, digits, `-` and `_`"));
        }
        match (&self.file, &self.url) {
            (None, None) => at.error("expected `file` or `url`, found neither"),
            (Some(_), Some(_)) => at.error("expected either `file` or `url`, found both"),
            (None, Some(url)) if !is_private_enough(url) => {
                at.field("url", |at| at.error("lists come over https, or over http from a loopback address"));
            }
            _ => {}
        }
        if self.refresh < Duration::from_secs(1) {
            at.field("refresh", |at| at.error("expected 1s or more"));
        }
        if self.timeout.is_zero() {
            at.field("timeout", |at| at.error("expected more than nothing"));
        }
        if self.min_entries > self.max_entries {
            at.field("minEntries", |at| at.error("expected `maxEntries` or less"));
        }
        if self.max_size.bytes() == 0 {
            at.field("maxSize", |at| at.error("expected more than nothing"));
        }
    }
}

impl Asks for IpReputation {
    fn asks(&self, of: &Asked<'_>) -> Option<Demand> {
        let refuses = self.mode == Enforcement::Enforce;
        refuses.then(|| demand(Unlisted { rule: self.clone(), trusted: of.trusted().to_vec() }))
    }
}

/// An address, as these proxies may state it, that no list tells of.
struct Unlisted {
    rule: IpReputation,
    trusted: Vec<Cidr>,
}

impl Terms for Unlisted {
    fn implies(&self, other: &Self) -> bool {
        let covered = |one: &Cidr, by: &[Cidr]| by.iter().any(|other| other.covers(one));
        let (mine, theirs) = (&self.rule, &other.rule);
        let has = |list: &ReputationList| {
            mine.lists.iter().any(|own| (&own.file, &own.url) == (&list.file, &list.url))
        };
        // Whoever is trusted can claim any address.
        self.trusted.iter().all(|one| covered(one, &other.trusted))
            && theirs.lists.iter().all(has)
            && mine.allow.iter().all(|one| covered(one, &theirs.allow))
            && (mine.until_loaded == UntilLoaded::Closed || theirs.until_loaded == UntilLoaded::Open)
    }

    fn words(&self) -> String {
        let names: Vec<&str> = self.rule.lists.iter().map(|list| list.name.as_str()).collect();
        format!("ipReputation of [{}]", names.join(", "))
    }
}
