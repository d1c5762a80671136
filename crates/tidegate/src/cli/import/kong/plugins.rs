//! Plugins of Kong as policies.

use serde_json::{Value, json};

use super::{Fields, Import, closing, defaults, list, number, text, texts};
use crate::cli::import::leftovers;

/// Seconds of the windows of `rate-limiting`.
const WINDOWS: [(&str, &str); 5] =
    [("second", "1s"), ("minute", "1m"), ("hour", "1h"), ("day", "24h"), ("month", "720h")];

/// What a plugin becomes.
enum Made {
    Policy(Value),
    /// It is so here without being said, or is no policy.
    Nothing,
    Unknown,
}

/// What does the work of a plugin here, where it is written otherwise than by turning its settings.
fn elsewhere(plugin: &str) -> Option<&'static str> {
    Some(match plugin {
        "ai-proxy" | "ai-proxy-advanced" | "ai-request-transformer" | "ai-response-transformer" => {
            "write models under `ai` and a route with `ai`"
        }
        "ai-rate-limiting-advanced" => "`tokenRateLimit` and `budget` bound tokens and money",
        "ai-prompt-guard" | "ai-semantic-prompt-guard" | "ai-sanitizer" => {
            "`guardrails` has rules over what is said"
        }
        "ai-semantic-cache" => "`aiCache` gives known answers",
        "ai-prompt-template" | "ai-prompt-decorator" => "a route with `prompt` has messages of its own",
        "ai-mcp-proxy" => "a route with `mcp` has servers of tools",
        "bot-detection" => "`botDetection` judges clients",
        "http-log" | "tcp-log" | "udp-log" | "syslog" | "loggly" | "kafka-log" => {
            "`accessLog` has sinks of other kinds"
        }
        "opentelemetry" | "zipkin" | "datadog" | "statsd" => {
            "`telemetry.otlp` sends traces and metrics; `/metrics` has them for Prometheus"
        }
        "rate-limiting-advanced" | "response-ratelimiting" => "`rateLimit` and `quota` bound calls",
        "request-validator" | "oas-validation" | "json-threat-protection" | "xml-threat-protection" => {
            "`validate` and `requestLimits` judge requests"
        }
        "injection-protection" => "`waf` has the Core Rule Set",
        "grpc-web" | "grpc-gateway" => "a route with `transcode` speaks gRPC-Web and REST to gRPC",
        "mocking" => "`respond.openapi` answers from a document",
        "canary" => "`weight` of `backends` shares, `strangler` moves",
        "redirect" => "a route with `redirect`",
        "jq" => "`transform` has jq",
        "exit-transformer" => "`normalizeErrors` gives errors one shape",
        "upstream-timeout" => "`timeouts` of the route",
        "graphql-rate-limiting-advanced" | "graphql-proxy-cache-advanced" => {
            "`graphql` judges operations; `cache` keeps answers"
        }
        "kafka-upstream" => "a route with `publish`",
        "proxy-cache-advanced" => "`cache` keeps answers",
        "service-protection" => "`bulkhead` and `circuitBreaker` of the upstream",
        _ => return None,
    })
}

impl Import {
    /// The plugins that stand under something, as policies.
    pub(super) fn policies(&mut self, at: &str, fields: &mut Fields) -> Vec<Value> {
        let plugins = list(fields, "plugins");
        let each = plugins.into_iter().enumerate();
        each.filter_map(|(index, plugin)| self.plugin(&format!("{at}.plugins[{index}]"), plugin)).collect()
    }

