//! `decompress`: decompresses requests' bodies for upstreams that cannot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, compress::Coding};
use crate::{Size, load::Context};

/// Decompresses requests' bodies; beyond its bounds 413.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Decompress {
    /// Codings that are undone; others are 415.
    pub algorithms: Vec<Coding>,
    /// Bytes after decompression.
    pub max_size: Size,
    /// Bytes after decompression for each byte before.
    #[schemars(range(min = 1))]
    pub max_ratio: u32,
}

impl Default for Decompress {
    fn default() -> Self {
        Self {
            algorithms: vec![Coding::Gzip, Coding::Br, Coding::Zstd],
            max_size: Size::mib(10),
            max_ratio: 100,
        }
    }
}

impl Settings for Decompress {
    fn place(&self) -> Place<'_> {
        Place::Validation
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.algorithms.is_empty() {
            at.field("algorithms", |at| at.error("expected at least one"));
        }
        if self.max_size.bytes() == 0 {
            at.field("maxSize", |at| at.error("expected more than nothing"));
        }
    }
}
