//! What is left of a configuration when everything that has a counterpart is taken out of it.

use serde_json::Value;

/// What to do about a setting, by its last name.
type Remedy = fn(&str) -> Option<&'static str>;

/// Tells everything that is left, by its path.
pub(super) fn leftovers(value: &Value, path: &str, notes: &mut Vec<String>) {
    with_remedies(value, path, |_| None, notes);
}

/// The same, with what to do about it where there is something to do.
pub(super) fn with_remedies(value: &Value, path: &str, remedy: Remedy, notes: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                with_remedies(value, &path, remedy, notes);
            }
        }
        Value::Null => {}
        _ => {
            let names = path.rsplit('.').map(|name| name.split('[').next().unwrap_or_default());
            let remedy = names.into_iter().find_map(remedy).map(|remedy| format!(": {remedy}"));
            notes.push(format!("{path}: no counterpart{}", remedy.unwrap_or_default()));
        }
    }
}
