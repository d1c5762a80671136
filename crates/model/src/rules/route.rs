//! Rules of routes.

use std::collections::HashMap;

use super::Around;
use crate::{
    Config, Listener, Phase, Policy, PolicyUse, Route, Upstream,
    load::{Context, scope::Named},
    resource::{
        path_template::PathTemplate,
        route::{Backend, Handler, Sticky},
        route_match::{Match, PathMatch},
    },
};

/// What the rules of a route look up, prepared once for all routes.
pub(crate) struct World<'c> {
    config: &'c Config,
    upstreams: HashMap<&'c str, &'c Upstream>,
    policies: HashMap<&'c str, &'c Policy>,
    /// Whether nothing of the configuration was left out as wrong: what was might be what finds out who calls.
    is_whole: bool,
}

impl<'c> World<'c> {
    pub(super) fn new(config: &'c Config, is_whole: bool) -> Self {
        Self {
            config,
            upstreams: config.upstreams.iter().map(|upstream| (upstream.name.as_str(), upstream)).collect(),
            policies: config.policies.iter().map(|named| (named.name.as_str(), &named.policy)).collect(),
            is_whole,
        }
    }

    /// Whether nothing of the configuration was left out as wrong.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(crate) fn config(&self) -> &'c Config {
        self.config
    }

    /// An upstream by its name.
    pub(crate) fn upstream(&self, name: &str) -> Option<&'c Upstream> {
        self.upstreams.get(name).copied()
    }

    pub(super) fn policy<'p>(&self, used: &'p PolicyUse) -> Option<&'p Policy>
    where
        'c: 'p,
    {
        match used {
            PolicyUse::Inline(policy) => Some(policy),
            PolicyUse::Shared(shared) => self.policies.get(shared.name.as_str()).copied(),
        }
    }

    fn authenticates(&self, policies: &[PolicyUse]) -> bool {
        policies.iter().any(|used| match self.policy(used) {
            Some(policy) => policy.phase() == Phase::Authentication,
            // Unknown or wrong: it is reported elsewhere.
            None => true,
        })
    }

    /// Whether something authenticates before a route, wherever it is; or might, had it been written right.
    pub(crate) fn knows_callers(&self, route: &Route) -> bool {
        let on_all = |listeners: &[Listener]| {
            let mut here = listeners.iter().filter(|listener| match &route.listeners {
                Some(names) => names.contains(&listener.name),
                None => true,
            });
            here.all(|listener| self.authenticates(&listener.policies))
        };
        !self.is_whole
            || self.authenticates(&route.policies)
            || self.authenticates(&self.config.global_policies)
            || on_all(&self.config.listeners)
    }
}

pub(super) fn check(route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
    at.each("listeners", route.listeners.as_deref().unwrap_or_default(), |at, name| {
        at.refer(Named::Listener, name)
    });
    if route.listeners.as_ref().is_some_and(Vec::is_empty) {
        at.field("listeners", |at| at.error("a route on no listener can never match"));
    }
    at.each("match", &route.matches, one_match);
    super::policies::check("policies", &route.policies, at);
    if !route.handler.asks_models() {
        of_ai(route, world, at);
    }
    acl_needs_identity(route, world, at);
    open_models(route, world, at);
    fitting(route, world, at);
    tries(route, world, at);
    if route.path.merge_slashes.is_some() {
        at.field("path", |at| {
            at.field("mergeSlashes", |at| {
                at.error_with(
                    "slashes are merged before a route is looked for",
                    "set it under the listener's `path`",
                );
            });
        });
    }
    if let Some(host) = &route.host_header {
        at.field("hostHeader", |at| super::upstream::host_header(host, at));
    }
    if !matches!(route.handler, Handler::Backends { .. }) {
        let only = ["sticky", "websocket", "timeouts", "retry", "hostHeader"];
        let count = if route.handler.has_tries() { 2 } else { only.len() };
        let written: Vec<&str> = only.into_iter().take(count).filter(|key| at.is_written(key)).collect();
        for key in written {
            let name = route.handler.name();
            at.field(key, |at| {
                at.error(format!("only `backends` have `{key}`, and this route has `{name}`"))
            });
        }
    }
    match &route.handler {
        Handler::Backends { backends, sticky } => self::backends(backends, sticky.as_ref(), at),
        handler => at.field(handler.name(), |at| handler.validate(route, world, at)),
    }
}

