//! Kong's declarative configuration (`_format_version` 2.1 and 3.0): services, routes, upstreams, consumers and the
//! plugins that have a counterpart.
//!
//! Whatever is read is taken out of a copy; what is left in the end has no counterpart and is told with its path.

mod closing;
mod plugins;

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
struct Route {
    fields: Fields,
    service: Option<String>,
    upstream: Option<String>,
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

    fn upstream(&mut self, at: &str, mut fields: Fields) {
        idle(&mut fields);
        let Some(name) = text(&mut fields, "name") else {
            return self.note(at, "it has no name; left out");
        };
        let mut endpoints = Vec::new();
        for target in list(&mut fields, "targets") {
            let mut target = target;
            idle(&mut target);
            let Some(address) = text(&mut target, "target") else { continue };
            let address = if address.contains(':') { address } else { format!("{address}:8000") };
            let weight = number(&mut target, "weight").unwrap_or(100);
            endpoints.push(json!({"address": address, "weight": weight}));
            leftovers(&target.into(), &format!("{at}.targets"), &mut self.notes);
        }
        let mut upstream = json!({"name": name_of(&name), "endpoints": endpoints});
        let algorithm = match text(&mut fields, "algorithm").as_deref() {
            Some("least-connections") => Some("leastRequest"),
            Some("latency") => Some("peakEwma"),
            Some("consistent-hashing") => Some("ringHash"),
            _ => None,
        };
        if let Some(algorithm) = algorithm {
            upstream["loadBalancing"] = json!({"algorithm": algorithm});
        }
        let hash = match text(&mut fields, "hash_on").as_deref() {
            Some("consumer") => Some(json!("consumer")),
            Some("ip") => Some(json!("clientAddress")),
            Some("path") => Some(json!("path")),
            Some("header") => text(&mut fields, "hash_on_header").map(|name| json!({"header": name})),
            Some("cookie") => text(&mut fields, "hash_on_cookie").map(|name| json!({"cookie": name})),
            Some("query_arg") => text(&mut fields, "hash_on_query_arg").map(|name| json!({"query": name})),
            _ => None,
        };
        if let Some(hash) = hash.filter(|_| algorithm == Some("ringHash")) {
            upstream["loadBalancing"]["hash"] = hash;
        }
        if let Some(Value::Object(mut checks)) = fields.remove("healthchecks") {
            if let Some(Value::Object(active)) = checks.remove("active")
                && let Some(check) = self.health_check(&format!("{at}.healthchecks.active"), active)
            {
                upstream["healthCheck"] = check;
            }
            if checks.remove("passive").is_some() {
                upstream["outlierDetection"] = json!({});
                self.note(
                    &format!("{at}.healthchecks.passive"),
                    "became `outlierDetection` with its defaults: look at its thresholds",
                );
            }
            leftovers(&checks.into(), &format!("{at}.healthchecks"), &mut self.notes);
        }
        leftovers(&fields.into(), at, &mut self.notes);
        self.pools.push(Pool { host: name.to_ascii_lowercase(), upstream, is_used: false });
    }

    fn health_check(&mut self, at: &str, mut active: Fields) -> Option<Value> {
        let part = |active: &mut Fields, key: &str| match active.remove(key) {
            Some(Value::Object(part)) => part,
            _ => Fields::new(),
        };
        let (mut good, mut bad) = (part(&mut active, "healthy"), part(&mut active, "unhealthy"));
        let interval = number(&mut good, "interval").unwrap_or(0);
        let other = number(&mut bad, "interval").unwrap_or(0);
        if interval == 0 && other == 0 {
            return None;
        }
        let mut check = json!({"interval": format!("{}s", interval.max(other))});
        let kind = text(&mut active, "type").unwrap_or_else(|| "http".to_owned());
        let path = text(&mut active, "http_path").unwrap_or_else(|| "/".to_owned());
        match kind.as_str() {
            "tcp" => {}
            "grpc" | "grpcs" => check["grpc"] = json!(""),
            _ => check["path"] = json!(path),
        }
        if let Some(count) = number(&mut good, "successes").filter(|count| *count > 0) {
            check["healthyThreshold"] = json!(count);
        }
        let failures = ["http_failures", "tcp_failures", "timeouts"].map(|key| number(&mut bad, key));
        if let Some(count) = failures.into_iter().flatten().filter(|count| *count > 0).min() {
            check["unhealthyThreshold"] = json!(count);
        }
        if let Some(statuses) = good.remove("http_statuses") {
            check["expectedStatuses"] = statuses;
        }
        bad.remove("http_statuses");
        if let Some(seconds) = number(&mut active, "timeout") {
            check["timeout"] = json!(format!("{seconds}s"));
        }
        active.remove("concurrency");
        for (part, key) in [(active, ""), (good, ".healthy"), (bad, ".unhealthy")] {
            leftovers(&part.into(), &format!("{at}{key}"), &mut self.notes);
        }
        Some(check)
    }

