//! Kong's declarative configuration (`_format_version` 2.1 and 3.0): services, routes, upstreams, consumers and the
//! plugins that have a counterpart.
//!
//! Whatever is read is taken out of a copy; what is left in the end has no counterpart and is told with its path.

mod closing;
mod order;
mod plugins;
mod routes;
mod upstreams;

use serde_json::{Map, Value, json};

use super::{Imported, leftovers};

/// Where Kong's proxy listens.
const ADDRESS: &str = "127.0.0.1:8000";
/// Keys that say nothing about traffic.
const IDLE: [&str; 6] = ["id", "tags", "created_at", "updated_at", "ws_id", "custom_id"];

type Fields = Map<String, Value>;

/// What has been made so far.
#[derive(Default)]
struct Import {
    /// Kong's own upstreams, by the names that services have as `host`.
    pools: Vec<Pool>,
    upstreams: Vec<Value>,
    routes: Vec<Route>,
    consumers: Vec<Fields>,
    globals: Vec<Value>,
    access_log: Vec<Value>,
    /// Where limits are counted together.
    redis: Option<Value>,
    services: Vec<(String, Service)>,
    notes: Vec<String>,
}

/// An upstream of Kong: endpoints alone. How they are spoken to is each service's own matter.
struct Pool {
    host: String,
    upstream: Value,
    is_used: bool,
}

/// A route, with the service and the upstream that it leads to.
#[derive(Clone)]
struct Route {
    fields: Fields,
    service: Option<String>,
    upstream: Option<String>,
    /// Of two regular expressions the higher one is tried first.
    regex_priority: i64,
}

/// Where the routes of a service lead, and what they inherit.
#[derive(Default, Clone)]
struct Service {
    upstream: String,
    path: String,
    policies: Vec<Value>,
}

/// Turns their configuration into ours.
pub(super) fn import(theirs: &Value) -> Result<Imported, String> {
    let mut rest = theirs.clone();
    let fields = rest.as_object_mut().ok_or("expected a mapping with `_format_version`")?;
    for key in ["_format_version", "_transform", "_info"] {
        fields.remove(key);
    }
    let mut import = Import::default();
    for (index, upstream) in list(fields, "upstreams").into_iter().enumerate() {
        import.upstream(&format!("upstreams[{index}]"), upstream);
    }
    for (index, service) in list(fields, "services").into_iter().enumerate() {
        import.service(&format!("services[{index}]"), service);
    }
    for (index, route) in list(fields, "routes").into_iter().enumerate() {
        import.route(&format!("routes[{index}]"), route, None);
    }
    for (index, consumer) in list(fields, "consumers").into_iter().enumerate() {
        import.consumer(&format!("consumers[{index}]"), consumer);
    }
    for (index, plugin) in list(fields, "plugins").into_iter().enumerate() {
        import.plugin_of_all(&format!("plugins[{index}]"), plugin);
    }
    leftovers(&rest, "", &mut import.notes);
    if import.routes.is_empty() {
        return Err(format!(
            "nothing of it could be taken over: it has no routes\n{}",
            import.notes.join("\n")
        ));
    }
    Ok(import.finished())
}

fn list(fields: &mut Fields, key: &str) -> Vec<Fields> {
    let Some(Value::Array(items)) = fields.remove(key) else { return Vec::new() };
    items
        .into_iter()
        .filter_map(|item| match item {
            Value::Object(fields) => Some(fields),
            _ => None,
        })
        .collect()
}

fn text(fields: &mut Fields, key: &str) -> Option<String> {
    fields.remove(key).as_ref().and_then(Value::as_str).map(str::to_owned)
}

fn number(fields: &mut Fields, key: &str) -> Option<u64> {
    fields.remove(key).as_ref().and_then(Value::as_u64)
}