/// What bounds models has nothing to do where no route leads to any.
pub(super) fn for_no_models(world: &World<'_>, at: &mut Context<'_, '_>) {
    let routes = &world.config.routes;
    let are_known = at.field("routes", |at| !at.is_tainted());
    if !are_known || routes.iter().any(|route| route.handler.asks_models()) {
        return;
    }
    at.each("globalPolicies", &world.config.global_policies, |at, used| {
        if let Some(policy) = world.policy(used).filter(|policy| policy.is_of_ai()) {
            at.warning(format!(
                "`{}` has no effect: no route has `ai`, `prompt`, or `mcp` with `models` or `prompts`",
                policy.name()
            ));
        }
    });
}

/// What the AI gateway does, no other handler does.
fn of_ai(route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
    at.each("policies", &route.policies, |at, used| {
        if let Some(policy) = world.policy(used).filter(|policy| policy.is_of_ai()) {
            let message = format!(
                "`{}` has no effect on a route without `ai`, `prompt`, or `mcp` with `models` or `prompts`",
                policy.name()
            );
            at.error_with(message, "attach it to a route with one of these, or to a consumer");
        }
    });
}

fn one_match(at: &mut Context<'_, '_>, one: &Match) {
    let tests = |exact: &Option<_>, prefix: &Option<_>, regex: &Option<_>, present: &Option<_>| {
        [exact.is_some(), prefix.is_some(), regex.is_some(), present.is_some()]
            .iter()
            .filter(|given| **given)
            .count()
    };
    if let Some(path) = &one.path {
        at.field("path", |at| path.validate(at));
    }
    let wrong = "expected at most one of `exact`, `prefix`, `regex` and `present`";
    at.each("headers", &one.headers, |at, header| {
        if tests(&header.exact, &header.prefix, &header.regex, &header.present.map(|_| String::new())) > 1 {
            at.error(wrong);
        }
    });
    for (key, values) in [("query", &one.query), ("cookies", &one.cookies)] {
        at.each(key, values, |at, value| {
            if tests(&value.exact, &value.prefix, &value.regex, &value.present.map(|_| String::new())) > 1 {
                at.error(wrong);
            }
        });
    }
    at.each("sni", &one.sni, |at, name| {
        if !crate::load::format::host(name.strip_prefix("*.").unwrap_or(name)) {
            at.error("expected a host or `*.host`");
        }
    });
}

fn backends(backends: &[Backend], sticky: Option<&Sticky>, at: &mut Context<'_, '_>) {
    if backends.is_empty() {
        at.field("backends", |at| at.error("expected at least one backend"));
    } else if backends.iter().all(|backend| backend.weight == 0) {
        at.field("backends", |at| at.error("all weights are 0: nothing would take a request"));
    }
    let mut seen: Vec<&str> = Vec::new();
    at.each("backends", backends, |at, backend| {
        at.field("upstream", |at| {
            at.refer(Named::Upstream, &backend.upstream);
            if seen.contains(&backend.upstream.as_str()) {
                at.error("this upstream is there twice; add the weights up");
            }
        });
        seen.push(&backend.upstream);
    });
    match sticky {
        Some(Sticky::Consumer(false)) => at.field("sticky", |at| {
            at.field("consumer", |at| at.error("expected `true`; leave `sticky` out to turn it off"));
        }),
        Some(Sticky::Cookie(cookie))
            if cookie.secure == Some(false) && cookie.same_site == crate::resource::route::SameSite::None =>
        {
            at.field("sticky", |at| {
                at.field("cookie", |at| at.error("`sameSite: none` needs a secure cookie"))
            });
        }
        _ => {}
    }
}

