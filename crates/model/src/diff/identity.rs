//! What is asked of callers before a route answers, and whether one demand is weaker than another.

use std::collections::{BTreeSet, HashMap};

use super::{
    demand::{Asked, Demand, Files, Parts, Terms, among, demand},
    door::is_public,
};
use crate::{
    Consumer, Listener, Policy, PolicyUse, Route, Snapshot, Upstream,
    policy::Place,
    resource::{
        route::Handler,
        tls::{ClientAuthMode, CrlExpiry, CrlUnknown},
    },
};

/// Everything that is asked of a caller.
#[derive(Clone, Default)]
pub(super) struct Identity(Vec<Demand>);

/// Nobody on the way reads along: TLS, or no way beyond this machine.
struct Private {
    is_tls: bool,
}

/// A certificate that one of these authorities signed, with one of these names.
struct Certificate {
    authorities: Parts,
    names: Vec<String>,
    /// It is looked for in lists of what was taken back, and how strictly.
    lists: Option<(bool, bool)>,
}

/// A configuration by the names that its routes use.
pub(super) struct World<'s> {
    snapshot: &'s Snapshot,
    upstreams: HashMap<&'s str, &'s Upstream>,
    policies: HashMap<&'s str, &'s Policy>,
    consumers: HashMap<&'s str, &'s Consumer>,
    files: Files<'s>,
}

impl<'s> World<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        let config = &snapshot.config;
        Self {
            snapshot,
            upstreams: config.upstreams.iter().map(|one| (one.name.as_str(), one)).collect(),
            policies: config.policies.iter().map(|one| (one.name.as_str(), &one.policy)).collect(),
            consumers: config.consumers.iter().map(|one| (one.name.as_str(), one)).collect(),
            files: Files::of(snapshot),
        }
    }

    fn policy<'a>(&'a self, used: &'a PolicyUse) -> Option<&'a Policy> {
        match used {
            PolicyUse::Inline(policy) => Some(policy),
            PolicyUse::Shared(shared) => self.policies.get(shared.name.as_str()).copied(),
        }
    }

    /// Who calls without credentials count as; none when they are refused, or not asked who they are.
    fn nobody(&self, policies: &[&Policy]) -> Option<&Consumer> {
        let mut first = None;
        for authentication in policies.iter().filter_map(|policy| policy.authentication()) {
            // One that lets nobody pass is enough.
            first = first.or(Some(authentication.anonymous?));
        }
        self.consumers.get(first?).copied()
    }
}

/// The PEM blocks of a file; all of it when it has none.
fn certificates(content: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(content);
    let blocks = text.split("-----BEGIN ").skip(1).filter_map(|block| block.split("-----END ").next());
    let blocks: BTreeSet<String> = blocks.map(|block| block.split_whitespace().collect()).collect();
    if blocks.is_empty() { BTreeSet::from([text.into_owned()]) } else { blocks }
}

impl Identity {
    /// What a route on a listener asks for, by all policies that run for it.
    pub(super) fn of(world: &World<'_>, listener: &Listener, route: &Route) -> Self {
        let mut demands = Vec::new();
        if listener.tls.is_some() || !is_public(&listener.address) {
            demands.push(demand(Private { is_tls: listener.tls.is_some() }));
        }
        let auth = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
        if let Some(auth) = auth.filter(|auth| auth.mode == ClientAuthMode::Required) {
            let authorities = world.files.parts(&auth.ca_file, certificates);
            let lists = (!auth.crl_files.is_empty())
                .then_some((auth.crl_unknown == CrlUnknown::Deny, auth.crl_expiry == CrlExpiry::Refuse));
            demands.push(demand(Certificate { authorities, names: auth.subject_alt_names.clone(), lists }));
        }
        let config = &world.snapshot.config;
        let uses = config.global_policies.iter().chain(&listener.policies).chain(&route.policies);
        let policies: Vec<&Policy> = uses.filter_map(|used| world.policy(used)).collect();
        let trusted = [&*config.trusted_proxies, &listener.trusted_proxies].concat();
        let of = Asked { files: &world.files, nobody: world.nobody(&policies), trusted: &trusted };
        demands.extend(policies.iter().filter_map(|policy| asked_by(policy, &of)));
        if let Handler::Backends { backends, .. } = &route.handler {
            let asked = |name: &str| -> Vec<Demand> {
                let upstream = world.upstreams.get(name);
                let uses = upstream.into_iter().flat_map(|upstream| &upstream.policies);
                uses.filter_map(|used| asked_by(world.policy(used)?, &of)).collect()
            };
            let own = backends.iter().filter(|backend| backend.weight > 0).map(|backend| &*backend.upstream);
            let mut all = own.chain(policies.iter().flat_map(|policy| policy.leads_to()));
            // What all backends ask for counts, and of two that ask for the same kind the weaker.
            let mut common: Vec<Demand> = all.next().map(&asked).unwrap_or_default();
            for other in all {
                let theirs = asked(other);
                common = common
                    .into_iter()
                    .filter_map(|mine| match theirs.iter().find(|other| mine.implies(&***other)) {
                        Some(weaker) => Some(weaker.clone()),
                        None => theirs.iter().any(|other| other.implies(&*mine)).then_some(mine),
                    })
                    .collect();
            }
            demands.append(&mut common);
        }
        Self(demands)
    }

    /// Whether something that the other asks for is not asked for here.
    pub(super) fn is_weaker_than(&self, other: &Self) -> bool {
        other.0.iter().any(|theirs| !self.0.iter().any(|mine| mine.implies(&**theirs)))
    }

    /// For people.
    pub(super) fn words(&self) -> Vec<String> {
        self.0.iter().map(|demand| demand.words()).collect()
    }
}

fn asked_by(policy: &Policy, of: &Asked<'_>) -> Option<Demand> {
    match policy.place() {
        // With `anonymous`, whoever comes without credentials is let in.
        Place::Authentication(authentication) if authentication.anonymous.is_some() => None,
        Place::Authentication(authentication) => authentication.asks.asks(of),
        Place::Authorization(asks) | Place::IpRestriction(asks) => asks.asks(of),
        // What these ask for has nothing to do with who calls.
        Place::Outermost
        | Place::Cors
        | Place::Waf
        | Place::RateLimit
        | Place::Validation
        | Place::Cache
        | Place::Transform
        | Place::Around => None,
    }
}

impl Terms for Private {
    fn implies(&self, _: &Self) -> bool {
        true
    }

    fn words(&self) -> String {
        if self.is_tls { "TLS" } else { "being on this machine" }.to_owned()
    }
}

impl Terms for Certificate {
    fn implies(&self, other: &Self) -> bool {
        let is_as_strict = match (self.lists, other.lists) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => (mine.0 || !theirs.0) && (mine.1 || !theirs.1),
        };
        is_as_strict && self.authorities.is_subset(&other.authorities) && among(&self.names, &other.names)
    }

    fn words(&self) -> String {
        match &*self.names {
            [] => "client certificate".to_owned(),
            names => format!("client certificate ({})", names.join(", ")),
        }
    }
}
