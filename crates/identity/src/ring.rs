//! When keys sign and how long they are published, by the times from which they sign.
//!
//! The key whose time came last signs. Those whose time is yet to come are published already, so that whoever checks
//! tokens has them before they are needed; one that was followed is published until its last token has ended. A set
//! that is the same on several gateways is so at the same moments everywhere.

use std::time::Duration;

/// When a key begins to sign, in seconds since 1970; 0 where nothing is said.
pub trait Timed {
    /// Its time.
    fn from(&self) -> u64;
}

/// The place of the key that signs at a moment: of several with one time the first. Where none has begun, the one
/// that will first.
pub fn signer<K: Timed>(keys: &[K], now: u64) -> Option<usize> {
    let begun = keys.iter().enumerate().filter(|(_, key)| key.from() <= now);
    // `max_by_key` gives the last of equals.
    let last = begun.rev().max_by_key(|(_, key)| key.from());
    last.or_else(|| keys.iter().enumerate().min_by_key(|(_, key)| key.from())).map(|(at, _)| at)
}

/// Until when a key is published, in seconds since 1970: nothing where no end is known. `lasts` is how long a token
/// is good after it was made, clocks that differ included.
pub fn ends<K: Timed>(keys: &[K], at: usize, lasts: Duration) -> Option<u64> {
    let own = keys.get(at)?.from();
    let followed = keys.iter().map(Timed::from).filter(|from| *from > own).min()?;
    Some(followed.saturating_add(lasts.as_secs()))
}

/// The places of the keys that are published at a moment.
pub fn published<K: Timed>(keys: &[K], now: u64, lasts: Duration) -> Vec<usize> {
    (0..keys.len()).filter(|at| ends(keys, *at, lasts).is_none_or(|end| now < end)).collect()
}

/// What a set of keys that are made as they are needed lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Nothing until then, in seconds since 1970.
    Nothing {
        /// When it is to be looked at again.
        until: u64,
    },
    /// A key that signs from then on.
    Key {
        /// Its time.
        from: u64,
    },
}

/// What a set lacks whose keys sign for `every`, and are published for `before` beforehand.
pub fn lack<K: Timed>(keys: &[K], now: u64, every: Duration, before: Duration) -> Lack {
    let Some(newest) = keys.iter().map(Timed::from).max() else { return Lack::Key { from: now } };
    let next = newest.saturating_add(every.as_secs());
    let made = next.saturating_sub(before.as_secs());
    if now < made {
        return Lack::Nothing { until: made };
    }
    // After a time without anybody, the next one is published as long as any other before it signs.
    Lack::Key { from: next.max(now.saturating_add(before.as_secs())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct At(u64);

    impl Timed for At {
        fn from(&self) -> u64 {
            self.0
        }
    }

    const LASTS: Duration = Duration::from_secs(10);

    #[test]
    fn the_key_whose_time_came_last_signs_and_the_next_is_published_before() {
        let keys = [At(0), At(100), At(200)];
        for (now, signs, known) in [
            (50, 0, &[0, 1, 2][..]),
            (99, 0, &[0, 1, 2]),
            (100, 1, &[0, 1, 2]),
            (109, 1, &[0, 1, 2]),
            (110, 1, &[1, 2]),
            (199, 1, &[1, 2]),
            (209, 2, &[1, 2]),
            (210, 2, &[2]),
        ] {
            assert_eq!(signer(&keys, now), Some(signs), "at {now}");
            assert_eq!(published(&keys, now, LASTS), known, "at {now}");
        }
    }

    #[test]
    fn of_keys_without_times_the_first_signs_and_all_are_published() {
        let keys = [At(0), At(0)];
        assert_eq!((signer(&keys, 7), published(&keys, 7, LASTS)), (Some(0), vec![0, 1]));
        assert_eq!(signer(&[At(9), At(5)], 1), Some(1), "before any has begun, the one that will first");
        assert_eq!(signer::<At>(&[], 1), None);
    }

    #[test]
    fn whoever_signs_is_always_published() {
        let keys = [At(0), At(30), At(30), At(31), At(90)];
        for now in 0..200 {
            let signs = signer(&keys, now).expect("a key");
            assert!(published(&keys, now, LASTS).contains(&signs), "at {now}");
        }
    }

    #[test]
    fn a_key_is_made_before_its_time_and_never_signs_unseen() {
        let (every, before) = (Duration::from_secs(100), Duration::from_secs(20));
        assert_eq!(lack::<At>(&[], 5, every, before), Lack::Key { from: 5 });
        assert_eq!(lack(&[At(5)], 84, every, before), Lack::Nothing { until: 85 });
        assert_eq!(lack(&[At(5)], 85, every, before), Lack::Key { from: 105 });
        assert_eq!(lack(&[At(5), At(105)], 90, every, before), Lack::Nothing { until: 185 });
        assert_eq!(lack(&[At(5)], 5_000, every, before), Lack::Key { from: 5_020 }, "after a long sleep");
    }
}
