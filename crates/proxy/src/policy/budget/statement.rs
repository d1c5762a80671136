//! What a budget has left, for operators and metrics.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Account, SharedAccount, Unit};
use crate::ledger::{
    shared::{Accounts, Kind},
    statement::{AccountStatement, Amount, Ask, Gauges, Purse, Stand, Statement, Top},
};

/// Sums over all accounts of a book.
#[derive(Default)]
struct Sums {
    keys: usize,
    spent: u128,
    held: u128,
    most: u128,
}

impl Sums {
    fn add(&mut self, spent: u128, held: u128) {
        self.keys += 1;
        self.spent = self.spent.saturating_add(spent);
        self.held = self.held.saturating_add(held);
        self.most = self.most.max(spent);
    }
}

impl Account {
    pub(super) fn limit(&self) -> Amount {
        match self.unit {
            Unit::Dollars => Amount::Dollars(self.terms.limit),
            Unit::Tokens => Amount::Tokens(self.terms.limit),
        }
    }

    /// Its place and its name; what it is counted by stands behind them.
    fn place(&self) -> String {
        self.book.id().split(' ').next().unwrap_or_default().to_owned()
    }

    /// Shows every account that is known here: its key, what is spent, what is held or when it was told. Tells when the
    /// period begins and ends.
    fn each(&self, now: Timestamp, mut show: impl FnMut(&str, u128, u128)) -> (i64, i64) {
        match &self.sharing {
            None => self.book.each(now, |key, one| show(key, one.spent, one.held)),
            Some(sharing) => {
                let (begin, end) = self.calendar.around(now);
                let told = |key: &str, sight: crate::ledger::shared::seen::Sight| {
                    show(key, sight.spent, u128::try_from(sight.at).unwrap_or_default());
                };
                sharing.accounts.seen().each(self.book.id(), begin, told);
                (begin, end)
            }
        }
    }
}

impl Purse for Account {
    fn statements(&self, ask: &Ask<'_>) -> Vec<Statement> {
        let (mut sums, mut top) = (Sums::default(), Top::new(ask.top));
        let is_here = self.sharing.is_none();
        let (begin, end) = self.each(ask.now, |key, spent, with| {
            sums.add(spent, if is_here { with } else { 0 });
            if ask.key.is_none_or(|wanted| wanted == key) {
                top.push(key, spent, with);
            }
        });
        let limit = self.limit();
        let mut statement = Statement {
            policy: self.place(),
            kind: "budget",
            name: self.name.clone(),
            unit: if self.unit == Unit::Dollars { "usd" } else { "tokens" },
            limit,
            counted_by: self.shown.key.clone(),
            per: self.shown.per.clone(),
            time_zone: Some(self.shown.time_zone.clone()),
            begins: Some(self.calendar.show(begin)),
            ends: Some(self.calendar.show(end)),
            store: if is_here { "memory" } else { "redis" },
            warn_at: Some(self.warn_at as f64 / 10.0),
            keys: sums.keys,
            spent: Some(limit.with(sums.spent)),
            held: is_here.then(|| limit.with(sums.held)),
            refused: Some(self.book.counts().1),
            accounts: Vec::new(),
            trouble: None,
        };
        let mut accounts: Vec<AccountStatement> = top
            .finish()
            .into_iter()
            .map(|(key, spent, with)| {
                let held = if is_here { with } else { 0 };
                let left = limit.number().saturating_sub(spent.saturating_add(held));
                let stand = Stand { spent, held: is_here.then_some(held), left, is_warned: false };
                let mut one = AccountStatement::of(&statement, &key, stand);
                one.as_of = (!is_here).then(|| self.calendar.show(i64::try_from(with).unwrap_or_default()));
                one
            })
            .collect();
        // One that the configuration names and that has spent nothing yet has all of it left.
        if let Some(key) = ask.key.filter(|key| is_here && accounts.is_empty() && ask.names.contains(*key)) {
            let stand = Stand { spent: 0, held: Some(0), left: limit.number(), is_warned: false };
            accounts.push(AccountStatement::of(&statement, key, stand));
        }
        statement.accounts = accounts;
        vec![statement]
    }

    fn shared(&self, key: &str) -> Option<(Arc<Accounts>, Vec<SharedAccount>)> {
        let sharing = self.sharing.as_ref()?;
        let account = SharedAccount {
            subject: key.to_owned(),
            name: self.book.id().to_owned(),
            kind: Kind::Book(self.calendar.clone()),
            limit: self.terms.limit,
            warn: None,
        };
        Some((sharing.accounts.clone(), vec![account]))
    }

    fn gauges(&self, now: Timestamp) -> Option<Gauges> {
        let (mut sums, mut top) = (Sums::default(), Top::new(self.shown.metric_keys));
        let is_here = self.sharing.is_none();
        self.each(now, |key, spent, with| {
            sums.add(spent, if is_here { with } else { 0 });
            if self.shown.metric_keys > 0 {
                top.push(key, spent, 0);
            }
        });
        Some(Gauges {
            policy: self.place(),
            limit: self.limit(),
            spent: sums.spent,
            held: is_here.then_some(sums.held),
            keys: sums.keys,
            most: sums.most,
            named: top.finish().into_iter().map(|(key, spent, _)| (key, spent)).collect(),
        })
    }
}