    fn service(&mut self, at: &str, mut fields: Fields) {
        idle(&mut fields);
        let Some(name) = text(&mut fields, "name") else {
            return self.note(at, "it has no name; left out");
        };
        if fields.remove("enabled") == Some(Value::Bool(false)) {
            return self.note(at, "it is switched off; left out");
        }
        let (mut protocol, mut host, mut port, mut path) = (
            text(&mut fields, "protocol").unwrap_or_else(|| "http".to_owned()),
            text(&mut fields, "host"),
            number(&mut fields, "port"),
            text(&mut fields, "path").unwrap_or_default(),
        );
        if let Some(url) = text(&mut fields, "url") {
            let (scheme, rest) = url.split_once("://").unwrap_or(("http", &url));
            let (authority, below) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let (name, number) = authority.rsplit_once(':').unwrap_or((authority, ""));
            protocol = scheme.to_owned();
            (host, port, path) = (Some(name.to_owned()), number.parse().ok(), below.to_owned());
        }
        let Some(host) = host else { return self.note(at, "it has no host; left out") };
        let is_tls = matches!(protocol.as_str(), "https" | "grpcs" | "tls");
        if matches!(protocol.as_str(), "tcp" | "udp" | "tls" | "tls_passthrough") {
            return self
                .note(&format!("{at}.protocol"), format_args!("`{protocol}` has no counterpart; left out"));
        }
        // A host that is the name of an upstream is never looked for in DNS, and the port beside it has no meaning.
        let pool = self.pools.iter_mut().find(|pool| pool.host == host.to_ascii_lowercase());
        let mut made = match pool {
            Some(pool) => {
                pool.is_used = true;
                pool.upstream.clone()
            }
            None => {
                let port = port.unwrap_or(if is_tls { 443 } else { 80 });
                json!({"name": name_of(&name), "endpoints": [{"address": format!("{host}:{port}")}]})
            }
        };
        if is_tls {
            made["tls"] = json!({"serverName": host});
        }
        if protocol.starts_with("grpc") {
            made["protocol"] = json!("grpc");
        }
        let mut timeouts = Fields::new();
        for (theirs, ours) in
            [("connect_timeout", "connect"), ("read_timeout", "request"), ("write_timeout", "idle")]
        {
            if let Some(millis) = number(&mut fields, theirs) {
                timeouts.insert(ours.to_owned(), json!(format!("{millis}ms")));
            }
        }
        if !timeouts.is_empty() {
            made["timeouts"] = timeouts.into();
        }
        if let Some(retries) = number(&mut fields, "retries") {
            made["retry"] = json!({"maxAttempts": (retries + 1).min(10)});
        }
        if fields.remove("tls_verify") == Some(Value::Bool(false)) && is_tls {
            made["tls"]["verify"] = json!(false);
        }
        let named = self.upstream_named(made, &name);
        let policies = self.policies(at, &mut fields);
        let path = path.trim_end_matches('/').to_owned();
        self.services.push((name.clone(), Service { upstream: named, path, policies }));
        for (index, route) in list(&mut fields, "routes").into_iter().enumerate() {
            self.route(&format!("{at}.routes[{index}]"), route, Some(&name));
        }
        leftovers(&fields.into(), at, &mut self.notes);
    }

