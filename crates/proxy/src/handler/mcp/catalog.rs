//! What a server was last seen to offer: its tools with their digests and schemas, and its resources.
//!
//! Nothing here is needed to go on after a restart: what is missing is asked for again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use aws_lc_rs::digest;
use serde_json::Value;

use super::message::Members;

/// Tools, and resources, of one server that are remembered.
const ITEMS_MAX: usize = 4096;
/// Bytes of a schema that is kept to check arguments.
const SCHEMA_BYTES_MAX: usize = 256 * 1024;

/// A tool as it was last listed.
#[derive(Clone)]
pub(super) struct Tool {
    /// Of its name, description and schemas, as `sha256:…`.
    pub(super) digest: Arc<str>,
    /// The digest that it had when it was first seen.
    pub(super) first: Arc<str>,
    /// The schema of its arguments, as it was written.
    pub(super) schema: Option<Arc<str>>,
    /// The operator has been told that it is withheld.
    pub(super) is_told: Arc<AtomicBool>,
    /// Made of the schema when it is first needed; none when it is no schema.
    pub(super) validator: Arc<std::sync::OnceLock<Option<jsonschema::Validator>>>,
}

#[derive(Default)]
struct Seen {
    /// By the server's own names.
    tools: HashMap<Box<str>, Tool>,
    /// Digests that tools had when they were first seen, also of those that are gone.
    first: HashMap<Box<str>, Arc<str>>,
    /// Whether all pages of the list were seen since it last changed.
    is_whole: bool,
    resources: HashMap<Box<str>, ()>,
    /// What the templates of its resources begin with.
    templates: Vec<Box<str>>,
}

/// What a server was last seen to offer.
#[derive(Default)]
pub(super) struct Catalog(Mutex<Seen>);

impl Catalog {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a page of the server's tools. The first page forgets what was there.
    pub(super) fn tools(&self, page: &[Members<'_>], is_first: bool, is_last: bool) {
        let mut seen = self.lock();
        let before = if is_first { std::mem::take(&mut seen.tools) } else { HashMap::new() };
        seen.is_whole = is_last && (is_first || seen.is_whole);
        for tool in page {
            let Some(name) = tool.text("name") else { continue };
            if seen.tools.len() >= ITEMS_MAX {
                break;
            }
            let digest: Arc<str> = digest_of(tool).into();
            let same = before.get(name.as_str()).filter(|before| before.digest == digest);
            if let Some(same) = same {
                seen.tools.insert(name.into(), same.clone());
                continue;
            }
            let is_full = seen.first.len() >= ITEMS_MAX;
            let first = match seen.first.get(name.as_str()) {
                Some(first) => first.clone(),
                None if is_full => digest.clone(),
                None => {
                    seen.first.insert(name.as_str().into(), digest.clone());
                    digest.clone()
                }
            };
            let schema = tool.get("inputSchema").filter(|schema| schema.len() <= SCHEMA_BYTES_MAX);
            let tool = Tool {
                digest,
                first,
                schema: schema.map(Into::into),
                is_told: Arc::default(),
                validator: Arc::default(),
            };
            seen.tools.insert(name.into(), tool);
        }
        // Pages in between say nothing of the rest.
        if !is_first && is_last {
            seen.is_whole = true;
        }
    }

    /// A tool by the server's own name.
    pub(super) fn tool(&self, name: &str) -> Option<Tool> {
        self.lock().tools.get(name).cloned()
    }

    /// Whether the server has a tool of this name; `None` when its list is not known.
    pub(super) fn has_tool(&self, name: &str) -> Option<bool> {
        let seen = self.lock();
        if seen.tools.contains_key(name) { Some(true) } else { seen.is_whole.then_some(false) }
    }

    /// Whether its list is known and nothing says that it has changed since.
    pub(super) fn is_fresh(&self) -> bool {
        self.lock().is_whole
    }

    /// Its tools have changed.
    pub(super) fn stale(&self) {
        self.lock().is_whole = false;
    }

    /// Takes resources, or what templates begin with.
    pub(super) fn resources(&self, page: &[Members<'_>], are_templates: bool) {
        let mut seen = self.lock();
        for item in page {
            if are_templates {
                let Some(template) = item.text("uriTemplate") else { continue };
                let stem: Box<str> = template.split('{').next().unwrap_or_default().into();
                if !stem.is_empty() && seen.templates.len() < ITEMS_MAX && !seen.templates.contains(&stem) {
                    seen.templates.push(stem);
                }
            } else if let Some(uri) = item.text("uri") {
                if seen.resources.len() >= ITEMS_MAX {
                    seen.resources.clear();
                }
                seen.resources.insert(uri.into(), ());
            }
        }
    }

    /// How surely a resource is this server's: 0 when nothing says so, more for an exact match than for a template.
    pub(super) fn knows_resource(&self, uri: &str) -> usize {
        let seen = self.lock();
        if seen.resources.contains_key(uri) {
            return usize::MAX;
        }
        let stems = seen.templates.iter().filter(|stem| uri.starts_with(&***stem));
        stems.map(|stem| stem.len()).max().unwrap_or(0)
    }
}

/// A digest of what a model is told of a tool, and of what it may be given: whitespace and the order of members do not
/// count.
pub(super) fn digest_of(tool: &Members<'_>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in ["name", "title", "description", "inputSchema", "outputSchema", "annotations"] {
        let value: Option<Value> = tool.get(part).and_then(|text| serde_json::from_str(text).ok());
        let mut text = String::new();
        canonical(&value.unwrap_or(Value::Null), &mut text);
        context.update(part.as_bytes());
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let digits: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// JSON in one form. The parser bounds how deep it goes.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            out.push('{');
            for name in names {
                out.push_str(&super::message::quoted(name));
                out.push(':');
                if let Some(value) = members.get(name) {
                    canonical(value, out);
                }
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(text: &str) -> Members<'_> {
        Members::parse(text).expect("an object")
    }

    #[test]
    fn a_digest_is_of_what_is_said_not_of_how_it_is_written() {
        let one = digest_of(&tool(r#"{"name":"a","description":"d","inputSchema":{"type":"object","x":1}}"#));
        let same =
            digest_of(&tool(r#"{"inputSchema":{"x": 1,"type":"object"},"description":"d","name":"a"}"#));
        let other =
            digest_of(&tool(r#"{"name":"a","description":"d ","inputSchema":{"type":"object","x":1}}"#));
        assert_eq!(one, same);
        assert_ne!(one, other);
        assert_eq!(one.len(), "sha256:".len() + 64);
    }

    #[test]
    fn what_was_seen_first_stays_known() {
        let catalog = Catalog::default();
        catalog.tools(&[tool(r#"{"name":"a","description":"d"}"#)], true, true);
        let first = catalog.tool("a").expect("known").first;
        catalog.tools(&[], true, true);
        assert_eq!(catalog.has_tool("a"), Some(false));
        catalog.tools(&[tool(r#"{"name":"a","description":"other"}"#)], true, true);
        let now = catalog.tool("a").expect("known");
        assert_eq!(now.first, first);
        assert_ne!(now.digest, first);
        catalog.stale();
        assert_eq!(catalog.has_tool("b"), None);
    }
}
