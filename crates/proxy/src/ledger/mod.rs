//! The ledger of budgets: what was spent in which period, over reloads and, where somebody keeps it, restarts.
//!
//! It lives in memory and is asked on the way of a call; a [`Keeper`] reads it when a budget is first configured, and is
//! told of changes in batches, off that way. What is held for calls in flight is kept as spent: a process that is
//! killed leaves too much behind rather than too little.

pub mod answers;
mod book;
mod period;
mod report;
pub(crate) mod shared;
pub(crate) mod statement;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use jiff::Timestamp;

use self::statement::Purse;
pub use self::statement::{ACCOUNTS_MAX, AccountStatement, Amount, Statement, Wish, account_key};
pub(crate) use self::{
    book::{Book, Held, Refused, Terms},
    period::Calendar,
    report::Report,
};

/// What the names of books begin with that are of no calls to models.
pub(crate) const NOT_OF_MODELS: &str = "calls:";

/// What somebody has spent in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The budget, by its place and name.
    pub book: String,
    /// Whose spending it is.
    pub subject: String,
    /// When the period began, in seconds since 1970.
    pub period: i64,
    /// Picodollars or tokens; in a change, what came on top.
    pub amount: i128,
}

/// Keeps what was spent.
pub trait Keeper: Send + Sync {
    /// What a budget has spent in the period that began then.
    fn load(&self, book: &str, period: i64) -> Result<Vec<Entry>, String>;
}

/// All budgets of a process.
#[derive(Default)]
pub struct Ledger {
    books: Mutex<HashMap<String, Arc<Book>>>,
    /// Whatever bounds spending, of every configuration that lives.
    purses: Mutex<HashMap<String, Vec<Weak<dyn Purse>>>>,
    keeper: Option<Arc<dyn Keeper>>,
    answers: Option<Arc<dyn answers::Answers>>,
}

impl Ledger {
    /// One that somebody keeps.
    pub fn kept_by(keeper: Arc<dyn Keeper>) -> Self {
        Self { keeper: Some(keeper), ..Self::default() }
    }

    /// With somebody who keeps answers to requests that may come again.
    #[must_use]
    pub fn with_answers(self, answers: Arc<dyn answers::Answers>) -> Self {
        Self { answers: Some(answers), ..self }
    }

    /// Who keeps answers to requests that may come again.
    pub(crate) fn answers(&self) -> Option<Arc<dyn answers::Answers>> {
        self.answers.clone()
    }

    /// The book of a budget, as it is, or as it was kept.
    pub(crate) fn book(&self, id: &str, calendar: &Calendar) -> Result<Arc<Book>, String> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(book) = books.get(id).filter(|book| book.calendar() == calendar) {
            return Ok(book.clone());
        }
        let now = Timestamp::now();
        // One that nothing is configured for any more goes with its period.
        books.retain(|_, book| Arc::strong_count(book) > 1 || !book.is_over(now));
        let book = Arc::new(Book::new(id, calendar.clone(), self.keeper.is_some(), now));
        if let Some(keeper) = &self.keeper {
            let kept = keeper.load(id, book.period_start());
            let kept = kept.map_err(|error| format!("what was spent before cannot be read: {error}"))?;
            book.restore(&kept);
        }
        books.insert(id.to_owned(), book.clone());
        Ok(book)
    }

    /// Something that bounds spending is there as long as somebody has it. Of several with one id the newest counts.
    pub(crate) fn watch(&self, id: &str, purse: Weak<dyn Purse>) {
        let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        for all in purses.values_mut() {
            all.retain(|one| one.strong_count() > 0);
        }
        purses.retain(|known, all| known == id || !all.is_empty());
        purses.entry(id.to_owned()).or_default().push(purse);
    }

    /// Whatever bounds spending now.
    fn purses(&self) -> Vec<Arc<dyn Purse>> {
        let purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
        purses.values().filter_map(|all| all.iter().rev().find_map(Weak::upgrade)).collect()
    }

    /// What came on top since it was last written.
    pub fn changes(&self) -> Vec<Entry> {
        self.books().iter().flat_map(|book| book.changes()).collect()
    }

    /// Notes that changes were written, and what the totals are now: another process may have added to them.
    pub fn written(&self, changes: &[Entry], totals: &[i128]) {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (change, total) in changes.iter().zip(totals) {
            if let Some(book) = books.get(&change.book) {
                book.written(change, *total);
            }
        }
    }

    /// The books of budgets that are configured now.
    fn live(&self) -> Vec<Arc<Book>> {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.values().filter(|book| Arc::strong_count(book) > 1).cloned().collect()
    }

    fn books(&self) -> Vec<Arc<Book>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
