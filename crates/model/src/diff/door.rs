//! Doors: every listener, host, path and method under which something answers, in the order of matching.

use std::cmp::Reverse;

use serde_json::Value;

use super::{Exposure, identity::Identity};
use crate::{
    Listener, Route, Snapshot,
    resource::route_match::{Match, PathMatch},
};

/// One way in.
pub(super) struct Door {
    listener: String,
    /// Whether the listener can be reached from other machines.
    is_public: bool,
    host: String,
    path: Option<PathMatch>,
    pub(super) methods: Vec<String>,
    /// What else must hold, as the configuration writes it.
    conditions: Vec<Value>,
    pub(super) route: String,
    pub(super) identity: Identity,
    rank: Rank,
}

/// The order of matching, as the router has it: priority, host, path, whether methods are named, how many headers,
/// query parameters and other conditions; the rest is the order in the file.
type Rank = (Reverse<i32>, (u8, Reverse<usize>), (u8, Vec<u8>), bool, [Reverse<usize>; 3]);

/// All ways in, the one that is tried first in front.
pub(super) fn doors(snapshot: &Snapshot) -> Vec<Door> {
    let config = &snapshot.config;
    let mut doors = Vec::new();
    // A listener that redirects everything leads nowhere.
    for listener in config.listeners.iter().filter(|listener| listener.https_target().is_none()) {
        for route in &config.routes {
            if route.listeners.as_ref().is_some_and(|names| !names.contains(&listener.name)) {
                continue;
            }
            let identity = Identity::of(snapshot, listener, route);
            let any = [Match::default()];
            let matches = if route.matches.is_empty() { &any[..] } else { &route.matches };
            let hosts = if route.hosts.is_empty() { vec!["*".to_owned()] } else { route.hosts.clone() };
            for host in &hosts {
                doors.extend(matches.iter().map(|one| door(listener, route, host, one, &identity)));
            }
        }
    }
    doors.sort_by(|a: &Door, b| a.rank.cmp(&b.rank));
    doors
}

fn door(listener: &Listener, route: &Route, host: &str, one: &Match, identity: &Identity) -> Door {
    let host = host.to_ascii_lowercase();
    let mut conditions: Vec<Value> = Vec::new();
    if let Ok(Value::Object(all)) = serde_json::to_value(one) {
        let kept = all.into_iter().filter(|(key, _)| key != "path" && key != "methods");
        for (key, value) in kept {
            match value {
                Value::Null => {}
                Value::Array(items) if key == "clientAddress" || key == "sni" => {
                    // Any of them will do: a longer list asks for less, so a list is one condition.
                    if !items.is_empty() {
                        conditions.push(Value::Array(vec![key.into(), Value::Array(items)]));
                    }
                }
                Value::Array(items) => {
                    conditions
                        .extend(items.into_iter().map(|item| Value::Array(vec![key.clone().into(), item])));
                }
                other => conditions.push(Value::Array(vec![key.into(), other])),
            }
        }
    }
    let host_rank = if host == "*" { 2 } else { u8::from(host.starts_with("*.")) };
    let others = one.cookies.len()
        + usize::from(!one.client_address.is_empty())
        + usize::from(!one.sni.is_empty())
        + usize::from(one.when.is_some());
    Door {
        listener: format!("{} ({})", listener.name, listener.address),
        is_public: is_public(&listener.address),
        rank: (
            Reverse(route.priority),
            (host_rank, Reverse(host.len())),
            path_rank(one.path.as_ref()),
            one.methods.is_empty(),
            [Reverse(one.headers.len()), Reverse(one.query.len()), Reverse(others)],
        ),
        host,
        path: one.path.clone(),
        methods: one.methods.iter().map(|method| method.to_ascii_uppercase()).collect(),
        conditions,
        route: route.name.clone(),
        identity: identity.clone(),
    }
}

/// Exact paths, then segment by segment (a literal, a typed capture, any capture; then the end, the rest, a
/// prefix), then regular expressions.
fn path_rank(path: Option<&PathMatch>) -> (u8, Vec<u8>) {
    let segments = |text: &str, end: u8| {
        let mut kinds: Vec<u8> = Vec::new();
        for segment in text.split('/').filter(|segment| !segment.is_empty()) {
            kinds.push(match segment.strip_prefix('{') {
                None => 0,
                Some(rest) if rest.ends_with("*}") => 4,
                Some(rest) if rest.contains(':') => 1,
                Some(_) => 2,
            });
        }
        if kinds.last() != Some(&4) {
            kinds.push(end);
        }
        (1, kinds)
    };
    match path {
        Some(PathMatch::Exact(_)) => (0, Vec::new()),
        Some(PathMatch::Template(text)) if !text.contains('{') => (0, Vec::new()),
        Some(PathMatch::Template(text)) => segments(text, 3),
        Some(PathMatch::Prefix(text)) => segments(text, 5),
        Some(PathMatch::Regex(_)) => (2, Vec::new()),
        None => segments("/", 5),
    }
}

