//! `waf`: judges requests, and answers by choice, by rules in ModSecurity's language such as the OWASP Core Rule Set.

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{FilePath, Size, load::Context};

/// Mebibytes of a body that may be held and looked at.
const LIMIT_MIB_MAX: u64 = 32;

/// Judges requests, and answers by choice, by rules in ModSecurity's language: 403 for what they refuse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Waf {
    /// Folders whose `*.conf` are read in the order of their names, and files, by absolute paths: the rules.
    pub rules: Vec<String>,
    /// A file that is read before the rules: the Core Rule Set's `crs-setup.conf`. Without one its defaults hold.
    #[serde(default)]
    pub setup: Option<FilePath>,
    /// `enforce` refuses; `detect` only records what would be refused.
    #[serde(default)]
    pub mode: WafMode,
    /// The Core Rule Set's paranoia level, 1 to 4, whatever the setup says.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4))]
    pub paranoia: Option<u8>,
    /// The level up to which rules are asked and recorded, without counting; at least `paranoia`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 4))]
    pub detection_paranoia: Option<u8>,
    /// The score from which a request is refused, whatever the setup says.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub inbound_threshold: Option<u32>,
    /// The score from which an answer is refused, whatever the setup says.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub outbound_threshold: Option<u32>,
    /// Methods that the rules let in, whatever the setup says. Those of the Core Rule Set alone lack PUT, PATCH and
    /// DELETE.
    #[serde(default = "methods")]
    pub allowed_methods: Vec<String>,
    /// Further variables of TX, such as `max_num_args`, whatever the setup says.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Rules that are left out, wholly or for some targets and paths.
    #[serde(default)]
    pub exclusions: Vec<WafExclusion>,
    /// What is read of a request's body.
    #[serde(default)]
    pub request_body: WafRequestBody,
    /// Judges answers, too; without it they pass unread.
    #[serde(default)]
    pub response: Option<WafResponse>,
    /// Steps that the rules may take for a call, about a byte looked at each; a call beyond them is refused.
    #[serde(default = "steps")]
    #[schemars(range(min = 100_000))]
    pub max_steps: u64,
    /// Collections by address or session that rules count in, in this process; beyond them some are forgotten.
    #[serde(default = "collections")]
    #[schemars(range(min = 1))]
    pub max_collections: u32,
    /// Records the beginning of what matched, too, which may be a password or worse.
    #[serde(default)]
    pub record_matches: bool,
}

/// Whether rules refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WafMode {
    /// What the rules refuse is refused.
    #[default]
    Enforce,
    /// It is recorded, and goes on.
    Detect,
}

/// Rules that are left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WafExclusion {
    /// Ids and ranges of them: `942100`, `942000-942999`.
    pub rules: Vec<String>,
    /// Tags of rules, such as `attack-sqli`.
    pub tags: Vec<String>,
    /// Targets that these rules do not look at, such as `ARGS:password`; without any, the rules are left out wholly.
    pub targets: Vec<String>,
    /// Paths on which that is so, with `*` for anything; everywhere without any.
    pub paths: Vec<String>,
}

/// What is read of a request's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WafRequestBody {
    /// Bytes that are held and looked at, 32MiB at most: each call that is judged holds as many.
    pub limit: Size,
    /// What is done with a longer body.
    pub above: WafAbove,
}

/// What is done with a body beyond the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WafAbove {
    /// 413.
    #[default]
    Refuse,
    /// Its beginning is looked at, and the rest passes unread.
    InspectBeginning,
}

/// What is read of answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WafResponse {
    /// Bytes of the beginning that are held and looked at, 32MiB at most; what is longer passes from there on.
    pub limit: Size,
    /// Media types whose bodies are looked at; of others only the head is.
    pub mime_types: Vec<String>,
}

impl Default for WafRequestBody {
    fn default() -> Self {
        Self { limit: Size::mib(1), above: WafAbove::Refuse }
    }
}

impl Default for WafResponse {
    fn default() -> Self {
        let types = ["text/plain", "text/html", "text/xml", "application/json", "application/xml"];
        Self { limit: Size::kib(512), mime_types: types.map(String::from).to_vec() }
    }
}

fn methods() -> Vec<String> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].map(String::from).to_vec()
}

fn steps() -> u64 {
    400_000_000
}

fn collections() -> u32 {
    10_000
}

impl WafExclusion {
    /// Its ids, from and to; an error names the one that is none.
    pub fn ids(&self) -> Result<Vec<(u32, u32)>, String> {
        let range = |text: &String| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            match (first.trim().parse(), last.trim().parse()) {
                (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
                _ => Err(format!(
                    "expected the id of a rule or a range such as `942000-942999`, found `{text}`"
                )),
            }
        };
        self.rules.iter().map(range).collect()
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        let names_rules = !self.rules.is_empty() || !self.tags.is_empty();
        match self.ids() {
            Err(wrong) => at.field("rules", |at| at.error(wrong)),
            Ok(_) if !names_rules => at.error("expected `rules` or `tags` that are left out"),
            Ok(_) => {}
        }
        at.each("paths", &self.paths, |at, path| {
            if !path.starts_with(['/', '*']) {
                at.error_with(
                    format!(
                        "expected a path that begins with `/` or `*`, found `{path}`: it would fit no request"
                    ),
                    format!("such as `/{path}`, or `*/{path}` wherever it ends so"),
                );
            }
        });
    }
}

impl Settings for Waf {
    fn place(&self) -> Place<'_> {
        Place::Waf
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn reads_folders(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.rules.is_empty() {
            at.field("rules", |at| at.error("expected at least one folder or file of rules"));
        }
        for path in self.rules.iter().filter(|path| !Path::new(path).is_absolute()) {
            at.field("rules", |at| at.error(format!("expected an absolute path, found `{path}`")));
        }
        if let (Some(level), Some(detection)) = (self.paranoia, self.detection_paranoia)
            && detection < level
        {
            at.field("detectionParanoia", |at| {
                at.error(format!("expected at least `paranoia`, which is {level}"))
            });
        }
        for (name, level) in [("paranoia", self.paranoia), ("detectionParanoia", self.detection_paranoia)] {
            if level.is_some_and(|level| !(1..=4).contains(&level)) {
                at.field(name, |at| at.error("expected a level from 1 to 4"));
            }
        }
        if self.request_body.limit.bytes() == 0 {
            at.field("requestBody", |at| at.error("expected a limit of more than nothing"));
        }
        let limits = [
            ("requestBody", Some(self.request_body.limit)),
            ("response", self.response.as_ref().map(|response| response.limit)),
        ];
        for (key, limit) in limits {
            if limit.is_some_and(|limit| limit > Size::mib(LIMIT_MIB_MAX)) {
                at.field(key, |at| {
                    at.error(format!("expected a `limit` of {LIMIT_MIB_MAX}MiB or less: each call holds as much, and what it is taken apart into"))
                });
            }
        }
        if self.allowed_methods.is_empty() {
            at.field("allowedMethods", |at| at.error("expected at least one method"));
        }
        at.each("allowedMethods", &self.allowed_methods, |at, method| {
            if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
                at.error_with(
                    format!("`{method}` is no method"),
                    format!("methods are upper-case, such as `{}`", method.to_ascii_uppercase()),
                );
            }
        });
        at.each("exclusions", &self.exclusions, |at, exclusion| exclusion.validate(at));
    }
}
