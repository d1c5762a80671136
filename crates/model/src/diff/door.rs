//! Doors: every listener, host, path and method under which something answers, in the order of matching.

use std::{cmp::Reverse, rc::Rc};

use serde_json::Value;

use super::{
    Exposure,
    host::Host,
    identity::{Identity, World},
    path::Paths,
};
use crate::{
    Listener, Route, Snapshot,
    resource::{
        listener::ListenerProtocol,
        route_match::{Match, PathMatch},
    },
};

/// All ways in, the one that is tried first in front.
pub(super) struct Doors {
    pub(super) all: Vec<Door>,
    pub(super) places: Vec<Place>,
}

/// Where a listener is.
pub(super) struct Place {
    name: String,
    address: String,
    /// Whether it can be reached from other machines.
    is_public: bool,
}

/// One way in.
pub(super) struct Door {
    /// Which of the places it is at.
    pub(super) place: usize,
    listener: String,
    pub(super) host: Host,
    pub(super) paths: Paths,
    path: Option<PathMatch>,
    pub(super) methods: Vec<String>,
    /// What else must hold, as the configuration writes it.
    conditions: Vec<Value>,
    pub(super) route: String,
    pub(super) identity: Rc<Identity>,
    rank: Rank,
}

/// The order of matching, as the router has it: priority, host, path, whether methods are named, how many headers,
/// query parameters and other conditions; the rest is the order in the file.
type Rank = (Reverse<i32>, (u8, Reverse<usize>), (u8, Vec<u8>), bool, [Reverse<usize>; 3]);

impl Doors {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let (config, world) = (&snapshot.config, World::new(snapshot));
        let mut all = Vec::new();
        let places = config.listeners.iter().map(Place::of).collect();
        for (place, listener) in config.listeners.iter().enumerate() {
            // A listener that redirects everything leads nowhere, and streams are told apart otherwise.
            if listener.https_target().is_some() || listener.protocol != ListenerProtocol::Http {
                continue;
            }
            for route in &config.routes {
                if route.listeners.as_ref().is_some_and(|names| !names.contains(&listener.name)) {
                    continue;
                }
                let identity = Rc::new(Identity::of(&world, listener, route));
                let any = [Match::default()];
                let matches = if route.matches.is_empty() { &any[..] } else { &route.matches };
                let hosts = if route.hosts.is_empty() { vec!["*".to_owned()] } else { route.hosts.clone() };
                for host in &hosts {
                    let door = |one| Door::of((place, listener), route, host, one, &identity);
                    all.extend(matches.iter().map(door));
                }
            }
        }
        all.sort_by(|a: &Door, b| a.rank.cmp(&b.rank));
        Self { all, places }
    }

    /// For each place of the other, which of these places its callers could go to as well. A place is known by its
    /// address, else by its name; and whoever is on this machine can go to all that other machines can.
    pub(super) fn known_from(&self, other: &Self) -> Vec<Vec<bool>> {
        let known = |new: &Place| {
            let is_there = self.places.iter().any(|old| old.address == new.address);
            let knows = |old: &Place| {
                old.address == new.address
                    || (!is_there && old.name == new.name && (old.is_public || !new.is_public))
                    || (old.is_public && !new.is_public)
            };
            self.places.iter().map(knows).collect()
        };
        other.places.iter().map(known).collect()
    }
}

impl Place {
    fn of(listener: &Listener) -> Self {
        Self {
            name: listener.name.clone(),
            address: listener.address.clone(),
            is_public: is_public(&listener.address),
        }
    }
}

/// Whether an address takes connections from other machines.
pub(super) fn is_public(address: &str) -> bool {
    let ip = address.rsplit_once(':').map(|(ip, _)| ip.trim_matches(['[', ']']));
    let is_local = ip.and_then(|ip| ip.parse::<std::net::IpAddr>().ok()).is_some_and(|ip| ip.is_loopback());
    !(is_local || address.starts_with("unix:"))
}

impl Door {
    fn of(
        (place, listener): (usize, &Listener),
        route: &Route,
        host: &str,
        one: &Match,
        identity: &Rc<Identity>,
    ) -> Self {
        let (host, paths) = (Host::of(host), Paths::of(one.path.as_ref()));
        let others = one.cookies.len()
            + usize::from(!one.client_address.is_empty())
            + usize::from(!one.sni.is_empty())
            + usize::from(one.when.is_some());
        Self {
            place,
            listener: format!("{} ({})", listener.name, listener.address),
            rank: (
                Reverse(route.priority),
                host.rank(),
                paths.rank(),
                one.methods.is_empty(),
                [Reverse(one.headers.len()), Reverse(one.query.len()), Reverse(others)],
            ),
            host,
            paths,
            path: one.path.clone(),
            methods: one.methods.iter().map(|method| method.to_ascii_uppercase()).collect(),
            conditions: conditions(one),
            route: route.name.clone(),
            identity: identity.clone(),
        }
    }

