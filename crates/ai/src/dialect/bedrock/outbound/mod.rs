//! What Bedrock Converse is asked and what it tells.

mod answer;
mod error;
#[cfg(test)]
mod laws;
mod message;
mod request;
mod stream;
mod tool;

pub(in crate::dialect) use self::{
    answer::read_answer, error::read_error, request::write_request, stream::Reader,
};
