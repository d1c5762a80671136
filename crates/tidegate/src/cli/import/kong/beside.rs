//! What a guarded prefix takes in Kong beyond ours.
//!
//! Kong's `/admin` takes `/adminx`, too, and ours ends on a segment's bound. Where a wider route that is less guarded
//! would answer that, it is refused.

use serde_json::{Value, json};

use super::{
    Fields, Import, Route,
    matches::TheirPath,
    order::{Level, entries},
};

/// Policies that let some in and others not.
const GUARDS: [&str; 5] = ["keyAuth", "basicAuth", "acl", "ipRestriction", "authorize"];

impl Import {
    /// Adds a route that refuses for each route that has such prefixes; whether there are any.
    pub(super) fn beside(&mut self) -> bool {
        let mut made = Vec::new();
        let mut notes = Vec::new();
        for (index, route) in self.routes.iter().enumerate() {
            let guards = guards(route);
            if guards.is_empty() {
                continue;
            }
            let others = || self.routes.iter().enumerate().filter(move |(other, _)| *other != index);
            let is_lost = |path: &TheirPath| {
                let ends_within = !path.is_regex && path.text.len() > 1 && !path.text.ends_with('/');
                ends_within && others().any(|(_, other)| answers(other, &guards, route, path))
            };
            let (mut matches, mut lost) = (Vec::new(), Vec::new());
            for (mut entry, path) in entries(route).into_iter().zip(&route.named.paths) {
                if is_lost(path) {
                    let regex = format!("(?s){}[^/].*", regex::escape(&path.text));
                    entry["path"] = json!({"regex": regex});
                    matches.push(entry);
                    lost.push(path.clone());
                }
            }
            if lost.is_empty() {
                continue;
            }
            let name = route.fields.get("name").and_then(Value::as_str).unwrap_or_default();
            let shown: Vec<String> = lost.iter().map(|path| format!("`{}x`", path.text)).collect();
            notes.push(format!(
                "route `{name}`: it takes {} in Kong, too, which is CLOSED here, for a wider route would answer it",
                shown.join(", ")
            ));
            made.push(refusing(self.free_name(&format!("{name}-beside")), route, matches, lost));
        }
        let is_made = !made.is_empty();
        self.routes.extend(made);
        self.notes.extend(notes);
        is_made
    }
}

/// A route of the same hosts that refuses.
fn refusing(name: String, of: &Route, matches: Vec<Value>, paths: Vec<TheirPath>) -> Route {
    let mut fields = Fields::new();
    fields.insert("name".to_owned(), json!(name));
    if let Some(hosts) = of.fields.get("hosts") {
        fields.insert("hosts".to_owned(), hosts.clone());
    }
    fields.insert("match".to_owned(), matches.into());
    fields.insert("respond".to_owned(), json!({"status": 403}));
    let mut named = of.named.clone();
    named.paths = paths;
    Route { fields, known_as: Vec::new(), service: None, upstream: None, named, own: Vec::new() }
}

fn guards(route: &Route) -> Vec<&Value> {
    let all = route.fields.get("policies").and_then(Value::as_array);
    let is_guard = |policy: &&Value| GUARDS.iter().any(|key| policy.get(*key).is_some());
    all.into_iter().flatten().filter(is_guard).collect()
}

/// Whether a route would answer what goes on within the last segment of a guarded path, and asks less.
fn answers(other: &Route, asked: &[&Value], route: &Route, path: &TheirPath) -> bool {
    let level = Level::of(&route.named, Some(path), true);
    let is_wider = |theirs: Option<&TheirPath>| {
        theirs.is_none_or(|theirs| may_take(theirs, &path.text))
            && Level::of(&other.named, theirs, true) < level
    };
    let theirs = &other.named.paths;
    let takes = match theirs.is_empty() {
        true => is_wider(None),
        false => theirs.iter().any(|theirs| is_wider(Some(theirs))),
    };
    if !takes || !may_share_hosts(other, route) {
        return false;
    }
    let own = guards(other);
    asked.iter().any(|guard| !own.contains(guard))
}

/// Whether a path may take what goes on within the last segment of another.
fn may_take(wider: &TheirPath, path: &str) -> bool {
    if wider.is_regex {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "/_-".contains(letter);
        let begins = wider.text.trim_start_matches('^');
        let head: String = begins.chars().take_while(|letter| is_letter(*letter)).collect();
        // A letter before a `?` or a `*` need not be there.
        let head = head.get(..head.len().saturating_sub(1)).unwrap_or_default();
        return begins.contains('|') || path.starts_with(head) || head.starts_with(path);
    }
    let wider = wider.text.trim_end_matches('/');
    path.strip_prefix(wider).is_some_and(|rest| rest.starts_with('/'))
}

fn may_share_hosts(one: &Route, other: &Route) -> bool {
    let plain = |route: &Route| {
        let all = route.fields.get("hosts").and_then(Value::as_array)?;
        let all = all.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase);
        Some(all.collect::<Vec<String>>()).filter(|_| !route.named.has_wildcard)
    };
    match (plain(one), plain(other)) {
        (Some(one), Some(other)) => one.iter().any(|host| other.contains(host)),
        _ => true,
    }
}
