//! Keys that other builds have: they are refused by name, wherever a configuration for such a build may bear them.
//!
//! A reader who puts `soap` on a route rather than among its policies learns the same: this build has none.

use serde_json::Value;

use super::shape::Shape;
use crate::{policy, resource::route::HANDLERS_NOT_IN_THIS_BUILD};

/// Keys of the whole configuration that later builds have.
const TOP_NOT_IN_THIS_BUILD: &[&str] = &[];

/// Whether later builds know a key: at the top, on a route or as a policy.
pub(super) fn is_later(root: &Value, shape: &Shape<'_>, key: &str) -> bool {
    let is_here = std::ptr::eq(root, shape.schema) || is_route(shape) || is_policy(shape);
    let lists = [TOP_NOT_IN_THIS_BUILD, HANDLERS_NOT_IN_THIS_BUILD, policy::NOT_IN_THIS_BUILD];
    is_here && lists.iter().any(|list| list.contains(&key))
}

/// Whether a key is a handler of later builds, where a handler stands.
pub(super) fn is_later_handler(shape: &Shape<'_>, key: &str) -> bool {
    is_route(shape) && HANDLERS_NOT_IN_THIS_BUILD.contains(&key)
}

fn is_policy(shape: &Shape<'_>) -> bool {
    policy::Policy::NAMES.iter().all(|name| shape.value_of(name).is_some())
}

fn is_route(shape: &Shape<'_>) -> bool {
    shape.value_of("backends").is_some()
}
