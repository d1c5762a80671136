//! Errors, as Cohere tells them: a message, and beside it what the gateway knows.

use serde_json::{Value, json};

use crate::{canon::Error, dialect::cohere::KINDS};

pub(in crate::dialect) fn write_error(error: &Error) -> Vec<u8> {
    serde_json::to_vec(&error_value(error)).unwrap_or_default()
}

pub(super) fn error_value(error: &Error) -> Value {
    let kind = KINDS.iter().find(|(_, kind)| *kind == error.kind).map(|(word, _)| *word);
    let mut value = json!({"message": error.message, "type": kind});
    for (key, text) in [("code", &error.code), ("param", &error.param)] {
        if let Some(text) = text {
            value[key] = text.as_str().into();
        }
    }
    value
}
