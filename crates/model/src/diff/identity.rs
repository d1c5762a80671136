//! What is asked of callers before a route answers, and whether one demand is weaker than another.

use crate::{
    Cidr, Listener, Policy, PolicyUse, Route, Snapshot,
    policy::{Acl, IpRestriction, Jwt},
    resource::{route::Handler, tls::ClientAuthMode},
};

/// Everything that is asked of a caller.
#[derive(Clone, Default)]
pub(super) struct Identity(Vec<Demand>);

#[derive(Clone)]
enum Demand {
    /// A certificate that this authority signed, with one of these names.
    Certificate {
        ca: String,
        names: Vec<String>,
    },
    Key,
    Password,
    Token(Box<Jwt>),
    Groups(Acl),
    /// The client's address, as these proxies may state it.
    Address(IpRestriction, Vec<Cidr>),
}

impl Identity {
    /// What a route on a listener asks for, by all policies that run for it.
    pub(super) fn of(snapshot: &Snapshot, listener: &Listener, route: &Route) -> Self {
        let mut demands = Vec::new();
        let auth = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
        if let Some(auth) = auth.filter(|auth| auth.mode == ClientAuthMode::Required) {
            let ca = auth.ca_file.as_path().display().to_string();
            demands.push(Demand::Certificate { ca, names: auth.subject_alt_names.clone() });
        }
        let uses = snapshot.config.global_policies.iter().chain(&listener.policies).chain(&route.policies);
        let trusted = [&*snapshot.config.trusted_proxies, &listener.trusted_proxies].concat();
        let demand = |one: &PolicyUse| demand(snapshot.policy(one)?, &trusted);
        demands.extend(uses.filter_map(demand));
        if let Handler::Backends { backends, .. } = &route.handler {
            let asked = |name: &str| -> Vec<Demand> {
                let upstream = snapshot.upstream(name);
                upstream.into_iter().flat_map(|upstream| &upstream.policies).filter_map(demand).collect()
            };
            let mut all = backends.iter().filter(|backend| backend.weight > 0);
            // What all backends ask for counts, and of two that ask for the same kind the weaker.
            let mut common: Vec<Demand> = all.next().map(|first| asked(&first.upstream)).unwrap_or_default();
            for other in all {
                let theirs = asked(&other.upstream);
                common = common
                    .into_iter()
                    .filter_map(|mine| match theirs.iter().find(|other| mine.implies(other)) {
                        Some(weaker) => Some(weaker.clone()),
                        None => theirs.iter().any(|other| other.implies(&mine)).then_some(mine),
                    })
                    .collect();
            }
            demands.append(&mut common);
        }
        Self(demands)
    }

    /// Whether something that the other asks for is not asked for here.
    pub(super) fn is_weaker_than(&self, other: &Self) -> bool {
        other.0.iter().any(|theirs| !self.0.iter().any(|mine| mine.implies(theirs)))
    }

    /// For people.
    pub(super) fn words(&self) -> Vec<String> {
        self.0.iter().map(Demand::words).collect()
    }
}

fn demand(policy: &Policy, trusted: &[Cidr]) -> Option<Demand> {
    match policy {
        // With `anonymous`, whoever comes without credentials is let in.
        Policy::KeyAuth(settings) if settings.anonymous.is_none() => Some(Demand::Key),
        Policy::BasicAuth(settings) if settings.anonymous.is_none() => Some(Demand::Password),
        Policy::Jwt(settings) if settings.anonymous.is_none() => {
            Some(Demand::Token(Box::new(settings.clone())))
        }
        Policy::Acl(settings) => Some(Demand::Groups(settings.clone())),
        Policy::IpRestriction(settings) => Some(Demand::Address(settings.clone(), trusted.to_vec())),
        _ => None,
    }
}

impl Demand {
    /// Whether who meets this also meets the other.
    fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Key, Self::Key) | (Self::Password, Self::Password) => true,
            (Self::Certificate { ca, names }, Self::Certificate { ca: other_ca, names: others }) => {
                ca == other_ca && among(names, others)
            }
            (Self::Token(mine), Self::Token(theirs)) => {
                mine.issuer == theirs.issuer
                    && mine.jwks == theirs.jwks
                    && among(&mine.audiences, &theirs.audiences)
                    && theirs.required_scopes.iter().all(|scope| mine.required_scopes.contains(scope))
                    && theirs
                        .required_claims
                        .iter()
                        .all(|(name, value)| mine.required_claims.get(name) == Some(value))
                    && mine.leeway <= theirs.leeway
            }
            (Self::Groups(mine), Self::Groups(theirs)) => {
                among(&mine.allow, &theirs.allow) && theirs.deny.iter().all(|group| mine.deny.contains(group))
            }
            (Self::Address(mine, trusted), Self::Address(theirs, others)) => {
                // Whoever is trusted can claim any address.
                let is_true = trusted.iter().all(|one| others.iter().any(|other| other.covers(one)));
                let allowed = theirs.allow.is_empty()
                    || (!mine.allow.is_empty()
                        && mine.allow.iter().all(|one| theirs.allow.iter().any(|other| other.covers(one))));
                is_true
                    && allowed
                    && theirs.deny.iter().all(|one| mine.deny.iter().any(|other| other.covers(one)))
            }
            _ => false,
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Certificate { names, .. } if names.is_empty() => "client certificate".into(),
            Self::Certificate { names, .. } => format!("client certificate ({})", names.join(", ")),
            Self::Key => "keyAuth".into(),
            Self::Password => "basicAuth".into(),
            Self::Token(jwt) if jwt.required_scopes.is_empty() => format!("jwt of {}", jwt.issuer),
            Self::Token(jwt) => format!("jwt of {} with {}", jwt.issuer, jwt.required_scopes.join(", ")),
            Self::Groups(acl) => {
                format!("acl allow [{}] deny [{}]", acl.allow.join(", "), acl.deny.join(", "))
            }
            Self::Address(rule, _) => {
                let list =
                    |all: &[crate::Cidr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                format!("ipRestriction allow [{}] deny [{}]", list(&rule.allow), list(&rule.deny))
            }
        }
    }
}

/// Whether a list of what is allowed allows nothing beyond another; an empty one allows everything.
fn among(mine: &[String], theirs: &[String]) -> bool {
    theirs.is_empty() || (!mine.is_empty() && mine.iter().all(|one| theirs.contains(one)))
}
