//! Failed sign-ins that several gateways count together. While their store is away each counts for itself.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use ::redis::{Script, Value};

use super::attempts::{Bounds, MEMORY, Mark, Place};
use crate::{hex::hex, ledger::shared::Accounts};

static ATTEMPTS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("attempts.lua")));

/// Where they are counted.
#[derive(Clone)]
pub(super) struct Store {
    accounts: Arc<Accounts>,
    /// Whose they are: all keys of a policy are in one place of a cluster, so that they are asked about together.
    owner: Arc<str>,
}

/// How it stands with one way of counting.
pub(super) struct Standing {
    pub(super) locked: Duration,
    pub(super) has_failures: bool,
}

impl Store {
    pub(super) fn new(accounts: Arc<Accounts>, owner: &str) -> Self {
        Self { accounts, owner: owner.into() }
    }

    /// How it stands with each; nothing where the store does not say so.
    pub(super) async fn look(&self, marks: &[Mark]) -> Option<Vec<Standing>> {
        let told = self.ask("look", marks.iter(), &Place::default(), &[]).await?;
        let standing = |pair: &[u64]| Standing {
            locked: Duration::from_millis(pair.first().copied().unwrap_or_default()),
            has_failures: pair.get(1).is_some_and(|failures| *failures > 0),
        };
        (told.len() == marks.len() * 2).then(|| told.chunks(2).map(standing).collect())
    }

    /// Counts a failure under each; how long the lock lasts that begins with it, by what it is of.
    pub(super) async fn fail(&self, marks: &[(Mark, Bounds)], place: &Place) -> Option<Vec<Duration>> {
        let millis = |time: Duration| time.as_millis().to_string();
        let terms: Vec<String> = marks
            .iter()
            .flat_map(|(_, bounds)| {
                let Bounds { failures_max, window, lock, lock_max } = *bounds;
                [failures_max.to_string(), millis(window), millis(lock), millis(lock_max)]
            })
            .collect();
        let told = self.ask("fail", marks.iter().map(|(mark, _)| mark), place, &terms).await?;
        (told.len() == marks.len()).then(|| told.into_iter().map(Duration::from_millis).collect())
    }

    /// Takes back the failures of a place.
    pub(super) async fn forgive(&self, marks: &[Mark], place: &Place) {
        self.ask("forgive", marks.iter(), place, &[]).await;
    }

    async fn ask(
        &self,
        what: &str,
        marks: impl Iterator<Item = &Mark>,
        place: &Place,
        terms: &[String],
    ) -> Option<Vec<u64>> {
        let key = |mark: &Mark| self.accounts.key(&self.owner, &format!("lockout:{}", hex(mark)));
        let keys: Vec<String> = marks.map(key).collect();
        let mut arguments = vec![what.to_owned(), hex(place), MEMORY.as_millis().to_string()];
        arguments.extend_from_slice(terms);
        let Ok(Value::Array(all)) = self.accounts.client().eval(&ATTEMPTS, &keys, &arguments).await else {
            return None;
        };
        let number = |one: &Value| match one {
            Value::Int(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        all.iter().map(number).collect()
    }
}
