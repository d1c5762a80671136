//! The router's law written the slow way: judge every entry of every route on the texts as they are written, and
//! take the best. Knows nothing of trees, maps or compiled rules.

use std::cmp::Ordering;

use model::{
    Route,
    resource::route_match::{Match, PathMatch, ValueTest},
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
    others: usize,
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
                let (text, tail) = match text.rsplit_once('/') {
                    Some((before, last)) if last.ends_with("*}") => (before, "rest"),
                    _ => (text.as_str(), "end"),
                };
                let segments = text.split('/').skip(1).map(|segment| match segment {
                    typed if typed.starts_with('{') && typed.contains(':') => "typed",
                    any if any.starts_with('{') => "any",
                    _ => "literal",
                });
                PathText::Segments(segments.collect(), tail)
            }
        });
        Candidate {
            priority: route.priority,
            host,
            path,
            has_methods: !settings.methods.is_empty(),
            headers: settings.headers.len(),
            query: settings.query.len(),
            others: settings.cookies.len()
                + usize::from(!settings.client_address.is_empty())
                + usize::from(!settings.sni.is_empty()),
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
            .then(other.others.cmp(&self.others))
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
    let place = |tail: &str| ["end", "rest", "prefix"].iter().position(|known| *known == tail);
    place(a_tail).cmp(&place(b_tail))
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
        Some(PathMatch::Exact(text)) => spelled(text) == path,
        Some(PathMatch::Prefix(text)) => {
            let text = spelled(text);
            let text = text.strip_suffix('/').unwrap_or(&text);
            path == text || path.strip_prefix(text).is_some_and(|rest| rest.starts_with('/'))
        }
        Some(PathMatch::Template(text)) => {
            let (pattern, path): (Vec<_>, Vec<_>) = (text.split('/').collect(), path.split('/').collect());
            let is_rest = pattern.last().is_some_and(|last| last.ends_with("*}"));
            let fixed = pattern.len() - usize::from(is_rest);
            let fits = if is_rest { path.len() > fixed } else { path.len() == fixed };
            fits && pattern[..fixed].iter().zip(path).all(|(pattern, text)| match *pattern {
                typed if typed.ends_with(":int}") => {
                    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
                }
                typed if typed.ends_with(":uuid}") => {
                    let groups: Vec<&str> = text.split('-').collect();
                    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
                        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
                }
                any if any.starts_with('{') => !text.is_empty(),
                literal => spelled(literal) == text,
            })
        }
        Some(PathMatch::Regex(text)) => {
            regex::Regex::new(&format!("^(?:{text})$")).expect("a pattern").is_match(path)
        }
    }
}

/// A pattern's text in the spelling of paths: escapes of unreserved characters decoded, the others in capitals.
fn spelled(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split('%');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (digits, rest) = part.split_at(2);
        let byte = u8::from_str_radix(digits, 16).expect("an escape");
        match char::from(byte) {
            plain if plain.is_ascii_alphanumeric() || "-._~".contains(plain) => out.push(plain),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out.push_str(rest);
    }
    out
}

fn predicates_take(settings: &Match, request: &RequestView<'_>) -> bool {
    let query: Vec<(&str, &str)> = request
        .query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let cookies: Vec<(&str, &str)> = request
        .headers
        .get_all("cookie")
        .iter()
        .flat_map(|line| line.to_str().unwrap_or_default().split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .collect();
    let named = |pairs: &[(&'_ str, &'_ str)], name: &str| -> Vec<String> {
        pairs.iter().filter(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()).collect()
    };
    settings.headers.iter().all(|one| {
        let values = request.headers.get_all(one.name.to_http()).iter();
        let values: Vec<String> = values.map(|value| value.to_str().unwrap_or_default().to_owned()).collect();
        holds(one.test(), &values)
    }) && settings.query.iter().all(|one| holds(one.test(), &named(&query, &one.name)))
        && settings.cookies.iter().all(|one| holds(one.test(), &named(&cookies, &one.name)))
        && (settings.client_address.is_empty()
            || settings.client_address.iter().any(|network| network.contains(request.client)))
        && (settings.sni.is_empty()
            || request.sni.is_some_and(|sni| best_host(&settings.sni, Some(sni)).is_some()))
}

/// Every value of a repeated name is judged.
fn holds(test: ValueTest<'_>, values: &[String]) -> bool {
    let each = |passes: &dyn Fn(&str) -> bool| !values.is_empty() && values.iter().all(|value| passes(value));
    match test {
        ValueTest::Absent => values.is_empty(),
        ValueTest::Present => !values.is_empty(),
        ValueTest::Exact(text) => each(&|value| value == text),
        ValueTest::Prefix(text) => each(&|value| value.starts_with(text)),
        ValueTest::Regex(text) => {
            let regex = regex::Regex::new(&format!("^(?:{text})$")).expect("a pattern");
            each(&|value| regex.is_match(value))
        }
    }
}
