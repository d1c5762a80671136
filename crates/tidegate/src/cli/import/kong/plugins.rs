//! Plugins of Kong as policies: which there are, and what stands in the place of those that have no counterpart.

use serde_json::{Value, json};

use super::elsewhere::elsewhere;
use super::{Fields, Import, access, closing, defaults, limits, text};
use crate::cli::import::leftovers;

/// What a plugin becomes.
enum Made {
    Policy(Value),
    /// It is so here without being said, or is no policy.
    Nothing,
    Unknown,
}

impl Import {
    /// What a plugin is here, wherever it stands.
    pub(super) fn plugin(&mut self, at: &str, mut plugin: Fields) -> Option<Value> {
        super::idle(&mut plugin);
        plugin.remove("protocols");
        if plugin.remove("enabled") == Some(Value::Bool(false)) {
            return None;
        }
        let Some(name) = text(&mut plugin, "name") else {
            self.note(at, "it has no `name`");
            return Some(closing::mark_as("a plugin without a name"));
        };
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
            let remedy = elsewhere(&name);
            let mark = closing::mark(&name).or_else(|| match remedy {
                Some(_) => None,
                None => closing::mark_of_unknown(&name, &config),
            });
            match remedy {
                Some(remedy) => self.note(at, format_args!("`{name}` is not taken over: {remedy}")),
                None if mark.is_none() => self.note(at, format_args!("`{name}` has no counterpart")),
                None => {}
            }
            return mark;
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
            Some(_) if closing::mark(name).is_none() => None,
            _ => closing::mark_of_some(name, &format!("{name}, {key}: {of}")),
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

    fn made(&mut self, at: &str, name: &str, config: &mut Fields) -> Made {
        Made::Policy(match name {
            "key-auth" => self.key_auth(at, config),
            "basic-auth" => self.basic_auth(at, config),
            "acl" => access::acl(config),
            "ip-restriction" => access::addresses(config),
            "cors" => match self.cors(at, config) {
                Some(policy) => policy,
                None => return Made::Nothing,
            },
            "rate-limiting" => match self.rate_limit(at, config) {
                Some(policy) => policy,
                None => return Made::Nothing,
            },
            "request-size-limiting" => limits::size(config),
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
}