    /// A plugin at the top: of all calls, or of a service, a route or a consumer that it names.
    pub(super) fn plugin_of_all(&mut self, at: &str, mut plugin: Fields) {
        let named = |plugin: &mut Fields, key: &str| match plugin.remove(key) {
            Some(Value::String(name)) => Some(name),
            Some(Value::Object(mut of)) => text(&mut of, "name").or_else(|| text(&mut of, "username")),
            _ => None,
        };
        let (service, route) = (named(&mut plugin, "service"), named(&mut plugin, "route"));
        let is_placed = service.is_some() || route.is_some();
        // Beside a service or a route, or without a name, it stays: then it is for some callers of a place alone.
        let consumer = if is_placed { None } else { named(&mut plugin.clone(), "consumer") };
        if consumer.is_some() {
            plugin.remove("consumer");
        }
        let Some(mut policy) = self.plugin(at, plugin) else { return };
        if !is_placed {
            policy = closing::ended(policy);
        }
        let mut places: Vec<&mut Fields> = Vec::new();
        match (&service, &route, &consumer) {
            (None, None, None) => return self.globals.push(policy),
            (_, Some(route), _) => {
                let name = super::name_of(route);
                let routes = self.routes.iter_mut().map(|route| &mut route.fields);
                places.extend(routes.filter(|one| one["name"] == name));
            }
            (Some(service), None, _) => {
                let of_it = self.routes.iter_mut().filter(|route| route.service.as_ref() == Some(service));
                places.extend(of_it.map(|route| &mut route.fields));
            }
            (None, None, Some(consumer)) => {
                let name = super::name_of(consumer);
                places.extend(self.consumers.iter_mut().filter(|one| one["name"] == name));
            }
        }
        if places.is_empty() {
            return self.note(at, "what it is for is not there; left out");
        }
        for place in places {
            if let Some(all) = place.entry("policies").or_insert_with(|| json!([])).as_array_mut() {
                all.push(policy.clone());
            }
        }
    }

    fn plugin(&mut self, at: &str, mut plugin: Fields) -> Option<Value> {
        super::idle(&mut plugin);
        plugin.remove("protocols");
        let name = text(&mut plugin, "name")?;
        if plugin.remove("enabled") == Some(Value::Bool(false)) {
            return None;
        }
        for key in ["consumer", "consumer_group"] {
            if let Some(of) = plugin.remove(key).filter(|of| !of.is_null()) {
                return self.of_some(at, &name, key, &of);
            }
        }
        let mut config = match plugin.remove("config") {
            Some(Value::Object(config)) => config,
            _ => Fields::new(),
        };
        let made = self.made(at, &name, &mut config);
        if matches!(made, Made::Unknown) {
            if let Some(mark) = closing::mark(&name) {
                return Some(mark);
            }
            let remedy = elsewhere(&name);
            if remedy.is_none()
                && let Some(mark) = closing::mark_of_unknown(&name, &config)
            {
                return Some(mark);
            }
            match remedy {
                Some(remedy) => self.note(at, format_args!("`{name}` is not taken over: {remedy}")),
                None => self.note(at, format_args!("`{name}` has no counterpart")),
            }
            return None;
        }
        leftovers(&config.into(), &format!("{at}.config"), &mut self.notes);
        leftovers(&plugin.into(), at, &mut self.notes);
        match made {
            Made::Policy(policy) => Some(policy),
            Made::Nothing | Made::Unknown => None,
        }
    }

    /// A plugin that is for some callers of a place alone, while policies of a place are for all of its callers.
    fn of_some(&mut self, at: &str, name: &str, key: &str, of: &Value) -> Option<Value> {
        let names = [of.as_str(), of["username"].as_str(), of["name"].as_str(), of["id"].as_str()];
        let of = names.into_iter().flatten().next().unwrap_or("?");
        let mark = match elsewhere(name) {
            Some(_) => None,
            None => closing::mark_of_some(name, &format!("{name}, {key}: {of}")),
        };
        match &mark {
            Some(_) if name == "request-termination" => self.note(
                at,
                format_args!(
                    "where `{of}` stands for those who show no credentials, `anyOf` of the ways to sign in, without \
                     `anonymous`, refuses them"
                ),
            ),
            Some(_) => {}
            None => self.note(
                at,
                format_args!(
                    "`{name}` for `{key}: {of}` alone is left out: policies of a route are for all who call it, those \
                     of a consumer for all that it calls"
                ),
            ),
        }
        mark
    }

    /// Kong's cache has the consumer in its key; behind credentials ours keeps only what is told apart so.
    pub(super) fn caches_by_consumer(&mut self) {
        let signs_in = |policy: &Value| policy.get("keyAuth").or_else(|| policy.get("basicAuth")).is_some();
        let by_consumer = |policy: &mut Value| {
            if let Some(cache) = policy.get_mut("cache") {
                cache["key"] = json!({"consumer": true});
            }
        };
        let is_everywhere = self.globals.iter().any(signs_in);
        let mut is_somewhere = is_everywhere;
        for route in &mut self.routes {
            let Some(all) = route.fields.get_mut("policies").and_then(Value::as_array_mut) else { continue };
            if is_everywhere || all.iter().any(signs_in) {
                is_somewhere = true;
                all.iter_mut().for_each(by_consumer);
            }
        }
        if is_somewhere {
            self.globals.iter_mut().for_each(by_consumer);
        }
        for consumer in &mut self.consumers {
            let all = consumer.get_mut("policies").and_then(Value::as_array_mut);
            all.into_iter().flatten().for_each(by_consumer);
        }
    }

