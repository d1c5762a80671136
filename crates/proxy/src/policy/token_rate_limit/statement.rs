//! What limits of tokens have left, for operators.
//!
//! Buckets know their keys by digests alone: those that the configuration names (consumers, their groups and keys,
//! models) are looked up one by one, and any other when it is asked for.

use std::{hash::BuildHasher, sync::Arc, time::Instant};

use super::{Limit, Limits, What};
use crate::ledger::{
    shared::{Account, Accounts, Kind},
    statement::{AccountStatement, Amount, Ask, Purse, Stand, Statement, Top},
};

impl Limits {
    fn statement(&self, limit: &Limit, ask: &Ask<'_>) -> Statement {
        let is_here = self.sharing.is_none();
        let (mut top, now) = (Top::new(ask.top), Instant::now());
        let of = |key: &str| limit.state.buckets.taken(limit.state.hasher.hash_one(key), now);
        match ask.key.filter(|_| is_here) {
            Some(key) => {
                let (held, spent) = of(key);
                if held > 0 || spent > 0 || ask.names.contains(key) {
                    top.push(key, spent.into(), held.into());
                }
            }
            None if is_here => {
                for key in ask.names {
                    let (held, spent) = of(key);
                    if held > 0 || spent > 0 {
                        top.push(key, spent.into(), held.into());
                    }
                }
            }
            None => {}
        }
        let most = Amount::Tokens(limit.tokens.into());
        let mut statement = Statement {
            policy: limit.account.split(' ').next().unwrap_or_default().to_owned(),
            kind: "tokenRateLimit",
            name: self.name.clone(),
            unit: match limit.what {
                What::Total => "tokens",
                What::Input => "inputTokens",
                What::Output => "outputTokens",
            },
            limit: most,
            counted_by: self.counted_by.clone(),
            per: match self.window.subsec_nanos() {
                0 => self.window.as_secs().into(),
                _ => self.window.as_secs_f64().into(),
            },
            time_zone: None,
            begins: None,
            ends: None,
            store: if is_here { "memory" } else { "redis" },
            warn_at: None,
            keys: limit.state.buckets.keys(),
            spent: None,
            held: None,
            refused: None,
            accounts: Vec::new(),
            trouble: None,
        };
        let accounts = top.finish().into_iter().map(|(key, spent, held)| {
            let left = most.number().saturating_sub(spent.saturating_add(held));
            AccountStatement::of(&statement, &key, Stand { spent, held: Some(held), left, is_warned: false })
        });
        statement.accounts = accounts.collect();
        statement
    }
}

impl Purse for Limits {
    fn statements(&self, ask: &Ask<'_>) -> Vec<Statement> {
        self.all.iter().map(|limit| self.statement(limit, ask)).collect()
    }

    fn shared(&self, key: &str) -> Option<(Arc<Accounts>, Vec<Account>)> {
        let sharing = self.sharing.as_ref()?;
        let accounts = self.all.iter().map(|limit| Account {
            subject: key.to_owned(),
            name: limit.account.clone(),
            kind: Kind::Bucket(self.window),
            limit: u128::from(limit.tokens),
            warn: None,
        });
        Some((sharing.accounts.clone(), accounts.collect()))
    }
}