    /// Whether everything that comes through the other door comes through this one, whatever the place and the
    /// method.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.covers_common(other, other)
    }

    /// The same for everything that comes through two doors.
    pub(super) fn covers_common(&self, one: &Self, other: &Self) -> bool {
        (self.host.covers(&one.host) || self.host.covers(&other.host))
            && (self.paths.cover(&one.paths) || self.paths.cover(&other.paths))
            && self
                .conditions
                .iter()
                .all(|mine| one.conditions.contains(mine) || other.conditions.contains(mine))
    }

    /// Whether something may come through both doors, whatever the place and the method.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.host.meets(&other.host)
            && self.paths.meet(&other.paths)
            && !self
                .conditions
                .iter()
                .any(|mine| other.conditions.iter().any(|theirs| excludes(mine, theirs)))
    }

    /// What becomes of what came through the old door, where there was one, with these methods.
    pub(super) fn exposure(&self, was: Option<&Self>, methods: Vec<String>) -> Exposure {
        // What both have in common is what the narrower one of them says.
        let narrow = |is_wider: &dyn Fn(&Self) -> bool| was.filter(|was| is_wider(was)).unwrap_or(self);
        let host = narrow(&|was| self.host.covers(&was.host));
        let path = narrow(&|was| self.paths.cover(&was.paths) || was.is_deeper(self));
        Exposure {
            kind: if was.is_some() { "weakerIdentity" } else { "newlyReachable" },
            listener: self.listener.clone(),
            host: host.host.to_string(),
            path: match &path.path {
                None => "/*".to_owned(),
                Some(PathMatch::Exact(text) | PathMatch::Template(text)) => text.clone(),
                Some(PathMatch::Prefix(text)) => format!("{}/*", text.trim_end_matches('/')),
                Some(PathMatch::Regex(text)) => format!("~{text}"),
            },
            methods,
            route: self.route.clone(),
            resource: String::new(),
            was: was.map(|was| was.identity.words()),
            now: self.identity.words(),
        }
    }

    /// Of two doors that only partly meet, the one that says more about the path.
    fn is_deeper(&self, other: &Self) -> bool {
        !self.paths.cover(&other.paths) && self.paths.literals().count() > other.paths.literals().count()
    }

    /// The narrower one of two doors' hosts and paths, for looking up what else may be there.
    pub(super) fn narrower<'d>(&'d self, other: &'d Self) -> (&'d Host, &'d Paths) {
        let host = if self.host.covers(&other.host) { &other.host } else { &self.host };
        let paths = match self.paths.cover(&other.paths) || other.is_deeper(self) {
            true => &other.paths,
            false => &self.paths,
        };
        (host, paths)
    }
}

/// What must hold beside host, path and method.
fn conditions(one: &Match) -> Vec<Value> {
    let mut conditions: Vec<Value> = Vec::new();
    let Ok(Value::Object(all)) = serde_json::to_value(one) else { return conditions };
    for (key, value) in all.into_iter().filter(|(key, _)| key != "path" && key != "methods") {
        match value {
            Value::Null => {}
            Value::Array(items) if key == "clientAddress" || key == "sni" => {
                // Any of them will do: a longer list asks for less, so a list is one condition.
                if !items.is_empty() {
                    conditions.push(Value::Array(vec![key.into(), Value::Array(items)]));
                }
            }
            Value::Array(items) => {
                conditions.extend(items.into_iter().map(|item| Value::Array(vec![key.clone().into(), item])));
            }
            other => conditions.push(Value::Array(vec![key.into(), other])),
        }
    }
    conditions
}

/// Whether two conditions cannot both hold: one wants something there and the other wants it away. Two values of one
/// header may both be there.
fn excludes(one: &Value, other: &Value) -> bool {
    let is_absent = |condition: &Value| condition[1]["present"] == Value::Bool(false);
    one[0] == other[0]
        && one[1]["name"].is_string()
        && one[1]["name"] == other[1]["name"]
        && is_absent(one) != is_absent(other)
}
