//! Why a request goes where it goes: the match in words, and the near misses.

use std::cmp::Reverse;

use super::{
    Captures, Found, RequestView, RouteId, Router,
    host::HostPattern,
    order::place,
    rule::{Rule, join},
    tree::RuleIndex,
};

/// At most this many near misses are told.
const NEAR_MISSES_MAX: usize = 20;
/// Of rules for any host whose path is another one, as many are told where there is no route at all.
const NEAREST_MAX: usize = 5;

/// How many characters a path and a pattern of paths have in common from their beginning.
fn in_common(pattern: &str, path: &str) -> usize {
    let pattern = pattern.trim_start_matches(['=', '~', ' ']);
    pattern.chars().zip(path.chars()).take_while(|(one, other)| one == other).count()
}

/// What the router does with a request, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What it found.
    pub found: Found,
    /// Name of the route that was found.
    pub route: Option<String>,
    /// What held, one line each.
    pub why: Vec<String>,
    /// Captured values.
    pub captures: Vec<(String, String)>,
    /// Rules that were close: in match order, or where there is no route, the ones with the nearest path first.
    pub near_misses: Vec<NearMiss>,
    /// How many more there were.
    pub left_out: usize,
}

/// A rule whose host or path matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// Name of the route.
    pub route: String,
    /// Which entry of its `match`.
    pub rule: u16,
    /// What did not hold, one line each.
    pub reasons: Vec<String>,
}

/// A rule under one of its hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRow {
    /// The route.
    pub id: RouteId,
    /// Name of the route.
    pub route: String,
    /// Which entry of its `match`.
    pub rule: u16,
    /// Its priority.
    pub priority: i32,
    /// The host; `*` for any.
    pub host: String,
    /// The path: `= /exact`, `/prefix/*`, `/template/{id}` or `~ regex`.
    pub path: String,
    /// Methods; any when empty.
    pub methods: Vec<String>,
    /// Listeners; all when `None`.
    pub listeners: Option<Vec<String>>,
    /// What else must hold, one line each.
    pub predicates: Vec<String>,
}

impl Router {
    /// All rules, in match order.
    pub fn table(&self) -> Vec<TableRow> {
        self.in_order().into_iter().map(|(index, host)| self.row(&self.rules[index as usize], host)).collect()
    }

    /// Why a request goes where it goes. This looks at every rule: it is for people, not for traffic.
    pub fn explain(&self, request: &RequestView<'_>) -> Explanation {
        let mut captures = Captures::default();
        let found = self.find(request, &mut captures);
        let taken = match found {
            Found::Route { id, rule } => Some((id, rule)),
            _ => None,
        };
        let lower = request.host.map(str::to_ascii_lowercase);
        let host = lower.as_deref();
        let (mut route, mut why, mut near, mut far) = (None, Vec::new(), Vec::new(), Vec::new());
        let is_lost = matches!(found, Found::NotFound);
        for (index, pattern) in self.in_order() {
            let rule = &self.rules[index as usize];
            let (host_ok, ranges) = (pattern.matches(host), rule.pattern.matches(request.path));
            let is_far = pattern == &HostPattern::Any && ranges.is_none();
            if !host_ok && (ranges.is_none() || host.is_none()) || (is_far && !is_lost) {
                continue;
            }
            let mut reasons = Vec::new();
            if !host_ok {
                reasons.push(format!("host is not {pattern}"));
            }
            match &ranges {
                None => reasons.push(format!("path is not {}", rule.pattern)),
                Some(ranges) => self.failing(rule, request, ranges, &mut reasons),
            }
            if reasons.is_empty() && route.is_none() && taken == Some((rule.route, rule.entry)) {
                route = Some(self.route_name(rule.route).to_owned());
                why = self.reasons_for(rule, pattern);
                continue;
            }
            if reasons.is_empty() {
                reasons.push("matches too, but comes later in the order".to_owned());
            }
            let closeness = match ranges {
                Some(_) => usize::MAX,
                None => in_common(&rule.pattern.to_string(), request.path),
            };
            let name = self.route_name(rule.route).to_owned();
            let miss = (closeness, NearMiss { route: name, rule: rule.entry, reasons });
            if is_far { far.push(miss) } else { near.push(miss) }
        }
        let nearest_first = |misses: &mut Vec<(usize, NearMiss)>| misses.sort_by_key(|miss| Reverse(miss.0));
        nearest_first(&mut far);
        near.extend(far.into_iter().take(NEAREST_MAX));
        if is_lost {
            nearest_first(&mut near);
        }
        let left_out = near.len().saturating_sub(NEAR_MISSES_MAX);
        let near_misses = near.into_iter().take(NEAR_MISSES_MAX).map(|(_, miss)| miss).collect();
        let captures = captures.iter(request.path).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let captures = captures.collect();
        Explanation { found, route, why, captures, near_misses, left_out }
    }

