//! Handlers: what answers a call that came past its policies. A route has exactly one.

pub(crate) mod a2a;
pub(crate) mod acme;
pub(crate) mod ai;
pub(crate) mod around;
pub(crate) mod backends;
pub(crate) mod compose;
pub(crate) mod mcp;
pub(crate) mod plugin_route;
mod posing;
pub(crate) mod prompt;
pub(crate) mod publish;
pub(crate) mod redirect;
mod remote;
pub(crate) mod respond;
mod retold;
pub(crate) mod static_files;
pub(crate) mod subscribe;
#[cfg_attr(not(feature = "transcode"), path = "transcode_off.rs")]
pub(crate) mod transcode;

use std::rc::Rc;

use http::Response;

use self::{
    a2a::A2aGateway, ai::AiGateway, backends::Backends, compose::Compose, mcp::McpGateway,
    plugin_route::PluginHandler, prompt::PromptApi, publish::Publish, redirect::Redirect, respond::Respond,
    static_files::Files, subscribe::Subscribe, transcode::Transcode,
};
use crate::{body::Body, call::Call, compiled::Building, failure::Failure, worker::Worker};

/// A compiled handler.
pub(crate) enum Handler {
    Backends(Box<Backends>),
    Redirect(Redirect),
    Respond(Respond),
    Ai(Box<AiGateway>),
    Mcp(Box<McpGateway>),
    Prompt(Box<PromptApi>),
    A2a(Box<A2aGateway>),
    Compose(Box<Compose>),
    Static(Files),
    Transcode(Box<Transcode>),
    Publish(Box<Publish>),
    Subscribe(Box<Subscribe>),
    Plugin(Box<PluginHandler>),
}

/// Builds a route's handler. An error names the key under the route, and says what is wrong.
pub(crate) fn compile(route: &model::Route, cx: &Building<'_>) -> Result<Handler, (&'static str, String)> {
    use model::resource::route::Handler as Settings;
    Ok(match &route.handler {
        Settings::Backends { backends, sticky } => {
            Handler::Backends(Box::new(Backends::compile(route, backends, sticky.as_ref(), cx)?))
        }
        Settings::Redirect(settings) => {
            Handler::Redirect(Redirect::compile(settings, route).map_err(|error| ("redirect", error))?)
        }
        Settings::Respond(settings) => {
            Handler::Respond(Respond::compile(settings, cx).map_err(|error| ("respond", error))?)
        }
        Settings::Ai(settings) => {
            Handler::Ai(Box::new(AiGateway::compile(settings, cx).map_err(|error| ("ai", error))?))
        }
        Settings::Mcp(settings) => {
            Handler::Mcp(Box::new(McpGateway::compile(route, settings, cx).map_err(|error| ("mcp", error))?))
        }
        Settings::Prompt(settings) => {
            let compiled = PromptApi::compile(settings, route, cx);
            Handler::Prompt(Box::new(compiled.map_err(|error| ("prompt", error))?))
        }
        Settings::Compose(settings) => {
            Handler::Compose(Box::new(Compose::compile(settings, cx).map_err(|error| ("compose", error))?))
        }
        Settings::Static(settings) => {
            Handler::Static(Files::compile(settings, cx).map_err(|error| ("static", error))?)
        }
        Settings::Transcode(settings) => {
            let compiled = Transcode::compile(route, settings, cx);
            Handler::Transcode(Box::new(compiled.map_err(|error| ("transcode", error))?))
        }
        Settings::Subscribe(settings) => {
            let compiled = Subscribe::compile(settings, route, cx);
            Handler::Subscribe(Box::new(compiled.map_err(|error| ("subscribe", error))?))
        }
        Settings::Publish(settings) => {
            let compiled = Publish::compile(settings, route, cx);
            Handler::Publish(Box::new(compiled.map_err(|error| ("publish", error))?))
        }
        Settings::Plugin(settings) => {
            Handler::Plugin(Box::new(PluginHandler::compile(settings, cx).map_err(|error| ("wasm", error))?))
        }
        Settings::A2a(settings) => {
            let compiled = A2aGateway::compile(route, settings, cx);
            Handler::A2a(Box::new(compiled.map_err(|error| ("a2a", error))?))
        }
    })
}

/// Has a call answered by its handler.
pub(crate) async fn handle(
    worker: &Rc<Worker>,
    call: &mut Call,
    handler: &Handler,
    body: Body,
) -> Result<Response<Body>, Failure> {
    match handler {
        Handler::Backends(backends) => backends.handle(worker, call, body).await,
        Handler::Redirect(redirect) => redirect.handle(call),
        Handler::Respond(respond) => respond.handle(call, body).await,
        Handler::Static(files) => Box::pin(files.handle(call)).await,
        // Boxed: their state is large, and would be carried in the future of every call.
        Handler::Ai(gateway) => Box::pin(gateway.handle(worker, call, body)).await,
        Handler::Mcp(gateway) => Box::pin(gateway.handle(worker, call, body)).await,
        Handler::A2a(gateway) => Box::pin(gateway.handle(worker, call, body)).await,
        Handler::Compose(compose) => Box::pin(compose.handle(worker, call, body)).await,
        Handler::Transcode(transcode) => Box::pin(transcode.handle(worker, call, body)).await,
        Handler::Subscribe(subscribe) => Box::pin(subscribe.handle(worker, call)).await,
        Handler::Plugin(plugin) => Box::pin(plugin.handle(call, body)).await,
        Handler::Publish(publish) => Box::pin(publish.handle(call, body)).await,
        Handler::Prompt(prompt) => Box::pin(prompt.handle(worker, call, body)).await,
    }
}
