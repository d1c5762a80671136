//! Whether what a policy objects to is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether what a policy objects to is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Enforcement {
    /// It is refused.
    #[default]
    Enforce,
    /// It is recorded and counted, and goes on.
    Detect,
}
