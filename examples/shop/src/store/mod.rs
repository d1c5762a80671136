//! A service's own SQLite database; queries run beside the request threads.

pub(crate) mod catalog;
pub(crate) mod orders;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;

use crate::problem::Problem;

/// One service's database.
#[derive(Clone)]
pub struct Store(Arc<Mutex<Connection>>);

impl Store {
    /// Opens or makes the database and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened or is no database.
    pub fn open(path: &Path, schema: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(schema)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// Whether it answers at all.
    pub(crate) async fn is_there(&self) -> bool {
        self.run(|connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await.is_ok()
    }

    /// Runs queries off the request threads.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut store.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(result) => result.map_err(|error| Problem::store(&error)),
            Err(_) => Err(Problem::store(&rusqlite::Error::InvalidQuery)),
        }
    }
}