    /// The name of an upstream that is like this one, which is added where there is none. Services that share
    /// endpoints and speak to them alike share it; another gets one of its own, so that no setting of one service
    /// becomes another's.
    fn upstream_named(&mut self, mut made: Value, service: &str) -> String {
        if let Some(known) = self.upstreams.iter().find(|known| {
            let mut known = (*known).clone();
            known["name"] = made["name"].clone();
            known == made
        }) {
            return known["name"].as_str().unwrap_or_default().to_owned();
        }
        let is_free = |name: &str| !self.upstreams.iter().any(|known| known["name"] == name);
        let wanted = made["name"].as_str().unwrap_or_default().to_owned();
        let mut names = [wanted, name_of(service)].into_iter();
        let mut name = names.find(|name| is_free(name)).unwrap_or_default();
        let mut number = 1;
        while !is_free(&name) || name.is_empty() {
            number += 1;
            name = format!("{}-{number}", name_of(service));
        }
        made["name"] = json!(name);
        self.upstreams.push(made);
        name
    }

    /// A route of a service, which is `of` or named in it.
    fn route(&mut self, at: &str, mut fields: Fields, of: Option<&str>) {
        idle(&mut fields);
        let named = match fields.remove("service") {
            Some(Value::Object(service)) => service.get("name").and_then(Value::as_str).map(str::to_owned),
            Some(Value::String(name)) => Some(name),
            _ => None,
        };
        let name = of.map(str::to_owned).or(named);
        let mut service = Service::default();
        if let Some(name) = &name {
            let Some((_, known)) = self.services.iter().find(|(known, _)| known == name) else {
                return self.note(at, format_args!("there is no service `{name}`; left out"));
            };
            service = known.clone();
        }
        let upstream = Some(service.upstream.clone()).filter(|name| !name.is_empty());
        let title = text(&mut fields, "name")
            .unwrap_or_else(|| format!("{}-{}", name.as_deref().unwrap_or("route"), self.routes.len() + 1));
        if let Some(expression) = fields.remove("expression") {
            return self.note(
                &format!("{at}.expression"),
                format_args!(
                    "left out: write {expression} as conditions of `match`, or in CEL as `match[].when`"
                ),
            );
        }
        let mut route = Fields::new();
        route.insert("name".to_owned(), json!(self.free_name(&name_of(&title))));
        let hosts = texts(&mut fields, "hosts");
        if !hosts.is_empty() {
            route.insert("hosts".to_owned(), json!(hosts));
        }
        let matches = Self::matches(&mut fields);
        if !matches.is_empty() {
            route.insert("match".to_owned(), json!(matches));
        }
        if let Some(priority) = number(&mut fields, "regex_priority").filter(|priority| *priority > 0) {
            route.insert("priority".to_owned(), json!(priority.min(1000)));
        }
        let mut policies = service.policies.clone();
        let own = self.policies(at, &mut fields);
        // A plugin of a route stands in the place of the service's.
        let kind = |policy: &Value| policy.as_object().and_then(|one| one.keys().next().cloned());
        policies.retain(|policy| !own.iter().any(|other| kind(other) == kind(policy)));
        policies.extend(own);
        let is_stripped = fields.remove("strip_path").and_then(|strip| strip.as_bool()).unwrap_or(true);
        let has_paths = matches.iter().any(|one| one.get("path").is_some());
        let path = if service.path.is_empty() { "/" } else { &service.path };
        let regexes = matches.iter().any(|one| one["path"].get("regex").is_some());
        if is_stripped && regexes {
            policies.push(stripping(&matches, &service.path));
        } else if is_stripped && has_paths {
            policies.push(json!({"rewrite": {"path": {"replacePrefix": path}}}));
        } else if !service.path.is_empty() {
            let regex = json!({"pattern": "^", "replacement": service.path});
            policies.push(json!({"rewrite": {"path": {"regex": regex}}}));
        }
        if fields.remove("preserve_host") != Some(Value::Bool(true)) && upstream.is_some() {
            route.insert("hostHeader".to_owned(), json!("upstream"));
        }
        let protocols = texts(&mut fields, "protocols");
        if !protocols.is_empty()
            && protocols.iter().all(|protocol| matches!(protocol.as_str(), "https" | "grpcs"))
        {
            self.note(
                &format!("{at}.protocols"),
                "Kong answers 426 to calls without TLS; here give the listener `tls`, and let one without it `redirect`",
            );
        }
        // Bodies are streamed here in any case.
        for key in ["request_buffering", "response_buffering"] {
            fields.remove(key);
        }
        defaults(&mut fields, &[("https_redirect_status_code", json!(426)), ("path_handling", json!("v0"))]);
        if !policies.is_empty() {
            route.insert("policies".to_owned(), policies.into());
        }
        leftovers(&fields.into(), at, &mut self.notes);
        self.routes.push(Route { fields: route, service: name, upstream });
    }

