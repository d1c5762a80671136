//! Plugins in a build without WebAssembly: a configuration that has one is refused.

use std::{collections::HashMap, sync::Weak};

use http::Response;
use model::Finding;
use telemetry::{Collect, Exposition};

use crate::{body::Body, call::Call, compiled::Building, failure::Failure, policy::Verdict, worker::Shared};

/// There are none.
pub(crate) type Plugins = HashMap<std::sync::Arc<str>, ()>;

/// Refuses all that there are.
pub(crate) fn compile(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Plugins {
    let told = "this build has no `wasm`: it was made without the feature of that name";
    let all = cx.snapshot.config.plugins.iter();
    errors.extend(all.map(|plugin| Finding::new(format!("plugins/{}", plugin.name), "file", told)));
    Plugins::new()
}

/// None runs any.
pub(crate) fn digest<'p>(_: &'p Plugins, _: &str) -> Option<&'p str> {
    None
}

/// How a policy or route uses a plugin.
pub(crate) struct Wanted<'s> {
    pub(crate) plugin: &'s str,
    pub(crate) config: &'s serde_json::Value,
    pub(crate) upstreams: &'s [String],
    pub(crate) bytes_max: usize,
}

/// There is none.
pub(crate) enum Used {}

impl Used {
    pub(crate) fn compile(wanted: &Wanted<'_>, cx: &Building<'_>) -> Result<Self, String> {
        let Wanted { plugin, config, upstreams, bytes_max } = wanted;
        let _ = (config, upstreams, bytes_max, cx.plugins);
        Err(format!("there is no plugin `{plugin}`: this build has no `wasm`"))
    }

    pub(crate) fn name(&self) -> &str {
        match *self {}
    }

    pub(crate) fn sees_requests(&self) -> bool {
        match *self {}
    }

    pub(crate) fn sees_responses(&self) -> bool {
        match *self {}
    }

    pub(crate) fn handles(&self) -> bool {
        match *self {}
    }

    pub(crate) async fn on_request(&self, _: &mut Call, _: &mut Body) -> Verdict {
        match *self {}
    }

    pub(crate) async fn on_response(&self, _: &mut Call, _: &mut Response<Body>) -> Result<(), Failure> {
        match *self {}
    }

    pub(crate) async fn handle(&self, _: &mut Call, _: Body) -> Result<Response<Body>, Failure> {
        match *self {}
    }
}

/// Tells of nothing.
pub(crate) struct Report(pub(crate) Weak<Shared>);

impl Collect for Report {
    fn collect(&self, _: &mut Exposition) {
        let _ = &self.0;
    }
}
