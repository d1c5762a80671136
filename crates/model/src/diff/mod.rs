//! What changes between two configurations, and what becomes exposed.

mod door;
mod identity;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;
use serde_json::Value;

use self::door::{Door, doors};
use crate::Snapshot;

/// What changes between two configurations.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// Resources that come, go or change.
    pub changes: Vec<Change>,
    /// What becomes reachable, or reachable with weaker identity.
    pub exposure: Vec<Exposure>,
}

/// A resource that comes, goes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `added`, `removed` or `changed`.
    pub kind: &'static str,
    /// The resource, such as `routes/catalog`.
    pub resource: String,
    /// Keys whose values differ.
    pub fields: Vec<String>,
}

/// Something that becomes reachable, or reachable with weaker identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposure {
    /// `newlyReachable` or `weakerIdentity`.
    pub kind: &'static str,
    /// The listener and its address.
    pub listener: String,
    /// The host, `*` for any.
    pub host: String,
    /// The path, as the configuration writes it.
    pub path: String,
    /// Methods; any when empty.
    pub methods: Vec<String>,
    /// The route that answers now.
    pub route: String,
    /// What was asked of callers before; none when nobody could call.
    pub was: Option<Vec<String>>,
    /// What is asked of callers now.
    pub now: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.resource)?;
        if !self.fields.is_empty() {
            write!(f, ": {}", self.fields.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = if self.methods.is_empty() { "any method".to_owned() } else { self.methods.join(",") };
        write!(f, "{methods} {}{} on {} (route `{}`) ", self.host, self.path, self.listener, self.route)?;
        let asked = |asked: &[String]| match asked.is_empty() {
            true => "nothing".to_owned(),
            false => asked.join(" + "),
        };
        match &self.was {
            None => write!(f, "becomes reachable with {}", asked(&self.now)),
            Some(was) => write!(f, "asked for {} and now asks for {}", asked(was), asked(&self.now)),
        }
    }
}

/// Compares two configurations.
pub fn diff(old: &Snapshot, new: &Snapshot) -> Diff {
    Diff { changes: changes(old, new), exposure: exposure(&doors(old), &doors(new)) }
}

fn changes(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let (old, new) = (resources(old), resources(new));
    let mut changes = Vec::new();
    for (resource, value) in &new {
        let change = |kind, fields| Change { kind, resource: resource.clone(), fields };
        match old.get(resource) {
            None => changes.push(change("added", Vec::new())),
            Some(before) if before != value => changes.push(change("changed", fields(before, value))),
            Some(_) => {}
        }
    }
    for resource in old.keys().filter(|resource| !new.contains_key(*resource)) {
        changes.push(Change { kind: "removed", resource: resource.clone(), fields: Vec::new() });
    }
    changes.sort_by(|a, b| a.resource.cmp(&b.resource));
    changes
}

/// Every resource by its kind and name.
fn resources(snapshot: &Snapshot) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let Ok(Value::Object(sections)) = serde_json::to_value(&*snapshot.config) else { return found };
    for (section, value) in sections {
        let named = value.as_array().filter(|items| items.iter().any(|item| item.get("name").is_some()));
        match named {
            Some(items) => {
                for item in items {
                    let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
                    found.insert(format!("{section}/{name}"), item.clone());
                }
            }
            None => drop(found.insert(section, value)),
        }
    }
    found
}

fn fields(before: &Value, after: &Value) -> Vec<String> {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return Vec::new() };
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).cloned().collect()
}

/// What callers can do with the new doors that they could not with the old ones.
///
/// A door that no old one covers is newly reachable. A door that asks for less than the first old one that covered
/// it, in the order of matching, is weaker. And what an old door led to may now fall to a broader one that asks for
/// less.
fn exposure(old: &[Door], new: &[Door]) -> Vec<Exposure> {
    let mut found = Vec::new();
    for door in new {
        match old.iter().find(|before| before.covers(door)) {
            None => found.push(door.exposure("newlyReachable", None)),
            Some(before) if door.identity.is_weaker_than(&before.identity) => {
                found.push(door.exposure("weakerIdentity", Some(before)));
            }
            Some(_) => {}
        }
    }
    // Method by method: one that an old door took may fall to another door than the next.
    let named: BTreeSet<&str> = new.iter().flat_map(|door| &door.methods).map(String::as_str).collect();
    let methods: Vec<Option<&str>> = named.into_iter().map(Some).chain([None]).collect();
    for before in old {
        for method in methods.iter().copied().filter(|method| before.takes(*method)) {
            let now = new.iter().find(|door| door.takes(method) && door.covers_but_methods(before));
            let Some(door) = now.filter(|door| door.identity.is_weaker_than(&before.identity)) else {
                continue;
            };
            let fallen = Exposure {
                methods: method.map(str::to_owned).into_iter().collect(),
                route: door.route.clone(),
                now: door.identity.words(),
                ..before.exposure("weakerIdentity", Some(before))
            };
            let same = |told: &&mut Exposure| {
                told.route == fallen.route && told.path == fallen.path && told.listener == fallen.listener
            };
            match found.iter_mut().find(same) {
                None => found.push(fallen),
                Some(told)
                    if !told.methods.is_empty() && !told.methods.contains(&fallen.methods.concat()) =>
                {
                    told.methods.extend(fallen.methods);
                }
                Some(_) => {}
            }
        }
    }
    found.sort_by(|a, b| {
        (&a.listener, &a.host, &a.path, &a.methods, &a.route).cmp(&(
            &b.listener,
            &b.host,
            &b.path,
            &b.methods,
            &b.route,
        ))
    });
    found.dedup();
    found
}
