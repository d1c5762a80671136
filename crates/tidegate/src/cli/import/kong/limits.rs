//! Kong's limits: how often somebody may call, where that is counted, and how large requests may be.

use serde_json::{Value, json};

use super::{Fields, Import, defaults, number, text};

/// Seconds of the windows of `rate-limiting`.
const WINDOWS: [(&str, &str); 5] =
    [("second", "1s"), ("minute", "1m"), ("hour", "1h"), ("day", "24h"), ("month", "720h")];

/// `request-size-limiting`.
pub(super) fn size(config: &mut Fields) -> Value {
    let size = number(config, "allowed_payload_size").unwrap_or(128);
    let unit = match text(config, "size_unit").as_deref() {
        Some("kilobytes") => "KiB",
        Some("bytes") => "B",
        _ => "MiB",
    };
    defaults(config, &[("require_content_length", json!(false))]);
    json!({"requestLimits": {"maxBodySize": format!("{size}{unit}")}})
}

impl Import {
    /// `rate-limiting`.
    pub(super) fn rate_limit(&mut self, at: &str, config: &mut Fields) -> Option<Value> {
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
        // Where it is not counted there, how to reach it says nothing.
        config.retain(|key, _| key != "redis" && key != "sync_rate" && !key.starts_with("redis_"));
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
}
