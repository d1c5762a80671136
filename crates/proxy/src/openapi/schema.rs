//! Schemas of OpenAPI as JSON Schemas (2020-12) that stand for themselves.
//!
//! A reference becomes one into the schema's own `$defs`, so that schemas which lead back to themselves stay finite.
//! What OpenAPI 3.0 says in ways of its own (`nullable`, `example`, `exclusiveMinimum: true`) is said as JSON Schema does.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// How deep schemas nest, and how long chains of references are.
const DEPTH_MAX: usize = 64;
/// Schemas of one tool.
const NODES_MAX: usize = 20_000;
/// Schemas of one message that is judged.
const JUDGED_NODES_MAX: usize = 200_000;
/// References in a row.
const HOPS_MAX: usize = 32;

/// A document and how it writes schemas.
pub(crate) struct Document {
    pub(crate) root: Value,
    /// It is of OpenAPI 3.0.
    pub(crate) is_old: bool,
}

impl Document {
    /// What a local reference leads to.
    fn at(&self, reference: &str) -> Result<&Value, String> {
        let Some(pointer) = reference.strip_prefix('#') else {
            return Err(format!(
                "`$ref: {reference}` leads out of the document; bundle it into one file first"
            ));
        };
        let pointer = decoded(pointer);
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(format!("`$ref: {reference}` is no JSON pointer, which alone is understood here"));
        }
        self.root.pointer(&pointer).ok_or_else(|| format!("`$ref: {reference}` leads to nothing"))
    }

    /// A part of the document that is no schema, past its references.
    pub(crate) fn part<'d>(&'d self, mut part: &'d Value) -> Result<&'d Value, String> {
        for _ in 0..HOPS_MAX {
            match part.get("$ref").and_then(Value::as_str) {
                Some(reference) => part = self.at(reference)?,
                None => return Ok(part),
            }
        }
        Err("references lead to references without an end".to_owned())
    }
}

/// A pointer in a URI's fragment without its escapes.
fn decoded(pointer: &str) -> String {
    if !pointer.contains('%') {
        return pointer.to_owned();
    }
    let quoted = pointer.replace('+', "%2B").replace('&', "%26");
    let field = format!("v={quoted}");
    let mut fields = form_urlencoded::parse(field.as_bytes());
    fields.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Who is told by a schema: properties that only the other side may see are left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Request,
    Answer,
}

/// Converts the schemas of one tool's input, or output.
pub(crate) struct Converter<'d> {
    document: &'d Document,
    told: Told,
    /// Names in `$defs`, by reference.
    names: HashMap<String, String>,
    waiting: Vec<(String, String)>,
    nodes: usize,
    nodes_max: usize,
    /// It judges traffic: what cannot be judged is refused, and numbers are what their formats say.
    is_strict: bool,
}

impl<'d> Converter<'d> {
    pub(crate) fn new(document: &'d Document, told: Told) -> Self {
        Self {
            document,
            told,
            names: HashMap::new(),
            waiting: Vec::new(),
            nodes: 0,
            nodes_max: NODES_MAX,
            is_strict: false,
        }
    }

    /// For schemas that judge traffic.
    pub(crate) fn strict(document: &'d Document, told: Told) -> Self {
        Self { nodes_max: JUDGED_NODES_MAX, is_strict: true, ..Self::new(document, told) }
    }

    /// Converts a schema. What it refers to is added by [`Self::finish`].
    pub(crate) fn convert(&mut self, schema: &Value) -> Result<Value, String> {
        self.schema(schema, 0)
    }

    /// Adds all that was referred to.
    pub(crate) fn finish(mut self, root: &mut Map<String, Value>) -> Result<(), String> {
        let mut all = Map::new();
        while let Some((reference, name)) = self.waiting.pop() {
            let document = self.document;
            let schema = self.schema(document.at(&reference)?, 0)?;
            all.insert(name, schema);
        }
        if !all.is_empty() {
            root.insert("$defs".to_owned(), Value::Object(all));
        }
        Ok(())
    }

