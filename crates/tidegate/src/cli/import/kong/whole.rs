//! Kong's file made whole before it is read: what stands flat, by reference or by default goes where it belongs.
//!
//! `kong config db_export` writes every entity into a list of its own, with ids as references; decK has defaults and
//! shared configurations of plugins; YAML has merge keys, which the reader of our own configurations does not know.

use std::collections::HashMap;

use serde_json::Value;

use super::{Fields, known_as, list, reference};

/// What Kong nests in something else, and writes at the top, too: its key, who owns it, and the list of owners.
const CHILDREN: [(&str, &str, &str); 8] = [
    ("targets", "upstream", "upstreams"),
    ("keyauth_credentials", "consumer", "consumers"),
    ("basicauth_credentials", "consumer", "consumers"),
    ("acls", "consumer", "consumers"),
    ("jwt_secrets", "consumer", "consumers"),
    ("hmacauth_credentials", "consumer", "consumers"),
    ("oauth2_credentials", "consumer", "consumers"),
    ("mtls_auth_credentials", "consumer", "consumers"),
];

/// Whether paths are as they were before 3.0.
pub(super) fn is_old(fields: &Fields) -> bool {
    let version = match fields.get("_format_version") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(version) => version.as_f64(),
        None => None,
    };
    version.is_some_and(|version: f64| version < 3.0)
}

/// Takes out what says nothing (`null`, empty lists and mappings under a key), and fills in merge keys.
pub(super) fn tidied(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            match fields.remove("<<") {
                Some(Value::Object(merged)) => merge(fields, merged),
                Some(Value::Array(all)) => {
                    for one in all {
                        if let Value::Object(merged) = one {
                            merge(fields, merged);
                        }
                    }
                }
                Some(other) => {
                    fields.insert("<<".to_owned(), other);
                }
                None => {}
            }
            fields.values_mut().for_each(tidied);
            fields.retain(|_, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(tidied),
        _ => {}
    }
}

/// Puts fields where there are none of these names.
fn merge(fields: &mut Fields, others: Fields) {
    for (key, value) in others {
        fields.entry(key).or_insert(value);
    }
}

/// Puts everything where it belongs; what belongs to nothing stays, and is told in the end.
pub(super) fn made(fields: &mut Fields) {
    for (key, owner, owners) in CHILDREN {
        nested(fields, key, owner, owners);
    }
    members(fields);
    if let Some(Value::Object(mut info)) = fields.remove("_info") {
        info.remove("select_tags");
        if let Some(Value::Object(defaults)) = info.remove("defaults") {
            let rest = with_defaults(fields, defaults);
            if !rest.is_empty() {
                info.insert("defaults".to_owned(), rest.into());
            }
        }
        if !info.is_empty() {
            fields.insert("_info".to_owned(), info.into());
        }
    }
    if let Some(Value::Object(configs)) = fields.remove("_plugin_configs") {
        for (key, value) in fields.iter_mut() {
            configured(key, value, &configs);
        }
    }
}

/// Moves what stands at the top under who owns it.
fn nested(fields: &mut Fields, key: &str, owner: &str, owners: &str) {
    let children = list(fields, key);
    if children.is_empty() {
        return;
    }
    let known = places(fields, owners);
    let mut others: Vec<Value> = Vec::new();
    for mut child in children {
        let name = child.get(owner).and_then(reference).unwrap_or_default();
        match known.get(&name).and_then(|place| owned(fields, owners, *place)) {
            Some(found) => {
                child.remove(owner);
                push(found, key, child.into());
            }
            None => others.push(child.into()),
        }
    }
    for other in others {
        push(fields, key, other);
    }
}

/// Where in a list things stand, by their names and ids.
fn places(fields: &Fields, key: &str) -> HashMap<String, usize> {
    let all = fields.get(key).and_then(Value::as_array);
    let mut places = HashMap::new();
    for (place, one) in all.into_iter().flatten().enumerate() {
        for name in one.as_object().map(known_as).unwrap_or_default() {
            places.entry(name).or_insert(place);
        }
    }
    places
}

fn owned<'f>(fields: &'f mut Fields, key: &str, place: usize) -> Option<&'f mut Fields> {
    fields.get_mut(key)?.as_array_mut()?.get_mut(place)?.as_object_mut()
}

fn push(fields: &mut Fields, key: &str, item: Value) {
    match fields.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(items) => items.push(item),
        other => *other = Value::Array(vec![other.take(), item]),
    }
}

/// Who is in which group of consumers, where that stands at the top.
fn members(fields: &mut Fields) {
    let members = list(fields, "consumer_group_consumers");
    let known = places(fields, "consumers");
    for mut member in members {
        let name = member.get("consumer").and_then(reference).unwrap_or_default();
        if let Some(consumer) = known.get(&name).and_then(|place| owned(fields, "consumers", *place))
            && let Some(group) = member.remove("consumer_group")
        {
            push(consumer, "groups", group);
        }
    }
}

/// decK's defaults, where nothing else is said. What is left of them is returned.
fn with_defaults(fields: &mut Fields, mut defaults: Fields) -> Fields {
    let mut taken = |kind: &str| match defaults.remove(kind) {
        Some(Value::Object(all)) => all,
        _ => Fields::new(),
    };
    let [service, route, upstream, target] = ["service", "route", "upstream", "target"].map(&mut taken);
    let fill = |fields: &mut Fields, key: &str, all: &Fields| {
        let items = fields.get_mut(key).and_then(Value::as_array_mut);
        for one in items.into_iter().flatten().filter_map(Value::as_object_mut) {
            merge(one, all.clone());
        }
    };
    fill(fields, "services", &service);
    fill(fields, "routes", &route);
    fill(fields, "upstreams", &upstream);
    for (parents, key, all) in [("services", "routes", &route), ("upstreams", "targets", &target)] {
        let parents = fields.get_mut(parents).and_then(Value::as_array_mut);
        for parent in parents.into_iter().flatten().filter_map(Value::as_object_mut) {
            fill(parent, key, all);
        }
    }
    defaults
}

/// Fills shared configurations into the plugins that name one by `_config`.
fn configured(key: &str, value: &mut Value, configs: &Fields) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                configured(key, value, configs);
            }
        }
        Value::Array(items) => {
            for item in items {
                if let (true, Value::Object(plugin)) = (key == "plugins", &mut *item) {
                    shared(plugin, configs);
                }
                configured("", item, configs);
            }
        }
        _ => {}
    }
}

fn shared(plugin: &mut Fields, configs: &Fields) {
    let name = plugin.get("_config").and_then(Value::as_str).unwrap_or_default();
    let Some(Value::Object(config)) = configs.get(name).cloned() else { return };
    plugin.remove("_config");
    match plugin.entry("config").or_insert_with(|| Value::Object(Fields::new())) {
        Value::Object(own) => merge(own, config),
        other => *other = config.into(),
    }
}
