//! The book of one budget: what each subject has spent in this period, and what is held for calls in flight.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use super::{Calendar, Entry};

/// How far a clock may be put back before a period that it has not come to yet is left again: a correction of seconds at
/// midnight is none.
const BACK_SECONDS_MAX: i64 = 3600;

/// The book of one budget. Amounts are picodollars or tokens.
#[derive(Debug)]
pub(crate) struct Book {
    id: String,
    calendar: Calendar,
    /// Whether somebody keeps it, and asks what has changed.
    is_kept: bool,
    state: Mutex<State>,
    pub(super) warnings: AtomicU64,
    pub(super) refusals: AtomicU64,
}

#[derive(Debug)]
struct State {
    start: i64,
    end: i64,
    /// The second in which places were last looked for.
    looked: i64,
    accounts: HashMap<String, Account>,
    /// Whose accounts whoever keeps the book may not know as they are, each once: calls wait while these are looked through,
    /// and there may be a hundred thousand others.
    changed: Vec<String>,
}

#[derive(Debug, Default, Clone)]
struct Account {
    spent: u128,
    held: u128,
    /// What whoever keeps the book knows of: spent and held together.
    written: i128,
    warned: bool,
    /// It is among those that have changed.
    is_changed: bool,
}

/// Something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// The period in which it is held.
    pub(crate) period: i64,
    /// What the subject has spent before.
    pub(crate) spent: u128,
    /// What is left beside what is held now.
    pub(crate) left: u128,
    /// Seconds until the period ends.
    pub(crate) ends_in: u64,
}

/// Something is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The period in which it is spent.
    pub(crate) period: i64,
    /// What the subject has spent now.
    pub(crate) spent: u128,
    /// Seconds until the period ends.
    pub(crate) ends_in: u64,
}

/// Nothing is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It might cost more than is left.
    Spent {
        /// What is left.
        left: u128,
        /// What is spent already.
        spent: u128,
        /// What is held for calls that are on their way.
        held: u128,
        /// Seconds until the period ends.
        ends_in: u64,
    },
    /// There is no place for one more subject.
    TooMany {
        /// Seconds until the period ends.
        ends_in: u64,
    },
}

/// How an account of a book is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Standing {
    pub(crate) spent: u128,
    /// For calls that are on their way.
    pub(crate) held: u128,
    pub(crate) is_warned: bool,
}

/// What a budget allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) limit: u128,
    pub(crate) max_keys: usize,
}

