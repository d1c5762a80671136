//! A document of another kind than a configuration, checked against a schema of its own as a configuration is: everything
//! that is wrong at once, each with its place and what was meant.

use serde_json::Value;

use super::{
    check::{Checker, Verdict},
    hide, parse,
    path::Path,
    tree::Node,
};
use crate::{
    diagnostic::{Diagnostic, Diagnostics, Place, Source},
    finding::walk,
};

/// A document that was read, and what is wrong with it.
pub struct Document {
    source: Source,
    tree: Node,
    found: Diagnostics,
    literals: Vec<(Place, String)>,
}

impl Document {
    /// Reads a YAML document and checks it against a JSON Schema in the form that schemars gives.
    ///
    /// # Errors
    /// What cannot be read at all.
    pub fn read(source: Source, schema: &Value) -> Result<Self, Diagnostics> {
        let mut found = Diagnostics::new(std::slice::from_ref(&source));
        let parsed = parse::parse(0, &source.text, &mut found);
        let Some(mut tree) = parsed.tree.or_else(|| (!found.has_errors()).then(super::nothing)) else {
            return Err(found);
        };
        let (path, referred, literals) = (Path::default(), Vec::new(), Vec::new());
        let mut checker = Checker {
            root: schema,
            path,
            found: &mut found,
            referred,
            expressions: Vec::new(),
            literals,
            is_later: false,
        };
        let verdict = checker.check(schema, &mut tree);
        let literals = checker.literals;
        tree.pruned = verdict == Verdict::Bad;
        Ok(Self { source, tree, found, literals })
    }

    /// What is good of the items of a list, each with its place among all of them.
    pub fn items(&self, key: &str) -> Vec<(usize, Value)> {
        let items = self.tree.get(key).map(Node::items).unwrap_or_default();
        items.iter().filter(|item| !item.pruned).map(|item| (item.index, item.to_value())).collect()
    }

    /// What is good of the value under a key.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.tree.get(key).filter(|node| !node.pruned).map(Node::to_value)
    }

    /// Something more is wrong, at a path such as `cases[0].expect`.
    pub fn error(&mut self, path: &str, message: impl Into<String>) {
        let wrong = Diagnostic::error(path, message);
        self.found.push(match walk(&self.tree, path) {
            Some(place) => wrong.at(place),
            None => wrong,
        });
    }

    /// The whole of it.
    ///
    /// # Errors
    /// Everything that is wrong, without the secrets that stand there.
    pub fn finish(mut self) -> Result<Value, Diagnostics> {
        if !self.found.has_errors() {
            return Ok(self.tree.to_value());
        }
        self.found.widen();
        self.found.sources = hide::hide(std::slice::from_ref(&self.source), &self.literals, &[]);
        self.found.sort();
        Err(self.found.errors())
    }
}
