//! How often messages were tried: the broker counts each time that it gives one out, also when it only came back.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Messages of which it is known that the broker counts otherwise; of more than these its count holds.
const KNOWN_MAX: usize = 65_536;
/// Letters that are kept of a reason.
const WHY_MAX: usize = 256;

/// A message: the place of its subscription at the broker, and its own in the stream.
type Which = (Box<str>, u64);

/// What is known of a message that may come again.
#[derive(Default)]
struct Known {
    /// How often the broker had given it out.
    given: u32,
    /// Which try of it comes next.
    next: u32,
    /// Why it was given up, while there is no place for it elsewhere.
    why: Option<Box<str>>,
}

/// How often the broker had given messages out, and which tries of them come next. It outlives subscriptions that a reload
/// changes.
#[derive(Default)]
pub(in crate::broker) struct Tries(Mutex<HashMap<Which, Known>>);

impl Tries {
    /// The number of a message that nobody knows again when it comes back: nothing is kept of it.
    pub(in crate::broker) const NOBODY: u64 = u64::MAX;

    fn all(&self) -> MutexGuard<'_, HashMap<Which, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which try of a message comes next when the broker has given it out so often.
    pub(super) fn next(&self, place: &str, sequence: u64, given: u32) -> u32 {
        match self.all().get(&(place.into(), sequence)) {
            // Giving it out after it was given back is the next try; some brokers do not count that.
            Some(known) => known.next.saturating_add(given.saturating_sub(known.given.saturating_add(1))),
            None => given.max(1),
        }
    }

    /// A message is given back that the broker has given out so often, before this try of it.
    pub(super) fn given_back(&self, place: &str, sequence: u64, given: u32, before: u32) {
        self.note(place, sequence, |known| (known.given, known.next) = (given, before));
    }

    /// A message is given up, after the broker has given it out so often and after this try of it, and cannot be put
    /// elsewhere yet.
    pub(super) fn give_up(&self, place: &str, sequence: u64, (given, last): (u32, u32), why: &str) {
        let why: String = why.chars().take(WHY_MAX).collect();
        self.note(place, sequence, |known| {
            *known = Known { given, next: last, why: Some(why.into()) };
        });
    }

    /// Why a message was given up.
    pub(super) fn given_up(&self, place: &str, sequence: u64) -> Option<String> {
        self.all().get(&(place.into(), sequence))?.why.as_deref().map(str::to_owned)
    }

    fn note(&self, place: &str, sequence: u64, what: impl FnOnce(&mut Known)) {
        let mut all = self.all();
        let which = (place.into(), sequence);
        if sequence != Self::NOBODY && (all.len() < KNOWN_MAX || all.contains_key(&which)) {
            what(all.entry(which).or_default());
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
    fn what_was_given_up_stays_so_until_it_is_done_with() {
        let tries = Tries::default();
        assert_eq!(tries.given_up("a", 1), None);
        tries.give_up("a", 1, (3, 3), &"x".repeat(1000));
        // It comes again, and nothing is tried: it was three times.
        assert_eq!((tries.next("a", 1, 4), tries.given_up("a", 1).map(|why| why.len())), (3, Some(WHY_MAX)));
        tries.given_back("a", 1, 4, 3);
        assert_eq!((tries.next("a", 1, 5), tries.given_up("a", 1).is_some()), (3, true));
        tries.done("a", 1);
        assert_eq!((tries.next("a", 1, 1), tries.given_up("a", 1)), (1, None));
    }

    #[test]
    fn nothing_is_kept_of_what_nobody_knows_again() {
        let tries = Tries::default();
        let nobody = Tries::NOBODY;
        tries.given_back("a", nobody, 1, 4);
        tries.give_up("a", nobody, (1, 4), "broken");
        assert_eq!((tries.next("a", nobody, 1), tries.given_up("a", nobody)), (1, None));
        assert!(tries.all().is_empty());
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