impl Book {
    pub(super) fn new(id: &str, calendar: Calendar, is_kept: bool, now: Timestamp) -> Self {
        let state = State::new(calendar.around(now));
        Self {
            id: id.to_owned(),
            calendar,
            is_kept,
            state: Mutex::new(state),
            warnings: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    pub(super) fn period_start(&self) -> i64 {
        self.lock().start
    }

    /// Whether its last period has ended, so that nothing in it counts any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        now.as_second() >= self.lock().end
    }

    /// Holds an amount for a call, unless it and what is spent and held were more than the limit.
    pub(crate) fn hold(
        &self,
        subject: &str,
        amount: u128,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Held, Refused> {
        let mut state = self.now(now);
        let ends_in = u64::try_from(state.end - now.as_second()).unwrap_or(1).max(1);
        let period = state.start;
        let (spent, held) = state.accounts.get(subject).map_or((0, 0), |one| (one.spent, one.held));
        let left = terms.limit.saturating_sub(spent.saturating_add(held));
        // What costs nothing passes, but not once everything is spent. What is refused leaves nothing behind.
        if amount > left || left == 0 {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::Spent { left, spent, held, ends_in });
        }
        if !state.has_room(subject, terms.max_keys, now.as_second()) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::TooMany { ends_in });
        }
        let account = state.account(subject, self.is_kept);
        account.held = account.held.saturating_add(amount);
        Ok(Held { period, spent: account.spent, left: left.saturating_sub(amount), ends_in })
    }

    /// Spends at once, unless that and what is spent and held were more than the limit.
    pub(crate) fn take(
        &self,
        subject: &str,
        amount: u128,
        terms: Terms,
        now: Timestamp,
    ) -> Result<Taken, Refused> {
        let mut state = self.now(now);
        let ends_in = u64::try_from(state.end - now.as_second()).unwrap_or(1).max(1);
        let (spent, held) = state.accounts.get(subject).map_or((0, 0), |one| (one.spent, one.held));
        let left = terms.limit.saturating_sub(spent.saturating_add(held));
        if amount > left {
            return Err(Refused::Spent { left, spent, held, ends_in });
        }
        if !state.has_room(subject, terms.max_keys, now.as_second()) {
            return Err(Refused::TooMany { ends_in });
        }
        let period = state.start;
        let account = state.account(subject, self.is_kept);
        account.spent = account.spent.saturating_add(amount);
        Ok(Taken { period, spent: account.spent, ends_in })
    }

    /// Settles what was held to what it cost, in the period in which it was held. Tells what is spent now, when that
    /// period still is.
    pub(crate) fn settle(
        &self,
        subject: &str,
        held: u128,
        period: i64,
        cost: u128,
        now: Timestamp,
    ) -> Option<u128> {
        let mut state = self.now(now);
        if state.start != period {
            return None;
        }
        let account = state.account(subject, self.is_kept);
        account.held = account.held.saturating_sub(held);
        account.spent = account.spent.saturating_add(cost);
        Some(account.spent)
    }

    /// Counts what was spent and never held here. Where there is no place for one more subject, it is not counted.
    pub(crate) fn spend(&self, subject: &str, cost: u128, terms: Terms, now: Timestamp) {
        let mut state = self.now(now);
        if state.has_room(subject, terms.max_keys, now.as_second()) {
            let account = state.account(subject, self.is_kept);
            account.spent = account.spent.saturating_add(cost);
        }
    }

    /// Counts a refusal that was decided elsewhere.
    pub(crate) fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a warning that was decided elsewhere.
    pub(crate) fn warned(&self) {
        self.warnings.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether this is the first time in this period that a subject is warned.
    pub(crate) fn warn(&self, subject: &str) -> bool {
        let mut state = self.lock();
        let Some(account) = state.accounts.get_mut(subject) else { return false };
        let is_first = !std::mem::replace(&mut account.warned, true);
        if is_first {
            self.warnings.fetch_add(1, Ordering::Relaxed);
        }
        is_first
    }

    /// Shows every account of the period of this moment, and tells when that begins and ends.
    pub(crate) fn each(&self, now: Timestamp, mut show: impl FnMut(&str, Standing)) -> (i64, i64) {
        let state = self.now(now);
        state.accounts.iter().for_each(|(subject, one)| show(subject, one.standing()));
        (state.start, state.end)
    }

    /// How often somebody was warned, and how many calls were refused.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.warnings.load(Ordering::Relaxed), self.refusals.load(Ordering::Relaxed))
    }

    pub(super) fn restore(&self, kept: &[Entry]) {
        let mut state = self.lock();
        let start = state.start;
        for entry in kept.iter().filter(|entry| entry.period == start) {
            let account = state.accounts.entry(entry.subject.clone()).or_default();
            account.spent = u128::try_from(entry.amount).unwrap_or_default();
            account.written = entry.amount;
        }
    }

    /// What came on top of what was written; told again until it is.
    pub(super) fn changes(&self) -> Vec<Entry> {
        let mut state = self.lock();
        let State { start, accounts, changed, .. } = &mut *state;
        let mut changes = Vec::with_capacity(changed.len());
        changed.retain(|subject| {
            let Some(account) = accounts.get_mut(subject) else { return false };
            let amount = account.known().saturating_sub(account.written);
            account.is_changed = amount != 0;
            if account.is_changed {
                let (book, subject) = (self.id.clone(), subject.clone());
                changes.push(Entry { book, subject, period: *start, amount });
            }
            account.is_changed
        });
        changes
    }

    pub(super) fn written(&self, change: &Entry, total: i128) {
        let mut state = self.lock();
        if state.start != change.period {
            return;
        }
        let Some(account) = state.accounts.get_mut(&change.subject) else { return };
        let others = total.saturating_sub(account.written.saturating_add(change.amount));
        account.written = total;
        account.spent = match u128::try_from(others) {
            Ok(more) => account.spent.saturating_add(more),
            Err(_) => account.spent.saturating_sub(others.unsigned_abs()),
        };
    }

    /// What a subject has spent, and what is held for it.
    #[cfg(test)]
    pub(crate) fn of(&self, subject: &str) -> (u128, u128) {
        let state = self.lock();
        state.accounts.get(subject).map_or((0, 0), |account| (account.spent, account.held))
    }

    /// The state in the period of this moment: a new period begins empty. So it does where the clock was far ahead and was
    /// put right, lest a period of next year lasts until then.
    fn now(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let second = now.as_second();
        if second >= state.end || second < state.start.saturating_sub(BACK_SECONDS_MAX) {
            *state = State::new(self.calendar.around(now));
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A period in which nothing was spent.
    fn new((start, end): (i64, i64)) -> Self {
        Self { start, end, looked: 0, accounts: HashMap::new(), changed: Vec::new() }
    }

    /// The account of a subject, which is about to change.
    fn account(&mut self, subject: &str, is_kept: bool) -> &mut Account {
        let account = self.accounts.entry(subject.to_owned()).or_default();
        if is_kept && !std::mem::replace(&mut account.is_changed, true) {
            self.changed.push(subject.to_owned());
        }
        account
    }

    /// Whether a subject has an account, or there is a place for one more: one that holds and has spent nothing gives
    /// its place up, once nobody has to be told of it.
    fn has_room(&mut self, subject: &str, max_keys: usize, now: i64) -> bool {
        if self.accounts.contains_key(subject) || self.accounts.len() < max_keys {
            return true;
        }
        // All are looked through at most once a second.
        if std::mem::replace(&mut self.looked, now) == now {
            return false;
        }
        self.accounts.retain(|_, one| one.spent > 0 || one.held > 0 || one.written != 0);
        self.changed.retain(|subject| self.accounts.contains_key(subject));
        self.accounts.len() < max_keys
    }
}

impl Account {
    fn standing(&self) -> Standing {
        Standing { spent: self.spent, held: self.held, is_warned: self.warned }
    }

    /// What is to be known of it elsewhere.
    fn known(&self) -> i128 {
        i128::try_from(self.spent.saturating_add(self.held)).unwrap_or(i128::MAX)
    }
}

#[cfg(test)]
mod tests {
    use model::policy::budget::Period;
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms { limit: 100, max_keys: 2 };

    fn at(text: &str) -> Timestamp {
        text.parse().expect(text)
    }

    fn book(now: &str) -> Book {
        Book::new("b", Calendar::new(Period::Day, "UTC").expect("a zone"), true, at(now))
    }

    #[test]
    fn nothing_is_begun_that_might_cost_more_than_is_left() {
        let now = at("2026-11-28T23:59:00Z");
        let book = book("2026-11-28T00:00:00Z");
        let held = book.hold("a", 60, TERMS, now).expect("room");
        assert_eq!(
            book.hold("a", 41, TERMS, now),
            Err(Refused::Spent { left: 40, spent: 0, held: 60, ends_in: 60 })
        );
        assert_eq!(book.settle("a", 60, held.period, 10, now), Some(10));
        assert_eq!(book.of("a"), (10, 0));
        assert!(book.hold("a", 90, TERMS, now).is_ok());
        assert!(book.hold("a", 0, TERMS, now).is_err(), "all is held");
        assert!(book.hold("b", 100, TERMS, now).is_ok(), "others have their own");
        assert_eq!(book.hold("c", 1, TERMS, now), Err(Refused::TooMany { ends_in: 60 }));
    }

    #[test]
    fn strangers_that_are_refused_or_spend_nothing_take_nobodys_place() {
        let now = at("2026-11-28T12:00:00Z");
        let book = book("2026-11-28T00:00:00Z");
        for stranger in 0..100 {
            assert!(book.hold(&format!("refused {stranger}"), 101, TERMS, now).is_err(), "more than all");
        }
        for stranger in 0..100 {
            let now = now + jiff::Span::new().seconds(stranger);
            let name = format!("idle {stranger}");
            let held = book.hold(&name, 50, TERMS, now).expect("those that hold nothing any more give way");
            book.settle(&name, 50, held.period, 0, now);
        }
        let held = book.hold("a", 60, TERMS, now + jiff::Span::new().seconds(200)).expect("room");
        book.settle("a", 60, held.period, 60, now);
        assert!(book.lock().accounts.len() <= 2);
        assert!(book.hold("b", 1, TERMS, now + jiff::Span::new().seconds(300)).is_ok());
        assert_eq!(book.of("a"), (60, 0), "what is spent stays");
    }

    #[test]
    fn a_new_period_begins_empty_and_what_began_before_it_belongs_to_the_old_one() {
        let book = book("2026-11-28T00:00:00Z");
        let held = book.hold("a", 100, TERMS, at("2026-11-28T23:59:59Z")).expect("room");
        let next = at("2026-11-29T00:00:00Z");
        assert!(book.hold("a", 100, TERMS, next).is_ok());
        assert_eq!(book.settle("a", 100, held.period, 70, next), None);
        assert_eq!(book.of("a"), (0, 100));
    }

    #[test]
    fn whoever_looks_after_the_end_of_a_period_sees_the_next_one_though_nobody_has_called() {
        let book = book("2026-11-28T00:00:00Z");
        let (now, next) = (at("2026-11-28T23:59:59Z"), at("2026-11-29T00:00:00Z"));
        let held = book.hold("a", 100, TERMS, now).expect("room");
        book.settle("a", 100, held.period, 70, now);
        let standing = Standing { spent: 70, held: 0, is_warned: false };
        let mut seen = Vec::new();
        book.each(now, |subject, one| seen.push((subject.to_owned(), one)));
        assert_eq!(seen, [("a".to_owned(), standing)]);
        let bounds = book.each(next, |subject, _| panic!("{subject} has spent nothing yet"));
        assert_eq!(bounds, (next.as_second(), next.as_second() + 86_400));
    }

    #[test]
    fn a_clock_that_was_years_ahead_and_is_put_right_leaves_nobody_shut_out_until_then() {
        let book = book("2026-11-28T00:00:00Z");
        let (now, ahead) = (at("2026-11-28T12:00:00Z"), at("2036-11-28T12:00:00Z"));
        let held = book.hold("a", 100, TERMS, ahead).expect("room");
        assert_eq!(book.settle("a", 100, held.period, 100, ahead), Some(100));
        assert!(book.hold("a", 1, TERMS, ahead).is_err());
        let held = book.hold("a", 1, TERMS, now).expect("it is another period");
        assert_eq!((held.period, held.ends_in), (at("2026-11-28T00:00:00Z").as_second(), 43_200));
        // A second at midnight is no other day.
        let (midnight, before) = (at("2026-11-29T00:00:00Z"), at("2026-11-28T23:59:59Z"));
        book.hold("a", 60, TERMS, midnight).expect("room");
        assert!(book.hold("a", 60, TERMS, before).is_err(), "what is held stays held");
    }

    #[test]
    fn what_is_written_is_written_once_and_what_others_wrote_counts() {
        let now = at("2026-11-28T12:00:00Z");
        let book = book("2026-11-28T00:00:00Z");
        let held = book.hold("a", 60, TERMS, now).expect("room");
        let first = book.changes();
        assert_eq!(first[0].amount, 60, "what is held is kept as spent");
        // Another process has spent 7 meanwhile.
        book.written(&first[0], 67);
        assert_eq!((book.of("a"), book.changes()), ((7, 60), vec![]));
        book.settle("a", 60, held.period, 5, now);
        let second = book.changes();
        assert_eq!(second[0].amount, -55);
        book.written(&second[0], 12);
        assert_eq!((book.of("a"), book.changes()), ((12, 0), vec![]));
    }

    #[test]
    fn only_what_has_changed_is_looked_through_and_each_account_once() {
        let book = book("2026-11-28T00:00:00Z");
        let (now, later) = (at("2026-11-28T12:00:00Z"), at("2026-11-28T12:00:02Z"));
        for name in ["a", "b"] {
            let held = book.hold(name, 50, TERMS, now).expect("room");
            book.settle(name, 50, held.period, 0, now);
        }
        // Nothing is in these two, which give way; one is there again before anybody was told.
        book.hold("c", 50, TERMS, later).expect("room");
        book.hold("a", 60, TERMS, later).expect("room");
        let mut told: Vec<_> = book.changes().into_iter().map(|one| (one.subject, one.amount)).collect();
        told.sort();
        assert_eq!(told, [("a".to_owned(), 60), ("c".to_owned(), 50)]);
        let again = book.changes();
        assert_eq!(again.len(), 2, "until they are written");
        again.iter().for_each(|one| book.written(one, one.amount));
        assert!(book.changes().is_empty() && book.lock().changed.is_empty());
    }

    #[test]
    fn what_was_kept_of_this_period_is_spent() {
        let book = book("2026-11-28T00:00:00Z");
        let entry = |period, amount| Entry { book: "b".into(), subject: "a".into(), period, amount };
        let today = book.period_start();
        book.restore(&[entry(today, 99), entry(today - 86_400, 50)]);
        assert_eq!((book.of("a"), book.changes()), ((99, 0), vec![]));
        assert!(book.hold("a", 2, TERMS, at("2026-11-28T12:00:00Z")).is_err());
    }

    #[test]
    fn a_warning_is_told_once_per_period() {
        let book = book("2026-11-28T00:00:00Z");
        book.hold("a", 1, TERMS, at("2026-11-28T12:00:00Z")).expect("room");
        assert!(book.warn("a"));
        assert!(!book.warn("a"));
        book.hold("a", 1, TERMS, at("2026-11-29T12:00:00Z")).expect("room");
        assert!(book.warn("a"));
    }

    proptest! {
        #[test]
        fn no_order_of_calls_spends_more_than_the_limit_or_leaks(
            steps in proptest::collection::vec((0usize..3, 1u128..40, 0u128..=100, any::<bool>()), 1..300),
        ) {
            let now = at("2026-11-28T12:00:00Z");
            let terms = Terms { limit: 200, max_keys: 3 };
            let book = book("2026-11-28T00:00:00Z");
            let names = ["a", "b", "c"];
            let (mut spent, mut open) = ([0u128; 3], Vec::<(usize, u128, i64)>::new());
            for (who, amount, percent, settles) in steps {
                if settles && !open.is_empty() {
                    let (who, held, period) = open.swap_remove(0);
                    let cost = held * percent / 100;
                    book.settle(names[who], held, period, cost, now);
                    spent[who] += cost;
                } else {
                    let held: u128 = open.iter().filter(|one| one.0 == who).map(|one| one.1).sum();
                    let fits = spent[who] + held + amount <= terms.limit;
                    let answer = book.hold(names[who], amount, terms, now);
                    prop_assert_eq!(answer.is_ok(), fits);
                    if let Ok(held) = answer { open.push((who, amount, held.period)) }
                }
                for (who, name) in names.iter().enumerate() {
                    let held: u128 = open.iter().filter(|one| one.0 == who).map(|one| one.1).sum();
                    prop_assert_eq!(book.of(name), (spent[who], held));
                    prop_assert!(spent[who] <= terms.limit);
                }
            }
        }
    }
}
