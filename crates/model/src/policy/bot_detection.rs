//! `botDetection`: finds programs among visitors.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, headers::FRAMING};
use crate::{Duration, HeaderName, load::Context};

/// Finds programs among visitors: those that say who they are, by a table of their agents, of which those that can be are
/// verified by the names of their addresses; and those that do not, by signs that add up to a score. What is refused gets
/// 403, and 429 beyond a limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BotDetection {
    /// Whether it refuses.
    pub mode: BotMode,
    /// The score from which a visitor is taken for a program that hides it.
    #[schemars(range(min = 1, max = 1000))]
    pub threshold: u32,
    /// What becomes of declared bots by what they are for: `searchEngine`, `ai`, `seo`, `social`, `monitoring`, `archive`,
    /// `feed`, `scraper`, `scanner`, `tool` or `other`. Those that are not named here: `deny` for scanners, `allow` for all
    /// others.
    pub categories: BTreeMap<String, BotClass>,
    /// What becomes of single ones, by their names in the table, such as `GPTBot`.
    pub bots: BTreeMap<String, BotClass>,
    /// Further bots, which come before those of the table.
    #[schemars(length(max = 1000))]
    pub declared: Vec<DeclaredBot>,
    /// How often those that are let in within a limit may come, each of them by its name.
    pub limit: BotLimit,
    /// How it is verified that bots are who they say they are.
    pub verify: BotVerification,
    /// What each sign adds to the score.
    pub scores: BotScores,
    /// Versions of browsers that are ancient below this.
    pub oldest: OldestBrowsers,
    /// A header in which the upstream is told what was found. One of the client's own is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderName>,
}

/// Whether bots are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BotMode {
    /// They are.
    #[default]
    Block,
    /// They are recorded, counted and told to the upstream, and go on.
    Flag,
}

/// What becomes of a declared bot. The later is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BotClass {
    /// It passes.
    Allow,
    /// It passes as often as `limit` says.
    Limit,
    /// It is refused.
    Deny,
}

/// What a bot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BotCategory {
    /// It finds pages for a search engine.
    SearchEngine,
    /// It gathers texts for models, or reads pages for those who ask one.
    Ai,
    /// It judges pages by how they are found.
    Seo,
    /// It makes previews of links.
    Social,
    /// It looks whether something is up.
    Monitoring,
    /// It keeps pages.
    Archive,
    /// It reads feeds.
    Feed,
    /// It copies sites.
    Scraper,
    /// It looks for holes.
    Scanner,
    /// A library or a command, which anything may be made with.
    Tool,
    /// Anything else.
    Other,
}

impl BotCategory {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::SearchEngine,
        Self::Ai,
        Self::Seo,
        Self::Social,
        Self::Monitoring,
        Self::Archive,
        Self::Feed,
        Self::Scraper,
        Self::Scanner,
        Self::Tool,
        Self::Other,
    ];

    /// As it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SearchEngine => "searchEngine",
            Self::Ai => "ai",
            Self::Seo => "seo",
            Self::Social => "social",
            Self::Monitoring => "monitoring",
            Self::Archive => "archive",
            Self::Feed => "feed",
            Self::Scraper => "scraper",
            Self::Scanner => "scanner",
            Self::Tool => "tool",
            Self::Other => "other",
        }
    }
}

/// A bot that says who it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredBot {
    /// Its name in records and in `bots`.
    pub name: String,
    /// What its `User-Agent` contains, in any case.
    pub agent: String,
    /// What it is for.
    #[serde(default = "other")]
    pub category: BotCategory,
    /// Domains that the names of its addresses end with: then it is verified.
    #[serde(default)]
    pub domains: Vec<String>,
}

/// How often a bot may come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BotLimit {
    /// Calls of one bot, wherever they come from.
    #[schemars(range(min = 1))]
    pub calls: u64,
    /// Within this time.
    pub window: Duration,
}

/// How it is verified that bots are who they say they are: the name of the address ends with a domain of the bot's, and
/// leads back to the address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BotVerification {
    /// Whether it is done.
    pub enabled: bool,
    /// How long a call waits for name servers, once for an address; after that nobody knows. With `mode: flag` none waits.
    pub timeout: Duration,
    /// What becomes of a bot of which nobody knows, if nothing stricter does: who says that it is one may keep its name
    /// servers from answering. With `limit` such bots are counted apart from those that are verified.
    pub unverified: BotClass,
    /// How long what was found out holds.
    pub ttl: Duration,
    /// How long it holds that nobody could say.
    pub failure_ttl: Duration,
    /// Addresses of which is kept what was found out; beyond them the oldest are forgotten.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_addresses: u32,
}

