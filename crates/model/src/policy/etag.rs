//! `etag`: tags answers, and answers 304 to whoever has them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Size, load::Context};

/// Gives answers (200 to GET) an `ETag` of their bodies where services give none, and answers 304 to whoever has them by
/// `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Etag {
    /// Give weak tags (`W/"…"`), which promise the same meaning, not the same bytes.
    pub weak: bool,
    /// Bytes of a body that is held for its tag; larger ones get none.
    pub max_size: Size,
}

impl Default for Etag {
    fn default() -> Self {
        Self { weak: false, max_size: Size::mib(1) }
    }
}

impl Settings for Etag {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.max_size.bytes() == 0 {
            at.field("maxSize", |at| at.error("expected more than nothing"));
        }
    }
}
