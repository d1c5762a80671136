//! `authorize`: lets in calls that meet conditions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    Enforcement,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::Context,
};

/// Lets in calls that meet conditions (CEL), all of them; the first that is not met decides the answer. A condition that
/// cannot be told, such as one about a token where there is none, is not met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authorize {
    /// The conditions, judged in their order.
    #[schemars(length(min = 1, max = 64))]
    pub rules: Vec<AuthorizeRule>,
    /// Whether it refuses.
    #[serde(default)]
    pub mode: Enforcement,
}

/// A condition, and what is answered where it is not met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizeRule {
    /// What has to be true: `consumer`, `jwt`, `request`, `client`, `listener`, `tls` and `captures` are known.
    #[schemars(extend("format" = "cel"))]
    pub require: String,
    /// What the client is told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The status that it gets; with 404 it reads what is said of a path that no route matches.
    #[serde(default = "forbidden")]
    #[schemars(range(min = 400, max = 499))]
    pub status: u16,
}

fn forbidden() -> u16 {
    403
}

impl Settings for Authorize {
    fn place(&self) -> Place<'_> {
        Place::Authorization(self)
    }

    fn narrows(&self) -> bool {
        self.mode == Enforcement::Enforce
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.each("rules", &self.rules, |at, rule| {
            if matches!(rule.status, 401 | 407) {
                at.field("status", |at| {
                    at.error("that asks for credentials, which are judged before: expected such as 403")
                });
            }
        });
    }
}

impl Asks for Authorize {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        (self.mode == Enforcement::Enforce).then(|| demand(self.clone()))
    }
}

impl Terms for Authorize {
    fn implies(&self, other: &Self) -> bool {
        other.rules.iter().all(|theirs| self.rules.iter().any(|mine| mine.require == theirs.require))
    }

    fn words(&self) -> String {
        let rules: Vec<&str> = self.rules.iter().map(|rule| rule.require.as_str()).collect();
        format!("authorize [{}]", rules.join("; "))
    }
}
