//! Findings of whoever compiles a snapshot, brought to the place in the text where each belongs.

use std::{collections::HashMap, fmt};

use crate::{
    Snapshot,
    diagnostic::{Diagnostic, Diagnostics, Place},
    load::{
        parse::parse,
        tree::{Kind, Node},
    },
};

/// Something that was found while a snapshot was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The list and the name of a resource, such as `routes/catalog`; empty for the document itself.
    pub owner: String,
    /// The key under it, such as `match[0].when`; empty for the whole of it.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl Finding {
    /// A finding about a key of a resource.
    pub fn new(owner: impl Into<String>, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { owner: owner.into(), key: key.into(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.owner, &self.key] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

impl Snapshot {
    /// The findings as errors, each at the place that it is about.
    pub fn errors(&self, findings: &[Finding]) -> Diagnostics {
        self.placed(findings, Diagnostic::error)
    }

    /// The findings as warnings, each at the place that it is about.
    pub fn oddities(&self, findings: &[Finding]) -> Diagnostics {
        self.placed(findings, Diagnostic::warning)
    }

    fn placed(&self, findings: &[Finding], make: fn(String, String) -> Diagnostic) -> Diagnostics {
        let mut found =
            Diagnostics { sources: self.warnings.sources.clone(), items: Vec::new(), files: Vec::new() };
        let mut trees = HashMap::new();
        for finding in findings {
            let Told { path, place, message } = self.find(finding, &mut trees);
            let one = make(path, message);
            found.push(match place {
                Some(place) => one.at(place),
                None => one,
            });
        }
        found.sort();
        found
    }

    /// Path and place of what a finding is about. The texts are read once more: it is cheaper than to keep where
    /// every key of every configuration stood.
    fn find(&self, finding: &Finding, trees: &mut HashMap<u32, Option<Node>>) -> Told {
        let told = |path: String, place| Told { path, place, message: finding.message.clone() };
        let Some((owner, place)) = self.places.get(&finding.owner) else {
            let path = [finding.owner.as_str(), &finding.key].into_iter().filter(|part| !part.is_empty());
            let path = path.collect::<Vec<_>>().join(".");
            let all = 0..u32::try_from(self.warnings.sources.len()).unwrap_or_default();
            for source in all {
                let Some(way) = self.tree(source, trees).map(|tree| Way::below(tree, &path)) else {
                    continue;
                };
                if way.place.is_some() {
                    return told(path, way.place).below(way);
                }
            }
            return told(path, None);
        };
        let path = if finding.key.is_empty() { owner.clone() } else { format!("{owner}.{}", finding.key) };
        let item = self.tree(place.source, trees).and_then(|tree| {
            let (tree, owner) = match finding.owner.strip_prefix("ai/") {
                Some(owner) => (tree.get("ai")?, owner),
                None => (tree, finding.owner.as_str()),
            };
            let (list, name) = owner.split_once('/')?;
            let mut items = tree.get(list)?.items().iter();
            items.find(|item| item.get("name").and_then(Node::text) == Some(name))
        });
        match item.map(|item| Way::below(item, &finding.key)) {
            Some(way) => told(path, Some(way.place.unwrap_or(*place))).below(way),
            None => told(path, Some(*place)),
        }
    }

    fn tree<'t>(&self, source: u32, trees: &'t mut HashMap<u32, Option<Node>>) -> Option<&'t Node> {
        let text = &self.warnings.sources.get(source as usize)?.text;
        trees.entry(source).or_insert_with(|| read(source, text)).as_ref()
    }
}

/// A text as a tree, as far as it can be read: what was blanked out in it must not be taken for an alias.
fn read(source: u32, text: &str) -> Option<Node> {
    let mut text = text.to_owned().into_bytes();
    let is_end =
        |byte: Option<&u8>| byte.is_none_or(|byte| byte.is_ascii_whitespace() || b",]}".contains(byte));
    let blank = |text: &[u8], at: usize| {
        text[at] == b'*'
            && (text.get(at + 1) == Some(&b'*')
                || (at > 0 && text[at - 1] == b'x')
                || is_end(text.get(at + 1)))
    };
    for at in 0..text.len() {
        if blank(&text, at) {
            text[at] = b'x';
        }
    }
    let text = String::from_utf8(text).ok()?;
    parse(source, &text, &mut Diagnostics::default()).tree
}

/// A finding with its path and place.
struct Told {
    path: String,
    place: Option<Place>,
    message: String,
}

impl Told {
    /// Whoever compiles something begins with the place in it: `` `rules[1].when`: … `` or `rules[1].when: …`. What leads to
    /// something that is written there is brought to it, and said by the path alone.
    fn below(mut self, from: Way<'_>) -> Self {
        let Some(mut node) = from.end() else { return self };
        while let Some((told, rest)) = self.message.split_once(": ") {
            let key = told.strip_prefix('`').and_then(|told| told.strip_suffix('`')).unwrap_or(told);
            let way = Way::below(node, key);
            self.place = way.place.or(self.place);
            let Some(end) = way.end().filter(|_| !key.is_empty()) else { break };
            self.path.push_str(&way.path);
            self.message = rest.to_owned();
            node = end;
        }
        self
    }
}

/// The place of a key below a node, or of the nearest one above it that is written.
pub(crate) fn walk(node: &Node, key: &str) -> Option<Place> {
    Way::below(node, key).place
}

/// How far a path leads below a node.
struct Way<'n> {
    node: &'n Node,
    /// Of what it leads to, or of the nearest around it that is written.
    place: Option<Place>,
    /// The path so far, as it is told.
    path: String,
    is_whole: bool,
}

