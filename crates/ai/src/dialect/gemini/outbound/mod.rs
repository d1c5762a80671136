//! What providers of Gemini are asked and what they tell.

mod answer;
mod citation;
mod config;
mod error;
mod message;
mod request;
mod stream;

pub(super) use self::error::REASONS;
pub(in crate::dialect) use self::{
    answer::read_answer, error::read_error, request::write_request, stream::Reader,
};
