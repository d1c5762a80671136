//! The AI gateway's languages: six chat dialects to and from one canonical middle. Bytes in, bytes out: it opens no
//! socket and keeps no time.
//!
//! A [`dialect::Dialect`] is two pairs of pure translators. *Inbound* is what callers speak: it reads their requests
//! and writes their answers, streams and errors. *Outbound* is what providers speak: it writes requests to them and
//! reads what comes back. Both meet in [`canon`], so that six dialects give 36 pairs. What a translation cannot carry
//! is named in [`canon::Losses`].

pub mod ask;
pub mod batch;
pub mod canon;
pub mod catalogue;
pub mod compare;
pub mod cost;
pub mod dialect;
pub mod door;
pub mod embed;
pub mod endpoint;
pub mod estimate;
mod fields;
pub mod fit;
pub mod fold;
mod form;
pub mod guard;
mod members;
pub mod name;
pub mod needs;
pub mod peek;
pub mod realtime;
pub mod resume;
pub mod rules;
pub mod sealed;
pub mod sound;
pub mod stream;
pub mod units;
pub mod vocabulary;
mod way;
pub mod words;
