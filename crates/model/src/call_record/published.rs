//! Of a call whose body became messages of a broker's.

use std::sync::Arc;

/// A call of a `publish` route.
#[derive(Debug)]
pub struct PublishRecord {
    /// Name of the broker.
    pub broker: Arc<str>,
    /// The subject of the last message.
    pub subject: String,
    /// The stream or topic that keeps it, once that has confirmed.
    pub stream: Option<String>,
    /// The exchange that took it.
    pub exchange: Option<String>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its place there.
    pub sequence: Option<u64>,
    /// Messages that are confirmed.
    pub messages: u32,
    /// Those of them that were there before.
    pub duplicates: u32,
}
