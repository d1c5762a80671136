//! What a handler cuts off paths must be what some path begins with that the route matches.

use super::Around;
use crate::{
    load::Context,
    resource::route_match::{Match, PathMatch},
};

pub(super) fn check(prefix: Option<&str>, around: &Around<'_>, at: &mut Context<'_, '_>) {
    let Some(prefix) = prefix else { return };
    at.field("stripPrefix", |at| {
        if !prefix.starts_with('/') || prefix.len() > 1 && prefix.ends_with('/') {
            at.error("expected a path that begins with `/` and does not end in one");
        } else {
            fits(prefix, around, at);
        }
    });
}

/// Refuses a prefix that no path of the route begins with, unless a policy makes other paths of them first.
pub(super) fn fits(prefix: &str, around: &Around<'_>, at: &mut Context<'_, '_>) {
    if let Some(path) = off(prefix, around.matches()).filter(|_| !around.moves_paths()) {
        at.error_with(
            format!("no path that the route matches begins with `{prefix}`: every call would be 404"),
            format!("such as `stripPrefix: {path}`"),
        );
    }
}

/// A path that the route matches, when none begins with the prefix. Escapes may be another way to write the same.
pub(crate) fn off<'m>(prefix: &str, matches: &'m [Match]) -> Option<&'m str> {
    if prefix.contains('%') {
        return None;
    }
    let prefix = PathMatch::Prefix(prefix.to_owned());
    let may_fit = |one: &Match| match &one.path {
        Some(PathMatch::Prefix(path) | PathMatch::Exact(path)) if path.contains('%') => true,
        Some(path @ (PathMatch::Prefix(_) | PathMatch::Exact(_))) => path.may_meet(&prefix),
        _ => true,
    };
    let first = matches.first().and_then(|one| one.path.as_ref())?;
    match first {
        PathMatch::Prefix(path) | PathMatch::Exact(path) if !matches.iter().any(may_fit) => Some(path),
        _ => None,
    }
}
