//! Headers in which Kong tells upstreams who calls: no client writes them in its place.

use serde_json::{Value, json};

use super::Import;

/// What Kong tells beside the name.
const OTHERS: [&str; 6] = [
    "x-consumer-id",
    "x-consumer-custom-id",
    "x-consumer-groups",
    "x-credential-identifier",
    "x-credential-username",
    "x-anonymous-consumer",
];

/// Whether a policy finds out who calls.
pub(super) fn signs_in(policy: &Value) -> bool {
    policy.get("keyAuth").or_else(|| policy.get("basicAuth")).is_some()
}

/// Puts the headers behind what finds out who calls; whether there is such a policy.
fn tell(policies: &mut Vec<Value>) -> bool {
    let Some(last) = policies.iter().rposition(signs_in) else { return false };
    let changes = json!({"remove": OTHERS, "set": {"x-consumer-username": "{{ consumer.name }}"}});
    policies.insert(last + 1, json!({"headers": {"request": changes}}));
    true
}

impl Import {
    /// Tells upstreams who calls, wherever Kong does.
    pub(super) fn tell_who_calls(&mut self) {
        let mut is_told = tell(&mut self.globals);
        let asking = |fields: &super::Fields| !fields.contains_key("respond");
        let routes = self.routes.iter_mut().filter(|route| route.upstream.is_some() && asking(&route.fields));
        for route in routes {
            let Some(all) = route.fields.get_mut("policies").and_then(Value::as_array_mut) else { continue };
            let is_ended = all.iter().any(|policy| policy.get("request-termination").is_some());
            is_told |= !is_ended && tell(all);
        }
        if is_told {
            self.note(
                "consumers",
                "`X-Consumer-Username` tells upstreams who calls, by the names that consumers have here; \
                 `X-Consumer-ID`, `X-Consumer-Custom-ID`, `X-Credential-Identifier`, `X-Anonymous-Consumer` and \
                 `X-Consumer-Groups` (`{{ consumer.groups }}` in `headers`) are taken out of what clients send",
            );
        }
    }
}
