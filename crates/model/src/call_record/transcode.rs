//! Of a call that was carried over from another protocol to gRPC.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A call of a `transcode` route.
#[derive(Debug)]
pub struct TranscodeRecord {
    /// `package.Service/Method`.
    pub method: Arc<str>,
    /// What the client speaks: `rest`, `grpc-web`, `connect` or `grpc`.
    pub protocol: &'static str,
    /// Messages of the server's that the client was given, where they are read one by one.
    messages: AtomicU64,
}

impl TranscodeRecord {
    /// The record of a call that begins.
    pub fn new(method: Arc<str>, protocol: &'static str) -> Self {
        Self { method, protocol, messages: AtomicU64::new(0) }
    }

    /// States how many messages there were so far.
    pub fn state(&self, messages: u64) {
        self.messages.store(messages, Ordering::Relaxed);
    }

    /// How many messages there were.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}
