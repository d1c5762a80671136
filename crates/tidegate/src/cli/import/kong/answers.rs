//! What Kong's plugins do to answers: who may read them, what is kept or changed of them, and fixed ones.

use serde_json::{Value, json};

use super::super::leftovers;
use super::{Fields, Import, defaults, identity::signs_in, number, text, texts};

impl Import {
    /// Kong's cache has the consumer in its key; behind credentials ours keeps only what is told apart so.
    pub(super) fn caches_by_consumer(&mut self) {
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
            let all = consumer.fields.get_mut("policies").and_then(Value::as_array_mut);
            all.into_iter().flatten().for_each(by_consumer);
        }
    }

    /// `proxy-cache`.
    pub(super) fn cache(&mut self, at: &str, config: &mut Fields) -> Value {
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
                ("ignore_uri_case", json!(false)),
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

    /// What changes of headers; of bodies and queries nothing.
    pub(super) fn header_changes(&mut self, at: &str, config: &mut Fields) -> Value {
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
            if theirs == "replace" && !pairs.is_empty() {
                self.note(
                    &format!("{at}.config.replace.headers"),
                    "Kong replaces what is there; here it is set in any case",
                );
            }
            let all = changes.entry(ours).or_insert_with(|| json!({}));
            for (name, value) in pairs.iter().filter_map(|pair| pair.split_once(':')) {
                if value.contains("$(") {
                    let place = format!("{at}.config.{theirs}.headers");
                    self.note(&place, format_args!("`{value}` is a template of Kong's; left out"));
                    continue;
                }
                all[name.trim().to_ascii_lowercase()] = json!(value.trim());
            }
            leftovers(&part.into(), &format!("{at}.config.{theirs}"), &mut self.notes);
        }
        if let Some(Value::Object(mut part)) = config.remove("remove") {
            let names = texts(&mut part, "headers");
            changes.insert("remove".to_owned(), json!(names));
            leftovers(&part.into(), &format!("{at}.config.remove"), &mut self.notes);
        }
        changes.retain(|_, change| *change != json!({}) && *change != json!([]));
        changes.into()
    }

    /// The fixed answer of a route that a plugin ends.
    pub(super) fn termination(&mut self, route: &mut Fields) -> Option<Value> {
        let policies = route.get_mut("policies")?.as_array_mut()?;
        let at = policies.iter().position(|policy| policy.get("request-termination").is_some())?;
        let mut policy = policies.remove(at);
        // What changes the way to a service has nothing to change any more.
        policies
            .retain(|policy| policy.get("rewrite").is_none() && policy.get("request-termination").is_none());
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

    /// `cors`; none where no origin could be taken over, so that no site's scripts read answers.
    pub(super) fn cors(&mut self, at: &str, config: &mut Fields) -> Option<Value> {
        let mut cors = Fields::new();
        let theirs = texts(config, "origins");
        let is_any = theirs.is_empty() || theirs.iter().any(|origin| origin == "*");
        let (origins, others): (Vec<String>, Vec<String>) =
            theirs.into_iter().partition(|origin| is_origin(origin));
        if !is_any {
            for other in &others {
                self.note(
                    &format!("{at}.config.origins"),
                    format_args!(
                        "`{other}` is left out: write origins such as `https://app.example.com` or \
                         `https://*.example.com`"
                    ),
                );
            }
        }
        defaults(config, &[("preflight_continue", json!(false)), ("allow_origin_absent", json!(true))]);
        if !is_any && origins.is_empty() {
            return None;
        }
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
        Some(json!({"cors": cors}))
    }
}

/// Whether it is one origin; Kong's may be regular expressions, and hosts without a scheme.
fn is_origin(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-".contains(&byte);
    let Some((scheme, host)) = text.split_once("://") else { return false };
    matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(plain)
}
