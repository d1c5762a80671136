//! Resources: what a configuration is made of, one file each.

/// The registry of handlers, which is given to a macro that makes something of each line. Beside them there are a route's
/// own `backends`, for which much else of a route is made.
macro_rules! handlers {
    ($make:ident) => {
        $make! {
            redirect: Redirect(Redirect) => "redirect", "Handler: a redirect.";
            respond: Respond(Respond) => "respond", "Handler: a fixed answer.";
            ai: Ai(AiRoute) => "ai", "Handler: the AI gateway, every model through every dialect.";
            mcp: Mcp(McpRoute) => "mcp", "Handler: servers of the Model Context Protocol as one endpoint.";
            prompt: Prompt(Prompt) => "prompt", "Handler: a prompt and a model as an API.";
            a2a: A2a(A2aRoute) => "a2a", "Handler: agents of the Agent2Agent protocol.";
            compose: Compose(Compose) => "compose", "Handler: one answer made of several calls.";
            static_files: Static(StaticFiles) => "static", "Handler: files of a directory.";
            transcode: Transcode(Transcode) => "transcode", "Handler: a gRPC server for those who do not speak gRPC.";
            publish: Publish(Publish) => "publish", "Handler: a broker that keeps what is sent.";
            subscribe: Subscribe(Subscribe) => "subscribe", "Handler: what a broker keeps, as it comes.";
            plugin_route: Plugin(PluginRoute) => "wasm", "Handler: a WebAssembly component.";
        }
    };
}

/// Makes of each line a module. rustfmt finds no file by way of a macro: `make fmt` and a test name these to it.
macro_rules! modules {
    ($($file:ident: $Name:ident($Settings:ident) => $key:literal, $about:literal;)*) => {
        $(pub mod $file;)*
    };
}

handlers!(modules);

pub mod access_log;
pub mod acme;
pub mod admin;
pub mod balancing;
pub mod broker;
pub mod catalogue;
pub mod compose_path;
pub mod config;
pub mod consumer;
pub mod handler;
pub mod health;
pub mod http2;
pub mod http3;
pub mod listener;
pub mod mcp_local;
pub mod mock;
pub mod named_policy;
pub mod oauth;
pub mod path_rules;
pub mod path_template;
pub mod plugin;
pub mod postgres;
pub mod redis;
pub mod request_queue;
pub mod route;
pub mod route_document;
pub mod route_match;
pub mod runtime;
pub mod socket_file;
pub mod stream_route;
pub mod subscription;
pub mod telemetry;
pub mod tls;
pub mod token_issuer;
pub mod tries;
pub mod upstream;
pub mod vault;
