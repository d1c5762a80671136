//! Answers to requests that may come again, for whoever keeps them beyond the life of a process.

use std::time::Duration;

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing: from now on it is that of this request.
    Nothing,
    /// A request with it is on its way.
    InFlight,
    /// It was answered.
    Answer(Vec<u8>),
    /// It is that of another request.
    Another,
}

/// Keeps answers. All of it may block.
pub trait Answers: Send + Sync {
    /// Begins a request with a key, for so long, unless there is one. `owner` is the policy's place; the key is no
    /// other owner's.
    fn begin(
        &self,
        owner: &str,
        key: &[u8],
        fingerprint: &[u8],
        token: &str,
        lease: Duration,
    ) -> Result<Found, String>;

    /// Keeps an answer, unless its key is by now another request's, and forgets the oldest of its owner beyond so many
    /// bytes.
    #[expect(clippy::too_many_arguments, reason = "a row of a table")]
    fn finish(
        &self,
        owner: &str,
        key: &[u8],
        fingerprint: &[u8],
        token: &str,
        answer: &[u8],
        ttl: Duration,
        bytes_max: usize,
    ) -> Result<(), String>;

    /// Gives a key free that its request has no answer for.
    fn release(&self, key: &[u8], token: &str) -> Result<(), String>;
}
