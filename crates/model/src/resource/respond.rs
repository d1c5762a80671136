//! `respond`: an answer of the gateway's own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{handler::Settings, mock::Mock, route::Route};
use crate::{
    HeaderName,
    load::{Context, scope::Named},
    rules::World,
};

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

impl Settings for Respond {
    fn validate(&self, _: &Route, _: &World<'_>, at: &mut Context<'_, '_>) {
        if let Some(issuer) = &self.jwks {
            at.field("jwks", |at| at.refer(Named::TokenIssuer, issuer));
            let others = ["status", "headers", "body", "openapi"].into_iter().find(|key| at.is_written(key));
            if let Some(other) = others {
                at.error(format!(
                    "has both `jwks` and `{other}`; the issuer's keys are all that is answered"
                ));
            }
        }
        if let Some(mock) = &self.openapi {
            let others = ["status", "headers", "body"].into_iter().find(|key| at.is_written(key));
            if let Some(other) = others {
                at.error(format!("has both `openapi` and `{other}`; the document says what is answered"));
            }
            at.field("openapi", |at| mock.validate_bounds(at));
            if mock.base_path.as_ref().is_some_and(|base| !base.starts_with('/') && !base.is_empty()) {
                at.field("openapi", |at| {
                    at.field("basePath", |at| at.error("expected a path that begins with `/`"));
                });
            }
        }
        // RFC 9110 §6.4.1: these have no content.
        if !self.body.is_empty() && matches!(self.status, 204 | 205 | 304) {
            at.field("body", |at| at.error(format!("an answer with status {} has no body", self.status)));
        }
        at.field("headers", |at| {
            for (name, value) in &self.headers {
                at.field(name, |at| {
                    crate::policy::headers::header_value(name, value, at);
                });
            }
        });
    }

    fn answers_itself(&self) -> bool {
        true
    }
}
