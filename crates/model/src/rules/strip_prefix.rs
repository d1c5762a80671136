//! What a handler cuts off paths must be what some path begins with that the route matches.

use crate::{
    load::Context,
    resource::route_match::{Match, PathMatch},
};

pub(super) fn check(prefix: Option<&str>, matches: &[Match], at: &mut Context<'_, '_>) {
    let Some(prefix) = prefix else { return };
    at.field("stripPrefix", |at| {
        if !prefix.starts_with('/') || prefix.len() > 1 && prefix.ends_with('/') {
            at.error("expected a path that begins with `/` and does not end in one");
        } else if prefix != "/" {
            fits(prefix, matches, at);
        }
    });
}

fn fits(prefix: &str, matches: &[Match], at: &mut Context<'_, '_>) {
    let below = |path: &str, parent: &str| {
        path.strip_prefix(parent.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let may_fit = |one: &Match| match &one.path {
        Some(PathMatch::Prefix(path)) => below(path, prefix) || below(prefix, path),
        Some(PathMatch::Exact(path)) => below(path, prefix),
        _ => true,
    };
    let Some(first) = matches.first().and_then(|one| one.path.as_ref()) else { return };
    if matches.iter().any(may_fit) {
        return;
    }
    let (PathMatch::Prefix(path) | PathMatch::Exact(path)) = first else { return };
    at.error_with(
        format!("no path that the route matches begins with `{prefix}`: every call would be 404"),
        format!("such as `stripPrefix: {path}`"),
    );
}
