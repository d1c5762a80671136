//! Of a message of a broker's that was delivered to an upstream.

use std::sync::Arc;

/// A delivery of a subscription.
#[derive(Debug)]
pub struct DeliveryRecord {
    /// Name of the subscription.
    pub subscription: Arc<str>,
    /// The message's subject.
    pub subject: String,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its place in its stream.
    pub sequence: Option<u64>,
    /// Which delivery of it this was, from 1.
    pub attempt: u32,
}
