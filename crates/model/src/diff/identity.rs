//! What is asked of callers before a route answers, and whether one demand is weaker than another.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    rc::Rc,
};

use super::door::is_public;
use crate::{
    Cidr, Consumer, FilePath, Listener, Policy, PolicyUse, Route, Snapshot, Upstream,
    policy::{Acl, IpRestriction, Jwt},
    resource::{route::Handler, tls::ClientAuthMode},
};

/// Everything that is asked of a caller.
#[derive(Clone, Default)]
pub(super) struct Identity(Vec<Demand>);

#[derive(Clone)]
enum Demand {
    /// Nobody on the way reads along: TLS, or no way beyond this machine.
    Private {
        is_tls: bool,
    },
    /// A certificate that one of these authorities signed, with one of these names.
    Certificate {
        authorities: Parts,
        names: Vec<String>,
    },
    Key,
    Password,
    Token {
        settings: Box<Jwt>,
        keys: Keys,
    },
    Groups(Acl),
    /// The client's address, as these proxies may state it.
    Address(IpRestriction, Vec<Cidr>),
}

/// The certificates or keys in a file, whatever its name.
type Parts = Rc<BTreeSet<String>>;

/// Whose signature a token needs.
#[derive(Clone)]
enum Keys {
    File(Parts),
    Url(Option<String>),
}

/// A configuration by the names that its routes use.
pub(super) struct World<'s> {
    snapshot: &'s Snapshot,
    upstreams: HashMap<&'s str, &'s Upstream>,
    policies: HashMap<&'s str, &'s Policy>,
    consumers: HashMap<&'s str, &'s Consumer>,
    files: RefCell<HashMap<PathBuf, Parts>>,
}

impl<'s> World<'s> {
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        let config = &snapshot.config;
        Self {
            snapshot,
            upstreams: config.upstreams.iter().map(|one| (one.name.as_str(), one)).collect(),
            policies: config.policies.iter().map(|one| (one.name.as_str(), &one.policy)).collect(),
            consumers: config.consumers.iter().map(|one| (one.name.as_str(), one)).collect(),
            files: RefCell::default(),
        }
    }

    fn policy<'a>(&'a self, used: &'a PolicyUse) -> Option<&'a Policy> {
        match used {
            PolicyUse::Inline(policy) => Some(policy),
            PolicyUse::Shared(shared) => self.policies.get(shared.name.as_str()).copied(),
        }
    }

    /// What a file holds, by `split`.
    fn parts(&self, path: &FilePath, split: fn(&[u8]) -> BTreeSet<String>) -> Parts {
        let mut files = self.files.borrow_mut();
        let known = files.entry(path.as_path().to_owned());
        known.or_insert_with(|| Rc::new(split(&self.snapshot.file(path)))).clone()
    }
}

/// The PEM blocks of a file; all of it when it has none.
fn certificates(content: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(content);
    let blocks = text.split("-----BEGIN ").skip(1).filter_map(|block| block.split("-----END ").next());
    let blocks: BTreeSet<String> = blocks.map(|block| block.split_whitespace().collect()).collect();
    if blocks.is_empty() { BTreeSet::from([text.into_owned()]) } else { blocks }
}

/// The keys of a key set; all of the file when it is none.
fn keys(content: &[u8]) -> BTreeSet<String> {
    let set: Option<serde_json::Value> = serde_json::from_slice(content).ok();
    match set.as_ref().and_then(|set| set.get("keys")).and_then(|keys| keys.as_array()) {
        Some(keys) => keys.iter().map(ToString::to_string).collect(),
        None => BTreeSet::from([String::from_utf8_lossy(content).into_owned()]),
    }
}