    fn free_name(&self, name: &str) -> String {
        let is_free = |name: &str| !self.routes.iter().any(|route| route.fields["name"] == name);
        let mut free = name.to_owned();
        let mut number = 1;
        while !is_free(&free) {
            number += 1;
            free = format!("{name}-{number}");
        }
        free
    }

    /// Each path of theirs with the methods and headers that hold for all of them.
    fn matches(fields: &mut Fields) -> Vec<Value> {
        let mut common = Fields::new();
        let methods = texts(fields, "methods");
        if !methods.is_empty() {
            common.insert("methods".to_owned(), json!(methods));
        }
        if let Some(Value::Object(headers)) = fields.remove("headers") {
            let mut all = Vec::new();
            for (name, values) in headers {
                let values: Vec<&str> =
                    values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                match values.as_slice() {
                    [one] if one.starts_with("~*") => {
                        let pattern = one.trim_start_matches("~*");
                        all.push(json!({"name": name, "regex": format!("(?i).*(?:{pattern}).*")}));
                    }
                    [one] => all.push(json!({"name": name, "exact": one})),
                    several => {
                        let any: Vec<String> = several.iter().map(|value| regex_escaped(value)).collect();
                        all.push(json!({"name": name, "regex": any.join("|")}));
                    }
                }
            }
            common.insert("headers".to_owned(), json!(all));
        }
        let snis = texts(fields, "snis");
        if !snis.is_empty() {
            common.insert("sni".to_owned(), json!(snis));
        }
        let sources = list(fields, "sources");
        let addresses: Vec<String> = sources.into_iter().filter_map(|mut one| text(&mut one, "ip")).collect();
        if !addresses.is_empty() {
            common.insert("clientAddress".to_owned(), json!(addresses));
        }
        let mut made: Vec<Value> = Vec::new();
        for path in texts(fields, "paths") {
            let mut one = common.clone();
            let path = match path.strip_prefix('~') {
                // Theirs need not reach to the end.
                Some(regex) if regex.ends_with('$') && !regex.ends_with("\\$") => {
                    json!({"regex": regex.trim_end_matches('$')})
                }
                Some(regex) => json!({"regex": format!("{regex}.*")}),
                None => {
                    let plain = if path.len() > 1 { path.trim_end_matches('/') } else { &path };
                    json!({"prefix": plain})
                }
            };
            one.insert("path".to_owned(), path);
            made.push(one.into());
        }
        if made.is_empty() && !common.is_empty() {
            made.push(common.into());
        }
        made
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

/// Takes off what a path was matched by, some of it by regular expressions, and puts the service's own path there.
fn stripping(matches: &[Value], path: &str) -> Value {
    let each = matches.iter().filter_map(|one| {
        let path = &one["path"];
        let regex = path["regex"].as_str().map(|regex| format!("(?:{})", regex.trim_end_matches(".*")));
        regex.or_else(|| Some(regex_escaped(path["prefix"].as_str()?.trim_end_matches('/'))))
    });
    let each: Vec<String> = each.collect();
    let pattern = format!("^(?:{})/?", each.join("|"));
    json!({"rewrite": {"path": {"regex": {"pattern": pattern, "replacement": format!("{path}/")}}}})
}

/// A text as a regular expression that means itself.
fn regex_escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, letter| {
        if letter.is_ascii_punctuation() && letter != '_' && letter != '-' {
            out.push('\\');
        }
        out.push(letter);
        out
    })
}
