//! Kept answers in PostgreSQL, for all gateways that share it.
//!
//! A row is an answer: whose it is (`store`, the place of the policy; `scope`, the tenant), the digest of its request
//! and, with `semantic`, what the question means as a vector of pgvector's. Every question names store and scope, so that
//! no row of another tenant is ever looked at. While the database is away nothing is found and nothing is kept.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ai::canon::{Answer, Part};
use model::policy::AiCache as Settings;

use super::{Key, memory::weight};
use crate::postgres::{Client, Plan};

/// Rows of one kind of question that are compared one by one; where there are more, an index looks at all.
const COMPARED_MAX: i64 = 2_000;
/// Numbers of a vector that an index takes.
const INDEXED_MAX: usize = 2_000;
/// Answers that are kept until the oldest are looked for.
const TRIM_EVERY: u64 = 32;

const FIND: usize = 0;
const NEAREST: usize = 1;
const PUT: usize = 2;
const USE: usize = 3;
const TRIM: usize = 4;

/// The tables, made by whoever comes first, and what is asked of them.
pub(crate) const PLAN: Plan = Plan {
    schema: "
        BEGIN;
        SELECT pg_advisory_xact_lock(7310589216);
        CREATE EXTENSION IF NOT EXISTS vector;
        CREATE TABLE IF NOT EXISTS tidegate_schema (part text PRIMARY KEY, version integer NOT NULL);
        CREATE TABLE IF NOT EXISTS tidegate_ai_cache (
            store text NOT NULL,
            scope text NOT NULL,
            key bytea NOT NULL,
            answer text NOT NULL,
            bytes bigint NOT NULL,
            alike bytea,
            numbers integer,
            meaning vector,
            made timestamptz NOT NULL DEFAULT now(),
            used timestamptz NOT NULL DEFAULT now(),
            expires timestamptz NOT NULL,
            PRIMARY KEY (store, scope, key)
        );
        CREATE INDEX IF NOT EXISTS tidegate_ai_cache_alike
            ON tidegate_ai_cache (store, scope, alike, numbers, made DESC) WHERE meaning IS NOT NULL;
        CREATE INDEX IF NOT EXISTS tidegate_ai_cache_used ON tidegate_ai_cache (store, used DESC);
        INSERT INTO tidegate_schema VALUES ('ai_cache', 1) ON CONFLICT DO NOTHING;
        COMMIT;
    ",
    statements: &[
        "SELECT answer, (extract(epoch FROM now() - made) * 1000)::bigint, used < now() - interval '1 minute'
         FROM tidegate_ai_cache WHERE store = $1 AND scope = $2 AND key = $3 AND expires > now()",
        "WITH near AS MATERIALIZED (
             SELECT key, meaning FROM tidegate_ai_cache
             WHERE store = $1 AND scope = $2 AND alike = $3 AND numbers = $4 AND meaning IS NOT NULL
                 AND expires > now()
             ORDER BY made DESC LIMIT $6
         )
         SELECT key, (1 - (meaning <=> $5::text::vector))::float8, (SELECT count(*) FROM near)
         FROM near ORDER BY meaning <=> $5::text::vector LIMIT 1",
        "INSERT INTO tidegate_ai_cache (store, scope, key, answer, bytes, alike, numbers, meaning, expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::vector, now() + $9::bigint * interval '1 millisecond')
         ON CONFLICT (store, scope, key) DO UPDATE SET answer = excluded.answer, bytes = excluded.bytes,
             alike = excluded.alike, numbers = excluded.numbers, meaning = excluded.meaning, made = now(),
             used = now(), expires = excluded.expires",
        "UPDATE tidegate_ai_cache SET used = now() WHERE store = $1 AND scope = $2 AND key = $3",
        "DELETE FROM tidegate_ai_cache AS old USING (
             SELECT scope, key, expires, row_number() OVER newest AS place, sum(bytes) OVER newest AS total
             FROM tidegate_ai_cache WHERE store = $1 WINDOW newest AS (ORDER BY used DESC, key)
         ) AS ranked
         WHERE old.store = $1 AND old.scope = ranked.scope AND old.key = ranked.key
             AND (ranked.expires <= now() OR ranked.place > $2 OR ranked.total > $3::bigint)",
    ],
};

/// The answers of one policy in the database.
pub(crate) struct Database {
    client: Arc<Client>,
    /// The place of the policy, which is the same at all gateways of one configuration.
    store: String,
    entries_max: i64,
    bytes_max: i64,
    ttl: i64,
    puts: AtomicU64,
}

