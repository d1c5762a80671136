//! What is kept in the data directory by SQLite.

mod answers;
mod spent;

pub(crate) use answers::Kept;
pub(crate) use spent::{Spent, Writer};