    /// Rules under each of their hosts, in match order.
    fn in_order(&self) -> Vec<(RuleIndex, &HostPattern)> {
        let entries = (0..).zip(&self.rules);
        let mut all: Vec<_> =
            entries.flat_map(|(index, rule)| rule.hosts.iter().map(move |host| (index, host))).collect();
        all.sort_by_key(|(index, host)| place(&self.rules[*index as usize], host, *index));
        all
    }

    fn row(&self, rule: &Rule, host: &HostPattern) -> TableRow {
        TableRow {
            id: rule.route,
            route: self.route_name(rule.route).to_owned(),
            rule: rule.entry,
            priority: rule.priority,
            host: host.to_string(),
            path: rule.pattern.to_string(),
            methods: rule.methods.iter().map(ToString::to_string).collect(),
            listeners: rule.listeners.as_deref().map(|on| self.listener_names(on)),
            predicates: rule.describe_predicates(),
        }
    }

    fn listener_names(&self, on: &[bool]) -> Vec<String> {
        self.listeners.iter().zip(on).filter(|(_, on)| **on).map(|(name, _)| name.to_string()).collect()
    }

    fn reasons_for(&self, rule: &Rule, host: &HostPattern) -> Vec<String> {
        let mut why = vec![format!("host is {host}"), format!("path is {}", rule.pattern)];
        if !rule.methods.is_empty() {
            why.push(format!("method is one of {}", join(&rule.methods)));
        }
        if let Some(on) = &rule.listeners {
            why.push(format!("listener is one of {}", self.listener_names(on).join(", ")));
        }
        if rule.priority != 0 {
            why.push(format!("priority {}", rule.priority));
        }
        why.extend(rule.describe_predicates());
        why
    }

    /// Predicates that do not hold.
    fn failing(
        &self,
        rule: &Rule,
        request: &RequestView<'_>,
        ranges: &super::captures::Ranges,
        reasons: &mut Vec<String>,
    ) {
        if let Some(on) = rule.listeners.as_deref().filter(|_| !rule.takes_listener(request.listener)) {
            reasons.push(format!("listener is not one of {}", self.listener_names(on).join(", ")));
        }
        if !rule.takes_method(request.method) {
            reasons.push(format!("method {} is not one of {}", request.method, join(&rule.methods)));
        }
        let mut not = |holds: bool, what: String| {
            if !holds {
                reasons.push(format!("not so: {what}"));
            }
        };
        for test in &rule.headers {
            not(test.holds(request.headers), test.describe());
        }
        for test in &rule.query {
            not(test.holds_in_query(request.query), test.describe("query"));
        }
        for test in &rule.cookies {
            not(test.holds_in_cookies(request.headers), test.describe("cookie"));
        }
        not(rule.takes_client(request), format!("client {} in {}", request.client, join(&rule.clients)));
        not(rule.takes_sni(request.sni), format!("sni {}", join(&rule.sni)));
        if let Some((text, _)) = &rule.when {
            not(rule.when_holds(request, ranges, self), format!("when {text}"));
        }
    }
}
