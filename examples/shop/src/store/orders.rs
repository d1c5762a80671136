//! The orders' tables and queries.

use rusqlite::{OptionalExtension, Row, params};

use super::Store;
use crate::problem::Problem;

/// The tables.
pub const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, placed_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
CREATE TABLE IF NOT EXISTS idempotency_keys (
    key TEXT PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id), body TEXT NOT NULL
) STRICT;
";

/// An order as it is kept.
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) body: String,
    pub(crate) placed_at: String,
}

impl Order {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, body: row.get(1)?, placed_at: row.get(2)? })
    }
}

/// What became of an order.
pub(crate) enum Placed {
    /// It has this id.
    New(i64),
    /// It was placed before with this key, under this id.
    Before(i64),
    /// The key came with another order before.
    OtherBody,
}

impl Store {
    /// The latest orders, the newest first.
    pub(crate) async fn orders(&self) -> Result<Vec<Order>, Problem> {
        self.run(|connection| {
            let mut query = connection
                .prepare_cached("SELECT id, body, placed_at FROM orders ORDER BY id DESC LIMIT 100")?;
            query.query_map([], Order::read)?.collect()
        })
        .await
    }

    /// One order.
    pub(crate) async fn order(&self, id: i64) -> Result<Option<Order>, Problem> {
        self.run(move |connection| {
            let mut query =
                connection.prepare_cached("SELECT id, body, placed_at FROM orders WHERE id = ?1")?;
            query.query_row([id], Order::read).optional()
        })
        .await
    }

    /// Keeps an order; once, however often it comes with one key.
    pub(crate) async fn place(&self, key: Option<String>, body: String) -> Result<Placed, Problem> {
        self.run(move |connection| {
            let transaction = connection.transaction()?;
            if let Some(key) = &key {
                let known = "SELECT order_id, body FROM idempotency_keys WHERE key = ?1";
                let known: Option<(i64, String)> =
                    transaction.query_row(known, [key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                if let Some((id, before)) = known {
                    return Ok(if before == body { Placed::Before(id) } else { Placed::OtherBody });
                }
            }
            transaction.execute("INSERT INTO orders (body) VALUES (?1)", [&body])?;
            let id = transaction.last_insert_rowid();
            if let Some(key) = &key {
                let remember = "INSERT INTO idempotency_keys (key, order_id, body) VALUES (?1, ?2, ?3)";
                transaction.execute(remember, params![key, id, body])?;
            }
            transaction.commit()?;
            Ok(Placed::New(id))
        })
        .await
    }
}
