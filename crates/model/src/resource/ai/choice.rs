//! Which of a model's targets is asked first.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// Which target is asked first. Those with weight 0 are asked last under every strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// Drawn by weight; the others follow in their order.
    #[default]
    Weighted,
    /// The one whose answers began soonest of late; the others follow by the same measure. One that was not asked for
    /// long is tried again.
    LeastLatency,
    /// The one whose prices are lowest for this prompt and the answer asked for; unknown prices come last.
    LeastCost,
    /// The one with the fewest calls in flight for its weight.
    LeastBusy,
}

/// A second model that is asked the same, out of the caller's way, to compare its answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shadow {
    /// Name of a provider.
    pub provider: String,
    /// The model, as the provider names it.
    pub model: String,
    /// Of a hundred calls, how many are repeated.
    #[serde(default = "all")]
    #[schemars(range(min = 0.0, max = 100.0))]
    pub percent: f64,
    /// Repeated calls at a time; further ones are left out.
    #[serde(default = "at_a_time")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_concurrent: u32,
    /// How long its answer may take.
    #[serde(default = "patience")]
    pub timeout: Duration,
    /// Record both texts, too.
    #[serde(default)]
    pub record_text: bool,
}

fn all() -> f64 {
    100.0
}

fn at_a_time() -> u32 {
    8
}

fn patience() -> Duration {
    Duration::from_secs(60)
}

/// What belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sticky {
    /// Calls of one consumer with the same `prompt_cache_key`, or without one with the same instructions and first
    /// message of the user's: the turns of a conversation.
    Conversation,
}

/// What else another target is asked after, beside failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FallbackOn {
    /// The provider's filter refused the request or cut the answer: of streams those that were cut before their first
    /// word, of several answers side by side when all of them were.
    ContentFilter,
    /// The prompt is longer than the model's context, as the provider says.
    ContextLength,
}
