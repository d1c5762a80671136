//! What a text may stand for: texts of parameters and forms become values by the types that their schemas allow.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::Document;

/// How deep schemas are looked into.
const DEPTH_MAX: usize = 8;
/// Properties of one object that are told apart.
const PROPERTIES_MAX: usize = 500;
/// Schemas that are looked at for one, those within it among them: they may lead back to themselves in many ways.
const SCHEMAS_MAX: usize = 4096;

/// The types that a schema allows, as far as it says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Kinds {
    pub(crate) string: bool,
    number: bool,
    boolean: bool,
    null: bool,
    pub(crate) array: bool,
    pub(crate) object: bool,
    pub(crate) items: Option<Box<Kinds>>,
    pub(crate) properties: BTreeMap<String, Kinds>,
    /// Names beside its properties are allowed and said something of.
    pub(crate) additional: Option<Box<Kinds>>,
    /// Its texts are bytes of any kind.
    pub(crate) binary: bool,
}

impl Kinds {
    /// Of a schema as it is written.
    pub(crate) fn of(schema: &Value, document: &Document) -> Result<Self, String> {
        let mut kinds = Self::default();
        kinds.look(schema, document, 0, &mut { SCHEMAS_MAX })?;
        if !(kinds.string || kinds.number || kinds.boolean || kinds.null || kinds.array || kinds.object) {
            // Nothing is said: a text may be anything.
            (kinds.string, kinds.number, kinds.boolean) = (true, true, true);
        }
        Ok(kinds)
    }

    /// A text and nothing else.
    pub(crate) fn text() -> Self {
        Self { string: true, ..Self::default() }
    }

    fn look(
        &mut self,
        schema: &Value,
        document: &Document,
        depth: usize,
        left: &mut usize,
    ) -> Result<(), String> {
        // What lies deeper, or behind more than so much, may be anything.
        if depth > DEPTH_MAX || *left == 0 {
            return Ok(());
        }
        *left -= 1;
        // What leads to another file says nothing here; the schema itself judges by it.
        let Ok(schema) = document.part(schema) else { return Ok(()) };
        let of_one = |kinds: &mut Self, name: &str| match name {
            "string" => kinds.string = true,
            "number" | "integer" => kinds.number = true,
            "boolean" => kinds.boolean = true,
            "null" => kinds.null = true,
            "array" => kinds.array = true,
            "object" => kinds.object = true,
            _ => {}
        };
        match schema.get("type") {
            Some(Value::String(name)) => of_one(self, name),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).for_each(|name| of_one(self, name));
            }
            _ => {}
        }
        self.null |= schema.get("nullable") == Some(&Value::Bool(true));
        let format = schema.get("format").and_then(Value::as_str);
        self.binary |= format == Some("binary") || schema.get("contentMediaType").is_some();
        let of_value = |kinds: &mut Self, value: &Value| match value {
            Value::String(_) => kinds.string = true,
            Value::Number(_) => kinds.number = true,
            Value::Bool(_) => kinds.boolean = true,
            _ => {}
        };
        if schema.get("type").is_none() {
            let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
            values.chain(schema.get("const")).for_each(|value| of_value(self, value));
            self.object |= schema.get("properties").is_some();
            self.array |= schema.get("items").is_some();
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            for one in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.look(one, document, depth + 1, left)?;
            }
        }
        let mut below = |one: &Value| {
            let mut kinds = Self::default();
            kinds.look(one, document, depth + 1, left)?;
            Ok::<_, String>(kinds.anything())
        };
        if let Some(items) = schema.get("items") {
            self.items = Some(Box::new(below(items)?));
        }
        for (name, one) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if self.properties.len() < PROPERTIES_MAX {
                self.properties.insert(name.clone(), below(one)?);
            }
        }
        if let Some(more) = schema.get("additionalProperties").filter(|more| **more != Value::Bool(false)) {
            self.additional = Some(Box::new(below(more)?));
        }
        Ok(())
    }

    fn anything(mut self) -> Self {
        if !(self.string || self.number || self.boolean || self.null || self.array || self.object) {
            (self.string, self.number, self.boolean) = (true, true, true);
        }
        self
    }

    /// Whether a text may be two values, so that the other must be tried where the first does not fit.
    pub(crate) fn is_ambiguous(&self) -> bool {
        let own = self.string && (self.number || self.boolean || self.null);
        own || self.items.as_ref().is_some_and(|items| items.is_ambiguous())
            || self.properties.values().any(Self::is_ambiguous)
            || self.additional.as_ref().is_some_and(|more| more.is_ambiguous())
    }

    /// The value that a text stands for: where both are allowed, another one than text by choice.
    pub(crate) fn value(&self, text: &str, prefer_text: bool) -> Value {
        if prefer_text && self.string {
            return text.into();
        }
        match text {
            "true" if self.boolean => true.into(),
            "false" if self.boolean => false.into(),
            "" if self.null && !self.string => Value::Null,
            text if self.number => number(text).unwrap_or_else(|| text.into()),
            text => text.into(),
        }
    }

    /// What the items of a list may be.
    pub(crate) fn item(&self, text: &str, prefer_text: bool) -> Value {
        match &self.items {
            Some(items) => items.value(text, prefer_text),
            None => text.into(),
        }
    }

    /// What a property of an object may be.
    pub(crate) fn property(&self, name: &str) -> Option<&Kinds> {
        self.properties.get(name).or(self.additional.as_deref())
    }

    /// An object of names and texts.
    pub(crate) fn members(&self, pairs: impl Iterator<Item = (String, String)>, prefer_text: bool) -> Value {
        let mut all = Map::new();
        for (name, text) in pairs {
            let value = match self.property(&name) {
                Some(kinds) => kinds.value(&text, prefer_text),
                None => text.into(),
            };
            all.insert(name, value);
        }
        Value::Object(all)
    }
}

