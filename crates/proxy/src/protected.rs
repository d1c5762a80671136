//! The headers that the gateway reads or sets: a client's `Connection` must not be able to remove them, nor a name
//! with underscores to stand in for them.

use http::HeaderName;
use model::{
    Snapshot,
    resource::{
        balancing::HashKey,
        route::{Handler, Sticky},
    },
};

/// The names of all headers that a policy, a route or a balancer of the snapshot reads or sets.
pub(crate) fn headers(snapshot: &Snapshot) -> Vec<HeaderName> {
    let config = &snapshot.config;
    let mut names: Vec<HeaderName> =
        snapshot.policies().flat_map(|policy| crate::policy::needs(policy).headers).collect();
    for route in &config.routes {
        for one in &route.matches {
            names.extend(one.headers.iter().map(|test| test.name.to_http()));
            names.extend(one.when.as_deref().into_iter().flat_map(of_expression));
        }
        if let Handler::Backends { sticky: Some(Sticky::Header(name)), .. } = &route.handler {
            names.push(name.to_http());
        }
    }
    if config.has_mcp() {
        names.extend(crate::handler::mcp::HEADERS.map(HeaderName::from_static));
    }
    for upstream in &config.upstreams {
        if let Some(HashKey::Header(name)) = &upstream.load_balancing.hash {
            names.push(name.to_http());
        }
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

/// What may be the name of a header in an expression: every quoted text, and what follows `headers.`. That is more
/// than it reads, which does no harm: a header that nobody may remove is one that stays.
pub(crate) fn of_expression(text: &str) -> Vec<HeaderName> {
    let quoted = text.split(['"', '\'']).skip(1).step_by(2);
    let member = text.split("headers.").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    });
    quoted.chain(member).filter_map(|name| HeaderName::try_from(name).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_expressions_are_found() {
        for (text, want) in [
            ("request.headers['x-a'] == \"b\"", &["x-a", "b"][..]),
            ("\"x-tenant\" in request.headers && request.path == '/'", &["x-tenant"]),
            ("request.headers.host == request.host", &["host"]),
            ("true", &[]),
        ] {
            assert_eq!(of_expression(text), want, "{text}");
        }
    }
}
