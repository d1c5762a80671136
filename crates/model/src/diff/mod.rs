//! What changes between two configurations, and what becomes exposed.

mod ai;
mod demand;
mod door;
mod exposed;
mod host;
mod identity;
mod index;
mod path;
mod stream;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;

pub(crate) use self::ai::GuardRule;
pub(crate) use self::demand::{Asked, Asks, Demand, Parts, Terms, among, demand};
use self::{door::Doors, exposed::exposure};
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
    /// `newlyReachable` or `weakerIdentity`; of models `moreModels`, `weakerGuardrail` or `providerMoved`, which have a
    /// `resource` and no place.
    pub kind: &'static str,
    /// The listener and its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub listener: String,
    /// The host, `*` for any.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The path, as the configuration writes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Methods; any when empty.
    pub methods: Vec<String>,
    /// The route that answers now.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub route: String,
    /// The resource, such as `consumers/app`, where it is no place that becomes reachable.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// What was asked of callers before, or was so; none when nobody could call.
    pub was: Option<Vec<String>>,
    /// What is asked of callers now, or is so.
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
        if !self.resource.is_empty() {
            let was = self.was.as_deref().unwrap_or_default().join(", ");
            let what = match self.kind {
                "moreModels" => "may use more models",
                "weakerGuardrail" => "guards less",
                _ => "is asked elsewhere",
            };
            return write!(f, "{} {what}: before {was}, now {}", self.resource, self.now.join(", "));
        }
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
    let mut exposure = exposure(&Doors::of(old), &Doors::of(new));
    exposure.extend(stream::exposure(old, new));
    exposure.extend(ai::exposure(old, new));
    Diff { changes: changes(old, new), exposure }
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
