//! The canonical stream: an answer as it comes into being.
//!
//! Order: one `Start`; for each part `Open`, any `Delta`s, `Close`; per choice one `Finish`; `Usage` anywhere, the last
//! one counts; `Extra` anywhere after `Start`; at last `End`, or `Error` after which nothing comes. Parts of different
//! choices may interleave, parts of one choice may too (parallel calls); `part` counts within a choice from 0. The proof
//! of a call comes before its arguments.

use super::{Citation, Error, Extra, Finish, Proof, TokenProbability, Usage};

/// One step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The answer begins.
    Start {
        /// The provider's id of it.
        id: String,
        /// The model that answers.
        model: String,
        /// When, in seconds since 1970, where the provider tells.
        created: Option<u64>,
    },
    /// A part begins.
    Open {
        /// Which of the answers side by side.
        choice: u32,
        /// Which part of it.
        part: u32,
        /// What it is.
        opening: Opening,
    },
    /// A part goes on.
    Delta {
        /// Which of the answers side by side.
        choice: u32,
        /// Which part of it.
        part: u32,
        /// What is added.
        delta: Delta,
    },
    /// A part is complete.
    Close {
        /// Which of the answers side by side.
        choice: u32,
        /// Which part of it.
        part: u32,
    },
    /// Log probabilities of tokens that went before.
    LogProbabilities {
        /// Which of the answers side by side.
        choice: u32,
        /// The tokens.
        tokens: Vec<TokenProbability>,
    },
    /// One of the answers side by side is complete.
    Finish {
        /// Which.
        choice: u32,
        /// Why.
        finish: Finish,
    },
    /// Tokens spent until now, all of them.
    Usage(Usage),
    /// The class in which it is served.
    Tier(String),
    /// Fields that only the provider's dialect knows.
    Extra(Extra),
    /// A sign of life.
    Ping,
    /// It broke. Nothing comes after.
    Error(Error),
    /// All is said.
    End,
}

/// What a part is, as far as is known when it begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Opening {
    /// Text.
    Text,
    /// Thoughts.
    Thinking,
    /// A call.
    ToolCall {
        /// Joins it with its result.
        id: String,
        /// The tool.
        name: String,
        /// It calls a custom tool.
        custom: bool,
    },
    /// The model declines.
    Refusal,
    /// Sound, in base64 pieces.
    Audio {
        /// The id under which the provider remembers it.
        id: Option<String>,
        /// The media type.
        media_type: String,
    },
    /// Anything that comes whole: an image, a vendor's own item.
    Whole(Box<super::Part>),
}

impl Event {
    /// Bytes that keeping it takes, about.
    pub fn bytes(&self) -> usize {
        const EVENT: usize = 64;
        EVENT
            + match self {
                Self::Delta {
                    delta: Delta::Text(text) | Delta::Transcript(text) | Delta::Audio(text),
                    ..
                } => text.len(),
                Self::Delta { delta: Delta::Proof(proof), .. } => proof.value.len(),
                Self::Delta { delta: Delta::Citation(citation), .. } => {
                    citation.quote.as_ref().map_or(0, String::len) + 4 * EVENT
                }
                _ => EVENT,
            }
    }

    /// What of the answer it brings that is made of tokens.
    pub fn said(&self) -> &str {
        match self {
            Self::Delta { delta: Delta::Text(text) | Delta::Transcript(text), .. } => text,
            Self::Open { opening: Opening::ToolCall { name, .. }, .. } => name,
            _ => "",
        }
    }
}

/// What is added to a part.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// Text of a text, a thought, a refusal; arguments of a call.
    Text(String),
    /// What is quoted.
    Citation(Box<Citation>),
    /// What the model wants back.
    Proof(Box<Proof>),
    /// A piece of sound, in base64: decoded one by one, each is whole.
    Audio(String),
    /// What is said in the sound.
    Transcript(String),
}