    fn made(&mut self, at: &str, name: &str, config: &mut Fields) -> Made {
        Made::Policy(match name {
            "key-auth" => {
                let mut headers = texts(config, "key_names");
                if headers.is_empty() {
                    headers.push("apikey".to_owned());
                }
                let mut key = json!({"headers": headers});
                if config.remove("key_in_query") != Some(Value::Bool(false)) {
                    key["query"] = key["headers"][0].clone();
                }
                key["hideCredentials"] = json!(config.remove("hide_credentials") == Some(Value::Bool(true)));
                defaults(
                    config,
                    &[
                        ("key_in_header", json!(true)),
                        ("key_in_body", json!(false)),
                        ("run_on_preflight", json!(true)),
                        ("realm", Value::Null),
                    ],
                );
                self.anonymous(at, config, &mut key);
                json!({"keyAuth": key})
            }
            "basic-auth" => {
                let hides = config.remove("hide_credentials") == Some(Value::Bool(true));
                let mut basic = json!({"hideCredentials": hides});
                self.anonymous(at, config, &mut basic);
                defaults(config, &[("realm", json!("service"))]);
                json!({"basicAuth": basic})
            }
            "acl" => {
                let (allow, deny) = (texts(config, "allow"), texts(config, "deny"));
                // No group is told to upstreams here.
                config.remove("hide_groups_header");
                json!({"acl": {"allow": allow, "deny": deny}})
            }
            "ip-restriction" => {
                let (allow, deny) = (texts(config, "allow"), texts(config, "deny"));
                json!({"ipRestriction": {"allow": allow, "deny": deny}})
            }
            "cors" => self.cors(at, config),
            "rate-limiting" => match self.rate_limit(at, config) {
                Some(policy) => policy,
                None => return Made::Nothing,
            },
            "request-size-limiting" => {
                let size = number(config, "allowed_payload_size").unwrap_or(128);
                let unit = match text(config, "size_unit").as_deref() {
                    Some("kilobytes") => "KiB",
                    Some("bytes") => "B",
                    _ => "MiB",
                };
                defaults(config, &[("require_content_length", json!(false))]);
                json!({"requestLimits": {"maxBodySize": format!("{size}{unit}")}})
            }
            "request-transformer" | "response-transformer" => {
                let side = if name == "request-transformer" { "request" } else { "response" };
                let changes = self.header_changes(at, config);
                if changes.as_object().is_none_or(|changes| changes.is_empty()) {
                    return Made::Nothing;
                }
                json!({"headers": {side: changes}})
            }
            "proxy-cache" => self.cache(at, config),
            // What it answers is looked for when the route is finished.
            "request-termination" => {
                let taken = std::mem::take(config);
                json!({"request-termination": taken})
            }
            "file-log" | "stdout-log" => {
                let sink = match text(config, "path").filter(|path| !path.starts_with("/dev/")) {
                    Some(path) => json!({"kind": "file", "path": path}),
                    None => json!({"kind": "stdout"}),
                };
                if !self.access_log.contains(&sink) {
                    self.access_log.push(sink);
                }
                // Files are opened anew when they are moved away.
                config.remove("reopen");
                return Made::Nothing;
            }
            // Metrics are always there.
            "prometheus" => {
                config.clear();
                return Made::Nothing;
            }
            // So are the ids of requests, in a header of their own.
            "correlation-id" => {
                defaults(
                    config,
                    &[
                        ("header_name", json!("X-Request-ID")),
                        ("generator", json!("uuid")),
                        ("echo_downstream", json!(true)),
                    ],
                );
                return Made::Nothing;
            }
            _ => return Made::Unknown,
        })
    }

