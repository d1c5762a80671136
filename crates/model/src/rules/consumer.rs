//! Rules of consumers.

use std::collections::HashMap;

use crate::{
    Config, Consumer, Phase, Policy, PolicyUse,
    load::{Context, scope::Named},
};

pub(super) fn check(consumer: &Consumer, config: &Config, at: &mut Context<'_, '_>) {
    at.each("basic", &consumer.basic, |at, basic| {
        at.field("username", |at| {
            if basic.username.is_empty() || basic.username.contains(':') {
                at.error("a user name is not empty and has no colon");
            }
        });
    });
    at.each("models", consumer.models.as_deref().unwrap_or_default(), |at, model| {
        if model.is_empty() || model.trim_end_matches('*').contains('*') || model.ends_with("**") {
            at.error("expected a model's name, with at most one `*` at its end");
        } else if let Some(ai) = &config.ai
            && !ai.models.iter().any(|one| meet(model, &one.name))
        {
            match model.ends_with('*') {
                true => at.error(format!("no name of `ai.models` begins like `{model}`")),
                false => at.refer(Named::Model, model),
            }
        }
    });
    super::policies::check("policies", &consumer.policies, at);
}

/// Whether there are names that two patterns have in common.
fn meet(one: &str, other: &str) -> bool {
    match (one.strip_suffix('*'), other.strip_suffix('*')) {
        (Some(one), Some(other)) => one.starts_with(other) || other.starts_with(one),
        (Some(begin), None) => other.starts_with(begin),
        (None, Some(begin)) => one.starts_with(begin),
        (None, None) => one == other,
    }
}

/// User names and token identities are those of one consumer.
pub(super) fn usernames(config: &Config, at: &mut Context<'_, '_>) {
    let mut users: HashMap<&str, &str> = HashMap::new();
    let mut identities: HashMap<(Option<&str>, &str, &str), &str> = HashMap::new();
    at.each("consumers", &config.consumers, |at, consumer| {
        at.each("basic", &consumer.basic, |at, basic| {
            if let Some(other) = users.insert(&basic.username, &consumer.name) {
                at.field("username", |at| at.error(format!("consumer `{other}` has the same user name")));
            }
        });
        at.each("jwt", &consumer.jwt, |at, jwt| {
            let identity = (jwt.issuer.as_deref(), jwt.claim.as_str(), jwt.value.as_str());
            if let Some(other) = identities.insert(identity, &consumer.name) {
                at.error(format!("consumer `{other}` has the same token identity"));
            }
        });
    });
}

/// A consumer without a credential is nobody where nothing else tells who calls.
pub(super) fn unknown(config: &Config, at: &mut Context<'_, '_>) {
    if !at.is_whole() || !know_by_credentials(config) {
        return;
    }
    at.each("consumers", &config.consumers, |at, one| {
        let has_none =
            one.keys.is_empty() && one.hashed_keys.is_empty() && one.basic.is_empty() && one.jwt.is_empty();
        if has_none {
            at.warning_with(
                "no call is ever this consumer's: it has no credentials",
                "give it `keys`, `hashedKeys` or `basic`",
            );
        }
    });
}

/// Whether callers are known by consumers' own credentials and by nothing else, such as a certificate or a claim that names
/// them.
fn know_by_credentials(config: &Config) -> bool {
    let uses = config
        .global_policies
        .iter()
        .chain(config.listeners.iter().flat_map(|one| &one.policies))
        .chain(config.upstreams.iter().flat_map(|one| &one.policies))
        .chain(config.routes.iter().flat_map(|one| &one.policies));
    let inline = uses.filter_map(|used| match used {
        PolicyUse::Inline(policy) => Some(policy),
        PolicyUse::Shared(_) => None,
    });
    let mut ways = inline
        .chain(config.policies.iter().map(|named| &named.policy))
        .filter(|policy| policy.phase() == Phase::Authentication)
        .peekable();
    // Plugins may let callers in by themselves.
    config.plugins.is_empty() && ways.peek().is_some() && ways.all(Policy::reads_credentials)
}
