//! `deprecation`: announces that an API goes away.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{load::Context, types::Date};

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

impl Settings for Deprecation {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.deprecated_at.is_none() && self.sunset_at.is_none() {
            at.error("expected `deprecatedAt` or `sunsetAt`, found neither");
        }
        let date = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<Date>().ok());
        match (date(&self.deprecated_at), date(&self.sunset_at)) {
            (Some(deprecated), Some(sunset)) if sunset < deprecated => {
                at.field("sunsetAt", |at| at.error("the sunset comes before the deprecation"));
            }
            (_, None) if self.refuse_after_sunset => {
                at.field("refuseAfterSunset", |at| at.error("there is no `sunsetAt`"));
            }
            _ => {}
        }
        for (key, link) in [("successor", &self.successor), ("documentation", &self.documentation)] {
            if link
                .as_ref()
                .is_some_and(|link| link.contains(['<', '>', '"']) || link.parse::<http::Uri>().is_err())
            {
                at.field(key, |at| at.error("expected a path or an address"));
            }
        }
    }
}
