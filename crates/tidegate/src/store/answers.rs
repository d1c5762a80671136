//! Answers to requests with an `Idempotency-Key`, in `answers.db` of the data directory.
//!
//! The file is opened when somebody first asks. A key is claimed, and an answer kept, in one transaction each, so that
//! two processes that live beside each other during an upgrade do not both take a request for the first.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proxy::ledger::answers::{Answers, Found};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

/// The file in the data directory.
const FILE: &str = "answers.db";
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS answers (
    key BLOB NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    token TEXT NOT NULL,
    ends INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    answer BLOB
) WITHOUT ROWID, STRICT;
CREATE INDEX IF NOT EXISTS answers_ends ON answers (owner, ends, bytes);
";

/// Of what an owner may keep, the part that is made free at a time: what it has is not added up for each answer.
const FREED_PART: i64 = 256;

/// Kept answers.
pub(crate) struct Kept {
    folder: PathBuf,
    open: Mutex<Option<Open>>,
}

/// The file.
struct Open {
    connection: Connection,
    /// Bytes that each owner has at most, for all that this process knows.
    totals: HashMap<String, i64>,
}

impl Kept {
    /// In this data directory, which is looked at when somebody first asks.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, open: Mutex::default() }
    }

    fn with<T>(&self, run: impl FnOnce(&mut Open) -> rusqlite::Result<T>) -> Result<T, String> {
        let mut open: MutexGuard<'_, Option<Open>> = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(FILE);
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let open = match &mut *open {
            Some(open) => open,
            none => {
                crate::run::data_dir(&self.folder).map_err(|error| told(&error))?;
                let connection = connect(&path).map_err(|error| told(&error))?;
                none.insert(Open { connection, totals: HashMap::new() })
            }
        };
        run(open).map_err(|error| told(&error))
    }
}

fn connect(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(SCHEMA)?;
    connection.execute("DELETE FROM answers WHERE ends <= ?1", params![now()])?;
    Ok(connection)
}

