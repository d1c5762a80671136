//! Directives that become policies.

use serde_json::{Map, Value, json};

use super::{Import, Scope, syntax::Directive, words};

/// Who lets nobody in, until somebody has looked at it.
pub(super) fn nobody() -> Value {
    json!({"ipRestriction": {"deny": ["0.0.0.0/0", "::/0"]}})
}

/// Modules of others that guard, by a directive whose name says nothing of it.
const GUARDS: [&str; 9] = [
    "secure_link",
    "js_access",
    "shib_request",
    "modsecurity",
    "SecRulesEnabled",
    "app_protect_enable",
    "app_protect_dos_enable",
    "waf",
    "testcookie",
];

/// What belongs to a guard and is none without it (`auth_ldap_servers`), or is looked at elsewhere.
const SETTINGS: [&str; 8] = [
    "auth_basic",
    "auth_request",
    "auth_jwt_",
    "auth_ldap_",
    "auth_pam_",
    "auth_gss_",
    "auth_digest_",
    "auth_delay",
];

/// Whether a directive guards and is none of those that become a policy: a module that nobody knows here may be one.
pub(super) fn is_guard(name: &str) -> bool {
    let is_script = ["access_by_lua", "rewrite_by_lua", "server_rewrite_by_lua"]
        .iter()
        .any(|phase| name.starts_with(phase));
    (name.starts_with("auth_") && !SETTINGS.iter().any(|known| name.starts_with(known)))
        || name == "auth_jwt_require"
        || (is_script && !name.ends_with("_no_postpone"))
        || GUARDS.contains(&name)
}

/// The names of the guards around a place, each once.
fn guards<'a>(scope: &Scope<'a>) -> Vec<&'a str> {
    let mut names: Vec<&'a str> = Vec::new();
    for level in &scope.levels {
        for one in level.iter().filter(|one| is_guard(&one.name)) {
            if !names.contains(&one.name.as_str()) {
                names.push(&one.name);
            }
        }
    }
    names
}

/// Headers that the gateway sends itself, or that an upgrade needs.
const OWN_HEADERS: [&str; 8] = [
    "host",
    "connection",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "content-length",
    "te",
];

impl<'a> Import<'a> {
    /// What `limit_req_zone`, `limit_conn_zone` and `split_clients` define.
    pub(super) fn zones(&mut self, level: &'a [Directive]) {
        for one in level {
            match one.name.as_str() {
                "limit_req_zone" | "limit_conn_zone" => {
                    one.seen.set(true);
                    let zone =
                        one.args.iter().find_map(|word| word.strip_prefix("zone=")).unwrap_or_default();
                    let zone = zone.split(':').next().unwrap_or_default().to_owned();
                    let rate = one.args.iter().find_map(|word| word.strip_prefix("rate=")).unwrap_or("0r/s");
                    let count = rate.split('r').next().and_then(|count| count.parse().ok()).unwrap_or(0);
                    let window = if rate.ends_with('m') { "1m" } else { "1s" };
                    let key = key_of(one.arg(0));
                    if key.is_none() {
                        self.note(
                            one,
                            format_args!(
                                "nothing is counted by `{}` here; its limits are left out",
                                one.arg(0)
                            ),
                        );
                    }
                    self.zones.insert(zone, (key, count, window));
                }
                "split_clients" => {
                    one.seen.set(true);
                    let shares = one.inside().iter().map(|share| {
                        share.seen.set(true);
                        let percent = share.name.trim_end_matches('%').parse().unwrap_or(0.0);
                        (share.arg(0).to_owned(), percent)
                    });
                    let mut shares: Vec<(String, f64)> = shares.collect();
                    let given: f64 = shares.iter().map(|(_, percent)| percent).sum();
                    for (share, written) in shares.iter_mut().zip(one.inside()) {
                        if written.name == "*" {
                            share.1 = 100.0 - given;
                        }
                    }
                    self.shares.insert(one.arg(1).to_owned(), shares);
                }
                _ => {}
            }
        }
    }

