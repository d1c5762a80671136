//! What callers of Gemini say and are told.

mod answer;
mod error;
mod message;
mod request;
mod stream;
mod tool;

pub(in crate::dialect) use self::{
    answer::write_answer, error::write_error, request::read_request, stream::Writer,
};
