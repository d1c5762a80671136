//! Delivery of records to a receiver: they wait in a bounded queue, leave in batches, and are sent again while that
//! may help. What a receiver is, and what a record is, others know.
//!
//! Nothing that was taken is lost without being counted. Whoever hands records over never waits.

mod counts;
mod drive;
mod lane;
mod rules;
mod spill;
mod store;

pub use self::{
    counts::{Counts, Reason},
    drive::{Order, run},
    lane::{Courier, Lane, Outcome, Sending, Step},
    rules::{Batch, Queue, Retry, Rules, SpillTo},
    spill::Spill,
};
