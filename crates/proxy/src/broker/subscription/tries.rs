//! How often messages were tried: the broker counts each time that it gives one out, also when it only came back.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Messages of which it is known that the broker counts otherwise; of more than these its count holds.
const KNOWN_MAX: usize = 65_536;

/// A message: the place of its subscription at the broker, and its own in the stream.
type Which = (Box<str>, u64);

/// How often the broker had given a message out when it was given back, and which try of it comes next. It outlives
/// subscriptions that a reload changes.
#[derive(Default)]
pub(in crate::broker) struct Tries(Mutex<HashMap<Which, (u32, u32)>>);

impl Tries {
    fn all(&self) -> MutexGuard<'_, HashMap<Which, (u32, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which try of a message comes next when the broker has given it out so often.
    pub(super) fn next(&self, place: &str, sequence: u64, given: u32) -> u32 {
        match self.all().get(&(place.into(), sequence)) {
            // Giving it out after it was given back is the next try; some brokers do not count that.
            Some((then, next)) => next.saturating_add(given.saturating_sub(then.saturating_add(1))),
            None => given.max(1),
        }
    }

    /// A message is given back that the broker has given out so often, before this try of it.
    pub(super) fn given_back(&self, place: &str, sequence: u64, given: u32, before: u32) {
        let mut all = self.all();
        let which = (place.into(), sequence);
        if all.len() < KNOWN_MAX || all.contains_key(&which) {
            all.insert(which, (given, before));
        }
    }

    /// A message is done with.
    pub(super) fn done(&self, place: &str, sequence: u64) {
        self.all().remove(&(place.into(), sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_no_try_and_those_that_were_are_not_forgotten() {
        let tries = Tries::default();
        assert_eq!(
            (tries.next("a", 1, 1), tries.next("a", 1, 3)),
            (1, 3),
            "the broker's count, where nothing else is known"
        );
        tries.given_back("a", 1, 1, 1);
        assert_eq!((tries.next("a", 1, 2), tries.next("b", 1, 2), tries.next("a", 2, 2)), (1, 2, 2));
        // It failed once, and was given back again.
        assert_eq!(tries.next("a", 1, 3), 2);
        tries.given_back("a", 1, 3, 2);
        assert_eq!(tries.next("a", 1, 4), 2);
        // Tries that the broker has not heard of: those of messages that others wait for.
        tries.given_back("a", 2, 1, 5);
        assert_eq!(tries.next("a", 2, 2), 5);
        tries.done("a", 2);
        assert_eq!(tries.next("a", 2, 3), 3);
    }

    #[test]
    fn a_broker_that_does_not_count_is_believed_nothing() {
        let tries = Tries::default();
        tries.given_back("a", 1, 1, 4);
        assert_eq!((tries.next("a", 1, 1), tries.next("a", 1, 2)), (4, 4));
        tries.given_back("a", 1, 2, 5);
        assert_eq!(tries.next("a", 1, 2), 5);
    }

    #[test]
    fn no_more_is_known_than_there_is_room_for() {
        let tries = Tries::default();
        for sequence in 0..=KNOWN_MAX as u64 {
            tries.given_back("a", sequence, 1, 1);
        }
        assert_eq!(tries.all().len(), KNOWN_MAX);
        tries.given_back("a", 0, 2, 1);
        assert_eq!(tries.next("a", 0, 3), 1);
    }
}
