//! A route as it is written: flat, with exactly one of the handlers' keys.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    path_rules::PathRules,
    route::{Backend, Handler, Route, Sticky},
    route_match::Match,
    tries::{RetryOverrides, TimeoutOverrides},
};
use crate::policy::PolicyUse;

/// Makes of each line a key of the document, which becomes the handler and is made of it.
macro_rules! document {
    ($($file:ident: $Name:ident($Settings:ident) => $key:literal, $about:literal;)*) => {
        /// Which requests go where, and under which policies.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[schemars(rename = "Route", transform = exactly_one_handler)]
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
            $(
                #[doc = $about]
                #[serde(default, rename = $key, skip_serializing_if = "Option::is_none")]
                pub $file: Option<Box<super::$file::$Settings>>,
            )*
        }

        impl TryFrom<RouteDocument> for Route {
            type Error = String;

            fn try_from(written: RouteDocument) -> Result<Self, String> {
                let mut handlers = [
                    written.backends.map(|backends| Handler::Backends { backends, sticky: written.sticky }),
                    $(written.$file.map(Handler::$Name),)*
                ]
                .into_iter()
                .flatten();
                let (Some(handler), None) = (handlers.next(), handlers.next()) else {
                    return Err(format!("a route has exactly one of {}", all_handlers()));
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
                    $($file: None,)*
                };
                match route.handler {
                    Handler::Backends { backends, sticky } => {
                        written.backends = Some(backends);
                        written.sticky = sticky;
                    }
                    $(Handler::$Name(settings) => written.$file = Some(settings),)*
                }
                written
            }
        }
    };
}

handlers!(document);

fn yes() -> bool {
    true
}

/// The keys of all handlers, in words.
fn all_handlers() -> String {
    let names: Vec<String> = Handler::NAMES.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A document has one of the handlers' keys, and says so.
fn exactly_one_handler(schema: &mut Schema) {
    let one = Handler::NAMES.iter().map(|name| json!({"required": [name]}));
    schema.insert("oneOf".to_owned(), one.collect());
    if let Some(Value::String(about)) = schema.get_mut("description") {
        about.push_str(&format!(" Exactly one of {}.", all_handlers()));
    }
}
