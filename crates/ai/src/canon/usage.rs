//! Tokens spent, counted one way for all.

use serde::{Deserialize, Serialize};

/// Tokens of one call. Every part is contained in its total: cached tokens in `input`, thoughts in `output`.
/// Anthropic and Bedrock count the other way round (their `input_tokens` leaves out what came from the cache); their
/// dialects convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// All tokens of the prompt.
    pub input: u64,
    /// Of these, read from a prompt cache.
    pub cache_read: u64,
    /// Of these, written to a prompt cache.
    pub cache_write: u64,
    /// Of those written, kept for an hour.
    pub cache_write_long: u64,
    /// Of these, sound.
    pub input_audio: u64,
    /// Of these, images, where the provider tells.
    pub input_image: u64,
    /// All tokens of the answer.
    pub output: u64,
    /// Of these, thoughts.
    pub reasoning: u64,
    /// Of these, sound.
    pub output_audio: u64,
    /// Of these, images, where the provider tells.
    pub output_image: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_long: self.cache_write_long.saturating_add(other.cache_write_long),
            input_audio: self.input_audio.saturating_add(other.input_audio),
            input_image: self.input_image.saturating_add(other.input_image),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            output_audio: self.output_audio.saturating_add(other.output_audio),
            output_image: self.output_image.saturating_add(other.output_image),
        }
    }

    /// Everything.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Tokens of the prompt that were neither read from a cache nor written to one.
    pub fn input_fresh(&self) -> u64 {
        self.input.saturating_sub(self.cache_read).saturating_sub(self.cache_write)
    }
}
