//! What must not become open: routes that Kong protects in a way that is not taken over are closed, and told.

use serde_json::{Value, json};

use super::{Fields, Import};

/// Marks what is to be closed, until everything is known.
const CLOSED: &str = "closed";
/// Plugins that say who may call.
const PROTECTING: [&str; 15] = [
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
    PROTECTING.contains(&plugin).then(|| json!({CLOSED: plugin}))
}

/// What stands in the place of a plugin that nobody knows here: it may keep out whom it likes.
pub(super) fn mark_of_unknown(plugin: &str, config: &Fields) -> Option<Value> {
    let is_empty = |code: &Value| code.is_null() || code.as_array().is_some_and(Vec::is_empty);
    let is_late = matches!(plugin, "pre-function" | "post-function")
        && config.iter().all(|(phase, code)| LATE.contains(&phase.as_str()) || is_empty(code));
    (!is_late && !HARMLESS.contains(&plugin)).then(|| json!({CLOSED: plugin}))
}

/// What stands in the place of a plugin that may keep out some callers of a place, as `shown` says.
pub(super) fn mark_of_some(plugin: &str, shown: &str) -> Option<Value> {
    let is_open = INDIFFERENT.contains(&plugin) || HARMLESS.contains(&plugin);
    if is_open { None } else { Some(json!({CLOSED: shown})) }
}

/// Whether it stands in the place of a plugin that protects.
pub(super) fn is_mark(policy: &Value) -> bool {
    policy.get(CLOSED).is_some()
}

/// What ends every call of a consumer, or of all, is no route's answer: who it is for is kept out.
pub(super) fn ended(policy: Value) -> Value {
    if policy.get("request-termination").is_some() { json!({CLOSED: "request-termination"}) } else { policy }
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

fn policies(fields: &mut Fields) -> Option<&mut Vec<Value>> {
    fields.entry("policies").or_insert_with(|| json!([])).as_array_mut()
}

fn tidy(fields: &mut Fields) {
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
        let consumers = self.consumers.iter_mut().map(|consumer| ("consumer", consumer));
        for (what, place) in places.chain(consumers) {
            let name = place.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let Some(all) = policies(place) else { continue };
            let mut found = marks(all);
            if what == "route" {
                found.extend(of_all.iter().cloned());
            }
            if !found.is_empty() {
                // Of two, the most specific counts.
                all.retain(|policy| policy.get("ipRestriction").is_none());
                all.push(json!({"ipRestriction": {"deny": ["0.0.0.0/0", "::/0"]}}));
                notes.push(format!(
                    "{what} `{name}`: CLOSED, for `{}` is not taken over: write who may call, then take its \
                     `ipRestriction` out",
                    found.join("`, `")
                ));
            }
            tidy(place);
        }
        self.notes.extend(notes);
    }

    /// Leaves out of `acl` groups that no consumer has; who lets in only such lets nobody in.
    pub(super) fn known_groups(&mut self) {
        let groups = self.consumers.iter().filter_map(|consumer| consumer.get("groups")?.as_array());
        let groups: Vec<Value> = groups.flatten().cloned().collect();
        let mut notes = Vec::new();
        let mut look = |place: &str, policies: &mut Vec<Value>| {
            for policy in policies {
                let Some(acl) = policy.get_mut("acl").and_then(Value::as_object_mut) else { continue };
                let mut is_closed = false;
                for key in ["allow", "deny"] {
                    let Some(list) = acl.get_mut(key).and_then(Value::as_array_mut) else { continue };
                    let had = list.len();
                    list.retain(|group| groups.contains(group));
                    if list.len() < had {
                        notes.push(format!(
                            "{place}: groups of `acl.{key}` that no consumer has are left out"
                        ));
                        is_closed |= key == "allow" && list.is_empty();
                    }
                }
                if is_closed {
                    notes.push(format!("{place}: CLOSED, for nobody is in a group that `acl` allows"));
                    *policy = json!({"ipRestriction": {"deny": ["0.0.0.0/0", "::/0"]}});
                }
            }
        };
        for route in self.routes.iter_mut().map(|route| &mut route.fields) {
            let name = format!("route `{}`", route.get("name").and_then(Value::as_str).unwrap_or_default());
            if let Some(all) = policies(route) {
                look(&name, all);
            }
            tidy(route);
        }
        look("plugins", &mut self.globals);
        self.globals.retain(|policy| policy["acl"] != json!({"allow": [], "deny": []}));
        for route in self.routes.iter_mut().map(|route| &mut route.fields) {
            if let Some(all) = policies(route) {
                all.retain(|policy| policy["acl"] != json!({"allow": [], "deny": []}));
            }
            tidy(route);
        }
        self.notes.extend(notes);
    }

    /// Of a limit for all and one of a route, Kong takes the route's alone; here both would hold.
    pub(super) fn most_specific(&mut self) {
        let has = |route: &Fields| {
            let all = route.get("policies").and_then(Value::as_array);
            all.is_some_and(|all| all.iter().any(|policy| policy.get("rateLimit").is_some()))
        };
        if !self.routes.iter().any(|route| has(&route.fields)) {
            return;
        }
        let (limits, others) = std::mem::take(&mut self.globals)
            .into_iter()
            .partition(|policy| policy.get("rateLimit").is_some());
        self.globals = others;
        let limits: Vec<Value> = limits;
        if limits.is_empty() {
            return;
        }
        let without = self.routes.iter_mut().map(|route| &mut route.fields).filter(|route| !has(route));
        for route in without {
            if let Some(all) = policies(route) {
                all.extend(limits.iter().cloned());
            }
        }
        self.note(
            "plugins",
            "a limit for all stands at each route that has none of its own, as Kong has it: each route counts for \
             itself, while `policies` and `use` would count them together",
        );
    }
}
