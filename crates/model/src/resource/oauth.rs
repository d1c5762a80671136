//! How the gateway shows a token server who it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::token_issuer::SigningAlgorithm;
use crate::{Secret, load::Context};

/// The gateway as a client of a token server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OauthClient {
    /// What the token server knows it by.
    #[schemars(length(min = 1))]
    pub id: String,
    /// How it proves that.
    #[serde(default)]
    pub auth: OauthClientAuth,
    /// The secret, for `basic` and `post`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// The private key in PEM, for `privateKeyJwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// How the key signs.
    #[serde(default)]
    pub key_algorithm: SigningAlgorithm,
    /// The `kid` that the token server knows the key by; its thumbprint (RFC 7638) without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The `aud` of the proof; the address of the token server without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion_audience: Option<String>,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OauthClientAuth {
    /// By `Authorization: Basic` (RFC 6749 §2.3.1).
    #[default]
    Basic,
    /// By fields of the form.
    Post,
    /// By a token that it signs itself (RFC 7523).
    PrivateKeyJwt,
    /// Not at all: it only says its id.
    None,
}

/// What a call gets for which no token could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NoToken {
    /// 503: it may come again.
    #[default]
    Unavailable,
    /// 502: something behind the gateway is broken.
    BadGateway,
}

impl OauthClient {
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        let by_secret = matches!(self.auth, OauthClientAuth::Basic | OauthClientAuth::Post);
        let by_key = self.auth == OauthClientAuth::PrivateKeyJwt;
        for (key, is_there, is_needed) in
            [("secret", self.secret.is_some(), by_secret), ("key", self.key.is_some(), by_key)]
        {
            if is_needed && !is_there {
                at.error(format!("this `auth` needs a `{key}`"));
            }
            if is_there && !is_needed {
                at.field(key, |at| at.error("this `auth` has no use for it"));
            }
        }
    }
}
