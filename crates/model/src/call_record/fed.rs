//! Of a client that messages of a broker's flow to.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A call of a `subscribe` route.
#[derive(Debug)]
pub struct FeedRecord {
    /// Name of the broker.
    pub broker: Arc<str>,
    /// What was listened to.
    pub subject: String,
    /// Messages that the client was sent so far.
    messages: AtomicU64,
}

impl FeedRecord {
    /// The record of a client that begins to listen.
    pub fn new(broker: Arc<str>, subject: String) -> Self {
        Self { broker, subject, messages: AtomicU64::new(0) }
    }

    /// Notes that one more was sent.
    pub fn sent(&self) {
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were sent.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}
