//! What operations of GraphQL ask for and what they may cost, before anybody runs them.
//!
//! [`request`] reads what a client sent, [`Document::parse`] its text, and [`Guard::measure`] tells what an operation
//! amounts to with its variables, or why it is refused. [`persisted`] knows texts by their ids. No sockets, no clock, no
//! files; nothing panics on the bytes of a client, and all of it is bounded: fragments are counted once each, however
//! often they are spread.

mod document;
mod guard;
mod limits;
mod measure;
pub mod multipart;
pub mod persisted;
mod refusal;
pub mod request;
mod schema;

pub use self::{
    document::{Document, Kind, Operation},
    guard::{Guard, Settings},
    limits::Limits,
    measure::Measured,
    refusal::{Code, Refusal},
    schema::Schema,
};
