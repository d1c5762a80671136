//! When a file is put aside, and what becomes of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, Size};

/// When a file is put aside under its name with the time, and what becomes of those that were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rotation {
    /// When it has so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// When it was begun so long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
    /// How many that were put aside are kept; the oldest go.
    #[schemars(range(min = 1, max = 10_000))]
    pub keep: usize,
    /// How those are compressed.
    pub compression: RotationCompression,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { size: None, age: None, keep: 7, compression: RotationCompression::None }
    }
}

/// How a file that was put aside is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RotationCompression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
}
