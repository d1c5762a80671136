//! Groups of `acl`: those that nobody is in, and those that are called like a consumer.

use serde_json::{Value, json};

use super::{Import, closing};

impl Import {
    /// Makes every `acl` one that says here what it says in Kong.
    pub(super) fn known_groups(&mut self) {
        self.groups_apart();
        let groups = self.consumers.iter().filter_map(|consumer| consumer.fields.get("groups")?.as_array());
        let groups: Vec<Value> = groups.flatten().cloned().collect();
        let mut notes = Vec::new();
        for route in self.routes.iter_mut().map(|route| &mut route.fields) {
            let name = format!("route `{}`", route.get("name").and_then(Value::as_str).unwrap_or_default());
            if let Some(all) = closing::policies(route) {
                known(&name, all, &groups, &mut notes);
            }
            closing::tidy(route);
        }
        known("plugins", &mut self.globals, &groups, &mut notes);
        self.notes.extend(notes);
    }

    /// Ours lets in consumers by their own names, too, and Kong groups alone: a group that is called like a consumer
    /// gets another name.
    fn groups_apart(&mut self) {
        let names: Vec<Value> =
            self.consumers.iter().filter_map(|one| one.fields.get("name")).cloned().collect();
        let groups: Vec<Value> = self
            .consumers
            .iter()
            .filter_map(|one| one.fields.get("groups")?.as_array())
            .flatten()
            .cloned()
            .collect();
        let apart = |group: &Value| {
            let mut other = group.clone();
            while names.contains(&other) || groups.contains(&other) {
                other = json!(format!("{}-group", other.as_str().unwrap_or_default()));
            }
            other
        };
        let mut lists: Vec<&mut Value> =
            self.consumers.iter_mut().filter_map(|one| one.fields.get_mut("groups")).collect();
        let of_routes = self.routes.iter_mut().filter_map(|route| route.fields.get_mut("policies"));
        let of_routes = of_routes.filter_map(Value::as_array_mut).flatten();
        for acl in of_routes.chain(&mut self.globals).filter_map(|policy| policy.get_mut("acl")) {
            lists.extend(acl.as_object_mut().into_iter().flat_map(|acl| acl.values_mut()));
        }
        let mut is_told = false;
        for group in lists.into_iter().filter_map(Value::as_array_mut).flatten() {
            if names.contains(group) {
                is_told = true;
                *group = apart(group);
            }
        }
        if is_told {
            self.note(
                "consumers",
                "a group that is called like a consumer has `-group` behind its name: `acl` lets in consumers by their \
                 names, too",
            );
        }
    }
}

/// Leaves out groups that no consumer has; who lets in only such lets nobody in, who refuses only such refuses nobody.
fn known(place: &str, policies: &mut Vec<Value>, groups: &[Value], notes: &mut Vec<String>) {
    for policy in policies.iter_mut() {
        let Some(acl) = policy.get_mut("acl").and_then(Value::as_object_mut) else { continue };
        let mut is_closed = false;
        for key in ["allow", "deny"] {
            let Some(list) = acl.get_mut(key).and_then(Value::as_array_mut) else { continue };
            let had = list.len();
            list.retain(|group| groups.contains(group));
            if list.len() < had {
                notes.push(format!("{place}: groups of `acl.{key}` that no consumer has are left out"));
                is_closed |= key == "allow" && list.is_empty();
            }
        }
        if is_closed {
            notes.push(format!("{place}: CLOSED, for nobody is in a group that `acl` allows"));
            *policy = crate::cli::import::nobody();
        }
    }
    policies.retain(|policy| policy["acl"] != json!({"allow": [], "deny": []}));
}