    fn cache(&mut self, at: &str, config: &mut Fields) -> Value {
        let seconds = number(config, "cache_ttl").unwrap_or(300);
        for key in ["strategy", "memory", "storage_ttl"] {
            config.remove(key);
        }
        defaults(
            config,
            &[
                ("content_type", json!(["text/plain", "application/json"])),
                ("request_method", json!(["GET", "HEAD"])),
                ("response_code", json!([200, 301, 404])),
            ],
        );
        if config.remove("cache_control") != Some(Value::Bool(true)) {
            self.note(
                &format!("{at}.config.cache_control"),
                "Kong keeps answers whatever their `Cache-Control` says; here `cache` heeds it (RFC 9111), \
                 and `defaultTtl` is for those that say nothing",
            );
        }
        json!({"cache": {"defaultTtl": format!("{seconds}s")}})
    }

    fn anonymous(&mut self, at: &str, config: &mut Fields, policy: &mut Value) {
        match text(config, "anonymous").filter(|name| !name.is_empty()) {
            // Kong names consumers by their id or their name.
            Some(name) if name.len() == 36 && name.matches('-').count() == 4 => {
                self.note(&format!("{at}.config.anonymous"), "write the consumer's name into `anonymous`");
            }
            Some(name) => policy["anonymous"] = json!(super::name_of(&name)),
            None => {}
        }
    }

    fn rate_limit(&mut self, at: &str, config: &mut Fields) -> Option<Value> {
        let mut limits: Vec<Value> = Vec::new();
        for (key, window) in WINDOWS {
            if let Some(limit) = number(config, key) {
                limits.push(json!({"limit": limit, "window": window}));
            }
        }
        if config.remove("year").is_some() {
            self.note(&format!("{at}.config.year"), "no counterpart");
        }
        let by = match text(config, "limit_by").as_deref() {
            Some("ip") => json!("clientAddress"),
            Some("header") => json!({"header": text(config, "header_name").unwrap_or_default()}),
            Some("service" | "path") => json!("global"),
            _ => json!("consumer"),
        };
        let policy = text(config, "policy").unwrap_or_default();
        if policy == "cluster" {
            self.note(
                &format!("{at}.config.policy"),
                "`cluster`: each gateway counts for itself here, unless it has `store: redis`",
            );
        }
        let is_shared = policy == "redis" && self.redis(at, config);
        let is_silent = config.remove("hide_client_headers") == Some(Value::Bool(true));
        let is_closed = config.remove("fault_tolerant") == Some(Value::Bool(false));
        for key in ["redis", "sync_rate"] {
            config.remove(key);
        }
        defaults(config, &[("error_code", json!(429)), ("error_message", json!("API rate limit exceeded"))]);
        let [first, more @ ..] = limits.as_mut_slice() else {
            self.note(at, "it has no limit; left out");
            return None;
        };
        let mut policy = first.clone();
        policy["key"] = by;
        if is_shared {
            policy["store"] = json!("redis");
            if is_closed {
                policy["whenAway"] = json!("closed");
            }
        }
        if is_silent {
            policy["headers"] = json!(false);
        }
        if !more.is_empty() {
            policy["limits"] = json!(more);
        }
        Some(json!({"rateLimit": policy}))
    }

    /// Where a limit is counted together; whether that is here, too.
    fn redis(&mut self, at: &str, config: &mut Fields) -> bool {
        let mut own = match config.remove("redis") {
            Some(Value::Object(own)) => own,
            _ => Fields::new(),
        };
        for key in ["host", "port", "password", "username", "database", "ssl"] {
            if let Some(value) = config.remove(&format!("redis_{key}")) {
                own.entry(key).or_insert(value);
            }
        }
        let Some(host) = text(&mut own, "host").filter(|host| !host.is_empty()) else {
            self.note(
                &format!("{at}.config.policy"),
                "`redis` without a host: each gateway counts for itself here",
            );
            return false;
        };
        let address = format!("{host}:{}", number(&mut own, "port").unwrap_or(6379));
        let mut redis = json!({"addresses": [address]});
        if text(&mut own, "password").is_some_and(|password| !password.is_empty()) {
            redis["password"] = json!({"env": "REDIS_PASSWORD"});
            self.note(
                &format!("{at}.config.redis.password"),
                "a password in the file is not copied: put it into the variable `REDIS_PASSWORD`",
            );
        }
        if let Some(name) = text(&mut own, "username").filter(|name| !name.is_empty()) {
            redis["username"] = json!(name);
        }
        if let Some(database) = number(&mut own, "database").filter(|database| *database > 0) {
            redis["database"] = json!(database);
        }
        if own.remove("ssl") == Some(Value::Bool(true)) {
            redis["tls"] = json!({});
        }
        if self.redis.as_ref().is_some_and(|known| *known != redis) {
            self.note(
                &format!("{at}.config.redis"),
                "there is one `redis` here, which is the first that was named",
            );
        }
        self.redis.get_or_insert(redis);
        true
    }

