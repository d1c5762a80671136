//! A route as it is written: flat, with exactly one of the handlers' keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    a2a::A2aRoute,
    ai::AiRoute,
    compose::Compose,
    mcp::McpRoute,
    path_rules::PathRules,
    plugin_route::PluginRoute,
    prompt::Prompt,
    publish::Publish,
    route::{Backend, Handler, Redirect, Respond, Route, Sticky},
    route_match::Match,
    static_files::StaticFiles,
    subscribe::Subscribe,
    transcode::Transcode,
    tries::{RetryOverrides, TimeoutOverrides},
};
use crate::policy::PolicyUse;

/// Which requests go where, and under which policies. Exactly one of `backends`, `redirect`, `respond`, `ai`, `prompt`,
/// `mcp`, `a2a`, `compose`, `static`, `transcode`, `publish`, `subscribe` and `wasm`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    rename = "Route",
    extend("oneOf" = [
        {"required": ["backends"]},
        {"required": ["redirect"]},
        {"required": ["respond"]},
        {"required": ["ai"]},
        {"required": ["mcp"]},
        {"required": ["prompt"]},
        {"required": ["a2a"]},
        {"required": ["compose"]},
        {"required": ["static"]},
        {"required": ["transcode"]},
        {"required": ["publish"]},
        {"required": ["subscribe"]},
        {"required": ["wasm"]},
    ])
)]
pub struct RouteDocument {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Hosts, exact or `*.wildcard`; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("items" = {"type": "string", "format": "host-pattern"}))]
    pub hosts: Vec<String>,
    /// Listeners by name; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<String>>,
    /// What matches: any of these. Everything without it.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    /// Routes of a higher priority are tried first, whatever their specificity.
    #[serde(default)]
    pub priority: i32,
    /// Policies, in any order: their phases decide when each runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyUse>,
    /// Timeouts over the upstream's.
    #[serde(default)]
    pub timeouts: TimeoutOverrides,
    /// Retries over the upstream's.
    #[serde(default)]
    pub retry: RetryOverrides,
    /// Ambiguous forms in paths, over the listener's.
    #[serde(default)]
    pub path: PathRules,
    /// The `Host` sent, over the upstream's: `preserve`, `upstream` or a literal host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header: Option<String>,
    /// Allow WebSocket upgrades.
    #[serde(default = "yes")]
    pub websocket: bool,
    /// Handler: weighted upstreams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<Backend>>,
    /// Keeps a client on one endpoint; with `backends` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Handler: a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Handler: a fixed answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// Handler: the AI gateway, every model through every dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ai: Option<AiRoute>,
    /// Handler: servers of the Model Context Protocol as one endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<Box<McpRoute>>,
    /// Handler: a prompt and a model as an API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Box<Prompt>>,
    /// Handler: agents of the Agent2Agent protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub a2a: Option<Box<A2aRoute>>,
    /// Handler: one answer made of several calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<Box<Compose>>,
    /// Handler: files of a directory.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    pub files: Option<Box<StaticFiles>>,
    /// Handler: a gRPC server for those who do not speak gRPC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcode: Option<Box<Transcode>>,
    /// Handler: a broker that keeps what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Box<Publish>>,
    /// Handler: what a broker keeps, as it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Box<Subscribe>>,
    /// Handler: a WebAssembly component.
    #[serde(default, rename = "wasm", skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Box<PluginRoute>>,
}

fn yes() -> bool {
    true
}

impl TryFrom<RouteDocument> for Route {
    type Error = String;

    fn try_from(written: RouteDocument) -> Result<Self, String> {
        let mut handlers = [
            written.backends.map(|backends| Handler::Backends { backends, sticky: written.sticky }),
            written.redirect.map(Handler::Redirect),
            written.respond.map(Handler::Respond),
            written.ai.map(Handler::Ai),
            written.prompt.map(Handler::Prompt),
            written.mcp.map(Handler::Mcp),
            written.a2a.map(Handler::A2a),
            written.compose.map(Handler::Compose),
            written.files.map(Handler::Static),
            written.transcode.map(Handler::Transcode),
            written.publish.map(Handler::Publish),
            written.subscribe.map(Handler::Subscribe),
            written.plugin.map(Handler::Plugin),
        ]
        .into_iter()
        .flatten();
        let (Some(handler), None) = (handlers.next(), handlers.next()) else {
            return Err(
                "a route has exactly one of `backends`, `redirect`, `respond`, `ai`, `prompt`, `mcp`, `a2a`, `compose`, `static`, `transcode`, `publish`, `subscribe` and `wasm`"
                    .to_owned(),
            );
        };
        Ok(Self {
            name: written.name,
            hosts: written.hosts,
            listeners: written.listeners,
            matches: written.matches,
            priority: written.priority,
            policies: written.policies,
            timeouts: written.timeouts,
            retry: written.retry,
            path: written.path,
            host_header: written.host_header,
            websocket: written.websocket,
            handler,
        })
    }
}

impl From<Route> for RouteDocument {
    fn from(route: Route) -> Self {
        let mut written = Self {
            name: route.name,
            hosts: route.hosts,
            listeners: route.listeners,
            matches: route.matches,
            priority: route.priority,
            policies: route.policies,
            timeouts: route.timeouts,
            retry: route.retry,
            path: route.path,
            host_header: route.host_header,
            websocket: route.websocket,
            backends: None,
            sticky: None,
            redirect: None,
            respond: None,
            ai: None,
            mcp: None,
            prompt: None,
            a2a: None,
            compose: None,
            files: None,
            transcode: None,
            publish: None,
            subscribe: None,
            plugin: None,
        };
        match route.handler {
            Handler::Backends { backends, sticky } => {
                written.backends = Some(backends);
                written.sticky = sticky;
            }
            Handler::Redirect(redirect) => written.redirect = Some(redirect),
            Handler::Respond(respond) => written.respond = Some(respond),
            Handler::Ai(ai) => written.ai = Some(ai),
            Handler::Mcp(mcp) => written.mcp = Some(mcp),
            Handler::Prompt(prompt) => written.prompt = Some(prompt),
            Handler::A2a(a2a) => written.a2a = Some(a2a),
            Handler::Compose(compose) => written.compose = Some(compose),
            Handler::Static(files) => written.files = Some(files),
            Handler::Transcode(transcode) => written.transcode = Some(transcode),
            Handler::Publish(publish) => written.publish = Some(publish),
            Handler::Subscribe(subscribe) => written.subscribe = Some(subscribe),
            Handler::Plugin(plugin) => written.plugin = Some(plugin),
        }
        written
    }
}
