//! What policies leave to the handler of models: they know who calls, it knows what is asked and answered.

use std::sync::Arc;

use super::{cache, guards::Guard};

/// What is to be done for one call, beside answering it.
#[derive(Default)]
pub(crate) struct Duties {
    /// Rules over what is asked and answered, outermost first.
    pub(crate) guards: Vec<Arc<Guard>>,
    /// Where answers are kept.
    pub(crate) cache: Option<cache::Duty>,
}
