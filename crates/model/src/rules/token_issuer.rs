//! Rules of issuers of tokens.

use crate::{load::Context, resource::token_issuer::TokenIssuer};

/// Keys that are published at a time.
const KEYS_MAX: usize = 16;

pub(super) fn check(issuer: &TokenIssuer, at: &mut Context<'_, '_>) {
    match (&issuer.generated, issuer.keys.is_empty()) {
        (None, true) => {
            at.error_with("expected `keys` or `generated`", "such as `keys: [{key: {file: signing.pem}}]`");
        }
        (Some(_), false) => at.field("generated", |at| {
            at.error_with("expected either `keys` or `generated`, found both", "take one of them out");
        }),
        _ => {}
    }
    if issuer.keys.len() > KEYS_MAX {
        at.field("keys", |at| at.error(format!("expected {KEYS_MAX} at most")));
    }
    let lifetime = issuer.lifetime.get().as_secs();
    if !(10..=86_400).contains(&lifetime) {
        at.field("lifetime", |at| at.error("expected 10 seconds to a day"));
    }
    let Some(generated) = &issuer.generated else { return };
    at.field("generated", |at| {
        let (every, before) = (generated.rotate_every.get(), generated.publish_before.get());
        if before.is_zero() {
            at.field("publishBefore", |at| at.error("expected more than nothing"));
        }
        if every < before + issuer.lifetime.get() {
            at.field("rotateEvery", |at| {
                at.error("expected as much as `publishBefore` and `lifetime` together, or more");
            });
        }
    });
}
