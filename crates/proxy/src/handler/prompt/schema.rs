//! JSON Schemas, compiled, and what is said of a value that does not fit one.

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

/// Bytes of a value of which several faults are told.
const GATHERED_BYTES_MAX: usize = 16 * 1024;
/// Most faults of one value that are told.
const FAULTS_MAX: usize = 8;

/// A compiled schema.
pub(in crate::handler) struct Schema {
    validator: Validator,
    written: Value,
}

impl Schema {
    /// References lead into the schema alone, and patterns take time in proportion to the text.
    pub(in crate::handler) fn compile(written: &Value) -> Result<Self, String> {
        let options = jsonschema::draft202012::options().with_pattern_options(PatternOptions::regex());
        let validator = options.build(written).map_err(|error| {
            let place = error.instance_path().to_string();
            match place.is_empty() {
                true => error.to_string(),
                false => format!("{place}: {error}"),
            }
        })?;
        Ok(Self { validator, written: written.clone() })
    }

    /// As it is written.
    pub(in crate::handler) fn written(&self) -> &Value {
        &self.written
    }

    /// What is wrong with a value, each fault with its JSON pointer and what was expected; nothing when it fits.
    /// Values themselves are not repeated.
    pub(in crate::handler) fn faults(&self, value: &Value) -> Vec<String> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        // All faults are gathered before the first is given, so of a large value only one is.
        if value.to_string().len() > GATHERED_BYTES_MAX {
            return self
                .validator
                .validate(value)
                .err()
                .map(|error| self.fault(&error))
                .into_iter()
                .collect();
        }
        self.validator.iter_errors(value).take(FAULTS_MAX).map(|error| self.fault(&error)).collect()
    }

    fn fault(&self, error: &ValidationError<'_>) -> String {
        let at = error.instance_path().to_string();
        match error.kind() {
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let expected = match at.is_empty() {
                    true => self.kind(name).map(|kind| format!(": expected {kind}")).unwrap_or_default(),
                    false => String::new(),
                };
                format!("`{at}/{}` is required{expected}", escaped(name))
            }
            _ => {
                let place = if at.is_empty() { "/" } else { &at };
                format!("`{place}`: {}", error.masked())
            }
        }
    }

    /// The type that the schema gives a property.
    fn kind(&self, name: &str) -> Option<&str> {
        self.written.get("properties")?.get(name)?.get("type")?.as_str()
    }
}

/// A name as a step of a JSON pointer (RFC 6901 §3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_name_the_place_and_what_was_expected_and_no_value() {
        let schema = Schema::compile(&json!({
            "type": "object",
            "required": ["a/b", "list"],
            "properties": {
                "a/b": {"type": "string"},
                "list": {"type": "array", "items": {"type": "integer", "maximum": 3}},
            },
        }))
        .expect("a schema");
        assert!(schema.faults(&json!({"a/b": "x", "list": [1]})).is_empty());
        assert_eq!(schema.faults(&json!({"list": []})), ["`/a~1b` is required: expected string"]);
        let told = schema.faults(&json!({"a/b": 4711, "list": [1, 5]})).join("; ");
        assert!(
            told.contains("`/a~1b`:") && told.contains("\"string\"") && told.contains("`/list/1`:"),
            "{told}"
        );
        assert!(!told.contains("4711"), "{told}");
    }

    #[test]
    fn a_reference_to_elsewhere_is_refused_and_so_is_nonsense() {
        for written in [
            json!({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:9/x.json"}}}),
            json!({"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            json!({"type": "object", "properties": {"a": {"type": "strin"}}}),
        ] {
            assert!(Schema::compile(&written).is_err(), "{written}");
        }
    }
}
