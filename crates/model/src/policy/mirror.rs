//! `mirror`: sends copies of requests to another upstream, and compares its answers with those that clients get.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, mask::warn_of_another_language};
use crate::{Duration, HeaderName, Percent, Size, load::Context, resource::route::Handler, rules::Around};

/// Sends copies of requests to another upstream, beside the one that answers: clients never wait for it and never see
/// anything of it. With `diff` its answers are compared with those that clients get, and what differs is counted by
/// field, told at `/api/v1/mirrors` and written to the access log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mirror {
    /// Name of the upstream that gets the copies.
    #[schemars(length(min = 1))]
    pub upstream: String,
    /// The share of requests that are copied.
    pub percent: Percent,
    /// Methods of requests that are copied; all without any. An upstream that is no copy of its own data wants `GET`
    /// and `HEAD` alone.
    pub methods: Vec<String>,
    /// Copies on their way at a time; a request that would be one more is not copied, and counted.
    #[schemars(range(min = 1))]
    pub max_concurrent: usize,
    /// Bytes of a request's body that are kept for its copy, and of each answer's for the comparison. A larger request
    /// is not copied; larger answers are compared but for their bodies.
    pub max_body_size: Size,
    /// How long the upstream may take for a copy.
    pub timeout: Duration,
    /// Send the tokens, too, that policies have put there for the route's own upstreams (`internalJwt`,
    /// `clientCredentials`, `oauth2TokenExchange`). Without it copies have none of them.
    pub send_tokens: bool,
    /// Compare the answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<Diff>,
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            upstream: String::new(),
            percent: Percent(100.0),
            methods: Vec::new(),
            max_concurrent: 64,
            max_body_size: Size(256 * 1024),
            timeout: Duration::from_secs(10),
            send_tokens: false,
            diff: None,
        }
    }
}

/// What is compared, beside the status.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Diff {
    /// Header fields that must be the same.
    pub headers: Vec<HeaderName>,
    /// Compare the bodies: JSON by value, whatever the order of its names, and others byte by byte.
    pub body: bool,
    /// Paths in JSON whose values may differ, such as `requestId`, `items[].updatedAt` or `meta.*`; what is below them as
    /// well.
    pub ignore: Vec<String>,
    /// Write a record of each comparison that found differences to the access log.
    pub record: bool,
}

impl Default for Diff {
    fn default() -> Self {
        Self {
            headers: vec![HeaderName::from_static("content-type")],
            body: true,
            ignore: Vec::new(),
            record: true,
        }
    }
}

impl Settings for Mirror {
    fn place(&self) -> Place<'_> {
        Place::Around
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        let Handler::Backends { backends, .. } = &around.route.handler else { return };
        // One of several has some of the calls, and a system that is compared with itself tells what differs by itself.
        let mut taken = backends.iter().filter(|backend| backend.weight > 0);
        if self.diff.is_none() && taken.all(|backend| backend.upstream == self.upstream) {
            at.field("upstream", |at| {
                at.warning("this is the route's own upstream: it gets each copied request twice");
            });
        }
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.upstream.is_empty() {
            at.error_with("expected an `upstream` that gets the copies", "its name in `upstreams`");
        }
        if self.timeout.is_zero() {
            at.field("timeout", |at| at.error("expected more than nothing"));
        }
        at.each("methods", &self.methods, |at, method| {
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') {
                at.error_with(format!("`{method}` is no method"), "methods are upper-case, such as `GET`");
            }
        });
        if let Some(diff) = &self.diff {
            at.field("diff", |at| {
                at.each("ignore", &diff.ignore, |at, path| {
                    if path.is_empty() || path.split('.').any(str::is_empty) {
                        at.error_with(
                            format!("`{path}` is no path"),
                            "names with dots between them, `[]` behind a list's name, and `*` for any name",
                        );
                    } else {
                        warn_of_another_language(path, at);
                    }
                });
            });
        }
    }
}
