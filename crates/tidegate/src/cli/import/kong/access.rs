//! Kong's plugins that say who may call, and have a counterpart.

use serde_json::{Value, json};

use super::{Fields, Import, closing, defaults, text, texts};

/// `acl`: groups that are let in, or refused.
pub(super) fn acl(config: &mut Fields) -> Value {
    let (allow, deny) = lists(config);
    // No group is told to upstreams here.
    config.remove("hide_groups_header");
    defaults(config, &[("always_use_authenticated_groups", json!(false))]);
    if config.remove("include_consumer_groups") == Some(Value::Bool(true)) {
        return closing::mark_as("acl, include_consumer_groups");
    }
    if allow.is_empty() && deny.is_empty() {
        return closing::mark_as("acl");
    }
    json!({"acl": {"allow": allow, "deny": deny}})
}

/// `ip-restriction`: addresses that are let in, or refused.
pub(super) fn addresses(config: &mut Fields) -> Value {
    let (allow, deny) = lists(config);
    if allow.is_empty() && deny.is_empty() {
        return closing::mark_as("ip-restriction");
    }
    json!({"ipRestriction": {"allow": allow, "deny": deny}})
}

/// Who is let in and who is refused, also by the names that these had before 3.0.
fn lists(config: &mut Fields) -> (Vec<String>, Vec<String>) {
    let mut both = |now: &str, before: &str| {
        let mut all = texts(config, now);
        all.extend(texts(config, before));
        all
    };
    (both("allow", "whitelist"), both("deny", "blacklist"))
}

impl Import {
    /// `key-auth`.
    pub(super) fn key_auth(&mut self, at: &str, config: &mut Fields) -> Value {
        let mut headers = texts(config, "key_names");
        if headers.is_empty() {
            headers.push("apikey".to_owned());
        }
        let mut key = json!({"headers": headers});
        if config.remove("key_in_query") != Some(Value::Bool(false)) {
            key["query"] = key["headers"][0].clone();
            if headers.len() > 1 {
                self.note(
                    &format!("{at}.config.key_names"),
                    "in the query the first of them alone holds a key",
                );
            }
        }
        key["hideCredentials"] = json!(config.remove("hide_credentials") == Some(Value::Bool(true)));
        defaults(
            config,
            &[
                ("key_in_header", json!(true)),
                ("key_in_body", json!(false)),
                ("run_on_preflight", json!(true)),
                ("identity_realms", json!([{"scope": "cp"}])),
            ],
        );
        self.anonymous(at, config, &mut key);
        json!({"keyAuth": key})
    }

    /// `basic-auth`.
    pub(super) fn basic_auth(&mut self, at: &str, config: &mut Fields) -> Value {
        let hides = config.remove("hide_credentials") == Some(Value::Bool(true));
        let mut basic = json!({"hideCredentials": hides});
        self.anonymous(at, config, &mut basic);
        defaults(config, &[("realm", json!("service"))]);
        json!({"basicAuth": basic})
    }

    /// Who calls without credentials; Kong names consumers by their id or their name.
    fn anonymous(&mut self, at: &str, config: &mut Fields, policy: &mut Value) {
        let Some(theirs) = text(config, "anonymous").filter(|name| !name.is_empty()) else { return };
        match self.consumer_named(&theirs) {
            Some(name) => policy["anonymous"] = json!(name),
            None => self.note(
                &format!("{at}.config.anonymous"),
                format_args!("there is no consumer `{theirs}`: who shows no credentials is refused"),
            ),
        }
    }
}
