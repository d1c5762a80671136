//! What has ended before its time: sessions by their own id, the provider's id of them, or whose they are; and the ids of
//! logout tokens, so that none counts twice. Bounded, and what is old goes first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::digest;

/// Things that are remembered at a time.
const ENTRIES_MAX: usize = 200_000;

/// What something is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A session's own id.
    Id,
    /// The provider's id of a session.
    Sid,
    /// Whose it is.
    Subject,
    /// The id of a logout token.
    Token,
}

type Mark = [u8; 32];

/// What has ended.
#[derive(Default)]
pub(super) struct Ended {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// When each ended, and until when that is remembered.
    when: HashMap<Mark, (u64, u64)>,
    /// Until when each is remembered, the oldest first.
    order: VecDeque<(u64, Mark)>,
}

/// The digest under which something is kept, here and elsewhere.
pub(super) fn mark(of: Of, value: &str) -> Mark {
    let kind = match of {
        Of::Id => "id",
        Of::Sid => "sid",
        Of::Subject => "sub",
        Of::Token => "jti",
    };
    let mut out = [0; 32];
    let text = format!("{kind}\0{value}");
    out.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    out
}

impl Ended {
    /// Notes that something ends now, and whether that was known.
    pub(super) fn note(&self, of: Of, value: &str, now: u64, until: u64) -> bool {
        let mark = mark(of, value);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.order.front().is_some_and(|(until, _)| *until <= now) || inner.order.len() >= ENTRIES_MAX
        {
            let Some((until, old)) = inner.order.pop_front() else { break };
            // What was noted again meanwhile has a later place in the order.
            if inner.when.get(&old).is_some_and(|(_, later)| *later <= until) {
                inner.when.remove(&old);
            }
        }
        inner.order.push_back((until, mark));
        inner.when.insert(mark, (now, until)).is_some()
    }

    /// Whether a session that was begun then has ended since.
    pub(super) fn has(&self, of: Of, value: &str, begun: u64) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.when.is_empty() {
            return false;
        }
        inner.when.get(&mark(of, value)).is_some_and(|(when, _)| begun <= *when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_begun_before_has_ended_and_what_is_begun_later_has_not() {
        let ended = Ended::default();
        assert!(!ended.has(Of::Sid, "a", 5));
        assert!(!ended.note(Of::Sid, "a", 10, 100));
        assert!(ended.has(Of::Sid, "a", 5) && ended.has(Of::Sid, "a", 10));
        assert!(
            !ended.has(Of::Sid, "a", 11) && !ended.has(Of::Subject, "a", 5) && !ended.has(Of::Sid, "b", 5)
        );
        assert!(ended.note(Of::Sid, "a", 20, 200), "it is known");
        ended.note(Of::Sid, "c", 150, 300);
        assert!(ended.has(Of::Sid, "a", 15), "noted again, it is remembered longer");
        ended.note(Of::Sid, "d", 250, 300);
        assert!(!ended.has(Of::Sid, "a", 15), "forgotten at its time");
    }
}
