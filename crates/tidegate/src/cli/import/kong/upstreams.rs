//! Kong's upstreams and services: endpoints, how they are spoken to, and how they are checked.

use serde_json::{Value, json};

use super::super::leftovers;
use super::{Fields, Import, Pool, Service, defaults, idle, known_as, list, name_of, number, text};

/// Most endpoints' weight that ours takes.
const WEIGHT_MAX: u64 = 10_000;
/// Most tries that ours makes.
const TRIES_MAX: u64 = 10;

/// Whether an upstream has somebody to ask.
pub(super) fn has_endpoints(upstream: &Value) -> bool {
    upstream["endpoints"].as_array().is_some_and(|all| !all.is_empty())
}

/// Whether passive checks count anything: in Kong those that count to nothing are off.
fn is_counting(passive: &Value) -> bool {
    let counts = ["tcp_failures", "http_failures", "timeouts"];
    counts.iter().any(|key| passive["unhealthy"][*key].as_u64().is_some_and(|count| count > 0))
}

/// Seconds, which may be a fraction.
fn seconds(fields: &mut Fields, key: &str) -> Option<u64> {
    let seconds = fields.remove(key).as_ref().and_then(Value::as_f64)?;
    (seconds > 0.0 && seconds < 1e9).then_some((seconds * 1000.0) as u64).filter(|millis| *millis > 0)
}

impl Import {
    pub(super) fn upstream(&mut self, at: &str, mut fields: Fields) {
        idle(&mut fields);
        let Some(name) = text(&mut fields, "name") else {
            return self.note(at, "it has no name; left out");
        };
        let endpoints = self.endpoints(at, &mut fields);
        let mut upstream = json!({"name": name_of(&name), "endpoints": endpoints});
        let theirs = text(&mut fields, "algorithm");
        let algorithm = match theirs.as_deref() {
            Some("least-connections") => Some("leastRequest"),
            Some("latency") => Some("peakEwma"),
            Some("consistent-hashing") => Some("ringHash"),
            Some("round-robin") | None => None,
            Some(other) => {
                let what = format_args!("`{other}` has no counterpart: endpoints take turns by weight");
                self.note(&format!("{at}.algorithm"), what);
                None
            }
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
            defaults(&mut checks, &[("threshold", json!(0))]);
            if checks.remove("passive").as_ref().is_some_and(is_counting) {
                upstream["outlierDetection"] = json!({});
                self.note(
                    &format!("{at}.healthchecks.passive"),
                    "became `outlierDetection` with its defaults: look at its thresholds",
                );
            }
            leftovers(&checks.into(), &format!("{at}.healthchecks"), &mut self.notes);
        }
        defaults(
            &mut fields,
            &[
                ("slots", json!(10_000)),
                ("hash_fallback", json!("none")),
                ("hash_on_cookie_path", json!("/")),
                ("use_srv_name", json!(false)),
            ],
        );
        leftovers(&fields.into(), at, &mut self.notes);
        self.pools.push(Pool { host: name.to_ascii_lowercase(), upstream, is_used: false });
    }

    /// Targets that take calls: those without a weight take none.
    fn endpoints(&mut self, at: &str, fields: &mut Fields) -> Vec<Value> {
        let mut endpoints: Vec<Value> = Vec::new();
        for (index, mut target) in list(fields, "targets").into_iter().enumerate() {
            let at = format!("{at}.targets[{index}]");
            idle(&mut target);
            target.remove("upstream");
            let Some(address) = text(&mut target, "target") else {
                self.note(&at, "it has no `target`; left out");
                continue;
            };
            let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            let address = if has_port { address } else { format!("{address}:8000") };
            let weight = number(&mut target, "weight").unwrap_or(100);
            if weight == 0 {
                self.note(&at, format_args!("`{address}` has the weight 0 and takes no calls; left out"));
            } else if endpoints.iter().any(|known| known["address"] == address) {
                self.note(&at, format_args!("`{address}` is there twice; left out"));
            } else {
                endpoints.push(json!({"address": address, "weight": weight.min(WEIGHT_MAX)}));
            }
            leftovers(&target.into(), &at, &mut self.notes);
        }
        endpoints
    }

    fn health_check(&mut self, at: &str, mut active: Fields) -> Option<Value> {
        let part = |active: &mut Fields, key: &str| match active.remove(key) {
            Some(Value::Object(part)) => part,
            _ => Fields::new(),
        };
        let (mut good, mut bad) = (part(&mut active, "healthy"), part(&mut active, "unhealthy"));
        let intervals = [seconds(&mut good, "interval"), seconds(&mut bad, "interval")];
        let interval = intervals.into_iter().flatten().max()?;
        let mut check = json!({"interval": format!("{interval}ms")});
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
        if let Some(millis) = seconds(&mut active, "timeout") {
            check["timeout"] = json!(format!("{millis}ms"));
        }
        active.remove("concurrency");
        defaults(&mut active, &[("https_verify_certificate", json!(true))]);
        for (part, key) in [(active, ""), (good, ".healthy"), (bad, ".unhealthy")] {
            leftovers(&part.into(), &format!("{at}{key}"), &mut self.notes);
        }
        Some(check)
    }

    pub(super) fn service(&mut self, at: &str, index: usize, mut fields: Fields) {
        let known_as = known_as(&fields);
        idle(&mut fields);
        let name = text(&mut fields, "name").unwrap_or_else(|| format!("service-{}", index + 1));
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
            let (name, number) = match authority.rsplit_once(':') {
                // Colons are in addresses of IPv6, too.
                Some((name, number)) if !number.ends_with(']') => (name, number),
                _ => (authority, ""),
            };
            protocol = scheme.to_owned();
            (host, port, path) = (Some(name.to_owned()), number.parse().ok(), below.to_owned());
        }
        let Some(host) = host else { return self.note(at, "it has no host; left out") };
        let is_tls = matches!(protocol.as_str(), "https" | "grpcs" | "tls" | "wss");
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
            if !fields.contains_key("tls_verify") {
                self.note(
                    at,
                    "Kong verifies certificates of upstreams where `tls_verify` says so; here they are, unless \
                     `tls: {verify: false}` says otherwise",
                );
            }
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
            made["retry"] = json!({"maxAttempts": retries.saturating_add(1).min(TRIES_MAX)});
        }
        if fields.remove("tls_verify") == Some(Value::Bool(false)) && is_tls {
            made["tls"]["verify"] = json!(false);
        }
        let upstream = if has_endpoints(&made) { self.upstream_named(made, &name) } else { String::new() };
        if upstream.is_empty() {
            self.note(at, format_args!("no target of `{host}` takes calls: its routes answer 503"));
        }
        let policies = self.policies(at, &mut fields);
        let path = path.trim_end_matches('/').to_owned();
        let place = self.services.len();
        self.services.push(Service { known_as, title: name, upstream, path, policies });
        for (index, route) in list(&mut fields, "routes").into_iter().enumerate() {
            self.route(&format!("{at}.routes[{index}]"), route, Some(place));
        }
        leftovers(&fields.into(), at, &mut self.notes);
    }

    /// The name of an upstream that is like this one, which is added where there is none. Services that share
    /// endpoints and speak to them alike share it; another gets one of its own, so that no setting of one service
    /// becomes another's.
    pub(super) fn upstream_named(&mut self, mut made: Value, service: &str) -> String {
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
}
