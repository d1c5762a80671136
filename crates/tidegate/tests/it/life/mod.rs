//! The life of a process: how it ends, how another takes over from it, and what it tells a service manager.

mod by_hand;
mod drain;
mod service;
mod upgrade;
