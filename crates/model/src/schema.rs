//! The JSON Schema of a configuration: one truth for editors, the reference, and the checker.

use std::sync::LazyLock;

use schemars::{Schema, generate::SchemaSettings};
use serde_json::{Map, Value};

use crate::Config;

/// The JSON Schema of a configuration (draft 2020-12), with descriptions and defaults.
pub fn schema() -> Value {
    SCHEMA.clone()
}

pub(crate) static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>().to_value();
    unwrap_lines(&mut schema);
    schema
});

/// Descriptions are doc comments: their line ends are those of the source, not of the reader's screen.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if key == "description" => {
                        *text = text.replace("\n\n", "\u{b}").replace('\n', " ").replace('\u{b}', "\n\n")
                    }
                    _ => unwrap_lines(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}

/// Rewrites the schema of an enum whose variants are keys into one object with exactly one property, so that
/// editors complete the keys and the checker names them. Variants that are plain words stay beside it.
pub(crate) fn one_key(schema: &mut Schema) {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else { return };
    let (words, keys): (Vec<_>, Vec<_>) =
        variants.into_iter().partition(|variant| variant.get("const").is_some());
    let properties: Map<String, Value> = keys.iter().filter_map(property).collect();
    let object = serde_json::json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    });
    if words.is_empty() {
        if let Value::Object(object) = object {
            object.into_iter().for_each(|(key, value)| {
                schema.insert(key, value);
            });
        }
    } else {
        schema.insert("oneOf".to_owned(), words.into_iter().chain([object]).collect());
    }
}

/// The one property of a variant, with the variant's description and format.
fn property(variant: &Value) -> Option<(String, Value)> {
    let (key, property) = variant.get("properties")?.as_object()?.iter().next()?;
    let mut property = property.clone();
    if let Some(property) = property.as_object_mut() {
        for of_variant in ["description", "format"] {
            if let Some(value) = variant.get(of_variant) {
                property.insert(of_variant.to_owned(), value.clone());
            }
        }
    }
    Some((key.clone(), property))
}
