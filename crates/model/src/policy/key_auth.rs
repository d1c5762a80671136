//! `keyAuth`: lets in who shows a consumer's API key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Settings};
use crate::{
    HeaderName,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
};

/// Lets in who shows a consumer's API key; otherwise 401. `Bearer ` before a key in `authorization` is dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KeyAuth {
    /// The header that carries the key; `x-api-key` when nothing else is given.
    pub header: Option<HeaderName>,
    /// Several headers, tried in order.
    pub headers: Vec<HeaderName>,
    /// A query parameter that may carry the key too.
    pub query: Option<String>,
    /// Remove the key before the request goes on.
    pub hide_credentials: bool,
    /// Name of the consumer that calls without a key count as; without it they are refused.
    pub anonymous: Option<String>,
}

impl Default for KeyAuth {
    fn default() -> Self {
        Self { header: None, headers: Vec::new(), query: None, hide_credentials: true, anonymous: None }
    }
}

impl KeyAuth {
    /// The headers that are looked at, in order.
    pub fn sources(&self) -> Vec<HeaderName> {
        let given: Vec<_> = self.header.iter().chain(&self.headers).cloned().collect();
        match given.is_empty() && self.query.is_none() {
            true => vec![HeaderName::from_static("x-api-key")],
            false => given,
        }
    }
}

impl Settings for KeyAuth {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: self.anonymous.as_deref(),
            headers: self.sources(),
            parameter: self.query.as_deref(),
            asks: self,
        })
    }

    fn reads_credentials(&self) -> bool {
        self.anonymous.is_none()
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        if self.query.as_ref().is_some_and(String::is_empty) {
            at.field("query", |at| at.error("expected the name of a query parameter"));
        }
    }
}

impl Asks for KeyAuth {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        Some(demand(Key))
    }
}

/// Any consumer's key.
struct Key;

impl Terms for Key {
    fn implies(&self, _: &Self) -> bool {
        true
    }

    fn words(&self) -> String {
        "keyAuth".to_owned()
    }
}
