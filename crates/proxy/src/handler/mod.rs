//! Handlers: what answers a call that came past its policies. A route has exactly one.
//!
//! A handler is two files of one name: its settings in `model::resource`, its behaviour here. The table here is the registry:
//! the matches that it makes have no `_`, so the compiler names a handler that lacks its second half. Beside the table there
//! are a route's own `backends`: they are what most calls go to, and what much else is made for.

pub(crate) mod acme;
pub(crate) mod around;
pub(crate) mod backends;
mod posing;
mod remote;
mod retold;

use std::{rc::Rc, sync::Arc};

use ::ai::dialect::Dialect;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, Response};

use self::backends::Backends;
use crate::{
    body::Body, call::Call, compiled::Building, failure::Failure, upstream::Upstream, worker::Worker,
};

/// What answers the calls of a route. One instance serves every worker at once.
pub(crate) trait Answers: Send + Sync {
    /// Answers a call.
    fn serve<'a>(&'a self, worker: &'a Rc<Worker>, call: &'a mut Call, body: Body) -> Answering<'a>;

    /// What it is, in words, for an explanation: its key, and what it asks.
    fn explain(&self) -> String;

    /// The upstreams that it asks, with the policies of each.
    fn upstreams(&self) -> Vec<&Arc<Upstream>> {
        Vec::new()
    }

    /// Whether what is called gRPC goes on as gRPC.
    fn passes_grpc(&self) -> bool {
        false
    }

    /// The dialect of models that a call speaks, for telling it what went wrong.
    fn speaks(&self, path: &str, headers: &HeaderMap) -> Option<Dialect> {
        let _ = (path, headers);
        None
    }
}

/// How a call is answered.
#[allow(clippy::large_enum_variant, reason = "it is looked at as soon as it is there, and kept nowhere")]
pub(crate) enum Answering<'a> {
    /// At once.
    Now(Result<Response<Body>, Failure>),
    /// In a while. Boxed: the state of most handlers is large, and would be carried in the future of every call.
    Later(LocalBoxFuture<'a, Result<Response<Body>, Failure>>),
}

/// Makes of each line a module, a variant and its place in everything that is asked of every handler.
macro_rules! handlers {
    ($($(#[$($attribute:tt)*])* $file:ident: $Name:ident($Type:ident);)*) => {
        $(
            $(#[$($attribute)*])*
            pub(crate) mod $file;
        )*

        /// A compiled handler.
        pub(crate) enum Handler {
            Backends(Box<Backends>),
            $($Name(Box<self::$file::$Type>),)*
        }

        impl Handler {
            /// A handler of the table.
            fn of_table(&self) -> Option<&dyn Answers> {
                match self {
                    Self::Backends(_) => None,
                    $(Self::$Name(handler) => Some(&**handler),)*
                }
            }
        }

        /// Builds a route's handler. An error names the key under the route, and says what is wrong.
        pub(crate) fn compile(
            route: &model::Route,
            cx: &Building<'_>,
        ) -> Result<Handler, (&'static str, String)> {
            use model::resource::route::Handler as Settings;
            let key = route.handler.name();
            Ok(match &route.handler {
                Settings::Backends { backends, sticky } => {
                    Handler::Backends(Box::new(Backends::compile(route, backends, sticky.as_ref(), cx)?))
                }
                $(Settings::$Name(settings) => {
                    let compiled = self::$file::$Type::compile(settings, route, cx);
                    Handler::$Name(Box::new(compiled.map_err(|error| (key, error))?))
                })*
            })
        }

        /// Has a call answered by its handler.
        pub(crate) async fn handle(
            worker: &Rc<Worker>,
            call: &mut Call,
            handler: &Handler,
            body: Body,
        ) -> Result<Response<Body>, Failure> {
            let answering = match handler {
                Handler::Backends(backends) => return backends.handle(worker, call, body).await,
                $(Handler::$Name(handler) => Answers::serve(&**handler, worker, call, body),)*
            };
            match answering {
                Answering::Now(answer) => answer,
                Answering::Later(answer) => answer.await,
            }
        }
    };
}

// Every handler: its file, its name in the settings, and the behaviour in its file. rustfmt finds no file by way of a macro:
// `make fmt` and a test name these to it.
handlers! {
    redirect: Redirect(Redirect);
    respond: Respond(Respond);
    ai: Ai(AiGateway);
    mcp: Mcp(McpGateway);
    prompt: Prompt(PromptApi);
    a2a: A2a(A2aGateway);
    compose: Compose(Compose);
    static_files: Static(Files);
    #[cfg_attr(not(feature = "transcode"), path = "transcode_off.rs")]
    transcode: Transcode(Transcode);
    publish: Publish(Publish);
    subscribe: Subscribe(Subscribe);
    plugin_route: Plugin(PluginHandler);
}

impl Handler {
    /// What it is, in words, for an explanation.
    pub(crate) fn explain(&self) -> String {
        match self {
            Self::Backends(backends) => backends.explain(),
            other => other.of_table().map(|handler| handler.explain()).unwrap_or_default(),
        }
    }

    /// The upstreams that it asks, with the policies of each.
    pub(crate) fn upstreams(&self) -> Vec<&Arc<Upstream>> {
        match self {
            Self::Backends(backends) => backends.upstreams(),
            other => other.of_table().map(|handler| handler.upstreams()).unwrap_or_default(),
        }
    }

    /// Whether what is called gRPC goes on as gRPC: to those alone who speak HTTP/2.
    pub(crate) fn passes_grpc(&self) -> bool {
        match self {
            Self::Backends(backends) => backends.are_all_http2(),
            other => other.of_table().is_some_and(|handler| handler.passes_grpc()),
        }
    }

    /// The dialect of models that a call speaks, for telling it what went wrong.
    pub(crate) fn speaks(&self, path: &str, headers: &HeaderMap) -> Option<Dialect> {
        self.of_table()?.speaks(path, headers)
    }
}

/// A handler in words: its key, and whom it asks.
fn asks<'a>(key: &str, upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>) -> String {
    let names = upstreams.into_iter().map(|upstream| format!("`{}`", upstream.name));
    format!("{key} {}", names.collect::<Vec<_>>().join(", "))
}
