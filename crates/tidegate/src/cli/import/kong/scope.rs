//! Where Kong's plugins stand: for all, for a service, a route, a consumer or a group of consumers.
//!
//! Of several plugins of one kind that would run for a call Kong runs the most specific alone. Ours add up, but for a
//! few kinds, so that what is not to run is not written.

use serde_json::{Value, json};

use super::{Fields, Import, Route, closing, list, reference};

/// Policies of which ours, too, runs the most specific alone.
const GIVING_WAY: [&str; 2] = ["cors", "cache"];

/// The kind of plugin that a policy was.
pub(super) fn kind(policy: &Value) -> String {
    let first = policy.as_object().and_then(|one| one.iter().next());
    let Some((key, of)) = first else { return String::new() };
    let part = match key.as_str() {
        // Requests' and answers' are two of Kong's.
        "headers" => of.as_object().and_then(|sides| sides.keys().next()).map(String::as_str),
        _ => of.as_str(),
    };
    part.map_or_else(|| key.clone(), |part| format!("{key}.{part}"))
}

/// Adds to the policies of a place.
pub(super) fn add(place: &mut Fields, policy: Value) {
    if let Some(all) = place.entry("policies").or_insert_with(|| json!([])).as_array_mut() {
        all.push(policy);
    }
}

/// Whether a place has a policy of a kind.
fn has(place: &Fields, of_kind: &str) -> bool {
    let all = place.get("policies").and_then(Value::as_array);
    all.is_some_and(|all| all.iter().any(|policy| kind(policy) == of_kind))
}

fn taken(plugin: &mut Fields, key: &str) -> Option<String> {
    plugin.remove(key).map(|of| reference(&of).unwrap_or_default())
}

impl Import {
    /// The plugins that stand under something, as policies.
    pub(super) fn policies(&mut self, at: &str, fields: &mut Fields) -> Vec<Value> {
        let plugins = list(fields, "plugins");
        let each = plugins.into_iter().enumerate();
        each.filter_map(|(index, plugin)| self.plugin(&format!("{at}.plugins[{index}]"), plugin)).collect()
    }

    /// A plugin at the top: of all calls, or of what it names.
    pub(super) fn plugin_of_all(&mut self, at: &str, mut plugin: Fields) {
        let (service, route) = (taken(&mut plugin, "service"), taken(&mut plugin, "route"));
        let is_placed = service.is_some() || route.is_some();
        let (mut consumer, mut group) = (None, None);
        // Beside a service or a route it stays: then it is for some callers of a place alone.
        if !(is_placed || plugin.contains_key("consumer") && plugin.contains_key("consumer_group")) {
            (consumer, group) = (taken(&mut plugin, "consumer"), taken(&mut plugin, "consumer_group"));
        }
        let Some(mut policy) = self.plugin(at, plugin) else { return };
        if !is_placed {
            policy = closing::ended(policy);
        }
        let is_there = match (service, route, consumer, group) {
            (None, None, None, None) => return self.globals.push(policy),
            (_, Some(route), _, _) => self.of_routes(&policy, true, |one| one.known_as.contains(&route)),
            (Some(service), None, _, _) => {
                let place = self.services.iter().position(|one| one.known_as.contains(&service));
                place.is_some() && self.of_routes(&policy, false, |one| one.service == place)
            }
            (None, None, Some(consumer), _) => self.of_consumer(&consumer, &policy),
            (None, None, None, Some(group)) => {
                let known = self.groups.iter().find(|known| known.contains(&group)).cloned();
                self.of_group(&known.unwrap_or_else(|| vec![group]), &policy)
            }
        };
        if !is_there {
            self.note(at, "what it is for is not there; left out");
        }
    }

    /// Puts a policy to routes, as their own or their service's; whether there are such routes.
    fn of_routes(&mut self, policy: &Value, is_own: bool, is_meant: impl Fn(&Route) -> bool) -> bool {
        let of_kind = kind(policy);
        let mut is_there = false;
        for route in self.routes.iter_mut().filter(|route| is_meant(route)) {
            is_there = true;
            if route.own.contains(&of_kind) && !is_own {
                continue;
            }
            if !route.own.contains(&of_kind)
                && is_own
                && let Some(all) = closing::policies(&mut route.fields)
            {
                all.retain(|other| kind(other) != of_kind);
                route.own.push(of_kind.clone());
            }
            add(&mut route.fields, policy.clone());
        }
        is_there
    }

    /// Of a plugin for all and one of a route, Kong takes the route's alone; here both would hold.
    pub(super) fn most_specific(&mut self) {
        self.limits_of_services();
        for policy in std::mem::take(&mut self.globals) {
            let of_kind = kind(&policy);
            let gives_way = GIVING_WAY.contains(&of_kind.as_str()) || closing::is_mark(&policy);
            if gives_way || !self.routes.iter().any(|route| has(&route.fields, &of_kind)) {
                self.globals.push(policy);
                continue;
            }
            for route in self.routes.iter_mut().filter(|route| !has(&route.fields, &of_kind)) {
                add(&mut route.fields, policy.clone());
            }
            if policy.get("rateLimit").is_some() {
                self.note(
                    "plugins",
                    "a limit for all stands at each route that has none of its own, as Kong has it: each route counts \
                     for itself, while `policies` and `use` would count them together",
                );
            } else {
                self.note(
                    "plugins",
                    format_args!(
                        "`{of_kind}` for all stands at each route that has none of its own, as Kong has it"
                    ),
                );
            }
        }
        let of_consumers = self.consumers.iter().any(|one| has(&one.fields, "rateLimit"));
        let mut places = self.routes.iter().map(|route| &route.fields);
        let is_limited = places.any(|route| has(route, "rateLimit"))
            || self.globals.iter().any(|policy| policy.get("rateLimit").is_some());
        if of_consumers && is_limited {
            self.note(
                "consumers",
                "a limit of a consumer stands in the place of others in Kong; here both hold, so that the smaller one \
                 counts",
            );
        }
    }

    /// A service's limit is one for all of its routes in Kong.
    fn limits_of_services(&mut self) {
        let mut notes = Vec::new();
        for (place, service) in self.services.iter().enumerate() {
            let of_it = self.routes.iter().filter(|route| route.service == Some(place));
            let is_limited = |route: &&Route| {
                has(&route.fields, "rateLimit") && !route.own.iter().any(|own| own == "rateLimit")
            };
            if of_it.filter(is_limited).count() > 1 {
                notes.push(format!(
                    "service `{}`: its limit counts each of its routes for itself, and in Kong all of them together: \
                     put it into `policies`, and `use` it at each",
                    service.title
                ));
            }
        }
        self.notes.extend(notes);
    }
}
