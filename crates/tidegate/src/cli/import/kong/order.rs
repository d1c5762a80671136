//! Kong's order of routes, as priorities.
//!
//! Kong's counts what a route names before it looks at paths, and has regular expressions before prefixes. Ours has
//! the more exact path first, so that a route which Kong keeps for few may lose its calls to an open one.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{
    Import, Route,
    matches::{Named, TheirPath},
};

/// Where Kong has a path of a route, as `get_priority` of its `kong/router/transform.lua` counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level {
    /// Of methods, hosts, headers, SNIs and paths, how many are named.
    points: usize,
    is_plain_host: bool,
    headers: usize,
    is_regex: bool,
    regex_priority: i64,
    length: usize,
}

impl Level {
    /// The place of one path. Lengths of prefixes are our own order, too, but for the hosts, which are looked at before them
    /// here.
    pub(super) fn of(named: &Named, path: Option<&TheirPath>, is_by_length: bool) -> Self {
        let is_regex = path.is_some_and(|path| path.is_regex);
        let length = path.filter(|path| !path.is_regex).map_or(0, |path| path.text.len());
        let all = [named.has_methods, named.has_hosts, named.headers > 0, named.has_snis, path.is_some()];
        Self {
            points: all.into_iter().filter(|is_named| *is_named).count(),
            is_plain_host: named.has_hosts && !named.has_wildcard,
            headers: named.headers,
            is_regex,
            regex_priority: if is_regex { named.regex_priority } else { 0 },
            length: if is_by_length { length } else { length.min(1) },
        }
    }
}

/// The paths of a route, or that it has none.
fn paths(named: &Named) -> Vec<Option<&TheirPath>> {
    let all: Vec<_> = named.paths.iter().map(Some).collect();
    if all.is_empty() { vec![None] } else { all }
}

/// Whether a slash at their end is all that tells two prefixes apart; ours are the same.
fn has_twins(routes: &[Route]) -> bool {
    let paths = routes.iter().flat_map(|route| &route.named.paths).filter(|path| !path.is_regex);
    let all: HashSet<&str> = paths.map(|path| path.text.as_str()).collect();
    all.iter().any(|path| path.strip_suffix('/').is_some_and(|rest| all.contains(rest)))
}

/// What a route matches, one for each path.
pub(super) fn entries(route: &Route) -> Vec<Value> {
    let all = route.fields.get("match").and_then(Value::as_array);
    all.cloned().unwrap_or_else(|| vec![Value::Null])
}

/// The entries of a route that stand at one place.
struct Part {
    level: Level,
    entries: Vec<Value>,
}

/// Puts entries of one place together.
fn parts(entries: Vec<Value>, levels: &[Level]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (entry, level) in entries.into_iter().zip(levels) {
        match parts.iter_mut().find(|part| part.level == *level) {
            Some(part) => part.entries.push(entry),
            None => parts.push(Part { level: *level, entries: vec![entry] }),
        }
    }
    parts
}

impl Import {
    /// Writes priorities where our own order is another than Kong's. A route whose paths have routes of others between
    /// them becomes several.
    pub(super) fn ordered(&mut self) {
        let is_refused = self.beside();
        let has_wildcards = self.routes.iter().any(|route| route.named.has_wildcard);
        let is_by_length = is_refused || has_wildcards || has_twins(&self.routes);
        let level = |route: &Route| -> Vec<Level> {
            paths(&route.named).into_iter().map(|path| Level::of(&route.named, path, is_by_length)).collect()
        };
        let levels: Vec<Vec<Level>> = self.routes.iter().map(level).collect();
        let mut ranks: Vec<Level> = levels.iter().flatten().copied().collect();
        ranks.sort_unstable();
        ranks.dedup();
        if ranks.len() < 2 {
            return;
        }
        self.note("routes", "each `priority` keeps Kong's order, which looks at paths last");
        let refuses: Vec<bool> =
            self.routes.iter().map(|route| route.fields.contains_key("respond")).collect();
        let mut names: Vec<Value> = self.routes.iter().map(|route| route.fields["name"].clone()).collect();
        for (index, route) in std::mem::take(&mut self.routes).into_iter().enumerate() {
            let Some(own) = levels.get(index) else { continue };
            let (Some(low), Some(high)) = (own.iter().min(), own.iter().max()) else { continue };
            // What refuses beside a path meets nothing of it.
            let others = levels.iter().zip(&refuses).enumerate();
            let mut others = others.filter(|(other, (_, refuses))| *other != index && !**refuses);
            let is_met = others.any(|(_, (all, _))| all.iter().any(|level| (low..=high).contains(&level)));
            if low == high || !is_met {
                self.ranked(route, *high, &ranks);
                continue;
            }
            let parts = parts(entries(&route), own);
            let title = route.fields["name"].as_str().unwrap_or_default().to_owned();
            self.note(
                "routes",
                format_args!(
                    "`{title}` is written as {} routes, for Kong has others between its paths: each counts for itself \
                     in `rateLimit`",
                    parts.len()
                ),
            );
            for (number, part) in parts.into_iter().enumerate() {
                let mut one = route.clone();
                one.fields.insert("match".to_owned(), part.entries.into());
                if number > 0 {
                    let name = free(&title, &names);
                    names.push(name.clone());
                    one.fields.insert("name".to_owned(), name);
                }
                self.ranked(one, part.level, &ranks);
            }
        }
    }

    fn ranked(&mut self, mut route: Route, level: Level, ranks: &[Level]) {
        let rank = ranks.iter().take_while(|other| **other < level).count();
        if rank > 0 {
            route.fields.insert("priority".to_owned(), json!(rank));
        }
        self.routes.push(route);
    }
}

/// A name that no route has yet.
fn free(title: &str, names: &[Value]) -> Value {
    let mut number = 2;
    loop {
        let name = json!(format!("{title}-{number}"));
        if !names.contains(&name) {
            return name;
        }
        number += 1;
    }
}
