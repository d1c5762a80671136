//! The middle that every dialect is translated to and from: one request, one answer, one stream of events.
//!
//! A field is here when at least two dialects have it or a limit, a price or a policy reads it. What only one
//! dialect knows stays in [`Extra`] under its own name: it lives on towards the same dialect and is reported as
//! dropped towards every other.

mod answer;
mod assemble;
mod error;
mod event;
mod loss;
mod message;
mod proof;
mod request;
mod riders;
mod scope;
mod usage;

pub use answer::{Answer, Choice, Finish, TokenProbability};
pub use assemble::{Assembler, events_of};
pub use error::{Error, ErrorKind};
pub use event::{Delta, Event, Opening};
pub use loss::{Feature, Loss, Losses};
pub use message::{CacheMark, Citation, Message, Part, Role, Source};
pub use proof::{Proof, ProofKind};
pub use request::{
    AudioOutput, Conversation, Effort, Extra, Format, Modality, Reasoning, Request, Sampling, Tool,
    ToolChoice, ToolKind, Unasked, Verbosity,
};
pub use riders::{Riders, dismount};
pub(crate) use scope::is_broken;
pub use scope::{flat, scoped, unscoped};
pub use usage::Usage;
