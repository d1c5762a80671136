//! Counts tokens of a call that its provider does not tell: when somebody asks, which mostly nobody does.

use std::sync::{Arc, OnceLock};

use ai::{
    dialect::{Dialect, Spoken},
    estimate,
    vocabulary::{COUNTED_BYTES_MAX, Vocabulary},
};
use bytes::Bytes;
use model::CountsTokens;

/// Counts with the vocabulary of one model. Where that is not there when the call begins, all of the call is estimated:
/// what a caller is told and what a record says are one number.
#[derive(Debug)]
pub(super) struct Counter {
    vocabulary: Vocabulary,
    is_exact: bool,
    prompt: Prompt,
    counted: OnceLock<u64>,
}

#[derive(Debug)]
enum Prompt {
    /// It is kept until somebody asks.
    Kept { dialect: Dialect, spoken: Spoken, body: Bytes },
    /// It is not kept: too long, or no text.
    Counted(u64),
}

impl Counter {
    /// Of a request in a dialect to a model.
    pub(super) fn new(model: &str, dialect: Dialect, spoken: Spoken, body: &Bytes) -> Arc<Self> {
        let prompt = match body.len() > COUNTED_BYTES_MAX {
            true => Prompt::Counted(estimate::tokens(body)),
            false => Prompt::Kept { dialect, spoken, body: body.clone() },
        };
        Self::of(model, prompt)
    }

    /// Of a request whose tokens are known in another way.
    pub(super) fn told(model: &str, tokens: u64) -> Arc<Self> {
        Self::of(model, Prompt::Counted(tokens))
    }

    fn of(model: &str, prompt: Prompt) -> Arc<Self> {
        let vocabulary = Vocabulary::of(model);
        let is_exact = vocabulary.is_there();
        Arc::new(Self { vocabulary, is_exact, prompt, counted: OnceLock::new() })
    }
}

impl CountsTokens for Counter {
    fn prompt(&self) -> u64 {
        self.vocabulary.want();
        *self.counted.get_or_init(|| match &self.prompt {
            Prompt::Kept { dialect, spoken, body } if self.is_exact => {
                self.vocabulary.of_prompt(*dialect, spoken, body)
            }
            Prompt::Kept { body, .. } => estimate::tokens(body),
            Prompt::Counted(tokens) => *tokens,
        })
    }

    fn text(&self, text: &str) -> u64 {
        self.vocabulary.want();
        self.passing(text)
    }

    fn passing(&self, text: &str) -> u64 {
        match self.is_exact {
            true => self.vocabulary.about(text),
            false => estimate::tokens(text.as_bytes()),
        }
    }
}