    /// The name in `$defs` of what a reference leads to.
    fn name(&mut self, reference: &str) -> Result<String, String> {
        if let Some(name) = self.names.get(reference) {
            return Ok(name.clone());
        }
        self.document.at(reference)?;
        let last = reference.rsplit('/').next().unwrap_or_default();
        let good = |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '_' };
        let stem: String = last.chars().map(good).take(64).collect();
        let mut name = stem.clone();
        let mut number = 1;
        while self.names.values().any(|known| *known == name) {
            number += 1;
            name = format!("{stem}_{number}");
        }
        self.names.insert(reference.to_owned(), name.clone());
        self.waiting.push((reference.to_owned(), name.clone()));
        Ok(name)
    }

    fn schema(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > self.nodes_max {
            return Err(format!(
                "its schemas are too large: at most {DEPTH_MAX} inside of each other and {} in all",
                self.nodes_max
            ));
        }
        let Value::Object(written) = schema else {
            return match schema {
                Value::Bool(_) => Ok(schema.clone()),
                _ => Err("a schema is an object".to_owned()),
            };
        };
        let mut out = Map::new();
        if let Some(reference) = written.get("$ref").and_then(Value::as_str) {
            let name = self.name(reference)?;
            out.insert("$ref".to_owned(), format!("#/$defs/{name}").into());
            // Beside a reference 3.0 allows nothing.
            if self.document.is_old {
                return Ok(Value::Object(out));
            }
        }
        if let (true, Some(key)) =
            (self.is_strict, ["$dynamicRef", "$id", "$anchor"].iter().find(|key| written.contains_key(**key)))
        {
            return Err(format!("`{key}` is not supported in a schema; refer to it by `$ref: '#/…'`"));
        }
        for (key, value) in written {
            match key.as_str() {
                // What leads elsewhere, what is of OpenAPI alone, and what is said otherwise below.
                "$ref" | "$id" | "$schema" | "$anchor" | "$dynamicRef" | "$dynamicAnchor" | "$vocabulary"
                | "$comment" | "discriminator" | "xml" | "externalDocs" | "nullable" | "example" => {}
                "items"
                | "additionalProperties"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contains"
                | "propertyNames"
                | "unevaluatedItems"
                | "unevaluatedProperties"
                | "contentSchema" => {
                    out.insert(key.clone(), self.schema(value, depth + 1)?);
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    let all: Result<Vec<Value>, String> =
                        all.iter().map(|one| self.schema(one, depth + 1)).collect();
                    out.insert(key.clone(), Value::Array(all?));
                }
                "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => {
                    let mut all = Map::new();
                    for (name, one) in value.as_object().into_iter().flatten() {
                        if key != "properties" || !self.is_hidden(one) {
                            all.insert(name.clone(), self.schema(one, depth + 1)?);
                        }
                    }
                    out.insert(key.clone(), Value::Object(all));
                }
                "required" => {
                    let properties = written.get("properties");
                    let is_seen = |name: &Value| {
                        let property = name.as_str().and_then(|name| properties?.get(name));
                        !property.is_some_and(|property| self.is_hidden(property))
                    };
                    let names = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    let seen: Vec<Value> = names.iter().filter(|name| is_seen(name)).cloned().collect();
                    if !seen.is_empty() {
                        out.insert(key.clone(), Value::Array(seen));
                    }
                }
                other if other.starts_with("x-") => {}
                _ => {
                    out.insert(key.clone(), value.clone());
                }
            }
        }
        if let (Some(example), None) = (written.get("example"), written.get("examples")) {
            out.insert("examples".to_owned(), json!([example]));
        }
        if self.is_strict {
            bounded(written, &mut out);
        }
        if self.document.is_old {
            modern(written, &mut out);
        }
        Ok(Value::Object(out))
    }

    fn is_hidden(&self, property: &Value) -> bool {
        let mark = if self.told == Told::Request { "readOnly" } else { "writeOnly" };
        property.get(mark) == Some(&Value::Bool(true))
    }
}

