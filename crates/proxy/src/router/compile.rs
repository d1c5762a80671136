//! From the configuration's routes to a router; all mistakes at once.

use std::{borrow::Cow, fmt};

use model::{Finding, Listener, Route, resource::route_match::Match};

use super::{RouteId, Router, Tier, host::HostPattern, order::rank, pattern::Pattern, rule::Rule, shadow};

/// A mistake in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the route.
    pub route: String,
    /// Key under the route, such as `match[0].path`.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route `{}`, {}: {}", self.route, self.path, self.message)
    }
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Self {
        Self::new(format!("routes/{}", problem.route), problem.path, problem.message)
    }
}

/// Something odd that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Name of the route.
    pub route: String,
    /// Which entry of its `match`.
    pub rule: u16,
    /// What is odd.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route `{}`, match[{}]: {}", self.route, self.rule, self.message)
    }
}

impl From<Warning> for Finding {
    fn from(odd: Warning) -> Self {
        Self::new(format!("routes/{}", odd.route), format!("match[{}]", odd.rule), odd.message)
    }
}

impl Router {
    /// Compiles the routes.
    ///
    /// # Errors
    /// All mistakes of all routes.
    pub fn compile(routes: &[Route], listeners: &[Listener]) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        let mut rules = Vec::with_capacity(routes.len());
        let mut problems = Vec::new();
        for (at, route) in routes.iter().enumerate() {
            let id = RouteId(u32::try_from(at).unwrap_or(u32::MAX));
            compile_route(id, route, listeners, &mut rules, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        rules.sort_by_cached_key(rank);
        let mut router = Self {
            rules,
            tiers: Vec::new(),
            routes: routes.iter().map(|route| route.name.as_str().into()).collect(),
            listeners: listeners.iter().map(|listener| listener.name.as_str().into()).collect(),
        };
        router.plant();
        let warnings = shadow::find(&router);
        Ok((router, warnings))
    }

    /// Puts the sorted rules where requests find them.
    fn plant(&mut self) {
        let mut priority = None;
        for (index, rule) in (0..).zip(&self.rules) {
            if priority != Some(rule.priority) {
                priority = Some(rule.priority);
                self.tiers.push(Tier::default());
            }
            let Some(tier) = self.tiers.last_mut() else { continue };
            for host in &rule.hosts {
                let paths = match host {
                    HostPattern::Exact(name) => tier.exact.entry(name.clone()).or_default(),
                    HostPattern::Wildcard(suffix) => tier.wildcard.entry(suffix.clone()).or_default(),
                    HostPattern::Any => &mut tier.any,
                };
                paths.add(&rule.pattern, index);
            }
        }
        for paths in self.tiers.iter_mut().flat_map(Tier::all_mut) {
            paths.finish();
        }
    }
}

fn compile_route(
    id: RouteId,
    route: &Route,
    listeners: &[Listener],
    rules: &mut Vec<Rule>,
    problems: &mut Vec<Problem>,
) {
    let before = problems.len();
    let mut problem =
        |path: String, message: String| problems.push(Problem { route: route.name.clone(), path, message });
    let mut hosts = Vec::with_capacity(route.hosts.len().max(1));
    for (at, host) in route.hosts.iter().enumerate() {
        match HostPattern::compile(host) {
            Ok(host) if hosts.contains(&host) => {}
            Ok(host) => hosts.push(host),
            Err(message) => problem(format!("hosts[{at}]"), message),
        }
    }
    if route.hosts.is_empty() {
        hosts.push(HostPattern::Any);
    }
    let on = match on_listeners(route, listeners) {
        Ok(on) => on,
        Err((at, message)) => {
            problem(format!("listeners[{at}]"), message);
            None
        }
    };
    let merge_slashes = merges_slashes(on.as_deref(), listeners);
    let matches: Cow<'_, [Match]> = if route.matches.is_empty() {
        vec![Match::default()].into()
    } else {
        route.matches.as_slice().into()
    };
    for (entry, settings) in matches.iter().enumerate() {
        let number = u16::try_from(entry).unwrap_or(u16::MAX);
        let pattern = match Pattern::compile(settings.path.as_ref(), merge_slashes) {
            Ok(pattern) => pattern,
            Err(message) => {
                problem(format!("match[{entry}].path"), message);
                continue;
            }
        };
        match Rule::compile((id, route), (number, settings), pattern, hosts.clone().into(), on.clone()) {
            Ok(rule) => rules.push(rule),
            Err(mistakes) => {
                for (key, message) in mistakes {
                    problem(format!("match[{entry}].{key}"), message);
                }
            }
        }
    }
    // A route whose host or listener is wrong must not be taken for one that is for all of them.
    if problems.len() > before {
        rules.retain(|rule| rule.route != id);
    }
}

/// By index of the listener, or which name is unknown.
fn on_listeners(route: &Route, listeners: &[Listener]) -> Result<Option<Box<[bool]>>, (usize, String)> {
    let Some(names) = &route.listeners else { return Ok(None) };
    let mut on = vec![false; listeners.len()];
    for (at, name) in names.iter().enumerate() {
        match listeners.iter().position(|listener| listener.name == *name) {
            Some(index) => on[index] = true,
            None => return Err((at, format!("there is no listener `{name}`"))),
        }
    }
    Ok(Some(on.into()))
}

/// Whether paths have their runs of slashes merged on every listener that the route is on.
fn merges_slashes(on: Option<&[bool]>, listeners: &[Listener]) -> bool {
    let is_on = |index: usize| on.is_none_or(|on| on[index]);
    let mut used = listeners.iter().enumerate().filter(|(index, _)| is_on(*index));
    used.all(|(_, listener)| listener.path.merge_slashes.unwrap_or(true))
}
