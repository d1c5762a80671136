//! What this gateway saw last of shared accounts, to be listed: whoever wants to know how one is now asks the store.

use std::collections::HashMap;

use jiff::Timestamp;

/// Subjects of one name that are remembered: those that have spent the most.
const SUBJECTS_MAX: usize = 1000;
/// Names that are remembered.
const NAMES_MAX: usize = 1000;

/// How an account was when it was last told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// When its period began.
    pub(crate) period: i64,
    pub(crate) spent: u128,
    /// When it was told, in seconds since 1970.
    pub(crate) at: i64,
}

/// What was seen, by the names of accounts and their subjects.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<String, HashMap<String, Sight>>);

impl Seen {
    pub(super) fn note(&mut self, name: &str, subject: &str, period: i64, spent: u128) {
        let sight = Sight { period, spent, at: Timestamp::now().as_second() };
        let Some(all) = self.0.get_mut(name) else {
            if self.0.len() < NAMES_MAX {
                self.0.insert(name.to_owned(), HashMap::from([(subject.to_owned(), sight)]));
            }
            return;
        };
        if let Some(known) = all.get_mut(subject) {
            // What is told later may be of an earlier moment; within a period spending only grows.
            let is_older = known.period > period || (known.period == period && known.spent > spent);
            if !is_older {
                *known = sight;
            }
            return;
        }
        if all.len() >= SUBJECTS_MAX {
            all.retain(|_, known| known.period >= period);
        }
        if all.len() >= SUBJECTS_MAX {
            let least = all.iter().min_by_key(|(_, known)| known.spent);
            let Some(least) = least.filter(|(_, known)| known.spent < spent).map(|(name, _)| name.clone())
            else {
                return;
            };
            all.remove(&least);
        }
        all.insert(subject.to_owned(), sight);
    }

    /// Shows what was seen of a name in a period.
    pub(crate) fn each(&self, name: &str, period: i64, mut show: impl FnMut(&str, Sight)) {
        let all = self.0.get(name).into_iter().flatten();
        all.filter(|(_, sight)| sight.period == period).for_each(|(subject, sight)| show(subject, *sight));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(seen: &Seen, period: i64) -> HashMap<String, u128> {
        let mut all = HashMap::new();
        seen.each("b", period, |subject, sight| {
            all.insert(subject.to_owned(), sight.spent);
        });
        all
    }

    #[test]
    fn what_was_told_last_is_shown_and_what_comes_late_is_not() {
        let mut all = Seen::default();
        all.note("b", "a", 100, 7);
        all.note("b", "a", 100, 5);
        all.note("c", "a", 100, 99);
        assert_eq!(seen(&all, 100), HashMap::from([("a".to_owned(), 7)]));
        all.note("b", "a", 200, 1);
        all.note("b", "a", 100, 9);
        assert_eq!((seen(&all, 100).len(), seen(&all, 200)["a"]), (0, 1));
    }

    #[test]
    fn there_is_no_end_of_callers_and_an_end_of_what_is_remembered() {
        let mut all = Seen::default();
        for number in 0..5000_u128 {
            all.note("b", &number.to_string(), 100, number % 4999);
            all.note(&format!("name {number}"), "a", 100, 1);
        }
        assert!(seen(&all, 100).len() == SUBJECTS_MAX && seen(&all, 100).contains_key("4998"));
        assert!(all.0.len() <= NAMES_MAX);
        all.note("b", "new", 200, 0);
        assert_eq!((seen(&all, 100).len(), seen(&all, 200).len()), (0, 1), "an old period gives way");
    }
}
