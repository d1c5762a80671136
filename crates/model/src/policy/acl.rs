//! `acl`: lets in consumers and groups by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    diff::{Asked, Asks, Demand, Terms, among, demand},
    load::{Context, scope::Named},
};

/// Lets in consumers by their own name or a group's; otherwise 403. `deny` wins over `allow`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Acl {
    /// Consumers and groups that are let in; everyone who is authenticated when empty.
    pub allow: Vec<String>,
    /// Consumers and groups that are refused.
    pub deny: Vec<String>,
}

impl Settings for Acl {
    fn place(&self) -> Place<'_> {
        Place::Authorization(self)
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.allow.is_empty() && self.deny.is_empty() {
            at.error("expected names under `allow` or `deny`, found none");
        }
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
            (self.allow.is_empty() || named(&self.allow)) && !named(&self.deny)
        });
        // Where whoever shows nothing is let in, nothing is asked.
        (!nobody).then(|| demand(self.clone()))
    }
}

impl Terms for Acl {
    fn implies(&self, other: &Self) -> bool {
        among(&self.allow, &other.allow) && other.deny.iter().all(|group| self.deny.contains(group))
    }

    fn words(&self) -> String {
        format!("acl allow [{}] deny [{}]", self.allow.join(", "), self.deny.join(", "))
    }
}
