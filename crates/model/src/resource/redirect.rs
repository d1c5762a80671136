//! `redirect`: sends the client elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{handler::Settings, route::Route};
use crate::{load::Context, rules::World};

/// A redirect. What is not given stays as it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Redirect {
    /// Replaces the prefix that matched.
    pub path_prefix: Option<String>,
    /// Replaces the whole path.
    pub path: Option<String>,
    /// Replaces the host.
    pub host: Option<String>,
    /// Replaces the scheme.
    #[schemars(extend("enum" = ["http", "https", null]))]
    pub scheme: Option<String>,
    /// Replaces the port.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
    /// Keep the query.
    pub keep_query: bool,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            path_prefix: None,
            path: None,
            host: None,
            scheme: None,
            port: None,
            status: 302,
            keep_query: true,
        }
    }
}

impl Settings for Redirect {
    fn validate(&self, _: &Route, _: &World<'_>, at: &mut Context<'_, '_>) {
        if self.path.is_some() && self.path_prefix.is_some() {
            at.error("expected at most one of `path` and `pathPrefix`, found both");
        }
        let same = self.path.is_none()
            && self.path_prefix.is_none()
            && self.host.is_none()
            && self.scheme.is_none()
            && self.port.is_none();
        if same {
            at.error("nothing changes: clients would be sent round in circles");
        }
        for (key, path) in [("path", &self.path), ("pathPrefix", &self.path_prefix)] {
            if path.as_ref().is_some_and(|path| crate::load::format::check("absolute-path", path).is_err()) {
                at.field(key, |at| at.error("expected a path that begins with `/`"));
            }
        }
        if self.host.as_ref().is_some_and(|host| !crate::load::format::host(host)) {
            at.field("host", |at| at.error("expected a host"));
        }
    }

    fn answers_itself(&self) -> bool {
        true
    }
}
