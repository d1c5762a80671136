//! `basicAuth`: lets in who shows a consumer's user name and password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
