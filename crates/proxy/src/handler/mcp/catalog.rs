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
    /// Of its name, description and schemas, as `sha256:…`; none when they cannot be read in one way alone.
    pub(super) digest: Option<Arc<str>>,
    /// The digest that it had when it was first seen; none when there are too many tools to remember it.
    pub(super) first: Option<Arc<str>>,
    /// Its page has another of the same name.
    pub(super) is_double: bool,
    /// The schema of its arguments, as it was written.
    pub(super) schema: Option<Arc<str>>,
    /// The operator has been told that it is withheld.
    pub(super) is_told: Arc<AtomicBool>,
    /// Made of the schema when it is first needed, with all names that it knows; none when it is no schema.
    pub(super) validator: Arc<std::sync::OnceLock<Option<Checked>>>,
    /// The walk through the list that it was last seen on.
    walk: u64,
}

/// A schema made ready, and all names that it knows.
pub(super) type Checked = (crate::schema::Strange, Vec<Box<str>>);

/// Where a page stands: in which walk through a list, and how many pages were before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    walk: u64,
    page: u32,
}

impl Place {
    /// As numbers.
    pub(super) fn parts(self) -> (u64, u32) {
        (self.walk, self.page)
    }

    /// Of numbers.
    pub(super) fn of((walk, page): (u64, u32)) -> Self {
        Self { walk, page }
    }
}

struct Seen {
    /// By the server's own names.
    tools: HashMap<Box<str>, Tool>,
    /// Digests that tools had when they were first seen, also of those that are gone.
    first: HashMap<Box<str>, Arc<str>>,
    /// Whether all pages of the list were seen, in their order, since it last changed.
    is_whole: bool,
    /// The next page of the walk that counts.
    next: Place,
    resources: HashMap<Box<str>, ()>,
    /// What the templates of its resources begin with.
    templates: Vec<Box<str>>,
}

/// What a server was last seen to offer.
pub(super) struct Catalog(Mutex<Seen>);

impl Default for Catalog {
    fn default() -> Self {
        // Places of a process before this one mean nothing here.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(Mutex::new(Seen {
            tools: HashMap::new(),
            first: HashMap::new(),
            is_whole: false,
            next: Place { walk: since.as_micros() as u64, page: 1 },
            resources: HashMap::new(),
            templates: Vec::new(),
        }))
    }
}

