//! `basicAuth`: lets in who shows a consumer's user name and password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::load::{Context, scope::Named};

/// Lets in who shows a consumer's user name and password (RFC 7617); otherwise 401.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BasicAuth {
    /// Realm of the challenge.
    pub realm: String,
    /// Remove `Authorization` before the request goes on.
    pub hide_credentials: bool,
    /// Name of the consumer that calls without credentials count as; without it they are refused.
    pub anonymous: Option<String>,
}

impl Default for BasicAuth {
    fn default() -> Self {
        Self { realm: "tidegate".to_owned(), hide_credentials: true, anonymous: None }
    }
}

impl BasicAuth {
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        if self.realm.contains(['"', '\\']) || self.realm.chars().any(char::is_control) {
            at.field("realm", |at| at.error("a realm has no quotes, backslashes or control characters"));
        }
    }
}
