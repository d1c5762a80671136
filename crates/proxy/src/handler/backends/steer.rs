//! What has a call sent to another upstream than its route's own.

use std::sync::Arc;

use super::Target;
use crate::call::Call;

/// The upstream that a call is to go to. It is a note of the call, so that calls without any do not carry a place for it.
struct Steered(Arc<Target>);

/// By its address the note is found.
static NOTE: u8 = 0;

/// Has a call sent to this upstream, whatever backends its route has. The first word counts.
pub(crate) fn steer(call: &mut Call, target: &Arc<Target>) {
    if !is_waiting(call) {
        call.keep(&NOTE, Steered(target.clone()));
    }
}

/// Whether the call is to be sent there and has not been yet.
pub(crate) fn is_waiting(call: &Call) -> bool {
    call.notes.iter().any(|(_, note)| note.is::<Steered>())
}

/// Has a call that stands in for another go where that one was to be sent.
pub(crate) fn hand_over(from: &mut Call, to: &mut Call) {
    if let Some(target) = take(from) {
        steer(to, &target);
    }
}

/// Where the call is to be sent.
pub(super) fn take(call: &mut Call) -> Option<Arc<Target>> {
    if call.notes.is_empty() {
        return None;
    }
    call.take::<_, Steered>(&NOTE).map(|steered| steered.0)
}