    /// The policies of a place.
    pub(super) fn policies(&mut self, scope: &Scope<'a>, place: &'a Directive) -> Vec<Value> {
        let mut all = Vec::new();
        let mut closed = Vec::new();
        self.addresses(scope, &mut all, &mut closed);
        if scope.arg("satisfy") == Some("any") {
            closed.push("satisfy any".to_owned());
        }
        if let Some(realm) = scope.one("auth_basic").filter(|one| one.arg(0) != "off") {
            scope.one("auth_basic_user_file");
            closed.push(realm.name.clone());
        }
        if self.is_unasked {
            closed.push("ssl_verify_client on".to_owned());
        }
        for name in guards(scope) {
            if scope.one(name).is_some_and(|one| one.arg(0) != "off") {
                closed.push(name.to_owned());
            }
        }
        if let Some(ask) = scope.one("auth_request").filter(|one| one.arg(0) != "off") {
            match self.judge(scope, ask) {
                Some(policy) => all.push(policy),
                None => closed.push(ask.name.clone()),
            }
        }
        self.conditions(scope, &mut closed);
        for limit in scope.all("limit_req") {
            all.extend(self.rate(limit));
        }
        for limit in scope.all("limit_conn") {
            match self.zones.get(limit.arg(0)) {
                Some((Some(key), ..)) => {
                    let count = limit.arg(1).parse::<u64>().unwrap_or(1);
                    all.push(json!({"concurrencyLimit": {"limit": count, "key": key}}));
                }
                _ => self.note(limit, "no counterpart: its zone is not taken over"),
            }
        }
        match scope.arg("client_max_body_size") {
            Some("0") | None => {}
            Some(text) => {
                all.extend(words::size(text).map(|size| json!({"requestLimits": {"maxBodySize": size}})))
            }
        }
        all.extend(compress(scope));
        if scope.one("proxy_cache").is_some_and(|one| one.arg(0) != "off") {
            all.push(self.cache(scope));
        }
        all.extend(self.mirror(scope));
        all.extend(self.headers(scope));
        if !closed.is_empty() {
            // Of two, the most specific counts.
            all.retain(|policy| policy.get("ipRestriction").is_none());
            all.push(nobody());
            let names = closed.join("`, `");
            self.note(
                place,
                format_args!("CLOSED, for `{names}` is not taken over: write who may call, then take its `ipRestriction` out"),
            );
        }
        all
    }

    /// `allow` and `deny`, the first that fits. Ours has lists, of which `deny` wins.
    fn addresses(&mut self, scope: &Scope<'a>, all: &mut Vec<Value>, closed: &mut Vec<String>) {
        // Both at one level count as one list.
        let level = scope
            .levels
            .iter()
            .rev()
            .find(|level| level.iter().any(|one| one.name == "allow" || one.name == "deny"));
        for level in &scope.levels {
            level
                .iter()
                .filter(|one| one.name == "allow" || one.name == "deny")
                .for_each(|one| one.seen.set(true));
        }
        let rules: Vec<&Directive> = level
            .into_iter()
            .flat_map(|level| level.iter())
            .filter(|one| one.name == "allow" || one.name == "deny")
            .collect();
        let (mut allow, mut deny) = (Vec::new(), Vec::new());
        let mut ends = false;
        for rule in &rules {
            if ends {
                break;
            }
            match (rule.name.as_str(), rule.arg(0)) {
                ("allow", "all") => {
                    if !allow.is_empty() && !deny.is_empty() {
                        closed.push("allow".to_owned());
                    }
                    allow.clear();
                    ends = true;
                }
                ("deny", "all") => {
                    if allow.is_empty() {
                        all.push(nobody());
                        return;
                    }
                    ends = true;
                }
                ("allow", network) => allow.push(network.to_owned()),
                // A network that is refused after one that is let in may hold it.
                (_, _) if !allow.is_empty() => return closed.push("deny".to_owned()),
                (_, network) => deny.push(network.to_owned()),
            }
        }
        if !ends {
            allow.clear();
        }
        if !allow.is_empty() || !deny.is_empty() {
            let mut lists = Map::new();
            for (key, list) in [("allow", allow), ("deny", deny)] {
                if !list.is_empty() {
                    lists.insert(key.to_owned(), json!(list));
                }
            }
            all.push(json!({"ipRestriction": lists}));
        }
    }

    /// `if` that refuses protects; any other is told.
    fn conditions(&mut self, scope: &Scope<'a>, closed: &mut Vec<String>) {
        for level in scope.levels.clone() {
            for one in level.iter().filter(|one| one.name == "if") {
                let refuses = one.inside().iter().any(|inner| {
                    inner.name == "deny" || (inner.name == "return" && inner.arg(0).starts_with('4'))
                });
                if refuses {
                    one.take();
                    closed.push(one.shown());
                }
            }
        }
    }

    fn rate(&mut self, limit: &'a Directive) -> Option<Value> {
        let zone = limit.args.iter().find_map(|word| word.strip_prefix("zone=")).unwrap_or_default();
        let Some((Some(key), count, window)) = self.zones.get(zone).cloned() else {
            self.note(limit, "no counterpart: its zone is not taken over");
            return None;
        };
        let burst = limit.args.iter().find_map(|word| word.strip_prefix("burst="));
        let burst: u64 = burst.and_then(|count| count.parse().ok()).unwrap_or(0);
        if burst > 0 && !limit.args.iter().any(|word| word == "nodelay") {
            self.note(limit, "calls of the burst are answered at once here, as with `nodelay`");
        }
        // A zone counts over all places that name it.
        let name = words::name(&format!("{zone}-{burst}"));
        if self.policies.iter().all(|policy| policy["name"] != name.as_str()) {
            let policy = json!({"limit": count, "window": window, "burst": burst + 1, "key": key});
            self.policies.push(json!({"name": name, "policy": {"rateLimit": policy}}));
        }
        Some(json!({"use": name}))
    }

