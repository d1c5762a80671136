//! Rules against attacks in ModSecurity's language, as the OWASP Core Rule Set is written: bytes in, verdict out.
//!
//! [`Rules::compile`] reads files of rules and says of everything in them that has no effect here where it is and what
//! to do. A [`Transaction`] judges one call. No sockets, no clock, no files but those that its caller reads for it;
//! nothing panics on the bytes of a call, and the steps that a call may take are bounded.

mod collections;
mod finding;
mod injection;
mod operator;
mod pattern;
mod request;
mod rules;
mod run;
mod seclang;
mod template;
mod transform;
mod variable;

pub use self::{
    collections::Collections,
    finding::{Finding, Place},
    rules::{Exclusion, Files, Mode, Options, Rules, Source, Target},
    run::{Apart, Cut, Fired, Head, Phase, Progress, Transaction, UNREAD_CODING, Verdict},
};
