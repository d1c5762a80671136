//! What callers of Cohere say and are told.

mod answer;
mod error;
mod message;
mod request;
mod stream;

pub(in crate::dialect) use self::{
    answer::write_answer, error::write_error, request::read_request, stream::Writer,
};
