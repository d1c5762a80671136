//! The subset of OpenAPI's schema in which Google's dialect describes arguments and answers, read as JSON Schema.

use serde_json::{Map, Value};

/// Deepest nesting that is looked into; what is below stays as it is.
const DEPTH_MAX: u32 = 64;

/// Types in lower case, `nullable` as a type, numbers as numbers; what JSON Schema does not know goes.
pub(super) fn json_schema(schema: Value) -> Value {
    convert(schema, 0)
}

fn convert(schema: Value, depth: u32) -> Value {
    let Value::Object(fields) = schema else { return schema };
    if depth > DEPTH_MAX {
        return Value::Object(fields);
    }
    let mut out = Map::with_capacity(fields.len());
    let mut nullable = false;
    let mut ordering = Vec::new();
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("type", Value::String(word)) => {
                let word = word.to_ascii_lowercase();
                if word != "type_unspecified" {
                    out.insert("type".into(), word.into());
                }
            }
            ("nullable", value) => nullable = value.as_bool().unwrap_or(false),
            ("propertyOrdering" | "property_ordering", Value::Array(names)) => ordering = names,
            ("example", value) => {
                out.insert("examples".into(), vec![value].into());
            }
            ("properties" | "defs" | "$defs", Value::Object(inner)) => {
                let inner = inner.into_iter().map(|(name, schema)| (name, convert(schema, depth + 1)));
                let key = if key == "properties" { "properties" } else { "$defs" };
                out.insert(key.into(), Value::Object(inner.collect()));
            }
            ("anyOf" | "any_of", Value::Array(inner)) => {
                let inner: Vec<Value> = inner.into_iter().map(|schema| convert(schema, depth + 1)).collect();
                out.insert("anyOf".into(), inner.into());
            }
            ("items" | "additionalProperties" | "additional_properties", value) => {
                let key = if key == "items" { "items" } else { "additionalProperties" };
                out.insert(key.into(), convert(value, depth + 1));
            }
            ("ref" | "$ref", value) => {
                let value =
                    value.as_str().map(|place| place.replace("#/defs/", "#/$defs/").into()).unwrap_or(value);
                out.insert("$ref".into(), value);
            }
            (_, value) => {
                let (key, value) = bound(key, value);
                out.insert(key, value);
            }
        }
    }
    order(&mut out, &ordering);
    if nullable {
        allow_null(&mut out);
    }
    Value::Object(out)
}

/// Bounds may be numbers in texts, as 64-bit integers are in JSON that stands for protocol buffers.
fn bound(key: String, value: Value) -> (String, Value) {
    let known = match key.as_str() {
        "minItems" | "min_items" => "minItems",
        "maxItems" | "max_items" => "maxItems",
        "minLength" | "min_length" => "minLength",
        "maxLength" | "max_length" => "maxLength",
        "minProperties" | "min_properties" => "minProperties",
        "maxProperties" | "max_properties" => "maxProperties",
        _ => return (key, value),
    };
    let number = value.as_str().and_then(|text| text.parse::<u64>().ok());
    (known.to_owned(), number.map_or(value, Value::from))
}

/// Puts properties in the order that the schema asks for.
fn order(schema: &mut Map<String, Value>, names: &[Value]) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    let mut ordered = Map::with_capacity(properties.len());
    for name in names.iter().filter_map(Value::as_str) {
        if let Some((name, schema)) = properties.shift_remove_entry(name) {
            ordered.insert(name, schema);
        }
    }
    ordered.append(properties);
    *properties = ordered;
}

fn allow_null(schema: &mut Map<String, Value>) {
    match schema.get_mut("type") {
        Some(kind @ Value::String(_)) => *kind = Value::Array(vec![kind.take(), "null".into()]),
        Some(_) => {}
        None => {
            if let Some(Value::Array(any)) = schema.get_mut("anyOf") {
                any.push(serde_json::json!({"type": "null"}));
            }
        }
    }
    if let Some(Value::Array(words)) = schema.get_mut("enum")
        && !words.contains(&Value::Null)
    {
        words.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(google: Value, want: Value) {
        assert_eq!(json_schema(google), want);
    }

    #[test]
    fn types_are_lower_case_and_nullable_is_a_type() {
        check(
            json!({"type": "OBJECT", "properties": {
                "type": {"type": "STRING", "nullable": true, "enum": ["a"]},
                "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"},
            }, "propertyOrdering": ["list", "type"], "required": ["type"]}),
            json!({"type": "object", "properties": {
                "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                "type": {"type": ["string", "null"], "enum": ["a", null]},
            }, "required": ["type"]}),
        );
    }

    #[test]
    fn alternatives_and_references_are_followed() {
        check(
            json!({"any_of": [{"type": "Number"}, {"ref": "#/defs/x"}], "nullable": true, "defs": {"x": {"type": "BOOLEAN"}}}),
            json!({"anyOf": [{"type": "number"}, {"$ref": "#/$defs/x"}, {"type": "null"}], "$defs": {"x": {"type": "boolean"}}}),
        );
    }
}
