//! What a configuration promises: it loads whole, or everything that is wrong is said at once.

mod bad;
mod laws;
mod reference;
mod support;
