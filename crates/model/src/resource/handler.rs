//! What answers the calls of a route: its own backends, or one of the handlers of the registry.

use super::route::{Backend, Sticky};

/// Makes of each line a variant and its place in everything that is asked of every handler.
macro_rules! handler {
    ($($file:ident: $Name:ident($Settings:ident) => $key:literal, $about:literal;)*) => {
        /// What answers the requests of a route.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Handler {
            /// Handler: weighted upstreams.
            Backends {
                /// At least one.
                backends: Vec<Backend>,
                /// What keeps a client on one endpoint.
                sticky: Option<Sticky>,
            },
            $(
                #[doc = $about]
                $Name(Box<super::$file::$Settings>),
            )*
        }

        impl Handler {
            /// The keys of all handlers.
            pub const NAMES: &[&str] = &["backends", $($key),*];

            /// The key of the handler in a route.
            pub fn name(&self) -> &'static str {
                match self {
                    Self::Backends { .. } => "backends",
                    $(Self::$Name(_) => $key,)*
                }
            }
        }
    };
}

handlers!(handler);
