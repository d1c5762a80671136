//! `wasm` as a handler: a component answers.

use std::rc::Rc;

use http::Response;
use model::{Route, resource::plugin_route::PluginRoute};

use super::{Answering, Answers};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::Failure,
    plugins::{Used, Wanted},
    worker::Worker,
};

/// The compiled handler.
pub(crate) struct PluginHandler {
    used: Used,
}

impl PluginHandler {
    pub(crate) fn compile(settings: &PluginRoute, _: &Route, cx: &Building<'_>) -> Result<Self, String> {
        let wanted = Wanted {
            plugin: &settings.plugin,
            config: &settings.config,
            upstreams: &settings.upstreams,
            bytes_max: settings.max_body_size.get(),
        };
        // A policy of the same route has instances of its own.
        let used = Used::compile(&wanted, &cx.of(&format!("{}/handler", cx.owner)))?;
        if !used.handles() {
            return Err(format!(
                "the plugin `{}` exports no `handle`: it is a policy, for `policies: [{{wasm: …}}]`",
                settings.plugin
            ));
        }
        Ok(Self { used })
    }

    async fn handle(&self, call: &mut Call, body: Body) -> Result<Response<Body>, Failure> {
        self.used.handle(call, body).await
    }
}

impl Answers for PluginHandler {
    fn serve<'a>(&'a self, _: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a> {
        Answering::Later(Box::pin(self.handle(call, body)))
    }

    fn explain(&self) -> String {
        format!("wasm `{}`", self.used.name())
    }
}
