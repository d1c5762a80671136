//! `aiCache`: leaves its store to the handler of models, which knows what is asked.

use std::sync::Arc;

use http::header;

use super::{Flow, Needs, NeedsOf, Policy};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    handler::ai::cache::{Duty, Store},
};

/// The compiled policy.
pub(crate) struct AiCache {
    settings: Arc<model::policy::AiCache>,
    store: Arc<Store>,
}

impl AiCache {
    pub(crate) fn compile(settings: &model::policy::AiCache, cx: &Building<'_>) -> Result<Self, String> {
        let store = cx.keep("aiCache", settings, || Store::new(settings));
        Ok(Self { settings: Arc::new(settings.clone()), store })
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
        call.ai.cache = Some(Duty { settings: self.settings.clone(), store: self.store.clone() });
        Flow::Continue
    }
}
