//! `guardrails`: leaves its rules to the handler of models, which has the texts.

use std::sync::Arc;

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{body::Body, call::Call, compiled::Building, handler::ai::guards::Guard};

/// The compiled policy.
pub(crate) struct Guardrails {
    guard: Arc<Guard>,
}

impl Guardrails {
    pub(crate) fn compile(settings: &model::policy::Guardrails, _: &Building<'_>) -> Result<Self, String> {
        Ok(Self { guard: Arc::new(Guard::compile(settings)?) })
    }
}

impl NeedsOf for model::policy::Guardrails {
    fn needs(&self) -> Needs {
        Needs::default()
    }
}

impl Policy for Guardrails {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        call.ai.guards.push(self.guard.clone());
        Flow::Continue
    }
}
