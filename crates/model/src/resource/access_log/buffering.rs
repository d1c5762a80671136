//! What records go through on their way to a receiver: batches, a queue, tries, and a place on disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, FilePath, Size};

/// A batch leaves when one of these is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Batch {
    /// So many records.
    #[schemars(range(min = 1, max = 100_000))]
    pub records: usize,
    /// So many bytes, before they are compressed.
    pub size: Size,
    /// Its oldest record has waited for so long.
    pub time: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self { records: 1000, size: Size::mib(1), time: Duration::from_secs(1) }
    }
}

/// What waits in memory, what is on its way included. What comes when it is full goes to the spill, or else is dropped
/// and counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Queue {
    /// Records.
    #[schemars(range(min = 1))]
    pub records: usize,
    /// Bytes.
    pub size: Size,
}

impl Default for Queue {
    fn default() -> Self {
        Self { records: 20_000, size: Size::mib(16) }
    }
}

/// How a batch that failed is sent again. Pauses double, and are shortened by up to a half at random.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
    /// For how long a batch is tried, from its first try on; then it is dropped and counted.
    pub keep: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            max: Duration::from_secs(30),
            keep: Duration::from_secs(3600),
        }
    }
}

/// A place on disk for records that find the queue full, and for those that are not sent when the process ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spill {
    /// A folder; the records are in one below it that is called as this access log is.
    #[schemars(extend("format" = "directory"))]
    pub directory: FilePath,
    /// Bytes of all its files. What comes when it is full is dropped and counted.
    #[serde(default = "size")]
    pub size: Size,
}

fn size() -> Size {
    Size::mib(256)
}
