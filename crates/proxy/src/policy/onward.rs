//! Which headers of a call policies have put tokens for upstreams into: they are for these upstreams, and for nobody who is
//! sent a copy.

use http::{HeaderMap, HeaderName};

use crate::call::Call;

/// Headers with tokens for upstreams.
#[derive(Default)]
struct Shown(Vec<HeaderName>);

/// By its address the note is found.
static NOTE: u8 = 0;

/// Notes that a header has a token for the upstream.
pub(super) fn show(call: &mut Call, name: &HeaderName) {
    let mut shown = call.take::<_, Shown>(&NOTE).unwrap_or_default();
    if !shown.0.contains(name) {
        shown.0.push(name.clone());
    }
    call.keep(&NOTE, shown);
}

/// Takes such tokens out of the head of a copy.
pub(super) fn take_out(call: &Call, headers: &mut HeaderMap) {
    let shown = call.notes.iter().find_map(|(_, note)| note.downcast_ref::<Shown>());
    for name in shown.into_iter().flat_map(|shown| &shown.0) {
        headers.remove(name);
    }
}
