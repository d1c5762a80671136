//! Findings of whoever compiles a snapshot, brought to the place in the text where each belongs.

use std::{collections::HashMap, fmt};

use crate::{
    Snapshot,
    diagnostic::{Diagnostic, Diagnostics, Place},
    load::{parse::parse, tree::Node},
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
            let (path, place) = self.find(finding, &mut trees);
            let one = make(path, finding.message.clone());
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
    fn find(&self, finding: &Finding, trees: &mut HashMap<u32, Option<Node>>) -> (String, Option<Place>) {
        let Some((owner, place)) = self.places.get(&finding.owner) else {
            let mut all = 0..u32::try_from(self.warnings.sources.len()).unwrap_or_default();
            let place = all.find_map(|source| walk(self.tree(source, trees)?, &finding.key));
            let path = [finding.owner.as_str(), &finding.key].into_iter().filter(|part| !part.is_empty());
            return (path.collect::<Vec<_>>().join("."), place);
        };
        let path = if finding.key.is_empty() { owner.clone() } else { format!("{owner}.{}", finding.key) };
        let inside = self.tree(place.source, trees).and_then(|tree| {
            let (tree, owner) = match finding.owner.strip_prefix("ai/") {
                Some(owner) => (tree.get("ai")?, owner),
                None => (tree, finding.owner.as_str()),
            };
            let (list, name) = owner.split_once('/')?;
            let mut items = tree.get(list)?.items().iter();
            let item = items.find(|item| item.get("name").and_then(Node::text) == Some(name))?;
            walk(item, &finding.key)
        });
        (path, Some(inside.unwrap_or(*place)))
    }

    fn tree<'t>(&self, source: u32, trees: &'t mut HashMap<u32, Option<Node>>) -> Option<&'t Node> {
        let text = &self.warnings.sources.get(source as usize)?.text;
        trees.entry(source).or_insert_with(|| read(source, text)).as_ref()
    }
}

/// A text as a tree, as far as it can be read: what was blanked out in it must not be taken for an alias.
fn read(source: u32, text: &str) -> Option<Node> {
    let mut text = text.to_owned().into_bytes();
    let blank = |text: &[u8], at: usize| {
        text[at] == b'*' && (text.get(at + 1) == Some(&b'*') || (at > 0 && text[at - 1] == b'x'))
    };
    for at in 0..text.len() {
        if blank(&text, at) {
            text[at] = b'x';
        }
    }
    let text = String::from_utf8(text).ok()?;
    parse(source, &text, &mut Diagnostics::default()).tree
}

/// The place of a key below a node, or of the nearest one above it that is written.
pub(crate) fn walk(node: &Node, key: &str) -> Option<Place> {
    let mut place = None;
    let mut at = node;
    for step in key.split(['.', '[']).filter(|step| !step.is_empty()) {
        let next = match step.strip_suffix(']') {
            Some(index) => index.parse().ok().and_then(|index: usize| at.items().get(index)),
            None => at.entry(step).map(|entry| {
                place = Some(entry.place);
                &entry.value
            }),
        };
        let Some(next) = next else { break };
        if matches!(next.kind, crate::load::tree::Kind::Text(_) | crate::load::tree::Kind::Number(_)) {
            place = Some(next.place);
        } else if step.ends_with(']') {
            place = Some(Place { end: (next.place.start + 1).min(next.place.end), ..next.place });
        }
        at = next;
    }
    place
}
