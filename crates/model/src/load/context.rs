//! Where a rule stands in the configuration: it reports at a path, and the context knows the place.

use super::{
    nearest::nearest,
    path::Path,
    scope::{Named, Scope},
    tree::{Entry, Kind, Node},
};
use crate::{
    Percent,
    diagnostic::{Diagnostic, Diagnostics, Place},
    resource::{
        postgres::KeptIn,
        redis::{Store, WhenAway},
    },
};

/// A position in the configuration, and what rules need to know about the rest of it.
pub(crate) struct Context<'t, 'd> {
    steps: Vec<Step<'t>>,
    root: &'t Node,
    scope: &'t Scope,
    found: &'d mut Diagnostics,
}

/// One step from a value to a value inside of it; `None` when the value is a default that nobody wrote.
struct Step<'t> {
    name: Name,
    node: Option<&'t Node>,
    key: Option<Place>,
}

enum Name {
    Key(String),
    Index(usize),
}

impl<'t, 'd> Context<'t, 'd> {
    pub(crate) fn new(root: &'t Node, scope: &'t Scope, found: &'d mut Diagnostics) -> Self {
        Self { steps: Vec::new(), root, scope, found }
    }

    fn node(&self) -> Option<&'t Node> {
        self.steps.last().map_or(Some(self.root), |step| step.node)
    }

    /// Goes to the value under a key.
    pub(crate) fn field<R>(&mut self, key: &str, then: impl FnOnce(&mut Self) -> R) -> R {
        let entry: Option<&'t Entry> = self.node().and_then(|node| node.entry(key));
        let step = Step {
            name: Name::Key(key.to_owned()),
            node: entry.map(|entry| &entry.value),
            key: entry.map(|entry| entry.place),
        };
        self.inside(step, then)
    }

    /// Goes to the n-th item of a list, items that were left out not counted.
    pub(crate) fn item<R>(&mut self, position: usize, then: impl FnOnce(&mut Self) -> R) -> R {
        let items = self.node().map(Node::items).unwrap_or_default();
        let node = items.iter().filter(|item| !item.pruned).nth(position);
        let name = Name::Index(node.map_or(position, |node| node.index));
        self.inside(Step { name, node, key: None }, then)
    }

    /// Goes to each item of a list under a key.
    pub(crate) fn each<'i, T>(&mut self, key: &str, items: &'i [T], mut then: impl FnMut(&mut Self, &'i T)) {
        self.field(key, |at| {
            // In step with the nodes, so that a hundred thousand items take a hundred thousand steps.
            let mut nodes = at.node().map(Node::items).unwrap_or_default().iter().filter(|item| !item.pruned);
            for (position, item) in items.iter().enumerate() {
                let node = nodes.next();
                let name = Name::Index(node.map_or(position, |node| node.index));
                at.inside(Step { name, node, key: None }, |at| then(at, item));
            }
        });
    }

    fn inside<R>(&mut self, step: Step<'t>, then: impl FnOnce(&mut Self) -> R) -> R {
        self.steps.push(step);
        let result = then(self);
        self.steps.pop();
        result
    }

    /// The place of this value, or of the nearest one around it that was written.
    pub(crate) fn place(&self) -> Place {
        let written = self.steps.iter().rev().find_map(|step| match (step.node, step.key) {
            (Some(node), key) => Some(match (&node.kind, key) {
                (Kind::List(_) | Kind::Map(_), Some(key)) => key,
                (Kind::List(_) | Kind::Map(_), None) => first(node),
                _ => node.place,
            }),
            _ => None,
        });
        written.unwrap_or_else(|| first(self.root))
    }

    pub(crate) fn path(&self) -> String {
        let mut path = Path::default();
        for step in &self.steps {
            match &step.name {
                Name::Key(key) => path.push_key(key),
                Name::Index(index) => path.push_index(*index),
            }
        }
        path.to_string()
    }

    /// Whether somebody wrote this key here.
    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.node().is_some_and(|node| node.entry(key).is_some())
    }

    /// Whether something in here was left out: then a rule cannot tell what was meant.
    pub(crate) fn is_tainted(&self) -> bool {
        self.node().is_some_and(|node| node.tainted)
    }

    /// Whether nothing of the whole configuration was left out: then what is not there was not written.
    pub(crate) fn is_whole(&self) -> bool {
        !self.root.tainted
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        if !self.is_tainted() {
            self.found.push(diagnostic);
        }
    }

    /// Reports an error here.
    pub(crate) fn error(&mut self, message: impl Into<String>) {
        let wrong = Diagnostic::error(self.path(), message).at(self.place());
        self.report(wrong);
    }

    /// Reports an error here, with advice.
    pub(crate) fn error_with(&mut self, message: impl Into<String>, help: impl Into<String>) {
        let wrong = Diagnostic::error(self.path(), message).at(self.place()).help(help);
        self.report(wrong);
    }

    /// Reports a warning here.
    pub(crate) fn warning(&mut self, message: impl Into<String>) {
        let odd = Diagnostic::warning(self.path(), message).at(self.place());
        self.report(odd);
    }

    /// Reports a warning here, with advice.
    pub(crate) fn warning_with(&mut self, message: impl Into<String>, help: impl Into<String>) {
        let odd = Diagnostic::warning(self.path(), message).at(self.place()).help(help);
        self.report(odd);
    }

    /// Reports an error here that has to do with a second place.
    pub(crate) fn error_beside(&mut self, message: impl Into<String>, other: Place, what: &str) {
        let mut wrong = Diagnostic::error(self.path(), message).at(self.place());
        wrong.other = Some((other, what.to_owned()));
        self.report(wrong);
    }

    /// Checks where a policy counts, and what it does when that is away.
    pub(crate) fn stored(&mut self, store: Store, when_away: WhenAway, share: Percent) {
        if store == Store::Redis && !self.scope.redis {
            self.field("store", |at| {
                at.error_with(
                    "there is no `redis` in the configuration",
                    "such as `redis: {addresses: [\"127.0.0.1:6379\"]}` at its top",
                );
            });
        }
        for key in ["whenAway", "share"] {
            if store != Store::Redis && self.is_written(key) {
                self.field(key, |at| {
                    at.warning_with(
                        format!(
                            "`{key}` says what is done while a shared store is away, and there is none here"
                        ),
                        "add `store: redis`, or leave it out",
                    );
                });
            }
        }
        if store == Store::Redis && when_away == WhenAway::Local && share.get() <= 0.0 {
            self.field("share", |at| {
                at.error_with("expected more than nothing", "`whenAway: closed` lets nobody pass");
            });
        }
    }

    /// Checks where a policy keeps things.
    pub(crate) fn kept_in(&mut self, store: KeptIn) {
        if store == KeptIn::Postgres && !self.scope.postgres {
            self.field("store", |at| {
                at.error_with(
                    "there is no `postgres` in the configuration",
                    "such as `postgres: {url: {env: DATABASE_URL}}` at its top",
                );
            });
        }
    }

    /// Whether an upstream is spoken to by HTTP/1.1 alone.
    pub(crate) fn is_of_http1(&self, upstream: &str) -> bool {
        self.scope.of_http1.contains(upstream)
    }

    /// Reports a name that nothing has, with the nearest one that something has.
    pub(crate) fn refer(&mut self, named: Named, name: &str) {
        let known = self.scope.of(named);
        if known.contains(name) {
            return;
        }
        let message = format!("there is no {} `{name}`", named.noun());
        match nearest(name, known.iter().map(String::as_str)) {
            Some(meant) => self.error_with(message, format!("did you mean `{meant}`?")),
            None if known.is_empty() => self.error_with(message, "there are none"),
            None => {
                let mut names: Vec<&str> = known.iter().map(String::as_str).collect();
                names.sort_unstable();
                let more = if names.len() > NAMES_TOLD { ", …" } else { "" };
                names.truncate(NAMES_TOLD);
                self.error_with(message, format!("there are: `{}`{more}", names.join("`, `")))
            }
        }
    }
}

/// Names that there are, of which as many are told.
const NAMES_TOLD: usize = 8;

fn first(node: &Node) -> Place {
    Place { end: (node.place.start + 1).min(node.place.end), ..node.place }
}
