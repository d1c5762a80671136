//! Rules of policies, wherever they are attached.

use crate::{
    Config,
    load::{Context, scope::Named},
    policy::{Policy, PolicyUse},
};

/// Checks the policies under a key.
pub(super) fn check(key: &str, policies: &[PolicyUse], at: &mut Context<'_, '_>) {
    let mut accounts: Vec<(&str, &str)> = Vec::new();
    let mut used: Vec<&str> = Vec::new();
    at.each(key, policies, |at, policy| match policy {
        PolicyUse::Shared(shared) => {
            let name = shared.name.as_str();
            at.field("use", |at| {
                at.refer(Named::Policy, name);
                if used.contains(&name) {
                    let message = format!("`{name}` is used here already: what it counts it counts twice");
                    at.warning_with(message, "leave one out");
                }
            });
            used.push(name);
        }
        PolicyUse::Inline(policy) => {
            one(policy, at);
            if let Some(name) = policy.account() {
                let account = (policy.name(), name);
                if at.is_whole() && accounts.contains(&account) {
                    at.field(policy.name(), |at| same_account(name, at));
                }
                accounts.push(account);
            }
        }
    });
}

/// One that counts, and that all calls have already, counts those twice where it is used once more.
pub(super) fn counted_everywhere(config: &Config, at: &mut Context<'_, '_>) {
    let counts = |name: &str| {
        let mut named = config.policies.iter();
        named.any(|named| named.name == name && named.policy.counts())
    };
    let global = config.global_policies.iter().filter_map(shared);
    let global: Vec<&str> = global.filter(|name| counts(name)).collect();
    if global.is_empty() {
        return;
    }
    at.each("listeners", &config.listeners, |at, one| once_more(&one.policies, &global, at));
    at.each("consumers", &config.consumers, |at, one| once_more(&one.policies, &global, at));
    at.each("routes", &config.routes, |at, one| once_more(&one.policies, &global, at));
}

fn shared(used: &PolicyUse) -> Option<&str> {
    match used {
        PolicyUse::Shared(shared) => Some(&shared.name),
        PolicyUse::Inline(_) => None,
    }
}

fn once_more(policies: &[PolicyUse], global: &[&str], at: &mut Context<'_, '_>) {
    at.each("policies", policies, |at, used| {
        if let Some(name) = shared(used).filter(|name| global.contains(name)) {
            at.field("use", |at| {
                let message = format!("`{name}` is in `globalPolicies`, too: it counts these calls twice");
                at.warning_with(message, "leave it out here");
            });
        }
    });
}

/// Two of one name are hard to tell apart, and one account where they count the same.
fn same_account(name: &str, at: &mut Context<'_, '_>) {
    let message = format!(
        "`{name}` is the name of another one here: headers and metrics do not tell the two apart, and where \
         only the limit differs they may be one account, in which each call counts twice"
    );
    at.warning_with(message, "write a `name` each, such as `name: daily`");
}

/// Checks one policy's settings.
pub(super) fn one(policy: &Policy, at: &mut Context<'_, '_>) {
    at.field(policy.name(), |at| policy.validate(at));
}

/// Places of a template are closed and not empty.
pub(crate) fn template(text: &str, at: &mut Context<'_, '_>) {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((inside, behind)) = after.split_once("}}") else {
            at.error("a `{{` is not closed by `}}`");
            return;
        };
        if inside.trim().is_empty() || inside.contains("{{") {
            at.error("expected a name between `{{` and `}}`");
            return;
        }
        rest = behind;
    }
}
