//! What a schema allows at one place, with references and alternatives resolved.

use serde_json::Value;

use super::{
    format,
    tree::{Kind, Node},
};

/// One alternative of a schema.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'s> {
    pub(crate) schema: &'s Value,
}

impl<'s> Shape<'s> {
    /// The schema that a reference leads to.
    pub(crate) fn resolve(root: &'s Value, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        while let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            match reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// All alternatives, flattened.
    pub(crate) fn all(root: &'s Value, schema: &'s Value) -> Vec<Self> {
        let schema = Self::resolve(root, schema);
        let alternatives = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        match alternatives {
            // `oneOf` beside a type only says which keys exclude each other.
            Some(alternatives) if schema.get("type").is_none() => {
                alternatives.iter().flat_map(|one| Self::all(root, one)).collect()
            }
            _ => vec![Self { schema }],
        }
    }

    fn types(&self) -> impl Iterator<Item = &'s str> + use<'s> {
        let kind = self.schema.get("type");
        let several = kind.and_then(Value::as_array).into_iter().flatten();
        kind.into_iter().chain(several).filter_map(Value::as_str)
    }

    /// Whether a node is of a type that this alternative allows.
    pub(crate) fn accepts(&self, node: &Node) -> bool {
        let mut types = self.types().peekable();
        let words = self.schema.get("const").is_some() || self.schema.get("enum").is_some();
        types.peek().is_none()
            || types.any(|name| match &node.kind {
                Kind::Null => name == "null",
                Kind::Bool(_) => name == "boolean",
                Kind::Number(_) => matches!(name, "integer" | "number") || (words && name == "string"),
                Kind::Text(_) => name == "string",
                Kind::List(_) => name == "array",
                Kind::Map(_) => name == "object",
            })
    }

    /// The words that are allowed, when the alternatives for this node are words.
    pub(crate) fn words(shapes: &[Self], node: &Node) -> Option<Vec<&'s Value>> {
        let mut words = Vec::new();
        for shape in shapes.iter().filter(|shape| shape.accepts(node)) {
            let listed = shape.schema.get("enum").and_then(Value::as_array).into_iter().flatten();
            let before = words.len();
            words.extend(shape.schema.get("const").into_iter().chain(listed));
            if words.len() == before {
                return None;
            }
        }
        (!words.is_empty()).then_some(words)
    }

    /// What all alternatives together expect.
    pub(crate) fn expectation(shapes: &[Self]) -> String {
        let mut texts: Vec<String> = Vec::new();
        for shape in shapes {
            for text in shape.expectations() {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
        }
        texts.join(" or ")
    }

    fn expectations(&self) -> Vec<String> {
        if let Some(word) = self.schema.get("const") {
            return vec![word.as_str().map_or_else(|| word.to_string(), |word| format!("`{word}`"))];
        }
        if let Some(text) = self.format().and_then(format::expectation) {
            return vec![text.to_owned()];
        }
        let noun = |name: &'s str| match name {
            "boolean" => Some("a boolean"),
            "integer" => Some("a whole number"),
            "number" => Some("a number"),
            "string" => Some("a text"),
            "array" => Some("a list"),
            "object" => Some("a mapping"),
            _ => None,
        };
        self.types().filter_map(noun).map(str::to_owned).collect()
    }

    pub(crate) fn format(&self) -> Option<&'s str> {
        self.schema.get("format").and_then(Value::as_str)
    }

    pub(crate) fn number(&self, keyword: &str) -> Option<f64> {
        self.schema.get(keyword).and_then(Value::as_f64)
    }

    pub(crate) fn is_text(&self) -> bool {
        self.types().any(|name| name == "string")
    }

    /// Whether it says nothing of the value: whatever stands there is somebody else's to judge.
    pub(crate) fn is_anything(&self) -> bool {
        let says = ["type", "properties", "additionalProperties", "const", "enum", "anyOf", "oneOf"];
        says.iter().all(|keyword| self.schema.get(keyword).is_none())
    }

    pub(crate) fn is_map(&self) -> bool {
        self.types().any(|name| name == "object")
    }

    pub(crate) fn is_integer_only(&self) -> bool {
        self.types().any(|name| name == "integer") && !self.types().any(|name| name == "number")
    }

    /// Whether it is a mapping of exactly one key.
    pub(crate) fn is_one_key(&self) -> bool {
        self.schema.get("maxProperties").is_some()
    }

    /// Whether it is an address of this machine's.
    pub(crate) fn is_listened_at(&self) -> bool {
        self.format() == Some("socket-address")
    }

    /// Whether its keys are names of headers.
    pub(crate) fn is_of_headers(&self) -> bool {
        self.schema.get("patternProperties").is_some()
    }

    /// The known keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'s str> + use<'s> {
        self.schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
    }

    pub(crate) fn required(&self) -> impl Iterator<Item = &'s str> + use<'s> {
        self.schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    pub(crate) fn requires(&self, key: &str) -> bool {
        self.required().any(|required| required == key) || self.exactly_one_of().contains(&key)
    }

    /// Keys of which exactly one must be there.
    pub(crate) fn exactly_one_of(&self) -> Vec<&'s str> {
        let choices = self.schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        choices.flat_map(|choice| Shape { schema: choice }.required().collect::<Vec<_>>()).collect()
    }

    /// The schema of the value under a key; `None` when the key is not allowed.
    pub(crate) fn value_of(&self, key: &str) -> Option<&'s Value> {
        if let Some(schema) = self.schema.get("properties").and_then(|properties| properties.get(key)) {
            return Some(schema);
        }
        let patterns = self.schema.get("patternProperties").and_then(Value::as_object);
        // The one pattern of keys that the model has is that of header names.
        if let Some(schema) = patterns.and_then(|patterns| patterns.values().next()) {
            return format::check("header-name", key).is_ok().then_some(schema);
        }
        self.schema.get("additionalProperties").filter(|schema| **schema != Value::Bool(false))
    }
}
