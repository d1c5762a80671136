//! What providers of OpenAI Responses are asked and what they tell.

mod answer;
mod input;
mod request;
mod stream;
mod tool;

pub(super) use self::request::request_fields;
pub(in crate::dialect) use self::{answer::read_answer, request::write_request, stream::Reader};
pub(in crate::dialect) use crate::dialect::openai_chat::outbound::read_error;
