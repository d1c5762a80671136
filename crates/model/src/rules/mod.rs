//! Rules that a schema cannot say: references, exclusions, orders, and what would surprise at run time.

mod a2a;
mod access_log;
mod acme;
mod ai;
mod around;
mod broker;
mod cached;
mod captures;
mod compose;
mod consumer;
pub(crate) mod credentials;
mod listener;
mod mcp;
mod mcp_local;
mod names;
mod placement;
mod plugin;
mod policies;
mod prompt;
mod publish;
mod redis;
mod route;
mod sessions;
mod static_files;
mod stream_route;
mod strip_prefix;
mod subscribe;
mod subscription;
mod token_issuer;
mod transcode;
mod upstream;
mod vault;

pub(crate) use access_log::otlp_port;
pub(crate) use ai::aws;
pub(crate) use around::Around;
pub(crate) use policies::template;
pub(crate) use publish::{missing_capture, places, topic};
pub(crate) use route::World;
pub(crate) use sessions::Sessions;
pub(crate) use strip_prefix::off as off_the_route;

use crate::{
    Config,
    diagnostic::Diagnostics,
    load::{Context, check::Written, scope::Scope, tree::Node},
};

/// Applies every rule to what could be read of a configuration.
pub(crate) fn check(config: &Config, tree: &Node, expressions: &[Written], found: &mut Diagnostics) {
    names::check(tree, found);
    captures::check(config, tree, expressions, found);
    let scope = Scope::new(tree);
    let mut at = Context::new(tree, &scope, found);
    let at = &mut at;
    listener::addresses(config, at);
    at.each("listeners", &config.listeners, |at, listener| listener::check(listener, config, at));
    if let Some(admin) = &config.admin {
        at.field("admin", |at| listener::admin(admin, config, at));
    }
    at.each("accessLog", &config.access_log, |at, log| access_log::check(log, config, at));
    if let Some(otlp) = config.telemetry.as_ref().and_then(|telemetry| telemetry.otlp.as_ref()) {
        at.field("telemetry", |at| at.field("otlp", |at| access_log::otlp(otlp, at)));
    }
    at.each("upstreams", &config.upstreams, |at, upstream| upstream::check(upstream, at));
    if let Some(ai) = &config.ai {
        at.field("ai", |at| ai::check(ai, at));
    }
    if let Some(redis) = &config.redis {
        at.field("redis", |at| redis::check(redis, at));
    }
    if let Some(vault) = &config.vault {
        at.field("vault", |at| vault::check(vault, at));
    }
    if let Some(postgres) = &config.postgres {
        at.field("postgres", |at| {
            for (key, time) in [("timeout", postgres.timeout), ("connectTimeout", postgres.connect_timeout)] {
                if time.is_zero() {
                    at.field(key, |at| at.error("expected more than nothing"));
                }
            }
        });
    }
    at.each("streamRoutes", &config.stream_routes, |at, route| stream_route::check(route, config, at));
    stream_route::places(config, at);
    at.field("runtime", |at| {
        at.each("allowedCommands", &config.runtime.allowed_commands, |at, path| {
            if !std::path::Path::new(path).is_absolute() {
                at.error_with(
                    format!("expected a whole path, found `{path}`"),
                    "such as `/usr/bin/python3`: `PATH` is not looked through",
                );
            }
        });
    });
    at.each("acme", &config.acme, |at, authority| acme::check(authority, config, at));
    at.each("brokers", &config.brokers, |at, broker| broker::check(broker, at));
    at.each("plugins", &config.plugins, |at, plugin| plugin::check(plugin, at));
    at.each("tokenIssuers", &config.token_issuers, |at, issuer| token_issuer::check(issuer, at));
    at.each("subscriptions", &config.subscriptions, |at, one| subscription::check(one, config, at));
    at.each("consumers", &config.consumers, |at, consumer| consumer::check(consumer, config, at));
    consumer::usernames(config, at);
    consumer::unknown(config, at);
    at.each("policies", &config.policies, |at, named| {
        at.field("policy", |at| policies::one(&named.policy, at))
    });
    policies::check("globalPolicies", &config.global_policies, at);
    policies::counted_everywhere(config, at);
    placement::check(config, at);
    cached::check(config, at);
    cached::directories(config, at);
    let world = route::World::new(config, at.is_whole());
    route::for_no_models(&world, at);
    at.each("routes", &config.routes, |at, route| route::check(route, &world, at));
    sessions::check(&world, at);
}
