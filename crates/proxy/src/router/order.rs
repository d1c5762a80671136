//! Match order: which of two rules is tried first, where both could match.

use std::cmp::Reverse;

use super::{
    host::HostPattern,
    pattern::{Pattern, Segment, Shape, Tail},
    rule::Rule,
};

/// Sorts rules in match order, but for their hosts: those come between priority and path.
pub(super) type Rank = (Reverse<i32>, PathRank, bool, [Reverse<usize>; 3], u32, u16);

/// Sorts path patterns: exact, then segment by segment (a literal before a typed capture before any other, longer
/// before shorter), then regular expressions.
pub(super) type PathRank = (u8, Vec<u8>);

/// The place of a rule, whatever its hosts.
pub(super) fn rank(rule: &Rule) -> Rank {
    let others = rule.cookies.len()
        + usize::from(!rule.clients.is_empty())
        + usize::from(!rule.sni.is_empty())
        + usize::from(rule.when.is_some());
    (
        Reverse(rule.priority),
        path_rank(&rule.pattern),
        rule.methods.is_empty(),
        [Reverse(rule.headers.len()), Reverse(rule.query.len()), Reverse(others)],
        rule.route.0,
        rule.entry,
    )
}

fn path_rank(pattern: &Pattern) -> PathRank {
    match &pattern.shape {
        Shape::Exact(_) => (0, Vec::new()),
        Shape::Regex(_) => (2, Vec::new()),
        Shape::Segments(segments, tail) => {
            let kinds = segments.iter().map(|segment| match segment {
                Segment::Literal(_) => 0,
                Segment::Int | Segment::Uuid => 1,
                Segment::Any => 2,
            });
            let tail = match tail {
                Tail::End => 3,
                Tail::Rest => 4,
                Tail::Prefix => 5,
            };
            (1, kinds.chain([tail]).collect())
        }
    }
}

/// The place of a rule under one of its hosts, among rules that are numbered by [`rank`].
pub(super) fn place(rule: &Rule, host: &HostPattern, index: u32) -> (Reverse<i32>, (u8, usize), u32) {
    (Reverse(rule.priority), host.order(), index)
}
