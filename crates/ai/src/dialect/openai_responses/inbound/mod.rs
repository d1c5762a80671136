//! What callers of OpenAI Responses say and are told.

mod answer;
mod input;
mod item;
mod request;
mod stream;
mod tool;

pub(in crate::dialect) use self::{answer::write_answer, request::read_request, stream::Writer};
pub(in crate::dialect) use crate::dialect::openai_chat::inbound::write_error;
