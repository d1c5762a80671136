//! `rewrite`: changes the path and the host that the upstream sees.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{load::Context, resource::path_template::PathTemplate, rules::Around};

/// Changes the path and the host that the upstream sees. A path that is not its own normal form afterwards is 400.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rewrite {
    /// How the path changes.
    pub path: Option<PathRewrite>,
    /// The `Host` sent, over the route's and upstream's.
    pub host: Option<String>,
}

/// How a path changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum PathRewrite {
    /// Replaces the prefix that matched.
    #[schemars(extend("format" = "absolute-path"))]
    ReplacePrefix(String),
    /// Removes a prefix, on segment bounds.
    #[schemars(extend("format" = "absolute-path"))]
    StripPrefix(String),
    /// A path with captures of the match: `/v2/{id}`; places such as `{{ jwt.sub }}` are filled in as one segment.
    #[schemars(extend("format" = "rewrite-template"))]
    Template(String),
    /// Replaces what a regular expression finds; `$1` and `${name}` are its groups.
    Regex(RegexRewrite),
    /// Replaces the whole path.
    #[schemars(extend("format" = "absolute-path"))]
    Full(String),
}

/// A replacement by regular expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegexRewrite {
    /// What is found.
    #[schemars(extend("format" = "regex"))]
    pub pattern: String,
    /// What replaces it.
    pub replacement: String,
}

impl Settings for Rewrite {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn moves_paths(&self) -> bool {
        self.path.is_some()
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.path.is_none() && self.host.is_none() {
            at.error("expected `path` or `host`, found neither");
        }
        if self
            .host
            .as_ref()
            .is_some_and(|host| http::HeaderValue::from_str(host).is_err() || host.is_empty())
        {
            at.field("host", |at| at.error("expected a host"));
        }
    }

    fn target_values(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let path = match &self.path {
            Some(PathRewrite::Template(text)) => Some(("path", Cow::Borrowed(text.as_str()))),
            _ => None,
        };
        let host = self.host.as_deref().map(|text| ("host", Cow::Borrowed(text)));
        path.into_iter().chain(host).collect()
    }

    /// A prefix that no path of the route begins with is never removed.
    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        let Some(PathRewrite::StripPrefix(prefix)) = self.path.as_ref().filter(|_| !around.is_second) else {
            return;
        };
        // A component may have made another path before.
        let is_plain = || !around.has(|policy| policy.runs().is_some());
        if let Some(path) = crate::rules::off_the_route(prefix, around.matches()).filter(|_| is_plain()) {
            at.field("path", |at| {
                at.field("stripPrefix", |at| {
                    at.warning_with(
                        format!("no path that the route matches begins with `{prefix}`: nothing is removed"),
                        format!("such as `stripPrefix: {path}`"),
                    );
                });
            });
        }
    }

    /// A path made of captures needs each of them from whatever matched.
    fn validate_captures(&self, offered: &[Vec<String>], at: &mut Context<'_, '_>) {
        let Some(PathRewrite::Template(template)) = &self.path else { return };
        let plain = crate::load::format::without_places(template);
        let Ok(template) = plain.parse::<PathTemplate>() else { return };
        let missing = |name: &&str| {
            offered.is_empty() || offered.iter().any(|names| !names.iter().any(|one| one == name))
        };
        if let Some(name) = template.captures().find(missing) {
            at.field("path", |at| {
                at.field("template", |at| {
                    crate::rules::missing_capture(name, offered, at);
                });
            });
        }
    }
}
