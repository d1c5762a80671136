//! Resilience patterns as pure state machines: the clock is passed in, and nothing here sleeps, spawns or does I/O.
//!
//! For the callee as a whole: [`Breaker`], [`Bulkhead`], [`RetryBudget`], [`Backoff`], [`Cooldown`]. For its endpoints:
//! [`balance`], [`load`], [`outlier`], [`health`]. For callers: [`gcra`], [`token_bucket`], [`fair`], [`pace`]. For a service
//! that takes another's place or is on its way up: [`cutover`], [`cold`].

pub mod backoff;
pub mod balance;
pub mod breaker;
pub mod bulkhead;
pub mod cold;
pub mod cooldown;
pub mod cutover;
pub mod fair;
pub mod gcra;
pub mod gradient;
pub mod hash;
pub mod health;
pub mod load;
pub mod outcome;
pub mod outlier;
pub mod pace;
pub mod retry_budget;
pub mod shares;
pub mod sliding;
pub mod token_bucket;
pub mod turnstile;

pub use backoff::Backoff;
pub use breaker::{Breaker, BreakerSettings, Permit};
pub use bulkhead::{Bulkhead, BulkheadPermit};
pub use cooldown::Cooldown;
pub use load::InFlight;
pub use outcome::Outcome;
pub use retry_budget::RetryBudget;
