//! What must not become open: routes that Kong protects in a way that is not taken over are closed, and told.

use serde_json::{Value, json};

use super::{Fields, Import};
use crate::cli::import::nobody;

/// Marks what is to be closed, until everything is known.
const CLOSED: &str = "closed";
/// Plugins that say who may call.
const PROTECTING: [&str; 23] = [
    "jwt",
    "openid-connect",
    "oauth2",
    "oauth2-introspection",
    "hmac-auth",
    "ldap-auth",
    "ldap-auth-advanced",
    "mtls-auth",
    "header-cert-auth",
    "key-auth-enc",
    "vault-auth",
    "saml",
    "jwe-decrypt",
    "opa",
    "forward-auth",
    // These refuse requests.
    "injection-protection",
    "json-threat-protection",
    "xml-threat-protection",
    "request-validator",
    "oas-validation",
    // These answer in the place of a service, which is never asked.
    "redirect",
    "mocking",
    "kafka-upstream",
];

/// Plugins that have a counterpart, and say nothing of who may call.
const INDIFFERENT: [&str; 10] = [
    "cors",
    "rate-limiting",
    "request-size-limiting",
    "request-transformer",
    "response-transformer",
    "proxy-cache",
    "file-log",
    "stdout-log",
    "prometheus",
    "correlation-id",
];
/// Kong's own plugins without a counterpart that keep nobody out.
const HARMLESS: [&str; 12] = [
    "acme",
    "app-dynamics",
    "degraphql",
    "request-transformer-advanced",
    "response-transformer-advanced",
    "route-by-header",
    "route-transformer-advanced",
    "session",
    "tls-handshake-modifier",
    "tls-metadata-headers",
    "websocket-size-limit",
    "websocket-validator",
];
/// Phases of functions that have the answer before them.
const LATE: [&str; 3] = ["header_filter", "body_filter", "log"];

/// What stands in the place of a plugin that protects.
pub(super) fn mark(plugin: &str) -> Option<Value> {
    PROTECTING.contains(&plugin).then(|| mark_as(plugin))
}

/// What stands in the place of something that cannot be taken over, whatever it says.
pub(super) fn mark_as(shown: &str) -> Value {
    json!({CLOSED: shown})
}

/// What stands in the place of a plugin that nobody knows here: it may keep out whom it likes.
pub(super) fn mark_of_unknown(plugin: &str, config: &Fields) -> Option<Value> {
    let is_empty = |code: &Value| code.is_null() || code.as_array().is_some_and(Vec::is_empty);
    let is_late = matches!(plugin, "pre-function" | "post-function")
        && config.iter().all(|(phase, code)| LATE.contains(&phase.as_str()) || is_empty(code));
    (!is_late && !HARMLESS.contains(&plugin)).then(|| mark_as(plugin))
}

/// What stands in the place of a plugin that may keep out some callers of a place, as `shown` says.
pub(super) fn mark_of_some(plugin: &str, shown: &str) -> Option<Value> {
    let is_open = INDIFFERENT.contains(&plugin) || HARMLESS.contains(&plugin);
    if is_open { None } else { Some(mark_as(shown)) }
}

/// Whether it stands in the place of a plugin that protects.
pub(super) fn is_mark(policy: &Value) -> bool {
    policy.get(CLOSED).is_some()
}

/// What ends every call of a consumer, or of all, is no route's answer: who it is for is kept out.
pub(super) fn ended(policy: Value) -> Value {
    if policy.get("request-termination").is_some() { mark_as("request-termination") } else { policy }
}

/// Takes the marks out of a list of policies.
fn marks(policies: &mut Vec<Value>) -> Vec<String> {
    let mut found = Vec::new();
    policies.retain(|policy| match policy.get(CLOSED).and_then(Value::as_str) {
        Some(plugin) => {
            found.push(plugin.to_owned());
            false
        }
        None => true,
    });
    found
}

/// The policies of a place.
pub(super) fn policies(fields: &mut Fields) -> Option<&mut Vec<Value>> {
    fields.entry("policies").or_insert_with(|| json!([])).as_array_mut()
}

/// Takes an empty list of policies away.
pub(super) fn tidy(fields: &mut Fields) {
    if fields.get("policies").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        fields.remove("policies");
    }
}

impl Import {
    /// Closes what is marked: nobody's address is let in until somebody has looked at it.
    pub(super) fn close(&mut self) {
        let of_all = marks(&mut self.globals);
        let mut notes = Vec::new();
        let places = self.routes.iter_mut().map(|route| ("route", &mut route.fields));
        let consumers = self.consumers.iter_mut().map(|consumer| ("consumer", &mut consumer.fields));
        for (what, place) in places.chain(consumers) {
            let name = place.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let Some(all) = policies(place) else { continue };
            let mut found = marks(all);
            if what == "route" {
                found.extend(of_all.iter().cloned());
            }
            if !found.is_empty() {
                // Beside one of its own: that is to hold when this one is taken out.
                all.push(nobody());
                notes.push(format!(
                    "{what} `{name}`: CLOSED, for `{}` is not taken over: write who may call, then take the \
                     `ipRestriction` out that denies everybody",
                    found.join("`, `")
                ));
            }
            tidy(place);
        }
        self.notes.extend(notes);
    }
}