    /// What changes of headers; of bodies and queries nothing.
    fn header_changes(&mut self, at: &str, config: &mut Fields) -> Value {
        let mut changes = Fields::new();
        for (theirs, ours) in [("add", "add"), ("append", "add"), ("replace", "set"), ("rename", "rename")] {
            let Some(Value::Object(mut part)) = config.remove(theirs) else { continue };
            let pairs = texts(&mut part, "headers");
            if theirs == "add" && !pairs.is_empty() {
                self.note(
                    &format!("{at}.config.add.headers"),
                    "Kong adds what is not there yet; here it stands beside what is there",
                );
            }
            let all = changes.entry(ours).or_insert_with(|| json!({}));
            for (name, value) in pairs.iter().filter_map(|pair| pair.split_once(':')) {
                all[name.trim().to_ascii_lowercase()] = json!(value.trim());
            }
            leftovers(&part.into(), &format!("{at}.config.{theirs}"), &mut self.notes);
        }
        if let Some(Value::Object(mut part)) = config.remove("remove") {
            let names = texts(&mut part, "headers");
            changes.insert("remove".to_owned(), json!(names));
            leftovers(&part.into(), &format!("{at}.config.remove"), &mut self.notes);
        }
        changes.retain(|_, change| change.as_object().is_none_or(|all| !all.is_empty()));
        changes.into()
    }

    /// The fixed answer of a route that a plugin ends.
    pub(super) fn termination(&mut self, route: &mut Fields) -> Option<Value> {
        let policies = route.get_mut("policies")?.as_array_mut()?;
        let at = policies.iter().position(|policy| policy.get("request-termination").is_some())?;
        let mut policy = policies.remove(at);
        // What changes the way to a service has nothing to change any more.
        policies.retain(|policy| policy.get("rewrite").is_none());
        let config = policy["request-termination"].as_object_mut()?;
        let status = number(config, "status_code").unwrap_or(503);
        let message = text(config, "message").map(|message| json!({"message": message}).to_string());
        let body = text(config, "body").or(message.clone()).unwrap_or_default();
        let kind = text(config, "content_type");
        let kind = kind.or_else(|| message.map(|_| "application/json".to_owned()));
        let mut respond = json!({"status": status, "body": body});
        if let Some(kind) = kind {
            respond["headers"] = json!({"content-type": kind});
        }
        let config = std::mem::take(config);
        let name = route["name"].as_str().unwrap_or_default().to_owned();
        if route.get("policies").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            route.remove("policies");
        }
        leftovers(&config.into(), &format!("request-termination of {name}"), &mut self.notes);
        Some(respond)
    }

    fn cors(&mut self, at: &str, config: &mut Fields) -> Value {
        let mut cors = Fields::new();
        let origins = texts(config, "origins");
        let is_any = origins.is_empty() || origins.iter().any(|origin| origin == "*");
        cors.insert("allowOrigins".to_owned(), if is_any { json!(["*"]) } else { json!(origins) });
        for (theirs, ours) in
            [("methods", "allowMethods"), ("headers", "allowHeaders"), ("exposed_headers", "exposeHeaders")]
        {
            let values = texts(config, theirs);
            if !values.is_empty() {
                cors.insert(ours.to_owned(), json!(values));
            }
        }
        if config.remove("credentials") == Some(Value::Bool(true)) {
            if is_any {
                self.note(
                    &format!("{at}.config.credentials"),
                    "left out: Kong lets every site read answers to its visitors' own cookies with it; name the sites \
                     in `allowOrigins`, then set `allowCredentials`",
                );
            } else {
                cors.insert("allowCredentials".to_owned(), json!(true));
            }
        }
        if let Some(seconds) = number(config, "max_age") {
            cors.insert("maxAge".to_owned(), json!(format!("{seconds}s")));
        }
        if config.remove("private_network") == Some(Value::Bool(true)) {
            cors.insert("allowPrivateNetwork".to_owned(), json!(true));
        }
        defaults(config, &[("preflight_continue", json!(false))]);
        json!({"cors": cors})
    }
}
