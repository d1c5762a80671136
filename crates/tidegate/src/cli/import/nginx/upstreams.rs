//! `upstream` blocks, and the addresses that `proxy_pass` and `grpc_pass` name.

use serde_json::{Value, json};

use super::{Import, Scope, syntax::Directive, words};

/// What `proxy_pass` says.
pub(super) struct Target {
    pub(super) upstream: String,
    /// `Host` as nginx sends it without a `proxy_set_header`.
    pub(super) host: String,
    /// What takes the place of the location's path.
    pub(super) path: Option<String>,
}

impl<'a> Import<'a> {
    pub(super) fn upstream_blocks(&mut self, level: &'a [Directive]) {
        for block in level.iter().filter(|one| one.name == "upstream") {
            block.seen.set(true);
            self.upstream(block);
        }
    }

    fn upstream(&mut self, block: &'a Directive) {
        let scope = Scope { levels: vec![block.inside()] };
        let mut endpoints = Vec::new();
        let mut outliers = None;
        let mut calls = Vec::new();
        for server in block.inside().iter().filter(|one| one.name == "server") {
            server.seen.set(true);
            let mut endpoint = json!({"address": endpoint(server.arg(0), 80)});
            let mut is_down = false;
            let (mut fails, mut pause) = (None, None);
            for word in &server.args[1.min(server.args.len())..] {
                match word.split_once('=').unwrap_or((word, "")) {
                    ("weight", weight) => endpoint["weight"] = json!(weight.parse::<u64>().unwrap_or(1)),
                    ("backup", _) => endpoint["backup"] = json!(true),
                    ("down", _) => is_down = true,
                    ("max_fails", count) => fails = count.parse::<u64>().ok(),
                    ("fail_timeout", time) => pause = words::time(time),
                    ("max_conns", count) => calls.push(count.parse::<u64>().unwrap_or(0)),
                    ("resolve", _) => {}
                    _ => self.note(server, format_args!("no counterpart: `{word}`")),
                }
            }
            if fails != Some(0) && (fails.is_some() || pause.is_some()) {
                let (count, time) = (fails.unwrap_or(1), pause.unwrap_or_else(|| "10s".to_owned()));
                outliers = Some(json!({
                    "consecutiveLocalOriginFailure": count, "consecutiveGatewayFailure": 0, "consecutive5xx": 0,
                    "baseEjectionTime": time, "maxEjectionPercent": 100,
                }));
            }
            if is_down {
                self.note(server, "it is `down`; left out");
            } else {
                endpoints.push(endpoint);
            }
        }
        if endpoints.is_empty() {
            self.note(block, format_args!("`{}` has no server; left out", block.arg(0)));
            return;
        }
        let is_whole = calls.len() == endpoints.len();
        let name = self.free_upstream(&words::name(block.arg(0)));
        let mut made = json!({"name": name, "endpoints": endpoints});
        if !calls.is_empty() {
            let sum = calls.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
            if is_whole && sum > 0 {
                made["bulkhead"] = json!({"maxConcurrentCalls": sum});
                self.note(block, "`max_conns` became `bulkhead`, over all endpoints together");
            } else {
                self.note(block, "no counterpart: `max_conns` at some servers alone");
            }
        }
        if let Some(balancing) = self.balancing(&scope) {
            made["loadBalancing"] = balancing;
        }
        if let Some(outliers) = outliers {
            made["outlierDetection"] = outliers;
        }
        if let Some(count) = scope.arg("keepalive").and_then(|count| count.parse::<u64>().ok()) {
            made["pool"] = json!({"maxIdlePerWorker": count});
        }
        if let Some(time) = scope.arg("keepalive_timeout").and_then(words::time) {
            made["pool"]["idleTimeout"] = json!(time);
        }
        if let Some(count) = scope.arg("keepalive_requests").and_then(|count| count.parse::<u64>().ok()) {
            made["pool"]["maxRequests"] = json!(count);
        }
        if let Some(time) = scope.arg("keepalive_time").and_then(words::time) {
            made["pool"]["maxAge"] = json!(time);
        }
        scope.one("zone");
        self.addresses.push((block_key(block.arg(0)), self.upstreams.len()));
        self.upstreams.push(made);
    }

    fn balancing(&mut self, scope: &Scope<'a>) -> Option<Value> {
        if scope.one("least_conn").is_some() {
            return Some(json!({"algorithm": "leastRequest"}));
        }
        if scope.one("least_time").is_some() {
            return Some(json!({"algorithm": "peakEwma"}));
        }
        if scope.one("random").is_some() {
            return Some(json!({"algorithm": "random"}));
        }
        if scope.one("ip_hash").is_some() {
            return Some(json!({"algorithm": "ringHash", "hash": "clientAddress"}));
        }
        let hash = scope.one("hash")?;
        let key = hash.arg(0).trim_start_matches('$').trim_matches(['{', '}']);
        let by = match key {
            "remote_addr" | "binary_remote_addr" => json!("clientAddress"),
            "request_uri" | "uri" => json!("path"),
            _ => match [("http_", "header"), ("cookie_", "cookie"), ("arg_", "query")]
                .into_iter()
                .find_map(|(start, kind)| key.strip_prefix(start).map(|name| (kind, name)))
            {
                Some(("header", name)) => json!({"header": name.replace('_', "-")}),
                Some((kind, name)) => json!({kind: name}),
                None => {
                    self.note(
                        hash,
                        format_args!("no counterpart: `{}`; clients are told apart by address", hash.arg(0)),
                    );
                    json!("clientAddress")
                }
            },
        };
        Some(json!({"algorithm": "ringHash", "hash": by}))
    }