impl<'n> Way<'n> {
    /// Follows keys and numbers of items; items with a `name` are also found by that.
    fn below(node: &'n Node, path: &str) -> Self {
        let mut way = Self { node, place: None, path: String::new(), is_whole: true };
        let mut rest = path;
        loop {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            if rest.is_empty() {
                return way;
            }
            match way.step(rest) {
                Some(after) => rest = after,
                None => return Self { is_whole: false, ..way },
            }
        }
    }

    /// Where it leads, when it leads there altogether.
    fn end(&self) -> Option<&'n Node> {
        self.is_whole.then_some(self.node)
    }

    /// One step further; what is left of the path.
    fn step<'p>(&mut self, rest: &'p str) -> Option<&'p str> {
        // Names may have dots: the longest that fits is meant.
        let after = |name: &str| {
            let after = rest.strip_prefix(name).filter(|_| !name.is_empty())?;
            (after.is_empty() || after.starts_with(['.', '['])).then_some(after)
        };
        let head = |node: &Node| match node.kind {
            Kind::Text(_) | Kind::Number(_) => node.place,
            _ => Place { end: (node.place.start + 1).min(node.place.end), ..node.place },
        };
        if let Kind::Map(entries) = &self.node.kind {
            let fits = entries.iter().filter(|entry| after(&entry.key).is_some());
            let entry = fits.max_by_key(|entry| entry.key.len())?;
            let is_plain = matches!(entry.value.kind, Kind::Text(_) | Kind::Number(_));
            self.place = Some(if is_plain { entry.value.place } else { entry.place });
            self.path.push('.');
            self.path.push_str(&entry.key);
            self.node = &entry.value;
            return after(&entry.key);
        }
        let numbered = || {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            Some((self.node.items().get(index.parse::<usize>().ok()?)?, after))
        };
        let named = || {
            let items = self.node.items().iter();
            let fits = items.filter_map(|item| Some((item, after(item.get("name")?.text()?)?)));
            fits.min_by_key(|(_, after)| after.len())
        };
        let (item, after) = numbered().or_else(named)?;
        self.place = Some(head(item));
        self.path.push_str(&format!("[{}]", item.index));
        self.node = item;
        Some(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Source;

    struct Nothing;

    impl crate::Resolver for Nothing {
        fn env(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, _: &std::path::Path) -> std::io::Result<bytes::Bytes> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    const TEXT: &str = "\
postgres: {url: x}
brokers: [{name: events, nats: {servers: ['127.0.0.1:4222']}}]
upstreams: [{name: a, endpoints: [{address: '127.0.0.1:1'}]}]
routes:
  - name: r
    backends: [{upstream: a}]
    policies:
      - authorize:
          rules:
            - require: 'true'
            - require: 'false'
      - headers:
          request:
            set: {x-a.b: one}
      - strangler:
          rules: [{name: all, to: a, percent: 5}]
          override: {header: x-side, when: 'true'}
";

    /// The place in the text, the path and the message that a finding gets.
    fn told(owner: &str, key: &str, message: &str) -> String {
        let sources = [Source::new("t", TEXT)];
        let snapshot = crate::load(&sources, &Nothing).expect("a good configuration");
        let found = snapshot.errors(&[Finding::new(owner, key, message)]);
        let item = found.iter().next().expect("one").clone();
        let place = item.place.map(|place| &TEXT[place.range()]).unwrap_or_default();
        format!("{place} | {}: {}", item.path, item.message)
    }

    #[test]
    fn what_a_message_begins_with_is_brought_to_where_it_stands() {
        let of = |key: &str, message: &str| told("routes/r", key, message);
        assert_eq!(
            of("policies[0].authorize", "`rules[1].require`: column 1: no"),
            "'false' | routes[0].policies[0].authorize.rules[1].require: column 1: no"
        );
        assert_eq!(
            of("policies[2].strangler", "override.when: no"),
            "'true' | routes[0].policies[2].strangler.override.when: no"
        );
        assert_eq!(
            of("policies[2].strangler", "rules.all.to: no"),
            "a | routes[0].policies[2].strangler.rules[0].to: no",
            "an item by its name"
        );
        assert_eq!(
            of("policies[2].strangler", "rules[0]: to: no"),
            "a | routes[0].policies[2].strangler.rules[0].to: no",
            "a place in a place"
        );
        assert_eq!(
            of("policies[1].headers", "`request`: `set.x-a.b`: no"),
            "one | routes[0].policies[1].headers.request.set.x-a.b: no",
            "a name with dots"
        );
    }

    #[test]
    fn what_leads_nowhere_stays_as_it_was_told_at_the_nearest_place() {
        let of = |message: &str| told("routes/r", "policies[0].authorize", message);
        assert_eq!(of("nothing: here"), "authorize | routes[0].policies[0].authorize: nothing: here");
        assert_eq!(of("`rules[7]`: no"), "rules | routes[0].policies[0].authorize: `rules[7]`: no");
        assert_eq!(of(": no"), "authorize | routes[0].policies[0].authorize: : no");
        assert_eq!(told("routes/gone", "a", "no"), " | routes/gone.a: no");
    }

    #[test]
    fn resources_without_a_list_and_brokers_have_places_too() {
        assert_eq!(told("postgres", "url", "no"), "x | postgres.url: no");
        assert_eq!(told("brokers/events", "nats", "no"), "nats | brokers[0].nats: no");
    }
}
