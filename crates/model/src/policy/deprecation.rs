//! `deprecation`: announces that an API goes away.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Announces that an API goes away: `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link` headers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Deprecation {
    /// Since when it is deprecated: `2026-06-01`, or with a time, `2026-06-01T12:00:00Z`.
    #[schemars(extend("format" = "date-or-time"))]
    pub deprecated_at: Option<String>,
    /// When it goes away.
    #[schemars(extend("format" = "date-or-time"))]
    pub sunset_at: Option<String>,
    /// What replaces it: a path or an address, linked as `successor-version`.
    pub successor: Option<String>,
    /// Where it is explained, linked as `deprecation`.
    pub documentation: Option<String>,
    /// Answer 410 after the sunset.
    pub refuse_after_sunset: bool,
}
