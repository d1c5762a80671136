//! What policies leave to the handler of models: they know who calls, it knows what is asked and answered.

use std::sync::{Arc, Mutex, PoisonError};

use ai::cost::Cost;
use http::{HeaderName, HeaderValue};
use model::TokenUsage;

use super::{cache, guards::Guard, meters::Spent, most::Most, shared::Sharing};
use crate::{
    failure::Failure,
    ledger::shared::{Claim, Granted, Refusal},
    policy::meter_key::Subjects,
};

/// What is to be done for one call, beside answering it.
#[derive(Default, Clone)]
pub(crate) struct Duties {
    /// Rules over what is asked and answered, outermost first.
    pub(crate) guards: Vec<Arc<Guard>>,
    /// Where answers are kept.
    pub(crate) cache: Option<cache::Duty>,
    /// Whoever counts what the call spends, in the order of the policies.
    pub(crate) meters: Vec<Metering>,
    /// What those cost who are asked beside the call's own model, where it is counted.
    pub(crate) asides: Option<Asides>,
    /// What the caller wants, as soon as it is known: the record of a call that is refused before anybody is asked says so.
    pub(crate) wanted: Wanted,
}

/// What a caller wants of which model.
#[derive(Default, Clone)]
pub(crate) struct Wanted {
    /// The model, as the caller named it.
    pub(crate) model: Option<Arc<str>>,
    /// The name in `ai.models` by which it was found.
    pub(crate) alias: Option<Arc<str>>,
    pub(crate) stream: bool,
}

/// What is asked beside a call's own model: judges, moderation, embeddings.
#[derive(Default, Clone)]
pub(crate) struct Asides(Arc<Mutex<Spent>>);

impl Asides {
    /// Adds what an answer cost.
    pub(crate) fn spend(&self, usage: &TokenUsage, picodollars: Option<u128>) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spent.input = spent.input.saturating_add(usage.input);
        spent.output = spent.output.saturating_add(usage.output);
        spent.cost += Cost(picodollars.unwrap_or_default());
    }

    pub(super) fn spent(&self) -> Spent {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One count that the call is part of.
#[derive(Clone)]
pub(crate) struct Metering {
    /// The policy that asks for it.
    pub(crate) kind: &'static str,
    pub(crate) meter: Arc<dyn Meter>,
    pub(crate) subjects: Subjects,
}

/// Counts what calls spend.
pub(crate) trait Meter: Send + Sync {
    /// Holds the most that the call may spend, or refuses it. `subjects` are those of the call. What is to be told on
    /// the answer goes into `told`, refused or not.
    fn hold(
        &self,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Failure>;

    /// Notes what was spent without being held: nobody asked whether it might be.
    fn spend(&self, subjects: &[String], spent: &Spent);

    /// When the count is in a store that several gateways share, what is asked there.
    fn shared(&self) -> Option<Shared<'_>> {
        None
    }
}

/// A meter whose count is in a shared store: there is none without its store.
pub(crate) struct Shared<'m> {
    pub(crate) sharing: &'m Sharing,
    pub(crate) meter: &'m dyn SharedMeter,
}

/// Counts what calls spend at several gateways together.
pub(crate) trait SharedMeter {
    /// What a call claims; the order depends on the subjects alone.
    fn claims(&self, subjects: &[String], most: &Most) -> Result<Vec<Claim>, Failure>;

    /// A claim got what it asked for.
    fn granted(&self, claim: &Claim, granted: &Granted, told: &mut Vec<(HeaderName, HeaderValue)>);

    /// The claim at this place got nothing, and so the call nothing.
    fn refused(
        &self,
        subjects: &[String],
        place: usize,
        refusal: &Refusal,
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Failure;

    /// What a claim is settled to.
    fn cost(&self, claim: &Claim, spent: &Spent) -> u128;

    /// Notes here what was spent there: it counts when the store is away.
    fn spend_here(&self, claim: &Claim, cost: u128);

    /// Holds here, within this gateway's share.
    fn hold_here(
        &self,
        subjects: &[String],
        most: &Most,
        told: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Box<dyn Hold>, Failure>;
}

/// Something that is held for a call. Whoever drops it unsettled settles it to nothing.
pub(crate) trait Hold: Send {
    /// Settles it to what the call spent.
    fn settle(&mut self, spent: &Spent);
}
