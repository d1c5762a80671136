//! `basicAuth`: lets in who shows a consumer's user name and password.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Settings};
use crate::{
    HeaderName,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
};

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

impl Settings for BasicAuth {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: self.anonymous.as_deref(),
            headers: vec![HeaderName::from_static("authorization")],
            parameter: None,
            asks: self,
        })
    }

    fn reads_credentials(&self) -> bool {
        self.anonymous.is_none()
    }

    fn reads_passwords(&self) -> bool {
        true
    }

    fn reads_keys(&self) -> bool {
        false
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        if self.realm.contains(['"', '\\']) || self.realm.chars().any(char::is_control) {
            at.field("realm", |at| at.error("a realm has no quotes, backslashes or control characters"));
        }
    }
}

impl Asks for BasicAuth {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        Some(demand(Password))
    }
}

/// Any consumer's password.
struct Password;

impl Terms for Password {
    fn implies(&self, _: &Self) -> bool {
        true
    }

    fn words(&self) -> String {
        "basicAuth".to_owned()
    }
}
