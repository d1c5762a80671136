//! `anyOf`: several ways to show who calls, of which one is enough.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Policy, Settings};
use crate::{
    HeaderName,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
    rules::Around,
};

/// Several ways to show who calls, of which one is enough: they are tried as written, and the first that fits lets in. When
/// none does, the answer names all of them. What was shown for another way does not go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnyOf {
    /// Policies that find out who calls, such as `keyAuth`, `jwt` and `oidc`; `oidc` and `extAuth` stand last.
    #[schemars(length(min = 2, max = 8))]
    pub policies: Vec<Policy>,
    /// Name of the consumer that calls count as that show nothing at all; without it they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<String>,
}

impl AnyOf {
    fn ways(&self) -> impl Iterator<Item = Authentication<'_>> {
        self.policies.iter().filter_map(Policy::authentication)
    }
}

impl Settings for AnyOf {
    fn place(&self) -> Place<'_> {
        let mut headers: Vec<HeaderName> = self.ways().flat_map(|way| way.headers).collect();
        headers.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        headers.dedup();
        Place::Authentication(Authentication {
            anonymous: self.anonymous.as_deref(),
            headers,
            parameter: self.ways().find_map(|way| way.parameter),
            asks: self,
        })
    }

    fn parts(&self) -> &[Policy] {
        &self.policies
    }

    fn reads_credentials(&self) -> bool {
        self.anonymous.is_none() && self.policies.iter().all(Policy::reads_credentials)
    }

    fn reads_passwords(&self) -> bool {
        self.policies.iter().any(Policy::reads_passwords)
    }

    fn reads_keys(&self) -> bool {
        self.policies.iter().any(Policy::reads_keys)
    }

    fn covers(&self, header: &HeaderName) -> Option<bool> {
        self.policies.iter().filter_map(|policy| policy.covers(header)).reduce(|one, other| one || other)
    }

    fn lets_in_unknown(&self) -> bool {
        self.policies.iter().any(Policy::lets_in_unknown)
    }

    fn tells_claims(&self) -> bool {
        self.policies.iter().any(Policy::tells_claims)
    }

    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        at.each("policies", &self.policies, |at, policy| {
            at.field(policy.name(), |at| policy.validate_around(around, at));
        });
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
        let mut parameters: Vec<&str> = self.ways().filter_map(|way| way.parameter).collect();
        parameters.dedup();
        if parameters.len() > 1 {
            at.field("policies", |at| {
                at.error("at most one query parameter may hold credentials, so that it is kept out of logs");
            });
        }
        let last = self.policies.len().saturating_sub(1);
        let mut position = 0;
        at.each("policies", &self.policies, |at, policy| {
            let wrong = match policy {
                Policy::AnyOf(_) => Some("ways within ways are one list: put them here"),
                _ if policy.authentication().is_none() => Some("this does not find out who calls"),
                // It has answers of its own, so that nothing after it is ever tried.
                _ if policy.answers_itself() && position != last => {
                    Some("this stands last: it has an answer of its own for whoever it does not let in")
                }
                _ if policy.authentication().is_some_and(|way| way.anonymous.is_some()) => {
                    Some("with `anonymous` the ways after it are never tried: put it beside `policies`")
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                at.error(wrong);
            }
            at.field(policy.name(), |at| policy.validate(at));
            position += 1;
        });
    }
}

impl Asks for AnyOf {
    fn asks(&self, of: &Asked<'_>) -> Option<Demand> {
        // A way that asks nothing lets everybody in.
        let ways: Option<Vec<Demand>> = self.ways().map(|way| way.asks.asks(of)).collect();
        ways.map(|ways| demand(Ways(ways)))
    }
}

/// One of several.
struct Ways(Vec<Demand>);

impl Terms for Ways {
    fn implies(&self, other: &Self) -> bool {
        self.0.iter().all(|mine| other.0.iter().any(|theirs| mine.implies(&**theirs)))
    }

    fn words(&self) -> String {
        let ways: Vec<String> = self.0.iter().map(|way| way.words()).collect();
        format!("any of {}", ways.join(", "))
    }
}
