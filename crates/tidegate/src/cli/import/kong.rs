//! Kong's declarative configuration (`_format_version` 2.1 and 3.0): services, routes, upstreams, consumers and the
//! plugins that have a counterpart.
//!
//! Whatever is read is taken out of a copy; what is left in the end has no counterpart and is told with its path.

mod access;
mod answers;
mod beside;
mod closing;
mod consumers;
mod elsewhere;
mod groups;
mod identity;
mod limits;
mod matches;
mod order;
mod plugins;
mod routes;
mod scope;
mod upstreams;
mod whole;

use serde_json::{Map, Value, json};

use self::{consumers::Consumer, matches::Named};
use super::{Imported, leftovers};

/// Where Kong's proxy listens.
const ADDRESS: &str = "127.0.0.1:8000";
/// Letters of a name, which may get a number behind it.
const NAME_LETTERS_MAX: usize = 100;
/// Keys that say nothing about traffic.
const IDLE: [&str; 7] = ["id", "tags", "created_at", "updated_at", "ws_id", "custom_id", "instance_name"];

type Fields = Map<String, Value>;

/// What has been made so far.
#[derive(Default)]
struct Import {
    /// Before 3.0 a path is a regular expression by its letters, and no `~` says so.
    has_old_paths: bool,
    /// Kong's own upstreams, by the names that services have as `host`.
    pools: Vec<Pool>,
    upstreams: Vec<Value>,
    routes: Vec<Route>,
    consumers: Vec<Consumer>,
    /// What each group of consumers is known as.
    groups: Vec<Vec<String>>,
    globals: Vec<Value>,
    access_log: Vec<Value>,
    /// Where limits are counted together.
    redis: Option<Value>,
    services: Vec<Service>,
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
    /// Its name and its id in their file.
    known_as: Vec<String>,
    /// The place of its service among all.
    service: Option<usize>,
    upstream: Option<String>,
    /// What it names, as Kong's order counts it.
    named: Named,
    /// Kinds of its own plugins, which stand in the place of its service's.
    own: Vec<String>,
}

/// Where the routes of a service lead, and what they inherit.
#[derive(Default, Clone)]
struct Service {
    /// Its name and its id in their file.
    known_as: Vec<String>,
    title: String,
    upstream: String,
    path: String,
    policies: Vec<Value>,
}

/// Turns their configuration into ours.
pub(super) fn import(theirs: &Value) -> Result<Imported, String> {
    let mut rest = theirs.clone();
    whole::tidied(&mut rest);
    let fields = rest.as_object_mut().ok_or("expected a mapping with `_format_version`")?;
    let mut import = Import { has_old_paths: whole::is_old(fields), ..Import::default() };
    for key in ["_format_version", "_transform", "_workspace"] {
        fields.remove(key);
    }
    whole::made(fields);
    for (index, upstream) in list(fields, "upstreams").into_iter().enumerate() {
        import.upstream(&format!("upstreams[{index}]"), upstream);
    }
    for (index, consumer) in list(fields, "consumers").into_iter().enumerate() {
        import.consumer(&format!("consumers[{index}]"), consumer);
    }
    for (index, group) in list(fields, "consumer_groups").into_iter().enumerate() {
        import.group(&format!("consumer_groups[{index}]"), group);
    }
    for (index, service) in list(fields, "services").into_iter().enumerate() {
        import.service(&format!("services[{index}]"), index, service);
    }
    for (index, route) in list(fields, "routes").into_iter().enumerate() {
        import.route(&format!("routes[{index}]"), route, None);
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

/// Takes out the mappings of a list; whatever else stands there stays, and is told in the end.
fn list(fields: &mut Fields, key: &str) -> Vec<Fields> {
    let mut made = Vec::new();
    let mut others = Vec::new();
    match fields.remove(key) {
        Some(Value::Array(items)) => {
            for item in items {
                match item {
                    Value::Object(fields) => made.push(fields),
                    other => others.push(other),
                }
            }
        }
        Some(other) => others.push(other),
        None => {}
    }
    if !others.is_empty() {
        fields.insert(key.to_owned(), others.into());
    }
    made
}

/// What something is known as, where another thing refers to it.
fn known_as(fields: &Fields) -> Vec<String> {
    let all = ["name", "username", "id"].into_iter().filter_map(|key| fields.get(key)?.as_str());
    all.map(str::to_owned).collect()
}

/// What a reference names: `name`, or `{name: …}`, or `{id: …}`.
fn reference(of: &Value) -> Option<String> {
    let names = [of.as_str(), of["name"].as_str(), of["username"].as_str(), of["id"].as_str()];
    names.into_iter().flatten().next().map(str::to_owned)
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

/// A name as ours are: letters, digits and hyphens, and not too many.
fn name_of(text: &str) -> String {
    let name: String = text
        .chars()
        .take(NAME_LETTERS_MAX)
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    let name = name.trim_matches('-').to_owned();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

impl Import {
    fn note(&mut self, path: &str, what: impl std::fmt::Display) {
        self.notes.push(format!("{path}: {what}"));
    }

    fn finished(mut self) -> Imported {
        self.most_specific();
        self.close();
        self.known_groups();
        self.caches_by_consumer();
        self.ordered();
        self.tell_who_calls();
        let mut routes = Vec::new();
        // What no service leads to is kept: a plugin or another file may name it.
        let is_spare = |pool: &Pool| !pool.is_used && upstreams::has_endpoints(&pool.upstream);
        for pool in std::mem::take(&mut self.pools).into_iter().filter(is_spare) {
            let name = pool.host.clone();
            self.upstream_named(pool.upstream, &name);
        }
        for Route { fields: mut route, upstream, .. } in std::mem::take(&mut self.routes) {
            if let Some(terminated) = self.termination(&mut route) {
                route.insert("respond".to_owned(), terminated);
                route.remove("hostHeader");
            } else if route.contains_key("respond") {
                // It was made to refuse.
            } else if let Some(upstream) = upstream {
                route.insert("backends".to_owned(), json!([{"upstream": upstream}]));
            } else {
                route.insert("respond".to_owned(), json!({"status": 503}));
                if let Some(all) = closing::policies(&mut route) {
                    all.retain(|policy| policy.get("rewrite").is_none());
                }
                closing::tidy(&mut route);
                let name = route["name"].clone();
                self.note("routes", format_args!("{name} leads to no service: it answers 503"));
            }
            routes.push(route);
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
        let consumers: Value = self.consumers.into_iter().map(|one| Value::from(one.fields)).collect();
        for (key, list) in [("upstreams", Value::from(self.upstreams)), ("consumers", consumers)] {
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
