//! The catalogue's tables and queries.

use rusqlite::{OptionalExtension, Row};

use super::Store;
use crate::problem::Problem;

/// The tables, and something to sell.
pub const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS products (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL, currency TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO products VALUES
    (1, 'Sea chart', 1890, 'EUR'), (2, 'Brass compass', 4900, 'EUR'), (3, 'Tide table', 750, 'EUR'),
    (4, 'Signal lamp', 8200, 'EUR'), (5, 'Oilskin coat', 11900, 'EUR');
";

/// Something to sell.
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) cents: i64,
    pub(crate) currency: String,
}

impl Product {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { id: row.get(0)?, name: row.get(1)?, cents: row.get(2)?, currency: row.get(3)? })
    }
}

impl Store {
    /// All products by id.
    pub(crate) async fn products(&self) -> Result<Vec<Product>, Problem> {
        self.run(|connection| {
            let mut query = connection.prepare_cached("SELECT * FROM products ORDER BY id")?;
            query.query_map([], Product::read)?.collect()
        })
        .await
    }

    /// One product.
    pub(crate) async fn product(&self, id: i64) -> Result<Option<Product>, Problem> {
        self.run(move |connection| {
            let mut query = connection.prepare_cached("SELECT * FROM products WHERE id = ?1")?;
            query.query_row([id], Product::read).optional()
        })
        .await
    }
}
