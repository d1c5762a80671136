//! `wasm` as a handler: a component answers.

use http::Response;
use model::resource::plugin_route::PluginRoute;

use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::Failure,
    plugins::{Used, Wanted},
};

/// The compiled handler.
pub(crate) struct PluginHandler {
    used: Used,
}

impl PluginHandler {
    pub(crate) fn compile(settings: &PluginRoute, cx: &Building<'_>) -> Result<Self, String> {
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

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        self.used.name()
    }

    pub(crate) async fn handle(&self, call: &mut Call, body: Body) -> Result<Response<Body>, Failure> {
        self.used.handle(call, body).await
    }
}
