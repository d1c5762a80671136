//! What is held for longer than a process may live: the share of a batch, until anybody tells what it spent.

use std::{sync::Arc, time::Duration};

use super::{Accounts, Claim, SharedHold, queue, queue::Settlement, scripts};

impl SharedHold {
    /// Leaves it held for so long, or to the end of its periods, whoever lives: its id, and when each period began. It
    /// is given back as it is where the store does not answer.
    pub(crate) async fn keep(mut self, lease: Duration) -> Result<(String, Vec<i64>), Self> {
        let accounts = self.accounts.clone();
        // From here on nobody renews it for a shorter time.
        let open = accounts.open().remove(&self.id);
        let groups = accounts.groups(&self.claims);
        let asked = groups.iter().map(|group| accounts.keep_group(&self.id, &self.claims, group, lease));
        let answers = futures_util::future::join_all(asked).await;
        if !answers.into_iter().all(|is_kept| is_kept) {
            accounts.open().extend(open.map(|open| (self.id.clone(), open)));
            return Err(self);
        }
        self.is_open = false;
        Ok((self.id.clone(), std::mem::take(&mut self.periods)))
    }
}

impl Accounts {
    async fn keep_group(&self, id: &str, claims: &[Claim], group: &[usize], lease: Duration) -> bool {
        let claims: Vec<&Claim> = group.iter().filter_map(|place| claims.get(*place)).collect();
        let keys = self.keys(claims.iter().map(|claim| &*claim.account));
        let mut arguments = vec![lease.as_millis().to_string()];
        // The scripts number accounts within what they are asked together.
        arguments.extend((1..=claims.len()).map(|number| format!("h:{id}.{number}")));
        self.client.eval(&scripts::RENEW, &keys, &arguments).await.is_ok()
    }

    /// Settles what was kept, by whichever gateway. It counts once, however often it is told.
    pub(crate) fn settle_kept(&self, id: String, claims: Arc<[Claim]>, periods: Vec<i64>, costs: Vec<u128>) {
        self.enqueue(Settlement::new(id, queue::Way::Again, claims, periods, costs));
    }
}
