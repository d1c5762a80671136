//! How a call ended, as far as a breaker cares.

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Success,
    /// The callee broke, was too late, or said that it failed.
    Failure,
    /// Nothing can be learnt from it: the caller left, or the call was never made.
    Ignored,
}
