//! What a policy against abuse objects to, written down.

use model::{Enforcement, Judged};

use crate::call::Call;

/// Writes down what a policy says of a call.
pub(super) fn note(
    call: &mut Call,
    policy: &'static str,
    outcome: &'static str,
    reason: impl Into<Box<str>>,
) {
    call.record.judged.push(Judged { policy, outcome, reason: reason.into(), score: None });
}

/// Writes down that a policy objects, and whether that refuses the call.
pub(super) fn object(
    call: &mut Call,
    policy: &'static str,
    mode: Enforcement,
    reason: impl Into<Box<str>>,
) -> bool {
    let refuses = mode == Enforcement::Enforce;
    note(call, policy, if refuses { "refused" } else { "detected" }, reason);
    refuses
}
