//! Rules of `a2a` routes.

use super::World;
use crate::{
    Route,
    load::Context,
    policy::Settings as _,
    resource::{
        a2a::{A2aAgent, A2aRoute, A2aRule},
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
    let mut before: Vec<&A2aRule> = Vec::new();
    at.each("rules", &route.rules, |at, rule| {
        let wider = before.iter().position(|wider| at.is_whole() && covers(wider, rule, &names));
        if let Some(wider) = wider {
            at.warning_with(
                format!(
                    "this rule holds nothing: the {}. one fits each of its calls, and the first that fits counts",
                    wider + 1
                ),
                "put it before that one",
            );
        }
        before.push(rule);
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

/// Whether a rule is about all calls that another one is about; `names` are those of all agents.
fn covers(wider: &A2aRule, rule: &A2aRule, names: &[&str]) -> bool {
    let is_about = |name: &str| wider.agents.is_empty() || wider.agents.iter().any(|agent| agent == name);
    let has_agents = match rule.agents.is_empty() {
        true => names.iter().all(|name| is_about(name)),
        false => rule.agents.iter().all(|name| is_about(name)),
    };
    let methods = &rule.methods;
    let has_methods = wider.methods.is_empty()
        || !methods.is_empty() && methods.iter().all(|method| wider.methods.contains(method));
    has_agents && has_methods
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
