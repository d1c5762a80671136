//! What policies leave to the handler of models: they know who calls, it knows what is asked and answered.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::{
    cache,
    guards::Guard,
    meters::{Most, Spent},
};
use crate::{failure::Failure, policy::meter_key::Subjects};

/// What is to be done for one call, beside answering it.
#[derive(Default, Clone)]
pub(crate) struct Duties {
    /// Rules over what is asked and answered, outermost first.
    pub(crate) guards: Vec<Arc<Guard>>,
    /// Where answers are kept.
    pub(crate) cache: Option<cache::Duty>,
    /// Whoever counts what the call spends, in the order of the policies.
    pub(crate) meters: Vec<Metering>,
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
}

/// Something that is held for a call. Whoever drops it unsettled settles it to nothing.
pub(crate) trait Hold: Send {
    /// Settles it to what the call spent.
    fn settle(&mut self, spent: &Spent);
}