/// Whether an address takes connections from other machines.
fn is_public(address: &str) -> bool {
    let ip = address.rsplit_once(':').map(|(ip, _)| ip.trim_matches(['[', ']']));
    let is_local = ip.and_then(|ip| ip.parse::<std::net::IpAddr>().ok()).is_some_and(|ip| ip.is_loopback());
    !(is_local || address.starts_with("unix:"))
}

impl Door {
    /// Whether everything that comes through the other door comes through this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        covers_methods(&self.methods, &other.methods) && self.covers_but_methods(other)
    }

    /// The same, whatever the methods.
    pub(super) fn covers_but_methods(&self, other: &Self) -> bool {
        (self.is_public || !other.is_public)
            && covers_host(&self.host, &other.host)
            && covers_path(self.path.as_ref(), other.path.as_ref())
            && self.conditions.iter().all(|condition| other.conditions.contains(condition))
    }

    /// Whether this method comes through; `None` is any that nobody names.
    pub(super) fn takes(&self, method: Option<&str>) -> bool {
        self.methods.is_empty()
            || method.is_some_and(|method| self.methods.iter().any(|known| known == method))
    }

    pub(super) fn exposure(&self, kind: &'static str, before: Option<&Self>) -> Exposure {
        Exposure {
            kind,
            listener: self.listener.clone(),
            host: self.host.clone(),
            path: match &self.path {
                None => "/*".to_owned(),
                Some(PathMatch::Exact(text) | PathMatch::Template(text)) => text.clone(),
                Some(PathMatch::Prefix(text)) => format!("{}/*", text.trim_end_matches('/')),
                Some(PathMatch::Regex(text)) => format!("~{text}"),
            },
            methods: self.methods.clone(),
            route: self.route.clone(),
            was: before.map(|before| before.identity.words()),
            now: self.identity.words(),
        }
    }
}

fn covers_host(own: &str, other: &str) -> bool {
    let under = |suffix: &str| other.strip_prefix('*').unwrap_or(other).ends_with(suffix);
    own == "*" || own == other || own.strip_prefix('*').is_some_and(|suffix| other != "*" && under(suffix))
}

fn covers_methods(own: &[String], other: &[String]) -> bool {
    own.is_empty() || (!other.is_empty() && other.iter().all(|method| own.contains(method)))
}

fn covers_path(own: Option<&PathMatch>, other: Option<&PathMatch>) -> bool {
    let Some(own) = own else { return true };
    match (own, other) {
        (PathMatch::Prefix(prefix), other) => {
            let prefix = prefix.trim_end_matches('/');
            let text = match other {
                Some(PathMatch::Exact(text) | PathMatch::Prefix(text) | PathMatch::Template(text)) => {
                    text.as_str()
                }
                Some(PathMatch::Regex(_)) | None => "",
            };
            text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                && (prefix.is_empty() || !text.is_empty())
        }
        (PathMatch::Template(own), Some(PathMatch::Template(other))) => covers_template(own, other),
        (PathMatch::Template(own), Some(PathMatch::Exact(other))) => covers_template(own, other),
        (own, Some(other)) => own == other,
        (_, None) => false,
    }
}

/// Whether a template takes every path of another, or one path; a typed capture covers its own type alone.
fn covers_template(own: &str, other: &str) -> bool {
    let (mut own, mut other) = (own.split('/'), other.split('/'));
    loop {
        match (own.next(), other.next()) {
            (None, None) => return true,
            (Some(segment), Some(_)) if segment.starts_with('{') && segment.ends_with("*}") => return true,
            (Some(mine), Some(theirs)) => {
                let capture = |segment: &str| {
                    segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).map(str::to_owned)
                };
                let is_covered = match (capture(mine), capture(theirs)) {
                    (Some(mine), Some(theirs)) if theirs.ends_with('*') => mine.ends_with('*'),
                    (Some(mine), Some(theirs)) => {
                        let kind = |name: &str| name.split_once(':').map(|(_, kind)| kind.to_owned());
                        kind(&mine).is_none() || kind(&mine) == kind(&theirs)
                    }
                    (Some(mine), None) => !mine.contains(':') && !theirs.is_empty(),
                    (None, Some(_)) => false,
                    (None, None) => mine == theirs,
                };
                if !is_covered {
                    return false;
                }
            }
            _ => return false,
        }
    }
}