fn tries(route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
    at.field("timeouts", |at| {
        let written = &route.timeouts;
        if *written == Default::default() {
            return;
        }
        let backends = if route.handler.has_tries() { route.handler.upstreams() } else { Vec::new() };
        // Over each upstream's own: what is written here must fit all of them.
        let upstream = backends.iter().find_map(|upstream| world.upstreams.get(upstream));
        let base = upstream.map(|upstream| upstream.timeouts.clone()).unwrap_or_default();
        super::upstream::timeouts(&written.apply(&base), at);
    });
    if let Some(backoff) = &route.retry.backoff {
        at.field("retry", |at| at.field("backoff", |at| super::upstream::backoff(backoff, at)));
    }
}

/// Who is asked for no credentials asks models at the cost of whoever has the providers' keys.
fn open_models(route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
    let has_keys = || world.config.ai.iter().flat_map(|ai| &ai.providers).any(super::ai::has_credentials);
    let pays = route.handler.has_credentials() || route.handler.asks_models() && has_keys();
    let is_narrow =
        !route.matches.is_empty() && route.matches.iter().all(|one| !one.client_address.is_empty());
    if !pays
        || is_narrow
        || world.knows_callers(route)
        || Around::handler(world, route).surely_has(Policy::narrows)
    {
        return;
    }
    at.field(route.handler.name(), |at| {
        at.warning(
            "no policy authenticates: this is open to everybody, at the cost of the keys that are configured",
        );
    });
}

/// An access list without anything that tells who calls would refuse everybody; what judges by conditions need not know who
/// that is.
fn acl_needs_identity(route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
    let policies: Vec<Option<&Policy>> = route.policies.iter().map(|used| world.policy(used)).collect();
    let Some(position) =
        policies.iter().position(|policy| policy.is_some_and(Policy::lets_in_nobody_unknown))
    else {
        return;
    };
    if !world.knows_callers(route) && !Around::handler(world, route).may_know_callers() {
        at.field("policies", |at| {
            at.item(position, |at| {
                at.warning("nothing authenticates before this list: it refuses everybody")
            });
        });
    }
}

/// What a policy takes from the match, each match must have, and what it says must be of use here.
fn fitting(route: &Route, world: &World<'_>, at: &mut Context<'_, '_>) {
    let offered: Vec<Vec<String>> = route.matches.iter().map(captures).collect();
    let mut before: Vec<&str> = Vec::new();
    at.each("policies", &route.policies, |at, used| {
        let Some(policy) = world.policy(used) else { return };
        let mut around = Around::new(world, route, used, before.contains(&policy.name()));
        around.is_second |= around.has_outer(policy.name());
        before.push(policy.name());
        match used {
            PolicyUse::Inline(_) => at.field(policy.name(), |at| {
                policy.validate_captures(&offered, at);
                policy.validate_around(&around, at);
            }),
            PolicyUse::Shared(_) => at.field("use", |at| policy.validate_around(&around, at)),
        }
        if policy.is_for_upstreams() && route.handler.answers_itself() {
            at.warning(format!(
                "`{}` has no effect here: `{}` asks no upstream",
                policy.name(),
                route.handler.name()
            ));
        }
    });
}

/// Names of the captures that a match offers.
pub(super) fn captures(one: &Match) -> Vec<String> {
    match &one.path {
        Some(PathMatch::Template(template)) => template
            .parse::<PathTemplate>()
            .map(|t| t.captures().map(str::to_owned).collect())
            .unwrap_or_default(),
        Some(PathMatch::Regex(pattern)) => {
            let built =
                regex::RegexBuilder::new(pattern).size_limit(crate::load::format::REGEX_BYTES_MAX).build();
            built
                .map(|regex| regex.capture_names().flatten().map(str::to_owned).collect())
                .unwrap_or_default()
        }
        _ => Vec::new(),
    }
}