/// What each sign adds to the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BotScores {
    /// No `User-Agent`, an empty one, or two.
    pub empty_agent: u32,
    /// A browser that is older than `oldest`.
    pub ancient_agent: u32,
    /// A browser without a window, or one that a program drives and says so.
    pub headless: u32,
    /// A browser that lacks what all browsers send, such as `Accept-Language`.
    pub missing_headers: u32,
    /// A browser whose headers contradict each other.
    pub inconsistent: u32,
    /// A bot that is not who it says it is.
    pub impostor: u32,
}

/// Versions of browsers that are ancient below this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OldestBrowsers {
    /// Chrome, and those that are made of it.
    pub chrome: u32,
    /// Firefox.
    pub firefox: u32,
    /// Safari.
    pub safari: u32,
}

fn other() -> BotCategory {
    BotCategory::Other
}

impl Default for BotDetection {
    fn default() -> Self {
        Self {
            mode: BotMode::Block,
            threshold: 60,
            categories: BTreeMap::new(),
            bots: BTreeMap::new(),
            declared: Vec::new(),
            limit: BotLimit::default(),
            verify: BotVerification::default(),
            scores: BotScores::default(),
            oldest: OldestBrowsers::default(),
            header: None,
        }
    }
}

impl Default for BotLimit {
    fn default() -> Self {
        Self { calls: 60, window: Duration::from_secs(60) }
    }
}

impl Default for BotVerification {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout: Duration::from_secs(1),
            unverified: BotClass::Limit,
            ttl: Duration::from_secs(6 * 3600),
            failure_ttl: Duration::from_secs(60),
            max_addresses: 10_000,
        }
    }
}

impl Default for BotScores {
    fn default() -> Self {
        Self {
            empty_agent: 60,
            ancient_agent: 40,
            headless: 80,
            missing_headers: 30,
            inconsistent: 40,
            impostor: 100,
        }
    }
}

impl Default for OldestBrowsers {
    fn default() -> Self {
        Self { chrome: 80, firefox: 78, safari: 12 }
    }
}

impl Settings for BotDetection {
    fn place(&self) -> Place<'_> {
        Place::Waf
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn judges_arrivals(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.each("declared", &self.declared, |at, bot| {
            let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | '"' | '=' | ',');
            if bot.name.is_empty()
                || bot.name.len() > 64
                || !bot.name.chars().all(|c| c == ' ' || is_plain(c))
            {
                at.field("name", |at| {
                    at.error("expected 1 to 64 visible characters without `;`, `=`, `,` and `\"`")
                });
            }
            if bot.agent.trim().len() < 3 {
                at.field("agent", |at| {
                    at.error("expected three characters or more: it would be found everywhere")
                });
            }
            at.each("domains", &bot.domains, |at, domain| {
                if !domain.contains('.') || !crate::load::format::host(domain) {
                    at.error("expected a domain such as `crawl.example.com`");
                }
            });
        });
        at.field("categories", |at| {
            let known = BotCategory::ALL.map(BotCategory::as_str);
            for category in self.categories.keys().filter(|name| !known.contains(&name.as_str())) {
                at.field(category, |at| {
                    at.error(format!("`{category}` is no category: expected one of {}", known.join(", ")));
                });
            }
        });
        if self.limit.window.is_zero() {
            at.field("limit", |at| at.field("window", |at| at.error("expected more than nothing")));
        }
        at.field("verify", |at| {
            for (key, time, most) in [
                ("timeout", self.verify.timeout, 10),
                ("ttl", self.verify.ttl, 7 * 24 * 3600),
                ("failureTtl", self.verify.failure_ttl, 24 * 3600),
            ] {
                if time.is_zero() || time > Duration::from_secs(most) {
                    at.field(key, |at| at.error(format!("expected more than nothing and {most}s or less")));
                }
            }
        });
        if let Some(name) = &self.header
            && FRAMING.contains(&name.as_str())
        {
            at.field("header", |at| at.error(format!("`{name}` is the gateway's own to set")));
        }
    }
}
