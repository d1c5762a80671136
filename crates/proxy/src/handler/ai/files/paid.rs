//! Who pays for a batch: every budget holds the most that it may spend from when it is made until anybody fetches what
//! tells what it did spend.
//!
//! What this gateway counts is held [in its memory](super::made). What is counted in a shared store stays held there,
//! whoever lives, and the batch's sealed id says what: so any gateway that takes the id settles it, and once.

use std::time::Duration;

use ai::cost::Cost;

use super::{
    Asking,
    ids::{Estimate, Paid},
};
use crate::{
    call::Call,
    failure::{Failure, Problem, Stage},
    handler::ai::{
        duties::Hold,
        meters::Spent,
        most::Most,
        shared::{self, Exact},
    },
};

/// Picodollars of a microdollar.
pub(super) const MICRO: u128 = 1_000_000;
/// How long the results of a batch can be fetched at a provider, and so how long something is held for it elsewhere.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Bytes that a batch's id may bear of what is held for it.
const KEPT_BYTES_MAX: usize = 600;

/// What is held for a batch until its results tell what it spent.
#[derive(Default)]
pub(super) struct Held {
    pub(super) holds: Vec<Box<dyn Hold>>,
    /// In a shared store.
    exact: Option<Exact>,
    /// The most that it may cost, in microdollars.
    pub(super) cost: u64,
    /// The most that it may spend.
    most: Spent,
    /// A provider may have taken it.
    is_owed: bool,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.holds.is_empty() && self.exact.is_none()
    }

    /// From now on a provider may take the batch: whoever drops this settles it to the most.
    pub(super) fn owe(&mut self) {
        self.is_owed = true;
    }

    /// None has taken it.
    pub(super) fn owe_nothing(&mut self) {
        self.is_owed = false;
    }

    /// Leaves what is held in a shared store there, where that can be told in an id.
    pub(super) async fn keep(mut self) -> (Self, Option<Paid>) {
        let Some(exact) = self.exact.take() else { return (self, None) };
        if exact.words() > KEPT_BYTES_MAX {
            self.holds.push(Box::new(exact));
            return (self, None);
        }
        match exact.keep(KEPT, &self.most).await {
            Ok(kept) => {
                let cost = self.cost;
                (self, Some(Paid { kept, cost }))
            }
            Err(exact) => {
                self.holds.push(Box::new(exact));
                (self, None)
            }
        }
    }

    /// Settles what this gateway holds.
    pub(super) fn settle(mut self, spent: &Spent) {
        self.is_owed = false;
        self.settle_all(spent);
    }

    fn settle_all(&mut self, spent: &Spent) {
        for mut hold in self.holds.drain(..) {
            hold.settle(spent);
        }
        if let Some(mut exact) = self.exact.take() {
            exact.settle(spent);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.is_owed && !self.is_empty() {
            tracing::warn!("nobody knows whether a batch was made: the most that it may spend is counted");
            let most = self.most;
            self.settle_all(&most);
        }
    }
}

impl Asking<'_> {
    /// Has every budget hold the most that a batch may spend. Limits of tokens in a time are no measure of what a
    /// provider does when it likes.
    pub(super) async fn hold(&self, call: &mut Call, estimate: &Estimate) -> Result<Held, Failure> {
        let cost = Cost(u128::from(estimate.cost).saturating_mul(MICRO));
        let spent = Spent { input: estimate.input, output: estimate.output, cost };
        let most = Most::of_batch((spent.input, spent.output), cost, estimate.unpriced.clone());
        let alias = estimate.models.first().and_then(|name| self.gateway.models.find(name));
        let alias = alias.map_or_else(|| "".into(), |asked| asked.alias.full_name().clone());
        let mut held = Held::default();
        (held.cost, held.most) = (estimate.cost, spent);
        let mut budgets = std::mem::take(&mut call.ai.meters);
        budgets.retain(|metering| metering.kind == "budget");
        if !budgets.is_empty() && !self.files.made.has_room(self.files.open_max) {
            return Err(Failure::gateway(Stage::Pick, Problem::Unavailable).with_hint(
                "too many batches wait for their results to be fetched (`files.maxOpenBatches`): no further one can be paid for",
            ));
        }
        let mut told = Vec::new();
        let mut elsewhere = Vec::new();
        let mut refused = None;
        for metering in budgets {
            let (kind, subjects) = (metering.kind, metering.subjects.resolve(&alias));
            if metering.meter.shared().is_some() {
                elsewhere.push(shared::Asked { kind, meter: metering.meter, subjects });
                continue;
            }
            match metering.meter.hold(&subjects, &most, &mut told) {
                Ok(hold) => held.holds.push(hold),
                Err(failure) => {
                    refused = Some((failure, kind));
                    break;
                }
            }
        }
        if refused.is_none() && !elsewhere.is_empty() {
            match Box::pin(shared::ask(elsewhere, &most, &mut told)).await {
                Ok(Some(shared::Held::Exact(exact))) => held.exact = Some(exact),
                Ok(Some(shared::Held::Away(holds))) => held.holds.extend(holds),
                Ok(None) => {}
                Err(refusal) => refused = Some(refusal),
            }
        }
        for (name, value) in told {
            crate::policy::rate_limit::join(call, name, value);
        }
        match refused {
            Some((failure, kind)) => {
                call.record.stopped_by = Some(kind);
                Err(failure)
            }
            None => Ok(held),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Noted(Arc<Mutex<Vec<Spent>>>);

    impl Hold for Noted {
        fn settle(&mut self, spent: &Spent) {
            self.0.lock().expect("not poisoned").push(*spent);
        }
    }

    #[test]
    fn what_is_owed_is_settled_to_the_most_by_whoever_drops_it() {
        let noted = Arc::new(Mutex::new(Vec::new()));
        let most = Spent { input: 5, output: 7, cost: Cost(9) };
        let held = || {
            let mut held = Held::default();
            held.holds.push(Box::new(Noted(noted.clone())));
            held.most = most;
            held
        };
        let taken = || std::mem::take(&mut *noted.lock().expect("not poisoned"));
        drop(held());
        assert_eq!(taken(), [], "each hold gives itself back");
        let mut owed = held();
        owed.owe();
        drop(owed);
        assert_eq!(taken(), [most]);
        let mut refused = held();
        refused.owe();
        refused.owe_nothing();
        drop(refused);
        assert_eq!(taken(), []);
        let mut told = held();
        told.owe();
        told.settle(&Spent::default());
        assert_eq!(taken(), [Spent::default()], "once");
    }
}
