//! `ipRestriction`: lets in client addresses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{
    Cidr,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::Context,
};

/// Lets in clients by address; otherwise 403. `deny` wins over `allow`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IpRestriction {
    /// Networks that are let in; all when empty.
    pub allow: Vec<Cidr>,
    /// Networks that are refused.
    pub deny: Vec<Cidr>,
}

impl Settings for IpRestriction {
    fn place(&self) -> Place<'_> {
        Place::IpRestriction(self)
    }

    fn narrows(&self) -> bool {
        !self.allow.is_empty()
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.allow.is_empty() && self.deny.is_empty() {
            at.error("expected networks under `allow` or `deny`, found none");
        }
    }
}

impl Asks for IpRestriction {
    fn asks(&self, of: &Asked<'_>) -> Option<Demand> {
        Some(demand(Address { rule: self.clone(), trusted: of.trusted().to_vec() }))
    }
}

/// The client's address, as these proxies may state it.
struct Address {
    rule: IpRestriction,
    trusted: Vec<Cidr>,
}

impl Terms for Address {
    fn implies(&self, other: &Self) -> bool {
        let covered = |one: &Cidr, by: &[Cidr]| by.iter().any(|other| other.covers(one));
        // Whoever is trusted can claim any address.
        let is_true = self.trusted.iter().all(|one| covered(one, &other.trusted));
        let (mine, theirs) = (&self.rule, &other.rule);
        let allowed = theirs.allow.is_empty()
            || (!mine.allow.is_empty() && mine.allow.iter().all(|one| covered(one, &theirs.allow)));
        is_true && allowed && theirs.deny.iter().all(|one| covered(one, &mine.deny))
    }

    fn words(&self) -> String {
        let list = |all: &[Cidr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("ipRestriction allow [{}] deny [{}]", list(&self.rule.allow), list(&self.rule.deny))
    }
}
