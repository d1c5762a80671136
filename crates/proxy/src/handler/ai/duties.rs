//! What policies leave for the handler of models to do: they know the head of a request, it knows the body.

use http::{HeaderName, HeaderValue};

use super::meters::{Most, Spent};
use crate::{failure::Failure, policy::meter_key::Subjects};

/// What policies leave for the handler.
#[derive(Default)]
pub(crate) struct Duties {
    /// Whoever counts what the call spends, in the order of the policies.
    pub(crate) meters: Vec<Metering>,
}

/// One count that the call is part of.
pub(crate) struct Metering {
    /// The policy that asks for it.
    pub(crate) kind: &'static str,
    pub(crate) meter: std::sync::Arc<dyn Meter>,
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
pub(crate) trait Hold {
    /// Settles it to what the call spent.
    fn settle(&mut self, spent: &Spent);
}
