//! `respond`: an answer of the gateway's own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mock::Mock;
use crate::HeaderName;

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Respond {
    /// Status.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<HeaderName, String>,
    /// Body.
    pub body: String,
    /// In place of all this: answers that an OpenAPI document describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openapi: Option<Mock>,
    /// In place of all this: the public keys of this issuer in `tokenIssuers` (a JWKS, RFC 7517).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
}

impl Default for Respond {
    fn default() -> Self {
        Self { status: 200, headers: BTreeMap::new(), body: String::new(), openapi: None, jwks: None }
    }
}
