//! Of a call whose body became messages of a broker's.

use std::sync::Arc;

/// A call of a `publish` route.
#[derive(Debug)]
pub struct PublishRecord {
    /// Name of the broker.
    pub broker: Arc<str>,
    /// The subject of the last message.
    pub subject: String,
    /// The stream that keeps it, once that has confirmed.
    pub stream: String,
    /// Its place there; 0 while nothing is confirmed.
    pub sequence: u64,
    /// Messages that are confirmed.
    pub messages: u32,
    /// Those of them that were there before.
    pub duplicates: u32,
}
