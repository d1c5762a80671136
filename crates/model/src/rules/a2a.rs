//! Rules of `a2a` routes.

use super::World;
use crate::{
    Route,
    load::Context,
    policy::Settings as _,
    resource::{
        a2a::{A2aAgent, A2aRoute},
        handler::Settings,
    },
};

impl Settings for A2aRoute {
    fn validate(&self, _: &Route, _: &World<'_>, at: &mut Context<'_, '_>) {
        route(self, at);
    }
}

fn route(route: &A2aRoute, at: &mut Context<'_, '_>) {
    if route.agents.is_empty() {
        at.field("agents", |at| at.error("expected at least one agent"));
    }
    let mut names: Vec<&str> = Vec::new();
    at.each("agents", &route.agents, |at, agent| {
        if names.contains(&agent.name.as_str()) {
            at.field("name", |at| at.error(format!("the name `{}` is there twice", agent.name)));
        }
        names.push(&agent.name);
        self::agent(agent, at);
    });
    at.each("rules", &route.rules, |at, rule| {
        at.each("agents", &rule.agents, |at, name| {
            if !names.contains(&name.as_str()) {
                at.error_with(format!("no agent `{name}`"), format!("agents are {}", names.join(", ")));
            }
        });
        if rule.allow.is_none() && rule.rate_limit.is_none() {
            at.error("expected `allow` or `rateLimit`");
        }
        if let Some(limit) = &rule.rate_limit {
            at.field(crate::policy::RateLimit::KEY, |at| limit.validate(at));
        }
    });
    if route.public_url.as_ref().is_some_and(|url| !super::mcp::is_url(url)) {
        at.field("publicUrl", |at| {
            at.error_with("expected a URL without a query", "such as https://api.example.com/a2a");
        });
    }
    at.each("pushHosts", &route.push_hosts, |at, host| {
        if !crate::load::format::host(host.strip_prefix("*.").unwrap_or(host)) {
            at.error("expected a host or `*.host`, without a port");
        }
    });
}

fn agent(agent: &A2aAgent, at: &mut Context<'_, '_>) {
    if !super::mcp::is_url(&agent.url) {
        at.field("url", |at| {
            at.error_with(
                "expected `http://` or `https://`, a host and a path",
                "such as http://127.0.0.1:9999/",
            );
        });
    }
    if agent.card_path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains([' ', '#'])) {
        at.field("cardPath", |at| at.error("expected a path that begins with `/`"));
    }
}
