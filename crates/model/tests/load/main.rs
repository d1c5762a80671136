//! What a configuration promises: it loads whole, or everything that is wrong is said at once.

#![expect(unreachable_pub, reason = "the fuzz targets take functions from here")]

mod bad;
mod defaults;
mod fuzz;
mod laws;
mod reference;
mod support;
mod vault;
mod warnings;