impl Catalog {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a page of the server's tools; `None` is the first. What is known now of each of them, and where the next
    /// page stands. A tool that has no name is none.
    pub(super) fn tools(
        &self,
        page: &[Members<'_>],
        at: Option<Place>,
        is_last: bool,
    ) -> (Vec<Option<Tool>>, Place) {
        let mut seen = self.lock();
        let place = at.unwrap_or(Place { walk: seen.next.walk + 1, page: 0 });
        // A page that was not awaited says nothing of the whole.
        let counts = at.is_none_or(|at| at == seen.next);
        let next = Place { page: place.page.saturating_add(1), ..place };
        if counts {
            seen.next = next;
            seen.is_whole = false;
        }
        let names: Vec<Option<String>> = page
            .iter()
            .map(|tool| tool.text("name").filter(|_| super::strict::is_clear_tool(tool)))
            .collect();
        let mut times: HashMap<&str, usize> = HashMap::new();
        names.iter().flatten().for_each(|name| *times.entry(name).or_default() += 1);
        let known = page.iter().zip(&names).map(|(tool, name)| {
            let name = name.as_deref()?;
            let is_double = times.get(name).is_some_and(|times| *times > 1);
            Some(seen.take(name, tool, is_double, place.walk))
        });
        let known = known.collect();
        if counts && is_last {
            seen.is_whole = true;
            seen.tools.retain(|_, tool| tool.walk >= place.walk);
        }
        (known, next)
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
        let mut seen = self.lock();
        seen.is_whole = false;
        // Pages of a walk that began before say nothing of what is now.
        seen.next = Place { walk: seen.next.walk + 1, page: u32::MAX };
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

impl Seen {
    /// Notes one tool.
    fn take(&mut self, name: &str, tool: &Members<'_>, is_double: bool, walk: u64) -> Tool {
        let digest: Option<Arc<str>> = digest_of(tool).map(Into::into);
        if let Some(same) = self.tools.get_mut(name)
            && same.digest == digest
            && same.is_double == is_double
            && digest.is_some()
        {
            same.walk = walk;
            return same.clone();
        }
        let first = match (self.first.get(name), &digest) {
            (Some(first), _) => Some(first.clone()),
            (None, Some(digest)) if self.first.len() < ITEMS_MAX => {
                self.first.insert(name.into(), digest.clone());
                Some(digest.clone())
            }
            (None, _) => None,
        };
        let schema = tool.get("inputSchema").filter(|schema| schema.len() <= SCHEMA_BYTES_MAX);
        let tool = Tool {
            digest,
            first,
            is_double,
            schema: schema.map(Into::into),
            is_told: Arc::default(),
            validator: Arc::default(),
            walk,
        };
        if self.tools.len() >= ITEMS_MAX && !self.tools.contains_key(name) {
            self.tools.retain(|_, known| known.walk >= walk);
        }
        if self.tools.len() < ITEMS_MAX || self.tools.contains_key(name) {
            self.tools.insert(name.into(), tool.clone());
        }
        tool
    }
}

/// A digest of what a model is told of a tool, and of what it may be given: whitespace and the order of members do not
/// count. None where a part cannot be read, or in two ways.
pub(super) fn digest_of(tool: &Members<'_>) -> Option<String> {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in ["name", "title", "description", "inputSchema", "outputSchema", "annotations"] {
        let value = match tool.get(part) {
            Some(text) => super::strict::unique(text)?,
            None => Value::Null,
        };
        let mut text = String::new();
        canonical(&value, &mut text);
        context.update(part.as_bytes());
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let digits: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256:{digits}"))
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
        assert_eq!(one.map(|one| one.len()), Some("sha256:".len() + 64));
        for odd in [
            r#"{"name":"a","inputSchema":{"x":1,"x":2}}"#,
            r#"{"name":"a","inputSchema":{"a":{"Type":1,"type":2}}}"#,
            r#"{"name":"a","inputSchema":{"const":1e400}}"#,
        ] {
            assert_eq!(digest_of(&tool(odd)), None, "{odd}");
        }
    }

    fn first(catalog: &Catalog, text: &str) -> Option<Tool> {
        catalog.tools(&[tool(text)], None, true).0.pop().flatten()
    }

    #[test]
    fn what_was_seen_first_stays_known() {
        let catalog = Catalog::default();
        let before = first(&catalog, r#"{"name":"a","description":"d"}"#).expect("known").first;
        catalog.tools(&[], None, true);
        assert_eq!(catalog.has_tool("a"), Some(false));
        let now = first(&catalog, r#"{"name":"a","description":"other"}"#).expect("known");
        assert_eq!(now.first, before);
        assert_ne!(now.digest, before);
        catalog.stale();
        assert_eq!(catalog.has_tool("b"), None);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_tool() {
        let catalog = Catalog::default();
        for odd in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","description":"x","Description":"y"}"#,
            r#"{"name":"a","Description":"y"}"#,
            r#"{"name":7}"#,
            "{}",
        ] {
            assert!(first(&catalog, odd).is_none(), "{odd}");
        }
        let two = [tool(r#"{"name":"a","title":"1"}"#), tool(r#"{"name":"a","title":"2"}"#)];
        assert!(catalog.tools(&two, None, true).0.into_iter().flatten().all(|tool| tool.is_double));
    }

    #[test]
    fn names_beyond_the_bound_have_no_first_form() {
        let catalog = Catalog::default();
        let texts: Vec<String> = (0..ITEMS_MAX).map(|at| format!(r#"{{"name":"t{at}"}}"#)).collect();
        let page: Vec<_> = texts.iter().map(|text| tool(text)).collect();
        catalog.tools(&page, None, true);
        assert!(first(&catalog, r#"{"name":"one more"}"#).expect("a tool").first.is_none());
    }

    #[test]
    fn a_list_is_whole_when_all_its_pages_came_in_their_order() {
        let catalog = Catalog::default();
        let (_, second) = catalog.tools(&[tool(r#"{"name":"a"}"#)], None, false);
        assert!(!catalog.is_fresh());
        let (_, third) = catalog.tools(&[tool(r#"{"name":"b"}"#)], Some(second), false);
        catalog.tools(&[], Some(second), true);
        assert!(!catalog.is_fresh(), "a page that was here before");
        catalog.tools(&[], Some(third), true);
        assert!(catalog.is_fresh());
        catalog.stale();
        catalog.tools(&[], Some(third), true);
        assert!(!catalog.is_fresh(), "a page of a walk that began before the change");
        assert_eq!(catalog.has_tool("a"), Some(true));
    }
}