impl Database {
    pub(super) fn new(client: Arc<Client>, store: String, settings: &Settings) -> Self {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            client,
            store,
            entries_max: number(settings.max_entries.max(1)),
            bytes_max: number(settings.max_size.get()),
            ttl: i64::try_from(settings.ttl.get().as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4),
            puts: AtomicU64::new(0),
        }
    }

    /// The answer of a key, and how old it is.
    pub(super) async fn get(&self, scope: &str, key: &Key) -> Option<(Arc<Answer>, Duration)> {
        let key = key.as_slice();
        let rows = self.client.ask(FIND, &[&self.store, &scope, &key]).await.ok()?;
        let row = rows.first()?;
        let (text, age): (&str, i64) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
        let answer = serde_json::from_str(text).ok()?;
        if row.try_get(2).ok() == Some(true) {
            let (store, scope, key) = (self.store.clone(), scope.to_owned(), key.to_vec());
            Client::aside(&self.client, |client| async move {
                let _ = client.ask(USE, &[&store, &scope, &key]).await;
            });
        }
        Some((Arc::new(answer), Duration::from_millis(u64::try_from(age).unwrap_or_default())))
    }

    /// The key of the answer whose question means most nearly the same.
    pub(super) async fn nearest(
        &self,
        scope: &str,
        group: &Key,
        meaning: &[f32],
        threshold: f64,
    ) -> Option<Key> {
        let numbers = i32::try_from(meaning.len()).ok()?;
        let (group, vector) = (group.as_slice(), written(meaning));
        let rows = self
            .client
            .ask(NEAREST, &[&self.store, &scope, &group, &numbers, &vector, &COMPARED_MAX])
            .await
            .ok()?;
        let row = rows.first()?;
        let best = |row: &tokio_postgres::Row| {
            let likeness: f64 = row.try_get(1).ok()?;
            let key: &[u8] = row.try_get(0).ok()?;
            if likeness.is_nan() || likeness < threshold { None } else { Key::try_from(key).ok() }
        };
        let found = best(row);
        if found.is_some() || row.try_get(2).ok() != Some(COMPARED_MAX) || meaning.len() > INDEXED_MAX {
            return found;
        }
        // There are more than were compared: the index knows the nearest of all.
        let text = format!(
            "SELECT key, (1 - (meaning::vector({numbers}) <=> $4::text::vector({numbers})))::float8
             FROM tidegate_ai_cache
             WHERE store = $1 AND scope = $2 AND alike = $3 AND numbers = {numbers} AND expires > now()
             ORDER BY meaning::vector({numbers}) <=> $4::text::vector({numbers}) LIMIT 1"
        );
        let rows = self.client.ask_text(&text, &[&self.store, &scope, &group, &vector]).await.ok()?;
        best(rows.first()?)
    }

    /// Keeps an answer. Nobody waits for it.
    pub(super) fn put(
        this: &Arc<Self>,
        scope: String,
        key: Key,
        meaning: Option<(Key, Vec<f32>)>,
        answer: &Answer,
    ) {
        let bytes = i64::try_from(weight(answer)).unwrap_or(i64::MAX);
        // What is a vendor's own is told to nobody else, and not written down.
        let parts = || answer.choices.iter().flat_map(|choice| &choice.parts);
        if bytes > this.bytes_max || parts().any(|part| matches!(part, Part::Vendor { .. })) {
            return;
        }
        let Ok(text) = serde_json::to_string(answer) else { return };
        if text.contains("\\u0000") {
            return;
        }
        let database = this.clone();
        let trims = this.puts.fetch_add(1, Ordering::Relaxed).is_multiple_of(TRIM_EVERY);
        Client::aside(&this.client, |client| async move {
            let (group, numbers, vector) = match &meaning {
                Some((group, meaning)) => {
                    (Some(group.as_slice()), i32::try_from(meaning.len()).ok(), Some(written(meaning)))
                }
                None => (None, None, None),
            };
            let key = key.as_slice();
            let put = client
                .ask(
                    PUT,
                    &[&database.store, &scope, &key, &text, &bytes, &group, &numbers, &vector, &database.ttl],
                )
                .await;
            if put.is_err() {
                return;
            }
            if trims {
                if let Some((_, meaning)) = &meaning {
                    index(&client, meaning.len()).await;
                }
                let bounds = (database.entries_max, database.bytes_max);
                let _ = client.ask(TRIM, &[&database.store, &bounds.0, &bounds.1]).await;
            }
        });
    }
}

/// Vectors of so many numbers have an index of their own.
async fn index(client: &Client, numbers: usize) {
    if numbers == 0 || numbers > INDEXED_MAX {
        return;
    }
    let text = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(7310589216);
         CREATE INDEX IF NOT EXISTS tidegate_ai_cache_near_{numbers} ON tidegate_ai_cache
             USING hnsw ((meaning::vector({numbers})) vector_cosine_ops) WHERE numbers = {numbers};
         COMMIT;"
    );
    if let Err(error) = client.run(&text).await {
        tracing::warn!(%error, "an index of kept answers cannot be made: {error}");
    }
}

/// A vector as pgvector reads it.
fn written(meaning: &[f32]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(meaning.len() * 12 + 2);
    text.push('[');
    for (place, number) in meaning.iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        // Infinities are no part of a meaning, and refused by the database.
        let number = if number.is_finite() { *number } else { 0.0 };
        let _ = write!(text, "{number}");
    }
    text.push(']');
    text
}