/// Whole numbers have the range of their format.
fn bounded(written: &Map<String, Value>, out: &mut Map<String, Value>) {
    let range = match written.get("format").and_then(Value::as_str) {
        Some("int32") => json!({"minimum": i32::MIN, "maximum": i32::MAX}),
        Some("int64") => json!({"minimum": i64::MIN, "maximum": i64::MAX}),
        _ => return,
    };
    match out.get_mut("allOf") {
        Some(Value::Array(all)) => all.push(range),
        _ => _ = out.insert("allOf".to_owned(), json!([range])),
    }
}

/// What 3.0 says in ways of its own.
fn modern(written: &Map<String, Value>, out: &mut Map<String, Value>) {
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        match written.get(flag) {
            Some(Value::Bool(true)) => {
                out.remove(flag);
                if let Some(value) = out.remove(bound) {
                    out.insert(flag.to_owned(), value);
                }
            }
            Some(Value::Bool(false)) => {
                out.remove(flag);
            }
            _ => {}
        }
    }
    if written.get("nullable") != Some(&Value::Bool(true)) {
        return;
    }
    if let Some(kind) = out.get("type").and_then(Value::as_str).map(str::to_owned) {
        out.insert("type".to_owned(), json!([kind, "null"]));
        if let Some(Value::Array(values)) = out.get_mut("enum")
            && !values.contains(&Value::Null)
        {
            values.push(Value::Null);
        }
    } else if ["allOf", "anyOf", "oneOf"].iter().any(|key| out.contains_key(*key)) {
        let inner = std::mem::take(out);
        out.insert("anyOf".to_owned(), json!([inner, {"type": "null"}]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(is_old: bool, root: Value, schema: Value) -> Result<Value, String> {
        let document = Document { root, is_old };
        let mut converter = Converter::new(&document, Told::Request);
        let mut out = json!({"schema": converter.convert(&schema)?});
        converter.finish(out.as_object_mut().ok_or("no object")?)?;
        Ok(out)
    }

    #[test]
    fn what_leads_back_to_itself_stays_finite() {
        let root = json!({"components": {"schemas": {
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"},
                                                       "a/b": {"$ref": "#/components/schemas/a~1b"}}},
            "a/b": {"type": "string"},
        }}});
        let out = converted(true, root, json!({"$ref": "#/components/schemas/Node", "description": "lost"}));
        let want = json!({"schema": {"$ref": "#/$defs/Node"}, "$defs": {
            "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "a/b": {"$ref": "#/$defs/a_1b"}}},
            "a_1b": {"type": "string"}}});
        assert_eq!(out, Ok(want));
    }

    #[test]
    fn what_3_0_says_in_its_own_way_is_said_as_json_schema_does() {
        let schema = json!({"type": "object", "required": ["id", "n"], "x-y": 1, "properties": {
            "id": {"type": "string", "readOnly": true},
            "n": {"type": "integer", "nullable": true, "minimum": 1, "exclusiveMinimum": true, "example": 5},
            "nullable": {"type": "string", "enum": ["a"], "nullable": true},
            "pet": {"nullable": true, "allOf": [{"type": "object"}]},
        }});
        let want = json!({"schema": {"type": "object", "required": ["n"], "properties": {
            "n": {"type": ["integer", "null"], "exclusiveMinimum": 1, "examples": [5]},
            "nullable": {"type": ["string", "null"], "enum": ["a", null]},
            "pet": {"anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]},
        }}});
        assert_eq!(converted(true, json!({}), schema), Ok(want));
    }

    #[test]
    fn what_cannot_be_followed_is_told() {
        for (reference, says) in [
            ("other.yaml#/A", "bundle"),
            ("#/components/schemas/None", "leads to nothing"),
            ("#anchor", "no JSON pointer"),
        ] {
            let wrong = converted(false, json!({}), json!({"$ref": reference})).expect_err(reference);
            assert!(wrong.contains(says), "{wrong}");
        }
        let mut deep = json!({"type": "string"});
        for _ in 0..80 {
            deep = json!({"items": deep});
        }
        assert!(converted(false, json!({}), deep).is_err_and(|wrong| wrong.contains("too large")));
        let document = Document { root: json!({"a": {"$ref": "#/a"}}), is_old: false };
        assert!(document.part(&document.root["a"]).is_err());
    }
}