/// Adds up what an owner has, and forgets its oldest answers where too little room is left; what it has then. The newest stays:
/// whoever got it may send its request again.
fn make_room(batch: &Transaction<'_>, owner: &str, newest: &[u8], bound: i64) -> rusqlite::Result<i64> {
    let mut total: i64 = batch
        .prepare("SELECT COALESCE(SUM(bytes), 0) FROM answers WHERE owner = ?1")?
        .query_row(params![owner], |row| row.get(0))?;
    while total > bound - bound / FREED_PART {
        let oldest: Option<(Vec<u8>, i64)> = batch
            .prepare(
                "SELECT key, bytes FROM answers WHERE owner = ?1 AND bytes > 0 AND key <> ?2
                 ORDER BY ends LIMIT 1",
            )?
            .query_row(params![owner, newest], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((oldest, bytes)) = oldest else { break };
        batch.prepare("DELETE FROM answers WHERE key = ?1")?.execute(params![oldest])?;
        total -= bytes;
    }
    Ok(total)
}

/// Milliseconds since 1970: processes have no other clock in common.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

impl Answers for Kept {
    fn begin(
        &self,
        owner: &str,
        key: &[u8],
        fingerprint: &[u8],
        token: &str,
        lease: Duration,
    ) -> Result<Found, String> {
        self.with(|open| {
            let now = now();
            let batch = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let known: Option<(Vec<u8>, Option<Vec<u8>>)> = batch
                .prepare("SELECT fingerprint, answer FROM answers WHERE key = ?1 AND ends > ?2")?
                .query_row(params![key, now], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let found = match known {
                Some((known, _)) if known != fingerprint => Found::Another,
                Some((_, Some(answer))) => Found::Answer(answer),
                Some((_, None)) => Found::InFlight,
                None => {
                    batch
                        .prepare(
                            "INSERT OR REPLACE INTO answers (key, owner, fingerprint, token, ends, bytes)
                             VALUES (?1, ?2, ?3, ?4, ?5, 0)",
                        )?
                        .execute(params![
                            key,
                            owner,
                            fingerprint,
                            token,
                            now.saturating_add(millis(lease))
                        ])?;
                    Found::Nothing
                }
            };
            batch.commit()?;
            Ok(found)
        })
    }

    fn finish(
        &self,
        owner: &str,
        key: &[u8],
        fingerprint: &[u8],
        token: &str,
        answer: &[u8],
        ttl: Duration,
        bytes_max: usize,
    ) -> Result<(), String> {
        self.with(|Open { connection, totals }| {
            let now = now();
            let batch = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let known: Option<String> = batch
                .prepare("SELECT token FROM answers WHERE key = ?1 AND ends > ?2")?
                .query_row(params![key, now], |row| row.get(0))
                .optional()?;
            if known.is_some_and(|known| known != token) {
                return Ok(());
            }
            let bytes = i64::try_from(answer.len()).unwrap_or(i64::MAX / 4) + 256;
            let ends = now.saturating_add(millis(ttl));
            batch
                .prepare(
                    "INSERT OR REPLACE INTO answers (key, owner, fingerprint, token, ends, bytes, answer)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![key, owner, fingerprint, token, ends, bytes, answer])?;
            batch
                .prepare("DELETE FROM answers WHERE owner = ?1 AND ends <= ?2")?
                .execute(params![owner, now])?;
            let bound = i64::try_from(bytes_max).unwrap_or(i64::MAX);
            let total = totals.get(owner).map(|total| total.saturating_add(bytes));
            let total = match total.filter(|total| *total <= bound) {
                Some(total) => total,
                None => make_room(&batch, owner, key, bound)?,
            };
            batch.commit()?;
            totals.insert(owner.to_owned(), total);
            Ok(())
        })
    }

    fn release(&self, key: &[u8], token: &str) -> Result<(), String> {
        self.with(|open| {
            open.connection
                .prepare("DELETE FROM answers WHERE key = ?1 AND token = ?2 AND answer IS NULL")?
                .execute(params![key, token])?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[test]
    fn two_processes_have_one_first_request_and_another_reads_its_answer() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = |()| Kept::new(folder.path().to_owned());
        let (one, two) = (kept(()), kept(()));
        assert_eq!(one.begin("p", b"k", b"f", "t1", LEASE), Ok(Found::Nothing));
        assert_eq!(two.begin("p", b"k", b"f", "t2", LEASE), Ok(Found::InFlight));
        assert_eq!(two.begin("p", b"k", b"g", "t2", LEASE), Ok(Found::Another));
        two.release(b"k", "t2").expect("a file");
        assert_eq!(two.begin("p", b"k", b"f", "t2", LEASE), Ok(Found::InFlight), "it is not its own");
        one.finish("p", b"k", b"f", "t1", b"answer", LEASE, 1 << 20).expect("a file");
        one.release(b"k", "t1").expect("a file");
        assert_eq!(kept(()).begin("p", b"k", b"f", "t3", LEASE), Ok(Found::Answer(b"answer".to_vec())));
    }

    #[test]
    fn claims_and_answers_end_and_the_oldest_go_beyond_the_bound() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = Kept::new(folder.path().to_owned());
        assert_eq!(kept.begin("p", b"k", b"f", "t1", Duration::ZERO), Ok(Found::Nothing));
        assert_eq!(kept.begin("p", b"k", b"f", "t2", LEASE), Ok(Found::Nothing), "the claim has run out");
        kept.finish("p", b"k", b"f", "t1", b"late", LEASE, 1 << 20).expect("a file");
        assert_eq!(kept.begin("p", b"k", b"f", "t3", LEASE), Ok(Found::InFlight), "it is another's by now");
        for number in 0..50_u8 {
            kept.finish(
                "q",
                &[number],
                b"f",
                "t",
                &[0; 1000],
                LEASE + Duration::from_secs(number.into()),
                20_000,
            )
            .expect("a file");
        }
        assert_eq!(kept.begin("q", &[0], b"f", "t", LEASE), Ok(Found::Nothing));
        assert!(matches!(kept.begin("q", &[49], b"f", "t", LEASE), Ok(Found::Answer(_))));
        let left: i64 = kept
            .with(|open| open.connection.query_row("SELECT SUM(bytes) FROM answers", [], |row| row.get(0)))
            .expect("a number");
        assert!(left <= 20_000, "{left}");
        // Of those that nearly fill it the newest is kept.
        for number in [100, 101, 102] {
            kept.finish("q", &[number], b"f", "t", &[0; 19_700], LEASE, 20_000).expect("a file");
            assert!(matches!(kept.begin("q", &[number], b"f", "t", LEASE), Ok(Found::Answer(_))), "{number}");
        }
        assert_eq!(kept.begin("q", &[101], b"f", "t", LEASE), Ok(Found::Nothing));
    }
}
