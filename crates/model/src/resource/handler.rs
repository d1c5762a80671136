//! What answers the calls of a route: its own backends, or one of the handlers of the registry.

use super::route::{Backend, Route, Sticky};
use crate::{load::Context, rules::World};

/// What every handler's settings say of themselves.
pub(crate) trait Settings {
    /// Applies the rules that the schema cannot say.
    fn validate(&self, route: &Route, world: &World<'_>, at: &mut Context<'_, '_>);

    /// Names of the upstreams that it asks, with the policies of each.
    fn upstreams(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Whether it sends calls on as backends get them: by the route's `timeouts` and `retry`, with its `hostHeader`.
    fn has_tries(&self) -> bool {
        false
    }

    /// Whether it asks nobody for its answers.
    fn answers_itself(&self) -> bool {
        false
    }

    /// Whether asking models is all that it is for.
    fn is_for_models(&self) -> bool {
        false
    }

    /// Whether it may ask models.
    fn asks_models(&self) -> bool {
        self.is_for_models()
    }

    /// Whether it shows credentials of the gateway's own to whom it asks.
    fn has_credentials(&self) -> bool {
        false
    }

    /// Name of the plugin whose code it runs.
    fn runs(&self) -> Option<&str> {
        None
    }
}

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

            /// The settings of a handler of the registry.
            fn settings(&self) -> Option<&dyn Settings> {
                match self {
                    Self::Backends { .. } => None,
                    $(Self::$Name(settings) => Some(&**settings),)*
                }
            }
        }
    };
}

handlers!(handler);

impl Handler {
    /// Names of the upstreams that it asks, with the policies of each.
    pub fn upstreams(&self) -> Vec<&str> {
        match self {
            Self::Backends { backends, .. } => {
                backends.iter().map(|backend| backend.upstream.as_str()).collect()
            }
            other => other.settings().map(|settings| settings.upstreams()).unwrap_or_default(),
        }
    }

    /// Name of the plugin whose code it runs.
    pub fn runs(&self) -> Option<&str> {
        self.settings().and_then(|settings| settings.runs())
    }

    /// Applies the rules that the schema cannot say.
    pub(crate) fn validate(&self, route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
        if let Some(settings) = self.settings() {
            settings.validate(route, world, at);
        }
    }

    /// Whether it sends calls on by the route's `timeouts` and `retry`, with its `hostHeader`.
    pub(crate) fn has_tries(&self) -> bool {
        self.settings().is_none_or(|settings| settings.has_tries())
    }

    /// Whether it asks nobody for its answers.
    pub(crate) fn answers_itself(&self) -> bool {
        self.settings().is_some_and(|settings| settings.answers_itself())
    }

    /// Whether asking models is all that it is for.
    pub(crate) fn is_for_models(&self) -> bool {
        self.settings().is_some_and(|settings| settings.is_for_models())
    }

    /// Whether it may ask models.
    pub(crate) fn asks_models(&self) -> bool {
        self.settings().is_some_and(|settings| settings.asks_models())
    }

    /// Whether it shows credentials of the gateway's own to whom it asks.
    pub(crate) fn has_credentials(&self) -> bool {
        self.settings().is_some_and(|settings| settings.has_credentials())
    }
}
