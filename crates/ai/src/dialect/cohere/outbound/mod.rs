//! What Cohere is asked and what it tells.

mod answer;
mod error;
mod message;
mod request;
mod stream;

pub(in crate::dialect) use self::{
    answer::read_answer, error::read_error, request::write_request, stream::Reader,
};
