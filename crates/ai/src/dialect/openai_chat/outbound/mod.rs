//! What providers of OpenAI Chat Completions are asked and what they tell.

mod answer;
mod error;
mod message;
mod request;
mod stream;
mod thinking;

pub(crate) use self::thinking::write_reasoning;
pub(in crate::dialect) use self::{
    answer::read_answer,
    error::{error_of, read_error},
    request::write_request,
    stream::Reader,
};
