//! Sessions in browsers: two clients of providers do not share a cookie on one host, nor the address at which sign-ins end.

use std::collections::HashMap;

use super::World;
use crate::{
    Policy, PolicyUse, Route,
    load::Context,
    resource::route_match::{Match, PathMatch},
};

/// Sessions that a policy keeps in browsers.
#[derive(Clone, PartialEq)]
pub(crate) struct Sessions<'s> {
    /// The cookie that they are in, as browsers know it.
    pub(crate) cookie: String,
    /// The provider, and what that knows the gateway by: nobody else can read them.
    pub(crate) client: (&'s str, &'s str),
    /// Whether the cookie has no more than an id of them.
    pub(crate) is_elsewhere: bool,
    /// Where sign-ins end.
    pub(crate) callback: String,
    /// How browsers reach the gateway, where that is said.
    pub(crate) public_url: Option<&'s str>,
}

/// Sessions of one route.
struct Kept<'c> {
    route: &'c Route,
    sessions: Sessions<'c>,
}

pub(super) fn check(world: &World<'_>, at: &mut Context<'_, '_>) {
    // By host; the empty one is any. Routes with the same are there once.
    let mut known: HashMap<String, Vec<Kept<'_>>> = HashMap::new();
    at.each("routes", &world.config().routes, |at, route| {
        at.each("policies", &route.policies, |at, used| {
            let Some(policy) = world.policy(used) else { return };
            for sessions in std::iter::once(policy).chain(policy.parts()).filter_map(Policy::sessions) {
                let own = Kept { route, sessions };
                let others: Vec<&Kept<'_>> =
                    hosts(route).iter().filter_map(|host| known.get(host)).flatten().collect();
                if let Some(other) = others.iter().find(|other| other.shares_cookie(&own)) {
                    below(policy, used, "cookie", at, |at| shared_cookie(other, &own, at));
                }
                if let Some(other) = others.iter().find(|other| other.shares_callback(&own)) {
                    below(policy, used, "path", at, |at| shared_callback(other, &own, at));
                }
                for host in hosts(route) {
                    let here = known.entry(host).or_default();
                    if !here.iter().any(|other| other.is_like(&own)) {
                        here.push(Kept { route, sessions: own.sessions.clone() });
                    }
                }
            }
        });
    });
}

/// Goes to a setting of a policy, or to what stands there in its place.
fn below(
    policy: &Policy,
    used: &PolicyUse,
    key: &str,
    at: &mut Context<'_, '_>,
    then: impl FnOnce(&mut Context<'_, '_>),
) {
    match used {
        PolicyUse::Shared(_) => at.field("use", then),
        PolicyUse::Inline(_) if !policy.parts().is_empty() => at.field(policy.name(), then),
        PolicyUse::Inline(_) => at.field(policy.name(), |at| at.field(key, then)),
    }
}

fn shared_cookie(other: &Kept<'_>, own: &Kept<'_>, at: &mut Context<'_, '_>) {
    at.warning_with(
        format!(
            "route `{}` keeps sessions of another client in `{}`, too: on one host, whoever signs in at one is \
             signed out at the other",
            other.route.name, own.sessions.cookie
        ),
        "give each a cookie of its own, such as `cookie: {name: admin-session}`",
    );
}

fn shared_callback(other: &Kept<'_>, own: &Kept<'_>, at: &mut Context<'_, '_>) {
    at.warning_with(
        format!(
            "sign-ins of another client at route `{}` end at `{}`, too: on one host, those of one of them never end",
            other.route.name, own.sessions.callback
        ),
        "give each a `path` of its own that its route matches, such as `path: /admin/oidc`",
    );
}

impl Kept<'_> {
    /// Whether nothing more is to be told of another one.
    fn is_like(&self, other: &Self) -> bool {
        self.sessions == other.sessions
            && self.route.listeners == other.route.listeners
            && self.takes_callback() == other.takes_callback()
    }

    /// Whether both are surely reached under one name.
    fn meets(&self, other: &Self) -> bool {
        let are_on_one_listener = match (&self.route.listeners, &other.route.listeners) {
            (Some(own), Some(others)) => own.iter().any(|name| others.contains(name)),
            _ => true,
        };
        let urls = self.sessions.public_url.zip(other.sessions.public_url);
        are_on_one_listener && urls.is_none_or(|(own, others)| own == others)
    }

    fn shares_cookie(&self, other: &Self) -> bool {
        let (own, others) = (&self.sessions, &other.sessions);
        let are_of_one = (own.client, own.is_elsewhere) == (others.client, others.is_elsewhere);
        own.cookie == others.cookie && !are_of_one && self.meets(other)
    }

    fn shares_callback(&self, other: &Self) -> bool {
        let (own, others) = (&self.sessions, &other.sessions);
        own.callback == others.callback
            && own.client != others.client
            && self.meets(other)
            && self.takes_callback()
            && other.takes_callback()
    }

    /// Whether the route surely matches where sign-ins end.
    fn takes_callback(&self) -> bool {
        let takes = |one: &Match| {
            let rest = Match { path: None, methods: Vec::new(), ..one.clone() };
            let takes_path = match &one.path {
                Some(path @ (PathMatch::Exact(_) | PathMatch::Prefix(_))) => {
                    path.may_match(&self.sessions.callback)
                }
                Some(_) => false,
                None => true,
            };
            let takes_method = one.methods.is_empty() || one.methods.iter().any(|method| method == "GET");
            takes_path && takes_method && rest == Match::default()
        };
        self.route.matches.is_empty() || self.route.matches.iter().any(takes)
    }
}

/// The hosts of a route, of which the empty one is any.
fn hosts(route: &Route) -> Vec<String> {
    match route.hosts.is_empty() {
        true => vec![String::new()],
        false => route.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
    }
}
