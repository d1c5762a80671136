//! The router's law written the slow way: judge every entry of every route on the texts as they are written, and
//! take the best. Knows nothing of trees, maps or compiled rules.

use std::cmp::Ordering;

use model::{
    Route,
    resource::route_match::{HeaderMatch, Match, PathMatch, ValueMatch},
};

use super::RequestView;

/// What the law says of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Route(u32, u16),
    OtherMethod(Vec<String>),
    Nothing,
}

/// Finds by trying everything.
pub(super) fn find(routes: &[Route], request: &RequestView<'_>) -> Told {
    let mut best: Option<(u32, u16, Candidate<'_>)> = None;
    let mut other: Vec<String> = Vec::new();
    for (number, route) in (0..).zip(routes) {
        let Some(host) = best_host(&route.hosts, request.host) else { continue };
        let whole = [Match::default()];
        let entries = if route.matches.is_empty() { &whole[..] } else { &route.matches };
        for (entry, settings) in (0..).zip(entries) {
            if !path_takes(settings.path.as_ref(), request.path) || !predicates_take(settings, request) {
                continue;
            }
            let takes_method = settings.methods.is_empty()
                || settings.methods.iter().any(|method| *method == request.method.as_str());
            if !takes_method {
                other.extend(settings.methods.iter().cloned());
                continue;
            }
            let candidate = Candidate::of(route, settings, host);
            if best.as_ref().is_none_or(|(.., known)| candidate.compare(known).is_lt()) {
                best = Some((number, entry, candidate));
            }
        }
    }
    other.sort();
    other.dedup();
    match best {
        Some((route, entry, _)) => Told::Route(route, entry),
        None if other.is_empty() => Told::Nothing,
        None => Told::OtherMethod(other),
    }
}

/// What the order of two matches is decided by.
struct Candidate<'a> {
    priority: i32,
    host: (u8, usize),
    path: Option<PathText<'a>>,
    has_methods: bool,
    headers: usize,
    query: usize,
}

#[derive(PartialEq)]
enum PathText<'a> {
    Exact,
    Segments(Vec<&'a str>, &'static str),
    Regex,
}

impl<'a> Candidate<'a> {
    fn of(route: &Route, settings: &Match, host: (u8, usize)) -> Candidate<'static> {
        let path = settings.path.as_ref().map(|path| match path {
            PathMatch::Exact(_) => PathText::Exact,
            // A template that captures nothing says what an exact path says.
            PathMatch::Template(text) if !text.contains('{') => PathText::Exact,
            PathMatch::Regex(_) => PathText::Regex,
            PathMatch::Prefix(text) => {
                let text = text.strip_suffix('/').unwrap_or(text);
                PathText::Segments(text.split('/').skip(1).map(|_| "literal").collect(), "prefix")
            }
            PathMatch::Template(text) => {
                let segments = text.split('/').skip(1).map(|segment| match segment {
                    typed if typed.starts_with('{') && typed.contains(':') => "typed",
                    any if any.starts_with('{') => "any",
                    _ => "literal",
                });
                PathText::Segments(segments.collect(), "end")
            }
        });
        Candidate {
            priority: route.priority,
            host,
            path,
            has_methods: !settings.methods.is_empty(),
            headers: settings.headers.len(),
            query: settings.query.len(),
        }
    }

    /// Less is tried first; equal leaves it to the order in the file.
    fn compare(&self, other: &Self) -> Ordering {
        other
            .priority
            .cmp(&self.priority)
            .then(self.host.cmp(&other.host))
            .then_with(|| compare_paths(self.path.as_ref(), other.path.as_ref()))
            .then(other.has_methods.cmp(&self.has_methods))
            .then(other.headers.cmp(&self.headers))
            .then(other.query.cmp(&self.query))
    }
}

fn compare_paths(one: Option<&PathText<'_>>, other: Option<&PathText<'_>>) -> Ordering {
    let everything = PathText::Segments(Vec::new(), "prefix");
    let class = |path: &PathText<'_>| match path {
        PathText::Exact => 0,
        PathText::Segments(..) => 1,
        PathText::Regex => 2,
    };
    let (one, other) = (one.unwrap_or(&everything), other.unwrap_or(&everything));
    let (PathText::Segments(a, a_tail), PathText::Segments(b, b_tail)) = (one, other) else {
        return class(one).cmp(&class(other));
    };
    let worth = |kind: Option<&&str>| match kind {
        Some(&"literal") => 0,
        Some(&"typed") => 1,
        Some(_) => 2,
        None => 3,
    };
    for at in 0..a.len().max(b.len()) {
        let order = worth(a.get(at)).cmp(&worth(b.get(at)));
        if order.is_ne() {
            return order;
        }
    }
    (*a_tail == "prefix").cmp(&(*b_tail == "prefix"))
}

/// The most specific of the route's hosts that takes this one: exact, then the longest wildcard, then none at all.
fn best_host(hosts: &[String], host: Option<&str>) -> Option<(u8, usize)> {
    if hosts.is_empty() {
        return Some((2, 0));
    }
    let host = host?;
    let orders = hosts.iter().filter_map(|pattern| match pattern.strip_prefix('*') {
        Some(suffix) if host.len() > suffix.len() && host.ends_with(suffix) => {
            Some((1, usize::MAX - suffix.len()))
        }
        None if pattern == host => Some((0, 0)),
        _ => None,
    });
    orders.min()
}

fn path_takes(pattern: Option<&PathMatch>, path: &str) -> bool {
    match pattern {
        None => true,
        Some(PathMatch::Exact(text)) => text == path,
        Some(PathMatch::Prefix(text)) => {
            let text = text.strip_suffix('/').unwrap_or(text);
            path == text || path.strip_prefix(text).is_some_and(|rest| rest.starts_with('/'))
        }
        Some(PathMatch::Template(text)) => {
            let (pattern, path): (Vec<_>, Vec<_>) = (text.split('/').collect(), path.split('/').collect());
            pattern.len() == path.len()
                && pattern.iter().zip(path).all(|(pattern, text)| match *pattern {
                    typed if typed.ends_with(":int}") => {
                        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
                    }
                    any if any.starts_with('{') => !text.is_empty(),
                    literal => literal == text,
                })
        }
        Some(PathMatch::Regex(text)) => {
            regex::Regex::new(&format!("^(?:{text})$")).expect("a pattern").is_match(path)
        }
    }
}

fn predicates_take(settings: &Match, request: &RequestView<'_>) -> bool {
    let header = |test: &HeaderMatch| {
        let value = request.headers.get(test.name.to_http()).and_then(|value| value.to_str().ok());
        match &test.exact {
            Some(exact) => value == Some(exact),
            None => value.is_some(),
        }
    };
    let parameter = |test: &ValueMatch| {
        let pairs = request.query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let value = pairs.filter(|(name, _)| *name == test.name).map(|(_, value)| value).next();
        match &test.exact {
            Some(exact) => value == Some(exact),
            None => value.is_some(),
        }
    };
    settings.headers.iter().all(header) && settings.query.iter().all(parameter)
}
