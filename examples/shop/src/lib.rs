//! The reference application: what its services have in common, and one module for each.

pub mod catalog;
pub mod orders;
pub mod prices;
mod problem;
mod service;
mod store;

pub use service::{Options, serve};
pub use store::Store;
