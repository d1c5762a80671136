//! What is kept in the data directory by SQLite.

mod spent;

pub(crate) use spent::{Spent, Writer};
