//! What may stand in a path before it is normalised.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ambiguous forms in a path: refused by default, allowed by choice. Absent means: as the listener says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PathRules {
    /// `%2f`: an encoded slash inside a segment.
    pub encoded_slash: Option<Allowance>,
    /// `;`: path parameters, as in `/a;x=1/b`.
    pub semicolon: Option<Allowance>,
    /// A backslash, raw or as `%5c`.
    pub backslash: Option<Allowance>,
    /// `%00`.
    pub nul: Option<Allowance>,
    /// `%25` followed by two hex digits: an escape that is escaped again.
    pub double_encoding: Option<Allowance>,
    /// Replace runs of slashes by one (true by default); otherwise they stay as they are. A listener's alone: it
    /// happens before a route is looked for.
    pub merge_slashes: Option<bool>,
}

/// What happens to an ambiguous form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Allowance {
    /// 400.
    #[default]
    Reject,
    /// It stays in the path as it came.
    Allow,
}

impl PathRules {
    /// These rules, with what they leave open taken from `base`.
    pub fn over(&self, base: &Self) -> Self {
        Self {
            encoded_slash: self.encoded_slash.or(base.encoded_slash),
            semicolon: self.semicolon.or(base.semicolon),
            backslash: self.backslash.or(base.backslash),
            nul: self.nul.or(base.nul),
            double_encoding: self.double_encoding.or(base.double_encoding),
            merge_slashes: self.merge_slashes.or(base.merge_slashes),
        }
    }
}
