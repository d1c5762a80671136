//! The paths of one host: exact ones in a map, segment patterns in a tree, regular expressions in a set.
//!
//! A visit hands out every rule whose path matches, the most specific first, and stops when the visitor is
//! satisfied. What it costs depends on the path's segments, not on the number of routes.

use std::collections::HashMap;

use regex::{Regex, RegexSet};

use super::{
    captures::Ranges,
    pattern::{Pattern, Segment, Shape, Tail, regex_ranges},
    rule::Rule,
};

/// Index of a rule; rules are numbered in match order.
pub(super) type RuleIndex = u32;

/// From this many on, one pass over the path decides which regular expressions are worth a look.
const REGEX_SET_FROM: usize = 4;

/// All that match paths under one host.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<Box<str>, Vec<RuleIndex>>,
    root: Node,
    regexes: Vec<(Regex, RuleIndex)>,
    regex_set: Option<RegexSet>,
}

/// One position in the tree: what may come next, and what ends here.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    int: Option<Box<Node>>,
    uuid: Option<Box<Node>>,
    any: Option<Box<Node>>,
    ends: Vec<RuleIndex>,
    rests: Vec<RuleIndex>,
    prefixes: Vec<RuleIndex>,
}

/// Takes a rule and says whether to stop.
pub(super) type Visit<'v> = dyn FnMut(RuleIndex, &Ranges) -> bool + 'v;

impl Paths {
    /// Adds a rule. Rules are added in match order.
    pub(super) fn add(&mut self, pattern: &Pattern, rule: RuleIndex) {
        match &pattern.shape {
            Shape::Exact(path) => self.exact.entry(path.clone()).or_default().push(rule),
            Shape::Regex(regex) => self.regexes.push((regex.clone(), rule)),
            Shape::Segments(segments, tail) => self.root.reach(segments).list(*tail).push(rule),
        }
    }

    /// Call when all rules are added.
    pub(super) fn finish(&mut self) {
        if self.regexes.len() >= REGEX_SET_FROM {
            // A set that grows too large is done without: each expression is then tried on its own.
            self.regex_set = RegexSet::new(self.regexes.iter().map(|(regex, _)| regex.as_str())).ok();
        }
    }

    /// Visits the rules whose path matches. Returns whether the visitor stopped.
    pub(super) fn visit(&self, path: &str, rules: &[Rule], visit: &mut Visit<'_>) -> bool {
        if !self.exact.is_empty()
            && let Some(exact) = self.exact.get(path)
            && all(exact, &Ranges::default(), visit)
        {
            return true;
        }
        if self.root.walk(path, Some(1), &mut Ranges::default(), visit) {
            return true;
        }
        !self.regexes.is_empty() && self.visit_regexes(path, rules, visit)
    }

    fn visit_regexes(&self, path: &str, rules: &[Rule], visit: &mut Visit<'_>) -> bool {
        let mut one = |(regex, rule): &(Regex, RuleIndex)| {
            let names = &rules[*rule as usize].pattern.names;
            regex_ranges(regex, names, path).is_some_and(|ranges| visit(*rule, &ranges))
        };
        match &self.regex_set {
            Some(set) => set.matches(path).iter().any(|at| one(&self.regexes[at])),
            None => self.regexes.iter().any(one),
        }
    }

    /// Visits rules whose path takes every path that the pattern takes, as far as it is plain to see.
    pub(super) fn visit_covering(
        &self,
        pattern: &Pattern,
        rules: &[Rule],
        visit: &mut dyn FnMut(RuleIndex) -> bool,
    ) -> bool {
        match &pattern.shape {
            Shape::Exact(path) => self.visit(path, rules, &mut |rule, _| visit(rule)),
            Shape::Regex(regex) => {
                let same = self.regexes.iter().filter(|(other, _)| other.as_str() == regex.as_str());
                let mut rules = same.map(|(_, rule)| *rule).chain(self.root.prefixes.iter().copied());
                rules.any(visit)
            }
            Shape::Segments(segments, tail) => self.root.walk_covering(segments, *tail, visit),
        }
    }
}

