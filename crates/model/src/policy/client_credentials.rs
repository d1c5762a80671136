//! `clientCredentials`: shows upstreams a token of the gateway's own (RFC 6749 §4.4).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, internal_jwt::header, jwt::is_private_enough};
use crate::{
    Duration, HeaderName,
    load::Context,
    resource::oauth::{NoToken, OauthClient},
};

/// Shows upstreams a token of the gateway's own, which it has from a token server (RFC 6749 §4.4). It is fetched in the
/// background, kept until shortly before it ends, and fetched once however many calls need it. What the client sent
/// under that header is removed. An upstream's 401 has it fetched anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCredentials {
    /// Where tokens are had: `https://`, or `http://` on loopback.
    #[schemars(extend("format" = "url"))]
    pub token_endpoint: String,
    /// The gateway as a client there.
    pub client: OauthClient,
    /// What the token is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Whom the token is for, where the token server wants to be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whom the token is for, as URLs (RFC 8707).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Further fields of the form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The header that carries the token; in `authorization` it comes after `Bearer `, in another by itself.
    #[serde(default = "authorization")]
    pub header: HeaderName,
    /// How long a call waits for the first token, and how long one request to the token server may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// What calls get while no token can be had.
    #[serde(default)]
    pub without_token: NoToken,
    /// When an upstream answers 401, have a new token and send the request once more: one without a body, or whose body
    /// is up to `maxReplaySize`. Others get the answer, and the next call the new token.
    #[serde(default = "yes")]
    pub renew_on_unauthorized: bool,
    /// Bytes of a body that is kept so that its request can be sent once more.
    #[serde(default = "max_replay_size")]
    pub max_replay_size: crate::Size,
}

/// What it is called, also where it stands in something else.
pub(crate) const KEY: &str = "clientCredentials";

pub(super) fn authorization() -> HeaderName {
    HeaderName::from_static("authorization")
}

pub(super) fn timeout() -> Duration {
    Duration::from_secs(5)
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn max_replay_size() -> crate::Size {
    crate::Size::kib(64)
}

/// What may be no further field of a form, for settings of their own say it.
pub(super) const FIELDS: [&str; 14] = [
    "grant_type",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "scope",
    "audience",
    "resource",
    "subject_token",
    "subject_token_type",
    "requested_token_type",
    "actor_token",
    "actor_token_type",
    "assertion",
];

/// What both policies of tokens for upstreams have.
pub(super) fn check(
    (url, client): (&str, &OauthClient),
    name: &HeaderName,
    timeout: Duration,
    parameters: &BTreeMap<String, String>,
    at: &mut Context<'_, '_>,
) {
    if !is_private_enough(url) {
        at.field("tokenEndpoint", |at| {
            at.error("secrets are shown over https, or over http at a loopback address");
        });
    }
    at.field("client", |at| client.validate(at));
    header(name, at);
    if timeout.is_zero() {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
    at.field("parameters", |at| {
        for name in parameters.keys().filter(|name| FIELDS.contains(&name.as_str())) {
            at.field(name, |at| at.error("this has a setting of its own, or is none of this policy's"));
        }
    });
}

impl Settings for ClientCredentials {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    /// One that is attached nearer to the upstream shows another token in the same header.
    fn gives_way(&self) -> bool {
        true
    }

    fn is_for_upstreams(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        let server = (self.token_endpoint.as_str(), &self.client);
        check(server, &self.header, self.timeout, &self.parameters, at);
    }
}
