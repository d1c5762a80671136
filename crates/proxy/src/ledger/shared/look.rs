//! How one shared account is now: a question of an operator's, off the way of calls.

use std::sync::{MutexGuard, PoisonError};

use super::{
    Account, Accounts,
    claim::{looked, terms},
    scripts,
    seen::Seen,
};
use crate::redis::Unanswered;

/// An account as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) spent: u128,
    pub(crate) held: u128,
    pub(crate) left: u128,
    pub(crate) is_warned: bool,
}

impl Accounts {
    /// Asks the store, within its timeout.
    pub(crate) async fn look(&self, account: &Account) -> Result<Looked, Unanswered> {
        let keys = self.keys(std::iter::once(account));
        let mut arguments = vec![self.lease.as_millis().to_string()];
        terms(account, 0, &mut arguments);
        let value = self.client.eval(&scripts::LOOK, &keys, &arguments).await?;
        looked(&value).ok_or(Unanswered::Refused)
    }

    /// What this gateway saw last.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
