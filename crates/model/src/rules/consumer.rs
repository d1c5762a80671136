//! Rules of consumers.

use std::collections::HashMap;

use crate::{Config, Consumer, load::Context};

pub(super) fn check(consumer: &Consumer, at: &mut Context<'_, '_>) {
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
        }
    });
    super::policies::check("policies", &consumer.policies, at);
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