/// A number as JSON writes it.
fn number(text: &str) -> Option<Value> {
    let ends = (text.bytes().next()?, text.bytes().next_back()?);
    let is_bare = (ends.0 == b'-' || ends.0.is_ascii_digit()) && ends.1.is_ascii_digit();
    serde_json::from_str::<serde_json::Number>(text).ok().filter(|_| is_bare).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_becomes_what_its_schema_allows() {
        let document = Document { root: json!({"n": {"type": "integer"}}), is_old: true };
        for (schema, text, want) in [
            (json!({"type": "integer"}), "5", json!(5)),
            (json!({"type": "integer"}), "05", json!("05")),
            (json!({"type": "integer"}), " 5", json!(" 5")),
            (json!({"type": "integer"}), "+5", json!("+5")),
            (json!({"type": "number"}), "-1.5e3", json!(-1500.0)),
            (json!({"type": "number"}), "NaN", json!("NaN")),
            (json!({"type": "boolean"}), "true", json!(true)),
            (json!({"type": "boolean"}), "True", json!("True")),
            (json!({"type": "string"}), "5", json!("5")),
            (json!({"$ref": "#/n"}), "5", json!(5)),
            (json!({"allOf": [{"$ref": "#/n"}, {"minimum": 2}]}), "5", json!(5)),
            (json!({"type": "integer", "nullable": true}), "", json!(null)),
            (json!({}), "5", json!(5)),
            (json!({"enum": [1, 2]}), "1", json!(1)),
        ] {
            assert_eq!(
                Kinds::of(&schema, &document).expect("kinds").value(text, false),
                want,
                "{schema} {text}"
            );
        }
        let both = Kinds::of(&json!({"type": ["string", "integer"]}), &document).expect("kinds");
        assert!(both.is_ambiguous());
        assert_eq!((both.value("5", false), both.value("5", true)), (json!(5), json!("5")));
    }
}
