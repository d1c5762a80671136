//! What budgets have spent, in `spent.db` of the data directory.
//!
//! The file is opened when a budget is first configured: who has none gets none. Changes are written by one thread in
//! batches, as sums on top of what is there, so that two processes that live beside each other during an upgrade add up
//! rather than overwrite. Amounts are texts, for picodollars may need more than 64 bits.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use proxy::ledger::{Entry, Keeper, Ledger};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// The file in the data directory.
const FILE: &str = "spent.db";
/// How often changes are written.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often periods are forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(5);
/// Periods that began before this are forgotten: no budget lasts longer than a month.
const KEPT: Duration = Duration::from_secs(40 * 24 * 3600);

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS spent (
    book TEXT NOT NULL,
    subject TEXT NOT NULL,
    period INTEGER NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (book, subject, period)
) WITHOUT ROWID, STRICT;
";

/// What budgets have spent.
pub(crate) struct Spent {
    folder: PathBuf,
    open: Mutex<Option<Connection>>,
}

impl Spent {
    /// In this data directory, which is looked at when somebody first asks.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    fn with<T>(&self, run: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        let mut open: MutexGuard<'_, Option<Connection>> =
            self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(FILE);
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let connection = match &mut *open {
            Some(connection) => connection,
            none => {
                crate::run::data_dir(&self.folder).map_err(|error| told(&error))?;
                none.insert(connect(&path).map_err(|error| told(&error))?)
            }
        };
        run(connection).map_err(|error| told(&error))
    }

    /// Forgets periods that are long over, where there is a file.
    fn forget(&self) -> Result<(), String> {
        let is_open = self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_open { self.with(|connection| forget(connection, now())) } else { Ok(()) }
    }

    /// Adds changes, all or none, and tells the totals.
    fn add(&self, changes: &[Entry]) -> Result<Vec<i128>, String> {
        self.with(|connection| {
            let batch = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut totals = Vec::with_capacity(changes.len());
            {
                let mut read = batch
                    .prepare("SELECT amount FROM spent WHERE book = ?1 AND subject = ?2 AND period = ?3")?;
                let mut write = batch.prepare(
                    "INSERT INTO spent (book, subject, period, amount) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (book, subject, period) DO UPDATE SET amount = excluded.amount",
                )?;
                for change in changes {
                    let key = params![change.book, change.subject, change.period];
                    let known: Option<String> = read.query_row(key, |row| row.get(0)).optional()?;
                    let known: i128 = known.and_then(|text| text.parse().ok()).unwrap_or(0);
                    let total = known.saturating_add(change.amount);
                    write.execute(params![change.book, change.subject, change.period, total.to_string()])?;
                    totals.push(total);
                }
            }
            batch.commit()?;
            Ok(totals)
        })
    }
}

fn connect(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(SCHEMA)?;
    forget(&connection, now())?;
    Ok(connection)
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Forgets what is old, also beside the newest that is there: by a clock that is far ahead all of it would be.
fn forget(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    let newest: Option<i64> = connection.query_row("SELECT MAX(period) FROM spent", [], |row| row.get(0))?;
    let kept = i64::try_from(KEPT.as_secs()).unwrap_or(i64::MAX);
    let oldest = newest.map_or(now, |newest| newest.min(now)).saturating_sub(kept);
    connection.execute("DELETE FROM spent WHERE period < ?1", params![oldest])?;
    Ok(())
}

impl Keeper for Spent {
    fn load(&self, book: &str, period: i64) -> Result<Vec<Entry>, String> {
        self.with(|connection| {
            let mut query =
                connection.prepare("SELECT subject, amount FROM spent WHERE book = ?1 AND period = ?2")?;
            let rows = query.query_map(params![book, period], |row| {
                let (subject, amount): (String, String) = (row.get(0)?, row.get(1)?);
                Ok(Entry { book: book.to_owned(), subject, period, amount: amount.parse().unwrap_or(0) })
            })?;
            rows.collect()
        })
    }
}

/// The thread that writes.
pub(crate) struct Writer {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Begins to write what a ledger tells.
    pub(crate) fn start(ledger: Arc<Ledger>, spent: Arc<Spent>) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("budgets".to_owned()).spawn(move || {
            let (mut is_broken, mut forgotten) = (false, Instant::now());
            loop {
                let goes_on = stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout);
                match write(&ledger, &spent) {
                    Ok(()) => is_broken = false,
                    Err(error) if !is_broken => {
                        is_broken = true;
                        tracing::error!("what budgets have spent is not written, and tried again: {error}");
                    }
                    Err(_) => {}
                }
                if forgotten.elapsed() >= FORGOTTEN {
                    forgotten = Instant::now();
                    if let Err(error) = spent.forget() {
                        tracing::warn!("periods of budgets that are long over stay in the file: {error}");
                    }
                }
                if !goes_on {
                    return;
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Writes what is left, and ends.
    pub(crate) fn finish(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

fn write(ledger: &Ledger, spent: &Spent) -> Result<(), String> {
    let changes = ledger.changes();
    if changes.is_empty() {
        return Ok(());
    }
    let totals = spent.add(&changes)?;
    ledger.written(&changes, &totals);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(subject: &str, period: i64, amount: i128) -> Entry {
        Entry { book: "b".to_owned(), subject: subject.to_owned(), period, amount }
    }

    #[test]
    fn two_processes_add_up_and_another_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let spent = |()| Spent::new(folder.path().to_owned());
        let (one, two, period) = (spent(()), spent(()), now());
        let large = i128::from(u64::MAX) * 1000;
        assert_eq!(one.add(&[change("a", period, large), change("b", period, 1)]), Ok(vec![large, 1]));
        assert_eq!(two.add(&[change("a", period, -7)]), Ok(vec![large - 7]));
        let mut found = spent(()).load("b", period).expect("a file");
        found.sort_by(|a, b| a.subject.cmp(&b.subject));
        assert_eq!(found, [change("a", period, large - 7), change("b", period, 1)]);
        assert_eq!(spent(()).load("other", period), Ok(vec![]));
    }

    #[test]
    fn old_periods_are_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, recent) = (now() - 41 * 24 * 3600, now() - 3600);
        let spent = Spent::new(folder.path().to_owned());
        spent.add(&[change("a", old, 5), change("a", recent, 5)]).expect("a file");
        spent.forget().expect("a file");
        assert_eq!(spent.load("b", old), Ok(vec![]), "a process that goes on forgets, too");
        spent.add(&[change("a", old, 5)]).expect("a file");
        let again = Spent::new(folder.path().to_owned());
        assert_eq!(again.load("b", old), Ok(vec![]));
        assert_eq!(again.load("b", recent), Ok(vec![change("a", recent, 5)]));
        again.with(|connection| forget(connection, now() + 10 * 365 * 24 * 3600)).expect("a file");
        let kept = again.load("b", recent);
        assert_eq!(kept, Ok(vec![change("a", recent, 5)]), "a clock that is years ahead is none");
    }

    #[test]
    fn a_file_that_is_none_is_told_with_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), vec![b'x'; 4096]).expect("a file");
        let error = Spent::new(folder.path().to_owned()).load("b", 0).expect_err("no database");
        assert!(error.contains(FILE) && error.contains("not a database"), "{error}");
    }
}