impl Identity {
    /// What a route on a listener asks for, by all policies that run for it.
    pub(super) fn of(world: &World<'_>, listener: &Listener, route: &Route) -> Self {
        let mut demands = Vec::new();
        if listener.tls.is_some() || !is_public(&listener.address) {
            demands.push(Demand::Private { is_tls: listener.tls.is_some() });
        }
        let auth = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
        if let Some(auth) = auth.filter(|auth| auth.mode == ClientAuthMode::Required) {
            let authorities = world.parts(&auth.ca_file, certificates);
            demands.push(Demand::Certificate { authorities, names: auth.subject_alt_names.clone() });
        }
        let config = &world.snapshot.config;
        let uses = config.global_policies.iter().chain(&listener.policies).chain(&route.policies);
        let policies: Vec<&Policy> = uses.filter_map(|used| world.policy(used)).collect();
        let trusted = [&*config.trusted_proxies, &listener.trusted_proxies].concat();
        let nobody = Nobody::of(world, &policies);
        let demand = |policy: &&Policy| demand(policy, world, &nobody, &trusted);
        demands.extend(policies.iter().filter_map(demand));
        if let Handler::Backends { backends, .. } = &route.handler {
            let asked = |name: &str| -> Vec<Demand> {
                let upstream = world.upstreams.get(name);
                let uses = upstream.into_iter().flat_map(|upstream| &upstream.policies);
                uses.filter_map(|used| demand(&world.policy(used)?)).collect()
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

/// What becomes of who shows nothing.
enum Nobody<'w> {
    /// Refused, or not asked who they are.
    Stays,
    /// They are this consumer.
    Is(&'w Consumer),
}

impl<'w> Nobody<'w> {
    fn of(world: &World<'w>, policies: &[&Policy]) -> Self {
        let mut first = None;
        for policy in policies {
            match authentication(policy) {
                None => {}
                // One that lets nobody pass is enough.
                Some(None) => return Self::Stays,
                Some(Some(name)) => first = first.or(Some(name)),
            }
        }
        let consumer = first.and_then(|name| world.consumers.get(name).copied());
        consumer.map_or(Self::Stays, Self::Is)
    }

    /// Whether a list lets them pass.
    fn passes(&self, list: &Acl) -> bool {
        let Self::Is(consumer) = self else { return false };
        let named = |names: &[String]| {
            names.iter().any(|name| *name == consumer.name || consumer.groups.contains(name))
        };
        (list.allow.is_empty() || named(&list.allow)) && !named(&list.deny)
    }
}

/// The `anonymous` of a policy that finds out who calls.
fn authentication(policy: &Policy) -> Option<Option<&str>> {
    match policy {
        Policy::KeyAuth(settings) => Some(settings.anonymous.as_deref()),
        Policy::BasicAuth(settings) => Some(settings.anonymous.as_deref()),
        Policy::Jwt(settings) => Some(settings.anonymous.as_deref()),
        Policy::Acl(_)
        | Policy::IpRestriction(_)
        | Policy::Cors(_)
        | Policy::RateLimit(_)
        | Policy::ConcurrencyLimit(_)
        | Policy::RequestLimits(_)
        | Policy::Headers(_)
        | Policy::Rewrite(_)
        | Policy::Deprecation(_)
        | Policy::Compress(_)
        | Policy::Decompress(_)
        | Policy::FaultInjection(_) => None,
    }
}

fn demand(policy: &Policy, world: &World<'_>, nobody: &Nobody<'_>, trusted: &[Cidr]) -> Option<Demand> {
    match policy {
        // With `anonymous`, whoever comes without credentials is let in.
        Policy::KeyAuth(settings) => settings.anonymous.is_none().then_some(Demand::Key),
        Policy::BasicAuth(settings) => settings.anonymous.is_none().then_some(Demand::Password),
        Policy::Jwt(settings) => settings.anonymous.is_none().then(|| Demand::Token {
            settings: settings.clone().into(),
            keys: match &settings.jwks.file {
                Some(file) => Keys::File(world.parts(file, keys)),
                None => Keys::Url(settings.jwks.url.clone()),
            },
        }),
        Policy::Acl(settings) => (!nobody.passes(settings)).then(|| Demand::Groups(settings.clone())),
        Policy::IpRestriction(settings) => Some(Demand::Address(settings.clone(), trusted.to_vec())),
        // What these ask for has nothing to do with who calls.
        Policy::Cors(_)
        | Policy::RateLimit(_)
        | Policy::ConcurrencyLimit(_)
        | Policy::RequestLimits(_)
        | Policy::Headers(_)
        | Policy::Rewrite(_)
        | Policy::Deprecation(_)
        | Policy::Compress(_)
        | Policy::Decompress(_)
        | Policy::FaultInjection(_) => None,
    }
}

impl Demand {
    /// Whether who meets this also meets the other.
    fn implies(&self, other: &Self) -> bool {
        match self {
            Self::Private { .. } => matches!(other, Self::Private { .. }),
            Self::Key => matches!(other, Self::Key),
            Self::Password => matches!(other, Self::Password),
            Self::Certificate { authorities, names } => {
                let Self::Certificate { authorities: theirs, names: others } = other else { return false };
                authorities.is_subset(theirs) && among(names, others)
            }
            Self::Token { settings, keys } => {
                let Self::Token { settings: theirs, keys: others } = other else { return false };
                keys.are_among(others) && token_implies(settings, theirs)
            }
            Self::Groups(mine) => {
                let Self::Groups(theirs) = other else { return false };
                among(&mine.allow, &theirs.allow) && theirs.deny.iter().all(|group| mine.deny.contains(group))
            }
            Self::Address(mine, trusted) => {
                let Self::Address(theirs, others) = other else { return false };
                // Whoever is trusted can claim any address.
                let is_true = trusted.iter().all(|one| others.iter().any(|other| other.covers(one)));
                let allowed = theirs.allow.is_empty()
                    || (!mine.allow.is_empty()
                        && mine.allow.iter().all(|one| theirs.allow.iter().any(|other| other.covers(one))));
                is_true
                    && allowed
                    && theirs.deny.iter().all(|one| mine.deny.iter().any(|other| other.covers(one)))
            }
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Private { is_tls: true } => "TLS".into(),
            Self::Private { is_tls: false } => "being on this machine".into(),
            Self::Certificate { names, .. } if names.is_empty() => "client certificate".into(),
            Self::Certificate { names, .. } => format!("client certificate ({})", names.join(", ")),
            Self::Key => "keyAuth".into(),
            Self::Password => "basicAuth".into(),
            Self::Token { settings, .. } => token_words(settings),
            Self::Groups(acl) => {
                format!("acl allow [{}] deny [{}]", acl.allow.join(", "), acl.deny.join(", "))
            }
            Self::Address(rule, _) => {
                let list = |all: &[Cidr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                format!("ipRestriction allow [{}] deny [{}]", list(&rule.allow), list(&rule.deny))
            }
        }
    }
}

impl Keys {
    fn are_among(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::File(mine), Self::File(theirs)) => mine.is_subset(theirs),
            (Self::Url(mine), Self::Url(theirs)) => mine == theirs,
            (Self::File(_), Self::Url(_)) | (Self::Url(_), Self::File(_)) => false,
        }
    }
}

/// Whether every token that one policy takes is taken by another with the same keys.
fn token_implies(mine: &Jwt, theirs: &Jwt) -> bool {
    mine.issuer == theirs.issuer
        && among(&mine.audiences, &theirs.audiences)
        && theirs.required_scopes.iter().all(|scope| mine.required_scopes.contains(scope))
        && theirs.required_claims.iter().all(|(name, value)| match mine.required_claims.get(name) {
            Some(mine) => value.is_null() || mine == value,
            None => false,
        })
        // Where a claim has to name a consumer, a token that names none is refused.
        && (theirs.consumer_claim.is_none() || mine.consumer_claim == theirs.consumer_claim)
        && mine.leeway <= theirs.leeway
}

fn token_words(jwt: &Jwt) -> String {
    let mut words = format!("jwt of {}", jwt.issuer);
    if !jwt.required_scopes.is_empty() {
        words.push_str(&format!(" with {}", jwt.required_scopes.join(", ")));
    }
    if let Some(claim) = &jwt.consumer_claim {
        words.push_str(&format!(" of a consumer by {claim}"));
    }
    words
}

/// Whether a list of what is allowed allows nothing beyond another; an empty one allows everything.
fn among(mine: &[String], theirs: &[String]) -> bool {
    theirs.is_empty() || (!mine.is_empty() && mine.iter().all(|one| theirs.contains(one)))
}
