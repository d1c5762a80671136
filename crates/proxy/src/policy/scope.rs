//! Which routes a policy may run for.

use model::{Config, PolicyUse, Route};

use crate::compiled::Building;

/// The routes that the policy may run for, by its owner: `routes/<name>/<policy>`, and so for all other resources.
pub(crate) fn routes_of<'a>(cx: &Building<'a>) -> Vec<&'a Route> {
    let config = &cx.snapshot.config;
    let mut parts = cx.owner.split('/');
    let (list, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let runs_for = |route: &Route| match list {
        "routes" => route.name == name,
        "listeners" => is_on(route, name),
        "upstreams" => has_backend(route, name),
        "policies" => shares(config, route, name),
        _ => true,
    };
    config.routes.iter().filter(|route| runs_for(route)).collect()
}

fn is_on(route: &Route, listener: &str) -> bool {
    route.listeners.as_ref().is_none_or(|names| names.iter().any(|name| name == listener))
}

fn has_backend(route: &Route, upstream: &str) -> bool {
    route.handler.upstreams().contains(&upstream)
}

/// Whether a shared policy may run for a route, wherever it is used.
fn shares(config: &Config, route: &Route, name: &str) -> bool {
    let uses = |policies: &[PolicyUse]| {
        policies.iter().any(|used| matches!(used, PolicyUse::Shared(shared) if shared.name == name))
    };
    uses(&route.policies)
        || uses(&config.global_policies)
        || config.consumers.iter().any(|consumer| uses(&consumer.policies))
        || config.listeners.iter().any(|one| uses(&one.policies) && is_on(route, &one.name))
        || config.upstreams.iter().any(|one| uses(&one.policies) && has_backend(route, &one.name))
}
