//! From texts to a snapshot: parse, check, merge, validate, resolve; every finding is reported at once.

pub(crate) mod check;
mod checked;
pub(crate) mod context;
pub(crate) mod format;
mod hide;
mod later;
mod merge;
pub(crate) mod nearest;
pub(crate) mod parse;
mod path;
pub(crate) mod places;
mod resolve;
pub(crate) mod scope;
mod shape;
pub(crate) mod tree;

use std::sync::Arc;

pub use self::checked::Document;
pub(crate) use self::context::Context;
use self::{
    check::{Checker, Referred, Verdict, Written},
    path::Path,
    tree::{Kind, Node},
};
use crate::{
    Config, Resolver, Snapshot,
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    rules,
    schema::SCHEMA,
};

/// Reads a configuration from one or several texts. Resources of all texts are joined; two of one name are
/// refused. What the configuration refers to is asked of the resolver, unless it is for a later build.
///
/// # Errors
/// Everything that is wrong, with its place and path, and the warnings beside it.
pub fn load(sources: &[Source], resolver: &dyn Resolver) -> Result<Snapshot, Diagnostics> {
    let mut found = Diagnostics::new(sources);
    let read = read(sources, &mut found);
    let config = deserialize(&read.tree, &mut found).map(Arc::new);
    if let Some(config) = &config {
        rules::check(config, &read.tree, &read.expressions, &mut found);
    }
    found.widen();
    found.sources = hide::hide(sources, &read.literals, &read.broken);
    // A configuration for a later build is refused for that; what it refers to is of no use to this one.
    let referred = if read.is_later { &[][..] } else { &read.referred };
    let has_errors = found.has_errors();
    let resolved = resolve::ask(referred, resolver, &mut found);
    let frozen = match (config, has_errors) {
        (Some(config), false) => {
            let mut snapshot = resolve::unfinished(config, resolved, places::of(&read.tree));
            // Nobody waits for a vault where something else is wrong, which may be what opens it.
            if !found.has_errors() {
                resolve::ask_vault(&mut snapshot, referred, resolver, &mut found);
            }
            Some(resolve::freeze(snapshot, &read.literals, &mut found))
        }
        _ => None,
    };
    found.sort();
    found.files = read.referred.iter().filter_map(Referred::file).collect();
    match frozen {
        Some(snapshot) if !found.has_errors() => Ok(Snapshot { warnings: Arc::new(found), ..snapshot }),
        _ => Err(found),
    }
}

/// What the texts say, checked against the schema and joined.
struct Reading {
    tree: Node,
    referred: Vec<Referred>,
    expressions: Vec<Written>,
    literals: Vec<(Place, String)>,
    /// Sources that could not be read to their end.
    broken: Vec<usize>,
    /// Whether something in them is for a later build.
    is_later: bool,
}

fn read(sources: &[Source], found: &mut Diagnostics) -> Reading {
    let mut trees = Vec::new();
    let (mut referred, mut literals, mut is_later) = (Vec::new(), Vec::new(), false);
    let mut broken = Vec::new();
    let mut expressions = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let parsed = parse::parse(u32::try_from(index).unwrap_or(u32::MAX), &source.text, found);
        if parsed.is_broken {
            broken.push(index);
        }
        parsed.dropped.iter().for_each(|node| check::scalars(node, &mut literals));
        let Some(mut tree) = parsed.tree else { continue };
        let mut checker = Checker {
            root: &SCHEMA,
            path: Path::default(),
            found,
            referred: Vec::new(),
            expressions: Vec::new(),
            literals: Vec::new(),
            is_later: false,
        };
        let verdict = checker.check(&SCHEMA, &mut tree);
        referred.append(&mut checker.referred);
        expressions.append(&mut checker.expressions);
        literals.append(&mut checker.literals);
        is_later |= checker.is_later;
        if verdict != Verdict::Bad {
            trees.push(tree);
        }
    }
    Reading { tree: merge::merge(trees, found), referred, expressions, literals, broken, is_later }
}

/// The typed configuration of what was not left out. The checker knows all that the types know; should it miss
/// something, the type's own message is better than silence.
fn deserialize(tree: &Node, found: &mut Diagnostics) -> Option<Config> {
    match serde_json::from_value(tree.to_value()) {
        Ok(config) => Some(config),
        Err(wrong) => {
            if !found.has_errors() {
                found.push(Diagnostic::error("", format!("the configuration does not fit: {wrong}")));
            }
            None
        }
    }
}

/// An empty document.
fn nothing() -> Node {
    Node::new(Kind::Map(Vec::new()), Place::default())
}

/// Reads a YAML document of any kind, with what configurations have: places in errors, no key twice, bounded aliases.
///
/// # Errors
/// What cannot be read, with its place.
pub fn document(source: &Source) -> Result<serde_json::Value, Diagnostics> {
    let mut found = Diagnostics::new(std::slice::from_ref(source));
    let parsed = parse::parse(0, &source.text, &mut found);
    match parsed.tree {
        Some(tree) if !found.has_errors() => Ok(tree.to_value()),
        None if !found.has_errors() => Ok(serde_json::Value::Null),
        _ => Err(found),
    }
}
