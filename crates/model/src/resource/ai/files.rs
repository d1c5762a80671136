//! Files and batches at providers, each with the caller that made it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Secret, Size};

/// Files and batches at providers. An id belongs to the caller that made it: to others it is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FilesRoute {
    /// The providers that keep them, by name. The first that speaks the caller's dialect takes what names no other: a
    /// batch goes to the first that serves its models, and a caller may name one in `x-tidegate-provider`.
    #[schemars(length(min = 1))]
    pub providers: Vec<String>,
    /// Seals ids, so that every gateway with this secret takes them; 16 characters at least. Without it the key is one
    /// of the gateway's own, kept in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key: Option<Secret>,
    /// Uploads and batches up to this size are taken. Each is in memory while it is on its way.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// Batches whose budgets this gateway holds until their results are fetched; with that many, no further one is made
    /// under a budget. What is held in a shared store (`store: redis`) does not count.
    #[serde(default = "max_open_batches")]
    #[schemars(range(min = 1))]
    pub max_open_batches: u32,
}

fn max_open_batches() -> u32 {
    10_000
}

fn max_size() -> Size {
    Size::kib(64 * 1024)
}