fn all(rules: &[RuleIndex], ranges: &Ranges, visit: &mut Visit<'_>) -> bool {
    rules.iter().any(|rule| visit(*rule, ranges))
}

impl Node {
    fn reach(&mut self, segments: &[Segment]) -> &mut Self {
        segments.iter().fold(self, |node, segment| match segment {
            Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
            Segment::Int => node.int.get_or_insert_default(),
            Segment::Uuid => node.uuid.get_or_insert_default(),
            Segment::Any => node.any.get_or_insert_default(),
        })
    }

    fn list(&mut self, tail: Tail) -> &mut Vec<RuleIndex> {
        match tail {
            Tail::End => &mut self.ends,
            Tail::Rest => &mut self.rests,
            Tail::Prefix => &mut self.prefixes,
        }
    }

    /// Goes on from the segment that begins at `start`, or from the end of the path. Each node of the tree is
    /// visited at most once, since its depth is its place in the path.
    fn walk(&self, path: &str, start: Option<usize>, ranges: &mut Ranges, visit: &mut Visit<'_>) -> bool {
        let stopped = match start {
            None => all(&self.ends, ranges, visit),
            Some(start) => {
                self.walk_segment(path, start, ranges, visit) || {
                    ranges.push(start..path.len());
                    let stopped = all(&self.rests, ranges, visit);
                    ranges.pop();
                    stopped
                }
            }
        };
        stopped || all(&self.prefixes, ranges, visit)
    }

    fn walk_segment(&self, path: &str, start: usize, ranges: &mut Ranges, visit: &mut Visit<'_>) -> bool {
        let has_captures = self.int.is_some() || self.uuid.is_some() || self.any.is_some();
        if self.literals.is_empty() && !has_captures {
            return false;
        }
        let rest = path.get(start..).unwrap_or_default();
        let end = rest.bytes().position(|byte| byte == b'/').map_or(path.len(), |length| start + length);
        let segment = path.get(start..end).unwrap_or_default();
        let next = (end < path.len()).then_some(end + 1);
        if let Some(node) = self.literals.get(segment)
            && node.walk(path, next, ranges, visit)
        {
            return true;
        }
        if !has_captures {
            return false;
        }
        let kinds = [(&self.int, Segment::Int), (&self.uuid, Segment::Uuid), (&self.any, Segment::Any)];
        for (node, kind) in kinds {
            if let Some(node) = node
                && kind.accepts(segment)
            {
                ranges.push(start..end);
                let stopped = node.walk(path, next, ranges, visit);
                ranges.pop();
                if stopped {
                    return true;
                }
            }
        }
        false
    }

    fn walk_covering(
        &self,
        segments: &[Segment],
        tail: Tail,
        visit: &mut dyn FnMut(RuleIndex) -> bool,
    ) -> bool {
        let here = match segments.split_first() {
            Some((first, rest)) => {
                let children =
                    [(&self.int, Segment::Int), (&self.uuid, Segment::Uuid), (&self.any, Segment::Any)];
                let literal = match first {
                    Segment::Literal(text) => self.literals.get(text),
                    _ => None,
                };
                let captures = children.into_iter().filter(|(_, kind)| kind.covers(first));
                literal
                    .into_iter()
                    .chain(captures.filter_map(|(node, _)| node.as_deref()))
                    .any(|node| node.walk_covering(rest, tail, visit))
                    || self.rests.iter().any(|rule| visit(*rule))
            }
            None => {
                (tail == Tail::End && self.ends.iter().any(|rule| visit(*rule)))
                    || (tail == Tail::Rest && self.rests.iter().any(|rule| visit(*rule)))
            }
        };
        here || self.prefixes.iter().any(|rule| visit(*rule))
    }
}
