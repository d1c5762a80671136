//! What a model answered.

use serde::{Deserialize, Serialize};

use super::{Extra, Part, Usage};

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The provider's id of it.
    pub id: String,
    /// The model that answered, as the provider names it.
    pub model: String,
    /// When, in seconds since 1970, where the provider tells.
    pub created: Option<u64>,
    /// The answers, at least one.
    pub choices: Vec<Choice>,
    /// Tokens spent, where the provider tells.
    pub usage: Option<Usage>,
    /// The class in which it was served.
    pub tier: Option<String>,
    /// Fields that only the provider's own dialect knows.
    pub extra: Extra,
}

/// One of several answers side by side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Choice {
    /// What was said, in order.
    pub parts: Vec<Part>,
    /// Why it ended; `None` when it did not say.
    pub finish: Option<Finish>,
    /// Log probabilities of its tokens, where asked for.
    pub log_probabilities: Vec<TokenProbability>,
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// It was complete.
    Stop,
    /// One of the caller's stop sequences came, and which where the provider tells.
    StopSequence(Option<String>),
    /// It reached the most tokens allowed.
    Length,
    /// It wants calls made.
    ToolCalls,
    /// The provider's filter cut it.
    ContentFilter,
    /// The model declined.
    Refusal,
    /// The provider paused a long turn; sending it back goes on.
    Pause,
    /// The context window is full.
    ContextFull,
    /// Anything else, in the provider's word.
    Other(String),
}

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TokenProbability {
    /// The token as text.
    pub token: String,
    /// Its bytes, where the text cannot show them.
    pub bytes: Option<Vec<u8>>,
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// What else was likely at this place.
    pub alternatives: Vec<TokenProbability>,
}