    fn cache(&mut self, scope: &Scope<'a>) -> Value {
        let mut cache = Map::new();
        for valid in scope.all("proxy_cache_valid") {
            let is_for_all = valid.args.len() == 1 || valid.arg(0) == "any" || valid.arg(0) == "200";
            match valid.args.last().and_then(|time| words::time(time)).filter(|_| is_for_all) {
                Some(time) => drop(cache.insert("defaultTtl".to_owned(), json!(time))),
                None => self.note(valid, "no counterpart: a time for some statuses alone"),
            }
        }
        if scope
            .one("proxy_cache_use_stale")
            .is_some_and(|stale| stale.args.iter().any(|word| word == "error"))
        {
            cache.insert("staleIfError".to_owned(), json!("1h"));
        }
        if scope.is_on("proxy_cache_background_update") {
            cache.insert("staleWhileRevalidate".to_owned(), json!("1m"));
        }
        scope.one("proxy_cache_revalidate");
        json!({"cache": cache})
    }

    /// Headers to the upstream and back.
    fn headers(&mut self, scope: &Scope<'a>) -> Option<Value> {
        let (mut set, mut gone, mut add) = (Map::new(), Vec::new(), Map::new());
        for one in scope.all("proxy_set_header").into_iter().chain(scope.all("grpc_set_header")) {
            let name = one.arg(0).to_ascii_lowercase();
            if OWN_HEADERS.contains(&name.as_str()) {
                continue;
            }
            match words::template(one.arg(1)) {
                Some(value) if value.is_empty() => gone.push(name),
                // It passes as it is.
                Some(value) if value == format!("{{{{ request.header.{name} }}}}") => {}
                Some(value) => drop(set.insert(name, json!(value))),
                None if self.is_judged(scope, one.arg(1)) => {}
                None => self.note(one, format_args!("no counterpart: `{}`", one.arg(1))),
            }
        }
        for one in scope.all("add_header") {
            match words::template(one.arg(1)) {
                Some(value) => drop(add.insert(one.arg(0).to_ascii_lowercase(), json!(value))),
                None => self.note(one, format_args!("no counterpart: `{}`", one.arg(1))),
            }
        }
        let hidden: Vec<String> =
            scope.all("proxy_hide_header").into_iter().map(|one| one.arg(0).to_ascii_lowercase()).collect();
        let mut answer = Map::new();
        if !hidden.is_empty() {
            answer.insert("remove".to_owned(), json!(hidden));
        }
        if let Some(expires) = scope.one("expires") {
            let value = match expires.arg(0) {
                "off" => None,
                "epoch" => Some("no-cache".to_owned()),
                "max" => Some("max-age=315360000".to_owned()),
                time if time.starts_with('-') => Some("no-cache".to_owned()),
                time => words::seconds(time).map(|seconds| format!("max-age={seconds}")),
            };
            match value {
                Some(value) => drop(answer.insert("set".to_owned(), json!({"cache-control": value}))),
                None if expires.arg(0) == "off" => {}
                None => self.note(expires, "no counterpart"),
            }
        }
        if !add.is_empty() {
            answer.insert("add".to_owned(), json!(add));
        }
        let mut request = Map::new();
        if !gone.is_empty() {
            request.insert("remove".to_owned(), json!(gone));
        }
        if !set.is_empty() {
            request.insert("set".to_owned(), json!(set));
        }
        let mut headers = Map::new();
        for (key, part) in [("request", request), ("response", answer)] {
            if !part.is_empty() {
                headers.insert(key.to_owned(), json!(part));
            }
        }
        (!headers.is_empty()).then(|| json!({"headers": headers}))
    }
}

/// What is counted together.
fn key_of(text: &str) -> Option<Value> {
    match text {
        "$binary_remote_addr" | "$remote_addr" => Some(json!("clientAddress")),
        "$server_name" | "$host" => Some(json!({"cel": "request.host"})),
        _ => text.strip_prefix("$http_").map(|name| json!({"header": name.replace('_', "-")})),
    }
}

fn compress(scope: &Scope<'_>) -> Option<Value> {
    let (has_gzip, has_brotli) = (scope.is_on("gzip"), scope.is_on("brotli"));
    if !has_gzip && !has_brotli {
        return None;
    }
    let mut algorithms = Vec::new();
    if has_brotli {
        algorithms.push("br");
    }
    if has_gzip {
        algorithms.push("gzip");
    }
    let mut compress = json!({"algorithms": algorithms});
    if let Some(size) = scope.arg("gzip_min_length").and_then(words::size) {
        compress["minSize"] = json!(size);
    }
    if let Some(level) = scope.arg("gzip_comp_level").and_then(|level| level.parse::<u64>().ok()) {
        compress["level"] = json!(level.clamp(1, 9));
    }
    if let Some(types) = scope.one("gzip_types").or_else(|| scope.one("brotli_types")) {
        let mut types = types.args.clone();
        if !types.iter().any(|one| one == "*") {
            types.insert(0, "text/html".to_owned());
            types.dedup();
            compress["contentTypes"] = json!(types);
        }
    }
    Some(json!({"compress": compress}))
}
