//! Who may call beside whoever shows the master key: addresses, and ways to sign in that are not taken over.

use serde_json::{Map, Value, json};

use super::{Import, taken};
use crate::cli::import::nobody;

/// Settings by which LiteLLM asks who calls in another way than by its keys.
const OTHER_WAYS: [&str; 4] =
    ["custom_auth", "enable_jwt_auth", "enable_oauth2_auth", "enable_oauth2_proxy_auth"];

impl Import {
    /// Keeps out whom LiteLLM keeps out.
    pub(super) fn access(&mut self, fields: &mut Map<String, Value>) {
        self.allowed_addresses(fields);
        let Some(Value::Object(general)) = fields.get("general_settings") else { return };
        let is_on = |way: &&str| {
            general.get(*way).is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
        };
        let other = OTHER_WAYS.iter().find(|way| is_on(way));
        if let Some(way) = other.filter(|_| !general.contains_key("master_key")) {
            self.is_closed = true;
            self.policies.push(nobody());
            self.note(
                &format!("general_settings.{way}"),
                "the route is CLOSED, for this is not taken over: write who may call, then take the `ipRestriction` out \
                 that denies everybody",
            );
        }
    }

    /// `allowed_ips`.
    fn allowed_addresses(&mut self, fields: &mut Map<String, Value>) {
        let theirs = taken(fields, "general_settings", "allowed_ips");
        let Some(Value::Array(theirs)) = theirs else { return };
        let at = "general_settings.allowed_ips";
        let mut allow: Vec<String> = Vec::new();
        for one in &theirs {
            match one.as_str().filter(|text| text.parse::<model::Cidr>().is_ok()) {
                Some(address) => allow.push(address.to_owned()),
                None => self.note(at, format_args!("{one} is no address here; it is not let in")),
            }
        }
        if taken(fields, "general_settings", "use_x_forwarded_for") == Some(Value::Bool(true)) {
            self.note(
                at,
                "`X-Forwarded-For` is believed from `trustedProxies` alone: name the proxies there",
            );
        }
        let policy = if allow.is_empty() { nobody() } else { json!({"ipRestriction": {"allow": allow}}) };
        self.policies.push(policy);
    }
}
