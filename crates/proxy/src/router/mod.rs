//! The router: from host, path and predicates to a compiled route.
//!
//! Rules are sorted once, when a snapshot is built; a request is answered by the first one that takes it. Hosts and
//! exact paths are looked up in maps and segment patterns in a tree, so that the number of routes does not show.

mod captures;
mod compile;
mod explain;
mod host;
mod order;
mod pattern;
mod preflight;
mod rule;
mod shadow;
mod tree;
mod value;

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use http::{HeaderMap, HeaderValue, Method};

pub(crate) use self::pattern::{PathTest, prefixes_of};
pub use self::{
    captures::Captures,
    compile::{Problem, Warning},
    explain::{Explanation, NearMiss, TableRow},
};
pub(crate) use self::{
    captures::CapturesView,
    preflight::is_preflight,
    value::{cookies, parameters},
};
use self::{
    host::any_suffix,
    rule::{Rule, Verdict},
    tree::{Paths, Visit},
};

/// A route, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// What the router looks at.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// Index of the listener in the configuration.
    pub listener: usize,
    /// The host asked for, in small letters and without its port.
    pub host: Option<&'a str>,
    /// The canonical path.
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// The client's true address.
    pub client: IpAddr,
    /// The name asked for in the TLS handshake.
    pub sni: Option<&'a str>,
    /// Whether the client's connection is TLS.
    pub tls: bool,
}

/// What the router found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A route takes the request.
    Route {
        /// Which.
        id: RouteId,
        /// Which entry of its `match`.
        rule: u16,
    },
    /// Routes would take it with another method: 405.
    MethodNotAllowed {
        /// The methods of these routes, sorted.
        allow: HeaderValue,
    },
    /// No route: 404.
    NotFound,
}

/// All routes of a snapshot, ready to match.
#[derive(Debug)]
pub struct Router {
    /// In match order, whatever their hosts; everything below refers to them by index.
    rules: Vec<Rule>,
    /// By priority, the highest first.
    tiers: Vec<Tier>,
    /// Names of routes, by their place in the configuration.
    routes: Vec<Box<str>>,
    /// Names of listeners, by their place in the configuration.
    listeners: Vec<Box<str>>,
}

/// The rules of one priority, by host.
#[derive(Debug, Default)]
struct Tier {
    exact: HashMap<Box<str>, Paths>,
    /// By the suffix after `*.`.
    wildcard: HashMap<Box<str>, Paths>,
    any: Paths,
}

impl Router {
    /// The first rule in match order that takes the request.
    pub fn find(&self, request: &RequestView<'_>, captures: &mut Captures) -> Found {
        captures.clear();
        let mut found = None;
        let mut other_method = false;
        self.visit(request, &mut |index, ranges| {
            let rule = &self.rules[index as usize];
            if other_method && !rule.takes_method(request.method) {
                return false;
            }
            match rule.judge(request, ranges, self) {
                Verdict::Match => {
                    captures.set(&rule.pattern.names, ranges);
                    found = Some(Found::Route { id: rule.route, rule: rule.entry });
                    true
                }
                Verdict::OtherMethod => {
                    other_method = true;
                    false
                }
                Verdict::No => false,
            }
        });
        match found {
            Some(found) => found,
            None if other_method => Found::MethodNotAllowed { allow: self.allow(request) },
            None => Found::NotFound,
        }
    }

    /// The name of a route.
    pub fn route_name(&self, id: RouteId) -> &str {
        self.routes.get(id.0 as usize).map_or("", |name| name)
    }

    /// Methods of all rules that would take the request with another one.
    fn allow(&self, request: &RequestView<'_>) -> HeaderValue {
        let mut methods = BTreeSet::new();
        self.visit(request, &mut |index, ranges| {
            let rule = &self.rules[index as usize];
            if rule.judge(request, ranges, self) == Verdict::OtherMethod {
                rule.allow(&mut methods);
            }
            false
        });
        let methods = methods.into_iter().collect::<Vec<_>>().join(", ");
        HeaderValue::try_from(methods).unwrap_or(HeaderValue::from_static(""))
    }

    /// Visits rules whose host and path match, in match order, until the visitor stops.
    fn visit(&self, request: &RequestView<'_>, visit: &mut Visit<'_>) {
        let lower;
        let host = match request.host {
            Some(host) if host.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                lower = host.to_ascii_lowercase();
                Some(lower.as_str())
            }
            host => host,
        };
        for tier in &self.tiers {
            if tier.visit(host, request.path, &self.rules, visit) {
                return;
            }
        }
    }
}

impl Tier {
    fn visit(&self, host: Option<&str>, path: &str, rules: &[Rule], visit: &mut Visit<'_>) -> bool {
        if let Some(host) = host {
            if let Some(paths) = self.exact.get(host)
                && paths.visit(path, rules, visit)
            {
                return true;
            }
            if !self.wildcard.is_empty()
                && any_suffix(host, |suffix| {
                    self.wildcard.get(suffix).is_some_and(|paths| paths.visit(path, rules, visit))
                })
            {
                return true;
            }
        }
        self.any.visit(path, rules, visit)
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Paths> {
        self.exact.values_mut().chain(self.wildcard.values_mut()).chain([&mut self.any])
    }
}
