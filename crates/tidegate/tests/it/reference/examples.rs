//! An example for each resource, handler and policy: the shortest block of the documents that has it, or one of
//! `examples.md` beside this. That all of them load is checked where the documents' blocks are.

use std::{collections::BTreeMap, fs};

use model::Source;
use serde_json::Value;

use crate::tidy::{documents::blocks, files, root};

/// One block, and the page that it is from.
pub(super) struct Example {
    /// The YAML.
    pub(super) text: String,
    /// The page's file, when it is one of the documents.
    pub(super) page: Option<String>,
}

/// By what they show: `upstreams`, `handlers/compose`, `policies/cors`.
pub(super) struct Examples(BTreeMap<String, Example>);

impl Examples {
    pub(super) fn read() -> Self {
        let mut found = BTreeMap::new();
        let own = include_str!("examples.md");
        note(own, None, &mut found);
        for path in files(&root().join("docs"), ".md") {
            let folder = path.parent().and_then(|folder| folder.file_name());
            if folder.is_some_and(|folder| folder == "docs") {
                let name = path.file_name().unwrap_or_default().display().to_string();
                note(&fs::read_to_string(&path).expect("a page"), Some(&name), &mut found);
            }
        }
        Self(found)
    }

    /// The example of one.
    pub(super) fn of(&self, what: &str) -> &Example {
        let file = "crates/tidegate/tests/it/reference/examples.md";
        self.0.get(what).unwrap_or_else(|| panic!("no document has an example of {what}: add one to {file}"))
    }
}

/// Notes what each block of a page shows, when it is shorter than what is known.
fn note(text: &str, page: Option<&str>, found: &mut BTreeMap<String, Example>) {
    for block in blocks(text) {
        let Ok(document) = model::document(&Source::new("a block", block.clone())) else { continue };
        for what in shown(&document) {
            let lines = block.lines().count();
            if found.get(&what).is_none_or(|known| lines < known.text.lines().count()) {
                found.insert(what, Example { text: block.clone(), page: page.map(str::to_owned) });
            }
        }
    }
}

/// What a document shows.
fn shown(document: &Value) -> Vec<String> {
    let mut all = Vec::new();
    let Some(top) = document.as_object() else { return all };
    let known = |key: &str| model::policy::Policy::NAMES.contains(&key);
    if let [key] = top.keys().collect::<Vec<_>>()[..]
        && known(key)
    {
        all.push(format!("policies/{key}"));
        return all;
    }
    all.extend(top.keys().cloned());
    for route in top.get("routes").and_then(Value::as_array).into_iter().flatten() {
        all.extend(
            route.as_object().into_iter().flat_map(|route| route.keys()).map(|key| format!("handlers/{key}")),
        );
    }
    policies(document, &mut all);
    all
}

/// The policies that stand anywhere in a document.
fn policies(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if ["policies", "globalPolicies", "policy"].contains(&key.as_str()) {
                    let uses = match value {
                        Value::Array(uses) => uses.as_slice(),
                        one => std::slice::from_ref(one),
                    };
                    let keys = uses.iter().filter_map(Value::as_object).flat_map(|policy| policy.keys());
                    let policies = keys.filter(|key| model::policy::Policy::NAMES.contains(&key.as_str()));
                    all.extend(policies.map(|key| format!("policies/{key}")));
                }
                policies(value, all);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| policies(value, all)),
        _ => {}
    }
}
