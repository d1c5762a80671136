//! `aiCache`: leaves its store to the handler of models, which knows what is asked.

use std::sync::Arc;

use http::header;

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    handler::ai::cache::{Duty, Place},
};

/// The compiled policy.
pub(crate) struct AiCache {
    settings: Arc<model::policy::AiCache>,
    place: Place,
}

impl AiCache {
    pub(crate) fn compile(settings: &model::policy::AiCache, cx: &Building<'_>) -> Result<Self, String> {
        let place = Place::of("aiCache", settings, cx)?;
        Ok(Self { settings: Arc::new(settings.clone()), place })
    }
}

impl NeedsOf for model::policy::AiCache {
    fn needs(&self) -> Needs {
        Needs::headers([header::CACHE_CONTROL])
    }
}

impl Policy for AiCache {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        // The last one stands nearest to the call.
        call.ai.cache = Some(Duty { settings: self.settings.clone(), place: self.place.clone() });
        Flow::Continue
    }
}