    /// The upstream that an address leads to, made where there is none yet; none when it has variables.
    pub(super) fn target(&mut self, scope: &Scope<'a>, pass: &Directive) -> Option<Target> {
        let (scheme, rest) = pass.arg(0).split_once("://").unwrap_or(("http", pass.arg(0)));
        let unix = rest.strip_prefix("unix:");
        let (authority, path) = match unix {
            Some(socket) => match socket.split_once(':') {
                Some((socket, path)) => (format!("unix:{socket}"), Some(path.to_owned())),
                None => (format!("unix:{socket}"), None),
            },
            None => match rest.find('/') {
                Some(at) => (rest[..at].to_owned(), Some(rest[at..].to_owned())),
                None => (rest.to_owned(), None),
            },
        };
        if authority.is_empty()
            || authority.contains('$')
            || path.as_deref().is_some_and(|path| path.contains('$'))
        {
            return None;
        }
        let is_tls = matches!(scheme, "https" | "grpcs");
        let is_grpc = scheme.starts_with("grpc") || pass.name == "grpc_pass";
        let host = if unix.is_some() { "localhost".to_owned() } else { authority.clone() };
        let address = endpoint(&authority, if is_tls { 443 } else { 80 });
        let block = block_key(&authority);
        let is_block = self.addresses.iter().any(|(known, _)| *known == block);
        let key = if is_block { block } else { address.clone() };
        let known = self.addresses.iter().find(|(known, _)| *known == key).map(|(_, at)| *at);
        let mut made = match known.and_then(|at| self.upstreams.get(at)) {
            Some(known) => known.clone(),
            None => {
                let name = self.free_upstream(&words::name(&authority));
                json!({"name": name, "endpoints": [{"address": address}]})
            }
        };
        // Others may ask it otherwise.
        if let Some(fields) = made.as_object_mut() {
            fields.remove("tls");
            fields.remove("protocol");
        }
        if is_tls {
            made["tls"] = self.tls(scope, pass, &authority);
        }
        if is_grpc {
            made["protocol"] = json!("grpc");
        }
        let upstream = self.kept(key, made);
        Some(Target { upstream, host, path })
    }

    fn tls(&mut self, scope: &Scope<'a>, pass: &Directive, authority: &str) -> Value {
        let start = if pass.name == "grpc_pass" { "grpc_ssl" } else { "proxy_ssl" };
        let named = |end: &str| format!("{start}_{end}");
        let name = scope.arg(&named("name")).filter(|name| !name.contains('$'));
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let mut tls = json!({"serverName": name.unwrap_or(host)});
        for (end, key) in
            [("trusted_certificate", "caFile"), ("certificate", "certFile"), ("certificate_key", "keyFile")]
        {
            if let Some(file) = scope.arg(&named(end)) {
                tls[key] = json!(self.path(file));
            }
        }
        if !scope.is_on(&named("verify")) {
            self.note(
                pass,
                "nginx does not verify this certificate; here it is verified: give its authority as `tls.caFile` of the \
                 upstream unless the system trusts it",
            );
        }
        tls
    }

    /// Keeps an upstream; one of the same address that speaks otherwise gets a number.
    fn kept(&mut self, key: String, mut made: Value) -> String {
        let same = |one: &Value| one["tls"] == made["tls"] && one["protocol"] == made["protocol"];
        let known = self.addresses.iter().filter(|(known, _)| *known == key).map(|(_, at)| *at);
        // One that is used by nobody yet becomes what is asked for.
        let place = known.filter_map(|at| Some((at, self.upstreams.get(at)?))).find(|&(_, one)| {
            same(one) || one["name"].as_str().is_some_and(|name| !self.used.contains(name))
        });
        let place = place.map(|(at, one)| (at, one["name"].as_str().unwrap_or_default().to_owned()));
        let name = match place {
            Some((at, name)) => {
                made["name"] = json!(name);
                if let Some(one) = self.upstreams.get_mut(at) {
                    *one = made;
                }
                name
            }
            None => {
                let name = self.free_upstream(made["name"].as_str().unwrap_or_default());
                made["name"] = json!(name);
                self.addresses.push((key, self.upstreams.len()));
                self.upstreams.push(made);
                name
            }
        };
        self.used.insert(name.clone());
        name
    }

    /// A name that no upstream has yet: names of theirs that differ may be one here.
    fn free_upstream(&self, wish: &str) -> String {
        let is_free = |name: &str| self.upstreams.iter().all(|one| one["name"] != name);
        crate::cli::import::free_name(wish, is_free)
    }
}

/// By what a block is found; nginx takes its name in any case.
fn block_key(name: &str) -> String {
    format!("upstream {}", name.to_ascii_lowercase())
}

/// An address with its port.
fn endpoint(text: &str, port: u16) -> String {
    let has_port = match text.rfind(']') {
        Some(end) => text[end..].contains(':'),
        None => text.contains(':'),
    };
    if text.starts_with("unix:") || has_port { text.to_owned() } else { format!("{text}:{port}") }
}
