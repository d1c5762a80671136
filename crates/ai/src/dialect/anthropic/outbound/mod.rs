//! What providers of Anthropic Messages are asked and what they tell.

mod answer;
mod error;
#[cfg(test)]
mod laws;
mod message;
mod request;
mod stream;
mod tool;

pub(in crate::dialect) use self::{
    answer::read_answer,
    error::{is_too_long, read_error, text_of},
    message::trim_last,
    request::{note_unsaid, write_request},
    stream::Reader,
    tool::schema,
};