fn texts(fields: &mut Fields, key: &str) -> Vec<String> {
    let items = fields.remove(key);
    let items = items.as_ref().and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Takes out what is as Kong has it without being said; another value stays, and is told in the end.
fn defaults(fields: &mut Fields, known: &[(&str, Value)]) {
    for (key, default) in known {
        if fields.get(*key).is_some_and(|value| value.is_null() || value == default) {
            fields.remove(*key);
        }
    }
}

fn idle(fields: &mut Fields) {
    for key in IDLE {
        fields.remove(key);
    }
}

/// A name as ours are: letters, digits and hyphens.
fn name_of(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

impl Import {
    fn note(&mut self, path: &str, what: impl std::fmt::Display) {
        self.notes.push(format!("{path}: {what}"));
    }

    fn consumer(&mut self, at: &str, mut fields: Fields) {
        let custom = text(&mut fields, "custom_id");
        idle(&mut fields);
        let Some(name) = text(&mut fields, "username").or(custom) else {
            return self.note(at, "it has no `username`; left out");
        };
        let mut consumer = Fields::new();
        consumer.insert("name".to_owned(), json!(name_of(&name)));
        let variable = |what: &str, number: usize| {
            format!("{}_{what}_{number}", name_of(&name).to_ascii_uppercase().replace('-', "_"))
        };
        let mut keys = Vec::new();
        for mut credential in list(&mut fields, "keyauth_credentials") {
            idle(&mut credential);
            if text(&mut credential, "key").is_some() {
                let variable = variable("KEY", keys.len() + 1);
                self.note(
                    &format!("{at}.keyauth_credentials[{}].key", keys.len()),
                    format_args!("a key in the file is not copied: put it into the variable `{variable}`"),
                );
                keys.push(json!({"env": variable}));
            }
        }
        if !keys.is_empty() {
            consumer.insert("keys".to_owned(), keys.into());
        }
        let mut basic = Vec::new();
        for mut credential in list(&mut fields, "basicauth_credentials") {
            idle(&mut credential);
            let Some(username) = text(&mut credential, "username") else { continue };
            let variable = variable("PASSWORD", basic.len() + 1);
            self.note(
                &format!("{at}.basicauth_credentials[{}].password", basic.len()),
                format_args!("a password in the file is not copied: put it into the variable `{variable}`"),
            );
            basic.push(json!({"username": username, "password": {"env": variable}}));
        }
        if !basic.is_empty() {
            consumer.insert("basic".to_owned(), basic.into());
        }
        let mut groups = Vec::new();
        for mut acl in list(&mut fields, "acls") {
            groups.extend(text(&mut acl, "group"));
        }
        if !groups.is_empty() {
            consumer.insert("groups".to_owned(), json!(groups));
        }
        let policies = self.policies(at, &mut fields);
        let policies: Vec<Value> = policies.into_iter().map(closing::ended).collect();
        if !policies.is_empty() {
            consumer.insert("policies".to_owned(), policies.into());
        }
        leftovers(&fields.into(), at, &mut self.notes);
        self.consumers.push(consumer);
    }

    fn finished(mut self) -> Imported {
        self.close();
        self.known_groups();
        self.most_specific();
        self.caches_by_consumer();
        self.ordered();
        let mut routes = Vec::new();
        // What no service leads to is kept: a plugin or another file may name it.
        for pool in std::mem::take(&mut self.pools).into_iter().filter(|pool| !pool.is_used) {
            let name = pool.host.clone();
            self.upstream_named(pool.upstream, &name);
        }
        for Route { fields: mut route, upstream, .. } in std::mem::take(&mut self.routes) {
            if let Some(terminated) = self.termination(&mut route) {
                route.insert("respond".to_owned(), terminated);
                route.remove("hostHeader");
            } else if let Some(upstream) = upstream {
                route.insert("backends".to_owned(), json!([{"upstream": upstream}]));
            } else {
                route.insert("respond".to_owned(), json!({"status": 503}));
                let name = route["name"].clone();
                self.note("routes", format_args!("{name} leads to no service: it answers 503"));
            }
            routes.push(route);
        }
        if !self.consumers.is_empty() {
            self.note(
                "consumers",
                "Kong tells upstreams `X-Consumer-Username`: here `headers: {request: {set: {x-consumer-username: \"{{ consumer.name }}\"}}}` does",
            );
        }
        self.note("listeners", format_args!("Kong listens on all addresses by default, this on {ADDRESS}"));
        self.note(
            "routes",
            "Kong's paths are prefixes of letters, ours of segments: `/a` takes `/a` and `/a/b`, and not `/ab`",
        );
        let mut config = json!({"listeners": [{"name": "public", "address": ADDRESS}]});
        if !self.access_log.is_empty() {
            config["accessLog"] = self.access_log.into();
        }
        if let Some(redis) = self.redis {
            config["redis"] = redis;
        }
        for (key, list) in [("upstreams", Value::from(self.upstreams)), ("consumers", json!(self.consumers))]
        {
            if list.as_array().is_some_and(|list| !list.is_empty()) {
                config[key] = list;
            }
        }
        if !self.globals.is_empty() {
            config["globalPolicies"] = self.globals.into();
        }
        config["routes"] = json!(routes);
        Imported { config, notes: self.notes }
    }
}
