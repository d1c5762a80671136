//! Directives that become policies.

use serde_json::{Map, Value, json};

use super::{Import, Scope, asked::judged_by, syntax::Directive, words};

/// Variables that tell no more answers apart than every cache here does, or that ask for a new answer alone.
const TOLD_APART: [&str; 18] = [
    "scheme",
    "host",
    "http_host",
    "proxy_host",
    "server_name",
    "server_port",
    "request_method",
    "request_uri",
    "uri",
    "document_uri",
    "is_args",
    "args",
    "query_string",
    "http_authorization",
    "http_pragma",
    "http_cache_control",
    "http_upgrade",
    "https",
];

/// Headers that the gateway sends itself, that belong to one connection, or that an upgrade needs.
const OWN_HEADERS: [&str; 16] = [
    "host",
    "connection",
    "upgrade",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "trailer",
    "transfer-encoding",
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
        let mut all = self.guarded(scope, place);
        all.extend(self.limited(scope));
        match scope.arg("client_max_body_size") {
            Some("0") | None => {}
            Some(text) => {
                all.extend(words::size(text).map(|size| json!({"requestLimits": {"maxBodySize": size}})))
            }
        }
        all.extend(compress(scope));
        if let Some(cache) = scope.one("proxy_cache").filter(|one| one.arg(0) != "off") {
            all.extend(self.cache(scope, cache));
        }
        all.extend(self.mirror(scope));
        all.extend(self.headers(scope));
        all
    }

    /// What guards and limits a place that leads to another one, beside the policies of that one.
    pub(super) fn passed_on(&mut self, scope: &Scope<'a>, place: &'a Directive) -> Vec<Value> {
        let mut all = self.guarded(scope, place);
        all.extend(self.limited(scope));
        all
    }

    fn limited(&mut self, scope: &Scope<'a>) -> Vec<Value> {
        let mut all = Vec::new();
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
        all
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
            let policy =
                json!({"limit": count, "window": window, "burst": burst.saturating_add(1), "key": key});
            self.policies.push(json!({"name": name, "policy": {"rateLimit": policy}}));
        }
        Some(json!({"use": name}))
    }

    /// None where what tells its answers apart, or keeps some from it, has no counterpart: others would get them.
    fn cache(&mut self, scope: &Scope<'a>, cache: &'a Directive) -> Option<Value> {
        let (mut headers, mut cookies) = (Vec::new(), Vec::new());
        for name in ["proxy_cache_key", "proxy_no_cache", "proxy_cache_bypass"] {
            for variable in scope.words(name).into_iter().flat_map(words::variables) {
                let (header, cookie) = (variable.strip_prefix("http_"), variable.strip_prefix("cookie_"));
                match (header, cookie) {
                    _ if TOLD_APART.contains(&variable) || variable.starts_with("arg_") => {}
                    (Some(header), _) => headers.push(header.replace('_', "-")),
                    (_, Some(cookie)) => cookies.push(cookie.to_owned()),
                    _ => {
                        self.note(
                            cache,
                            format_args!("no answers are kept: no counterpart of `${variable}` in `{name}`"),
                        );
                        return None;
                    }
                }
            }
        }
        let mut key = Map::new();
        for (name, mut list) in [("headers", headers), ("cookies", cookies)] {
            list.sort();
            list.dedup();
            if !list.is_empty() {
                key.insert(name.to_owned(), json!(list));
            }
        }
        let mut cache = Map::new();
        if !key.is_empty() {
            cache.insert("key".to_owned(), key.into());
        }
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
        Some(json!({"cache": cache}))
    }

    /// Headers to the upstream and back.
    fn headers(&mut self, scope: &Scope<'a>) -> Option<Value> {
        let (mut set, mut gone, mut add) = (Map::new(), Vec::new(), Map::new());
        for one in scope.all("proxy_set_header").into_iter().chain(scope.all("grpc_set_header")) {
            let name = one.arg(0).to_ascii_lowercase();
            if OWN_HEADERS.contains(&name.as_str()) {
                if name.starts_with("x-forwarded-") && !one.arg(1).contains('$') && !one.arg(1).is_empty() {
                    self.note(one, format_args!("the gateway says it itself; `{}` is left out", one.arg(1)));
                }
                continue;
            }
            match words::template(one.arg(1)) {
                Some(value) if value.is_empty() => gone.push(name),
                // It passes as it is.
                Some(value) if value == format!("{{{{ request.header.{name} }}}}") => {}
                Some(value) => drop(set.insert(name, json!(value))),
                // The client's own must not take its place.
                None => match judged_by(scope, one.arg(1)) {
                    Some(header) if header == name => {}
                    Some(header) => {
                        set.insert(name, json!(format!("{{{{ jwt.{header} }}}}")));
                    }
                    None => {
                        gone.push(name);
                        self.note(
                            one,
                            format_args!("no counterpart: `{}`; the client's own is taken out", one.arg(1)),
                        );
                    }
                },
            }
        }
        for one in scope.all("add_header") {
            let name = one.arg(0).to_ascii_lowercase();
            match words::template(one.arg(1)).filter(|_| !OWN_HEADERS.contains(&name.as_str())) {
                Some(value) => match add.get(&name).and_then(Value::as_str) {
                    None => drop(add.insert(name, json!(value))),
                    Some(_) if name == "set-cookie" => self.note(one, "no counterpart: a second cookie"),
                    Some(first) => {
                        let both = format!("{first}, {value}");
                        add.insert(name, json!(both));
                    }
                },
                None => self.note(one, format_args!("no counterpart: `{}`", one.arg(1))),
            }
        }
        let hidden = scope.all("proxy_hide_header").into_iter().map(|one| one.arg(0).to_ascii_lowercase());
        // Those of one connection never go on.
        let hidden: Vec<String> = hidden.filter(|name| !OWN_HEADERS.contains(&name.as_str())).collect();
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
