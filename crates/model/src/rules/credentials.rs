//! Rules of resolved secrets: one key belongs to one consumer, and no key is too short to be one.

use std::collections::HashMap;

use crate::{
    Snapshot,
    diagnostic::{Diagnostic, Diagnostics, Severity},
};

/// Keys that are shorter draw a warning.
const KEY_LENGTH_MIN: usize = 8;

/// Checks API keys after they were resolved; a message never shows one.
pub(crate) fn check(snapshot: &Snapshot, found: &mut Diagnostics) {
    let mut owners: HashMap<&str, &str> = HashMap::new();
    for consumer in &snapshot.config.consumers {
        for key in &consumer.keys {
            let value = snapshot.secret(key);
            let owner = format!("consumers/{}", consumer.name);
            if value.is_empty() {
                continue;
            }
            if value.len() < KEY_LENGTH_MIN {
                let message = format!("one of its API keys has fewer than {KEY_LENGTH_MIN} characters");
                let odd = snapshot.locate(&owner, message);
                found.push(Diagnostic { severity: Severity::Warning, ..odd });
            }
            if value.starts_with("sha256:") {
                let message = "one of its API keys reads like a digest: write it under `hashedKeys`";
                let odd = snapshot.locate(&owner, message);
                found.push(Diagnostic { severity: Severity::Warning, ..odd });
            }
            match owners.insert(value, &consumer.name) {
                Some(other) if other != consumer.name => {
                    let message =
                        format!("consumers `{other}` and `{}` have the same API key", consumer.name);
                    found.push(snapshot.locate(&owner, message));
                }
                _ => {}
            }
        }
    }
}
