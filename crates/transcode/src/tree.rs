//! Which binding a path means: the most specific that fits, in time that hardly grows with their number.

use std::collections::{BTreeSet, HashMap};

use crate::template::{Segment, Template, decoded};

/// Bindings by their paths.
#[derive(Debug, Default)]
pub struct Tree {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    one: Option<Box<Node>>,
    ends: Vec<Leaf>,
    rest: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    verb: Option<String>,
    /// The method of HTTP; `*` is any.
    method: String,
    binding: usize,
}

/// What was found for a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// This binding.
    Binding(usize),
    /// The path is known, with these methods alone.
    OtherMethods(Vec<String>),
    /// Nothing has this path.
    Nothing,
}

impl Tree {
    /// Adds a binding; the error is the one that stands there already.
    pub fn add(&mut self, template: &Template, method: &str, binding: usize) -> Result<(), usize> {
        let mut node = &mut self.root;
        let mut is_rest = false;
        for segment in &template.segments {
            match segment {
                Segment::Literal(text) => node = node.literals.entry(text.clone()).or_default(),
                Segment::One => node = node.one.get_or_insert_default(),
                Segment::Rest => is_rest = true,
            }
        }
        let leaves = if is_rest { &mut node.rest } else { &mut node.ends };
        if let Some(same) = leaves.iter().find(|leaf| leaf.verb == template.verb && leaf.method == method) {
            return Err(same.binding);
        }
        leaves.push(Leaf { verb: template.verb.clone(), method: method.to_owned(), binding });
        Ok(())
    }

    /// Finds what a request means. What follows the last colon is a verb where there is one of that name.
    pub fn find(&self, method: &str, path: &str) -> Found {
        let mut allowed = BTreeSet::new();
        let path = path.strip_prefix('/').unwrap_or(path);
        let last = path.rfind('/').map_or(0, |at| at + 1);
        let colon = path.get(last..).and_then(|segment| segment.rfind(':')).map(|at| at + last);
        if let Some(at) = colon
            && let (Some(before), Some(verb)) = (path.get(..at), path.get(at + 1..))
            && let Some(found) = self.root.find(Some(before), Some(verb), method, &mut allowed)
        {
            return Found::Binding(found);
        }
        if let Some(found) = self.root.find(Some(path), None, method, &mut allowed) {
            return Found::Binding(found);
        }
        match allowed.is_empty() {
            true => Found::Nothing,
            false => Found::OtherMethods(allowed.into_iter().collect()),
        }
    }
}

impl Node {
    /// `path` is what is left; none when there is no further segment.
    fn find(
        &self,
        path: Option<&str>,
        verb: Option<&str>,
        method: &str,
        allowed: &mut BTreeSet<String>,
    ) -> Option<usize> {
        if let Some(path) = path {
            let (segment, left) = match path.split_once('/') {
                Some((segment, left)) => (segment, Some(left)),
                None => (path, None),
            };
            // An empty segment is none: `/v1/` is not `/v1`, and is no `/v1/{name}` without a name.
            if !segment.is_empty() {
                let literal = self.literals.get(&*decoded(segment, false));
                let next = [literal, self.one.as_deref()].into_iter().flatten();
                for node in next {
                    if let Some(found) = node.find(left, verb, method, allowed) {
                        return Some(found);
                    }
                }
            }
        } else if let Some(found) = choose(&self.ends, verb, method, allowed) {
            return Some(found);
        }
        choose(&self.rest, verb, method, allowed)
    }
}

fn choose(
    leaves: &[Leaf],
    verb: Option<&str>,
    method: &str,
    allowed: &mut BTreeSet<String>,
) -> Option<usize> {
    let here = || leaves.iter().filter(|leaf| leaf.verb.as_deref() == verb);
    let found = here().find(|leaf| leaf.method == method).or_else(|| here().find(|leaf| leaf.method == "*"));
    if found.is_none() {
        allowed.extend(here().map(|leaf| leaf.method.clone()));
    }
    found.map(|leaf| leaf.binding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(templates: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (index, (method, template)) in templates.iter().enumerate() {
            let template = Template::parse(template).expect("a template");
            tree.add(&template, method, index).expect("no other");
        }
        tree
    }

    #[test]
    fn the_most_specific_that_fits_is_found() {
        let tree = tree(&[
            ("GET", "/v1/{name}"),
            ("GET", "/v1/self"),
            ("POST", "/v1/{name}:run"),
            ("GET", "/v1/{name=**}"),
            ("GET", "/v1/self/{x}"),
            ("*", "/v1/any"),
            ("DELETE", "/v1/{name}"),
        ]);
        for (method, path, want) in [
            ("GET", "/v1/a", Found::Binding(0)),
            ("GET", "/v1/self", Found::Binding(1)),
            ("POST", "/v1/a:run", Found::Binding(2)),
            ("GET", "/v1/a:run", Found::Binding(0)),
            ("GET", "/v1/a:b", Found::Binding(0)),
            ("GET", "/v1/a/b/c", Found::Binding(3)),
            ("GET", "/v1", Found::Binding(3)),
            ("GET", "/v1/self/b", Found::Binding(4)),
            ("GET", "/v1/self/b/c", Found::Binding(3)),
            ("PATCH", "/v1/any", Found::Binding(5)),
            ("PATCH", "/v1/a", Found::OtherMethods(vec!["DELETE".into(), "GET".into()])),
            ("GET", "/v2/a", Found::Nothing),
        ] {
            assert_eq!(tree.find(method, path), want, "{method} {path}");
        }
    }

    #[test]
    fn two_of_one_shape_are_a_conflict() {
        let mut tree = tree(&[("GET", "/v1/{name}"), ("GET", "/v1/{a}/b"), ("GET", "/v1/{a}:x")]);
        let mut add = |method: &str, template: &str| {
            tree.add(&Template::parse(template).expect("a template"), method, 9)
        };
        assert_eq!(add("GET", "/v1/{other}"), Err(0));
        assert_eq!(add("GET", "/v1/*/b"), Err(1));
        assert_eq!(add("GET", "/v1/{b}:x"), Err(2));
        assert_eq!(add("POST", "/v1/{other}"), Ok(()));
        assert_eq!(add("GET", "/v1/{other}:y"), Ok(()));
    }
}
