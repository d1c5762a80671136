//! Tokens and rates without overlaps and gaps, so that a cost is a plain sum of products.

use super::Cost;
use crate::{
    canon::Usage,
    catalogue::{Price, Rates},
};

/// Tokens by what is paid for them; each is in one part only.
pub(super) struct Parts {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_long: u64,
    input_audio: u64,
    input_image: u64,
    output: u64,
    thought: u64,
    output_audio: u64,
    output_image: u64,
}

impl Parts {
    /// Splits a usage. Where a provider's numbers contradict each other, the totals hold: no token is paid twice.
    /// Sound and pictures are taken from what the cache did not serve.
    pub(super) fn of(usage: &Usage) -> Self {
        let mut left = usage.input;
        let mut take = |wanted: u64| {
            let taken = wanted.min(left);
            left -= taken;
            taken
        };
        let cache_read = take(usage.cache_read);
        let written = take(usage.cache_write);
        let input_audio = take(usage.input_audio);
        let input_image = take(usage.input_image);
        let cache_write_long = usage.cache_write_long.min(written);
        let input = left;

        let mut left = usage.output;
        let mut take = |wanted: u64| {
            let taken = wanted.min(left);
            left -= taken;
            taken
        };
        let output_audio = take(usage.output_audio);
        let output_image = take(usage.output_image);
        let thought = take(usage.reasoning);
        let output = left;
        Self {
            input,
            cache_read,
            cache_write: written - cache_write_long,
            cache_write_long,
            input_audio,
            input_image,
            output,
            thought,
            output_audio,
            output_image,
        }
    }
}

/// Rates with every gap filled.
pub(super) struct Resolved {
    pub(super) input: Price,
    pub(super) cache_read: Price,
    pub(super) cache_write: Price,
    pub(super) cache_write_long: Price,
    pub(super) input_audio: Price,
    pub(super) input_image: Price,
    pub(super) output: Price,
    pub(super) thought: Price,
    pub(super) output_audio: Price,
    pub(super) output_image: Price,
}

impl Resolved {
    pub(super) fn of(rates: &Rates) -> Self {
        let input = rates.input.unwrap_or_default();
        let output = rates.output.unwrap_or_default();
        let cache_write = rates.cache_write.unwrap_or(input);
        Self {
            input,
            cache_read: rates.cache_read.unwrap_or(input),
            cache_write,
            cache_write_long: rates.cache_write_long.unwrap_or(cache_write),
            input_audio: rates.input_audio.unwrap_or(input),
            input_image: rates.input_image.unwrap_or(input),
            output,
            thought: rates.thought.unwrap_or(output),
            output_audio: rates.output_audio.unwrap_or(output),
            output_image: rates.output_image.unwrap_or(output),
        }
    }

    pub(super) fn cost(&self, parts: &Parts) -> Cost {
        [
            (parts.input, self.input),
            (parts.cache_read, self.cache_read),
            (parts.cache_write, self.cache_write),
            (parts.cache_write_long, self.cache_write_long),
            (parts.input_audio, self.input_audio),
            (parts.input_image, self.input_image),
            (parts.output, self.output),
            (parts.thought, self.thought),
            (parts.output_audio, self.output_audio),
            (parts.output_image, self.output_image),
        ]
        .into_iter()
        .map(|(count, price)| Cost::of(count, price))
        .sum()
    }
}
