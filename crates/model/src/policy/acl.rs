//! `acl`: lets in consumers and groups by name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    diff::{Asked, Asks, Demand, Terms, among, demand},
    load::{Context, scope::Named},
};

/// Lets in consumers by their own name or a group's, and whoever has a claim such as a role; otherwise 403. `deny` wins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Acl {
    /// Consumers and groups that are let in; everyone who is authenticated when empty.
    pub allow: Vec<String>,
    /// Claims by which somebody is let in, too, such as `{realm_access.roles: [admin]}`: one of the values is the claim's
    /// or, where that is a list, is in it. As far as a policy has verified what is claimed.
    pub allow_claims: BTreeMap<String, Vec<String>>,
    /// Consumers and groups that are refused.
    pub deny: Vec<String>,
}

impl Settings for Acl {
    fn place(&self) -> Place<'_> {
        Place::Authorization(self)
    }

    fn lets_in_nobody_unknown(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.allow.is_empty() && self.deny.is_empty() && self.allow_claims.is_empty() {
            at.error("expected names under `allow` or `deny`, or claims under `allowClaims`, found none");
        }
        at.field("allowClaims", |at| {
            for (claim, values) in &self.allow_claims {
                if claim.is_empty() || values.is_empty() {
                    at.field(claim, |at| at.error("expected the name of a claim, and values that let in"));
                }
            }
        });
        for (key, names) in [("allow", &self.allow), ("deny", &self.deny)] {
            at.each(key, names, |at, name| at.refer(Named::Subject, name));
        }
    }
}

impl Asks for Acl {
    fn asks(&self, of: &Asked<'_>) -> Option<Demand> {
        let nobody = of.nobody().is_some_and(|consumer| {
            let named = |names: &[String]| {
                names.iter().any(|name| *name == consumer.name || consumer.groups.contains(name))
            };
            let is_open = self.allow.is_empty() && self.allow_claims.is_empty();
            (is_open || named(&self.allow)) && !named(&self.deny)
        });
        // Where whoever shows nothing is let in, nothing is asked.
        (!nobody).then(|| demand(self.clone()))
    }
}

impl Terms for Acl {
    fn implies(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.ways_in(), other.ways_in());
        among(&mine, &theirs) && other.deny.iter().all(|group| self.deny.contains(group))
    }

    fn words(&self) -> String {
        format!("acl allow [{}] deny [{}]", self.ways_in().join(", "), self.deny.join(", "))
    }
}

impl Acl {
    /// Everything that lets somebody in: names, and claims with their values, which no name is written like.
    fn ways_in(&self) -> Vec<String> {
        let claims = self.allow_claims.iter();
        let claims =
            claims.flat_map(|(claim, values)| values.iter().map(move |value| format!("{claim} = {value}")));
        self.allow.iter().cloned().chain(claims).collect()
    }
}
