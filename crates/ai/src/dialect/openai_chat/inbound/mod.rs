//! What callers of OpenAI Chat Completions say and are told.

mod answer;
mod error;
mod message;
mod request;
mod stream;

pub(in crate::dialect) use self::{
    answer::write_answer,
    error::{error_value, write_error},
    message::source_of_url,
    request::read_request,
    stream::Writer,
};
