//! What is around a policy on its route, for rules about settings that do nothing there.

use super::route::World;
use crate::{
    Config, Listener, Phase, Policy, PolicyUse, Route,
    resource::route_match::{Match, PathMatch},
};

/// A policy's route, and what else runs for it.
pub(crate) struct Around<'w> {
    world: &'w World<'w>,
    /// The route.
    pub(crate) route: &'w Route,
    /// Whether a policy of the same kind runs before it, after which a path may be another.
    pub(crate) is_second: bool,
    /// Whether it is a shared one, which may run for other routes, too.
    pub(crate) is_shared: bool,
}

impl<'w> Around<'w> {
    pub(super) fn new(world: &'w World<'w>, route: &'w Route, used: &PolicyUse, is_second: bool) -> Self {
        Self { world, route, is_second, is_shared: matches!(used, PolicyUse::Shared(_)) }
    }

    /// What is around the handler of a route.
    pub(super) fn handler(world: &'w World<'w>, route: &'w Route) -> Self {
        Self { world, route, is_second: false, is_shared: false }
    }

    /// Whether a policy of this kind that stands further out runs before those of the route.
    pub(super) fn has_outer(&self, kind: &str) -> bool {
        let global = self.config().global_policies.iter();
        let outer = global.chain(self.listeners().flat_map(|listener| &listener.policies));
        outer.filter_map(|used| self.world.policy(used)).any(|policy| policy.name() == kind)
    }

    /// What the route matches; everything when empty.
    pub(crate) fn matches(&self) -> &'w [Match] {
        &self.route.matches
    }

    /// Whether the route can match a path that this one matches, too.
    pub(crate) fn may_match(&self, path: &PathMatch) -> bool {
        let meets = |one: &Match| one.path.as_ref().is_none_or(|own| own.may_meet(path));
        self.matches().is_empty() || self.matches().iter().any(meets)
    }

    /// Whether the route takes one of these methods.
    pub(crate) fn may_take(&self, methods: &[&str]) -> bool {
        let takes = |one: &Match| {
            one.methods.is_empty() || one.methods.iter().any(|own| methods.contains(&own.as_str()))
        };
        self.matches().is_empty() || self.matches().iter().any(takes)
    }

    /// Whether something finds out who calls: of the route's, or of an upstream that it may ask.
    pub(crate) fn authenticates(&self) -> bool {
        self.has(|policy| policy.phase() == Phase::Authentication)
    }

    /// Whether some policy is like this, of the route's or of an upstream that it may ask.
    pub(crate) fn has(&self, is_like: impl Fn(&Policy) -> bool) -> bool {
        let mut asked = self.route.handler.upstreams();
        asked.extend(self.all().flatten().flat_map(Policy::leads_to));
        let upstreams = asked.into_iter().filter_map(|name| self.world.upstream(name));
        let theirs = upstreams.flat_map(|one| &one.policies).map(|used| self.world.policy(used));
        !self.world.is_whole() || self.all().chain(theirs).any(|policy| policy.is_none_or(&is_like))
    }

    /// Whether something finds out who calls before the route's policies judge that, on some listener at least.
    pub(super) fn may_know_callers(&self) -> bool {
        let knows = |policy: Option<&Policy>| policy.is_none_or(|one| one.phase() == Phase::Authentication);
        !self.world.is_whole() || self.all().any(knows)
    }

    /// Whether a policy like this runs for every call, on whichever listener it comes.
    pub(crate) fn surely_has(&self, is_like: impl Fn(&Policy) -> bool) -> bool {
        let has = |uses: &[PolicyUse]| uses.iter().filter_map(|used| self.world.policy(used)).any(&is_like);
        let mut listeners = self.listeners().peekable();
        has(&self.route.policies)
            || has(&self.config().global_policies)
            || (listeners.peek().is_some() && listeners.all(|listener| has(&listener.policies)))
    }

    /// Whether something may change the path before the handler has it.
    pub(crate) fn moves_paths(&self) -> bool {
        let of_consumers = self.config().consumers.iter().flat_map(|consumer| &consumer.policies);
        let of_consumers = of_consumers.map(|used| self.world.policy(used));
        self.all().chain(of_consumers).any(|policy| policy.is_none_or(Policy::moves_paths))
    }

    /// Whether something tells more of a caller than its name: the claims of a token, or what is like them.
    pub(crate) fn has_claims(&self) -> bool {
        !self.world.is_whole() || self.all().any(|policy| policy.is_none_or(Policy::tells_claims))
    }

    /// Whether some listener of the route asks clients for certificates.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        let asks = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
        self.listeners().any(asks)
    }

    /// All routes that a policy runs for which is like this.
    pub(crate) fn routes_with<'a>(
        &'a self,
        is_like: impl Fn(&Policy) -> bool + 'a,
    ) -> impl Iterator<Item = &'w Route> + 'a {
        self.config().routes.iter().filter(move |route| {
            let of = Around { route, ..*self };
            of.all().flatten().any(&is_like)
        })
    }

    fn config(&self) -> &'w Config {
        self.world.config()
    }

    fn listeners(&self) -> impl Iterator<Item = &'w Listener> {
        let names = &self.route.listeners;
        let is_here = |one: &&Listener| names.as_ref().is_none_or(|names| names.contains(&one.name));
        self.config().listeners.iter().filter(is_here)
    }

    /// The policies that may run for the route before its upstreams are asked; nothing in place of one that is not known.
    fn all(&self) -> impl Iterator<Item = Option<&'w Policy>> {
        let global = &self.config().global_policies;
        let uses: Vec<&'w PolicyUse> = self
            .route
            .policies
            .iter()
            .chain(global)
            .chain(self.listeners().flat_map(|listener| &listener.policies))
            .collect();
        let world = self.world;
        uses.into_iter().map(move |used| world.policy(used))
    }
}
