//! `oauth2TokenExchange`: shows upstreams a token that a token server gives for the caller's (RFC 8693).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Place, Settings,
    client_credentials::{authorization, check, max_replay_size, timeout, yes},
};
use crate::{
    Duration, HeaderName,
    load::Context,
    resource::oauth::{NoToken, OauthClient},
};

/// Shows upstreams a token that a token server gives in exchange for the caller's (RFC 8693): one that is for this
/// upstream and may do less. The caller's token is the one that `jwt`, `oidc` or `oauth2Introspection` has found good
/// before; it goes to the token server alone. What is given is kept for the same token until shortly before its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oauth2TokenExchange {
    /// Where tokens are exchanged: `https://`, or `http://` on loopback.
    #[schemars(extend("format" = "url"))]
    pub token_endpoint: String,
    /// The gateway as a client there.
    pub client: OauthClient,
    /// What the token is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Whom the token is for, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Whom the token is for, as URLs (RFC 8707).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// What the caller's token is.
    #[serde(default = "access_token")]
    pub subject_token_type: String,
    /// What is wanted for it.
    #[serde(default = "access_token")]
    pub requested_token_type: String,
    /// Further fields of the form.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// The header that carries the token; in `authorization` it comes after `Bearer `, in another by itself.
    #[serde(default = "authorization")]
    pub header: HeaderName,
    /// Bound of an exchange.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// What becomes of callers without a token that was found good.
    #[serde(default)]
    pub unknown: TokenlessCallers,
    /// What calls get while the token server cannot be asked. A caller for whom it refuses gets 403.
    #[serde(default)]
    pub without_token: NoToken,
    /// Callers whose tokens are kept at a time.
    #[serde(default = "max_tokens")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tokens: usize,
    /// Exchanges at a time; more get what `withoutToken` says.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_in_flight: usize,
    /// When an upstream answers 401, have a new token and send the request once more: one without a body, or whose body
    /// is up to `maxReplaySize`. Others get the answer, and the next call the new token.
    #[serde(default = "yes")]
    pub renew_on_unauthorized: bool,
    /// Bytes of a body that is kept so that its request can be sent once more.
    #[serde(default = "max_replay_size")]
    pub max_replay_size: crate::Size,
}

/// What becomes of callers without a token that was found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TokenlessCallers {
    /// 401.
    #[default]
    Refuse,
    /// They go on without a token.
    Pass,
}

fn access_token() -> String {
    "urn:ietf:params:oauth:token-type:access_token".to_owned()
}

fn max_tokens() -> usize {
    10_000
}

fn max_in_flight() -> usize {
    256
}

impl Settings for Oauth2TokenExchange {
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
