//! What callers of Anthropic Messages say and are told.

mod answer;
mod error;
mod message;
mod request;
mod stream;
mod tool;

pub(in crate::dialect) use self::{
    answer::write_answer,
    error::write_error,
    message::split,
    request::{read_effort, read_request, read_thinking},
    stream::Writer,
    tool::read_vendor_tools,
};
