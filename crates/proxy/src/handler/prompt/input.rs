//! The input of a prompt: read from JSON, a form, the query or the path, and judged by its schema.

use std::collections::BTreeSet;

use http::{Method, header};
use serde_json::{Map, Value};

use crate::schema::Schema;
use crate::{
    body::Body,
    call::Call,
    failure::{Failure, Problem},
    handler::ai::gathered::{Ungathered, gather},
};

/// Fields of a form or a query.
const FIELDS_MAX: usize = 1024;

/// What a prompt takes.
pub(super) struct Input {
    schema: Schema,
    properties: Map<String, Value>,
    bytes_max: usize,
}

impl Input {
    pub(super) fn compile(schema: &Value, bytes_max: usize) -> Result<Self, String> {
        let compiled = Schema::compile(schema).map_err(|error| format!("input: {error}"))?;
        let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        Ok(Self { schema: compiled, properties, bytes_max })
    }

    /// The names that its schema has.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.properties.keys().cloned().collect()
    }

    /// The input of a call.
    pub(super) async fn read(&self, call: &Call, body: Body) -> Result<Map<String, Value>, Failure> {
        let mut input = match call.head.method == Method::GET {
            true => self.fields(call.head.uri.query().unwrap_or_default().as_bytes())?,
            false => self.of_body(call, body).await?,
        };
        for (name, value) in call.captures.iter(call.routed_path()) {
            if let Some(schema) = self.properties.get(name) {
                let value = form_urlencoded::parse(
                    format!("v={}", value.replace('+', "%2B").replace('&', "%26")).as_bytes(),
                )
                .next()
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default();
                input.insert(name.to_owned(), coerced(&value, schema));
            }
        }
        self.judged(input)
    }

    /// An input as it is judged: with defaults, and refused when it does not fit.
    pub(super) fn judged(&self, mut input: Map<String, Value>) -> Result<Map<String, Value>, Failure> {
        for (name, schema) in &self.properties {
            if let (false, Some(default)) = (input.contains_key(name), schema.get("default")) {
                input.insert(name.clone(), default.clone());
            }
        }
        let value = Value::Object(input);
        let faults = self.schema.faults(&value);
        match (value, faults.is_empty()) {
            (Value::Object(input), true) => Ok(input),
            _ => Err(invalid(faults.join("; "))),
        }
    }

    async fn of_body(&self, call: &Call, body: Body) -> Result<Map<String, Value>, Failure> {
        let field = |name| call.head.headers.get(name).and_then(|value| value.to_str().ok());
        if field(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(unsupported("the body is compressed; send it as it is"));
        }
        let kind = field(header::CONTENT_TYPE).unwrap_or("application/json");
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_form = kind == "application/x-www-form-urlencoded";
        if !is_form && kind != "application/json" && !kind.ends_with("+json") {
            return Err(unsupported("expected application/json or application/x-www-form-urlencoded"));
        }
        let bytes = gather(body, self.bytes_max).await.map_err(|why| match why {
            Ungathered::TooLarge => Failure::refused(Problem::BodyTooLarge)
                .with_hint(format!("the body is larger than {} bytes", self.bytes_max)),
            Ungathered::Failed(failure) => failure,
        })?;
        if is_form {
            // What curl says of a body where nothing else is said.
            if bytes.trim_ascii_start().starts_with(b"{")
                && serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok()
            {
                return Err(invalid(
                    "the body is JSON and came as a form: say `content-type: application/json`".to_owned(),
                ));
            }
            return self.fields(&bytes);
        }
        if bytes.is_empty() {
            // Captures and defaults may be all that is needed.
            return Ok(Map::new());
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(input)) => Ok(input),
            Ok(_) => Err(invalid("`/`: expected a JSON object".to_owned())),
            Err(error) => Err(invalid(format!("the body is not JSON: {error}"))),
        }
    }

    /// The fields of a form or a query, each as its schema wants it.
    fn fields(&self, encoded: &[u8]) -> Result<Map<String, Value>, Failure> {
        let mut input: Map<String, Value> = Map::new();
        for (index, (name, text)) in form_urlencoded::parse(encoded).enumerate() {
            if index == FIELDS_MAX {
                return Err(invalid(format!("expected at most {FIELDS_MAX} fields")));
            }
            let nothing = Value::Null;
            let schema = self.properties.get(&*name).unwrap_or(&nothing);
            if !is(schema, "array") {
                if input.insert(name.clone().into_owned(), coerced(&text, schema)).is_some() {
                    return Err(invalid(format!("`/{name}`: it is there twice")));
                }
                continue;
            }
            let list = input.entry(name.into_owned()).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                match serde_json::from_str(&text) {
                    Ok(Value::Array(mut items)) => list.append(&mut items),
                    _ => list.push(coerced(&text, schema.get("items").unwrap_or(&nothing))),
                }
            }
        }
        Ok(input)
    }
}

/// Whether a schema allows a type, by name.
fn is(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == kind,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(kind)),
        _ => false,
    }
}

/// A text as the schema wants it; as it is when it cannot be that, so that the schema tells what is wrong.
fn coerced(text: &str, schema: &Value) -> Value {
    let number = |text: &str| match serde_json::from_str::<Value>(text) {
        Ok(value @ Value::Number(_)) => Some(value),
        _ => None,
    };
    if (is(schema, "integer") || is(schema, "number"))
        && let Some(value) = number(text)
    {
        return value;
    }
    if is(schema, "boolean") {
        match text {
            "true" | "1" | "on" | "yes" => return Value::Bool(true),
            "false" | "0" | "off" | "no" => return Value::Bool(false),
            _ => {}
        }
    }
    if is(schema, "object") || is(schema, "array") {
        let read = serde_json::from_str(text);
        if let Ok(value @ (Value::Object(_) | Value::Array(_))) = read {
            return value;
        }
    }
    if is(schema, "null") && text.is_empty() {
        return Value::Null;
    }
    Value::String(text.to_owned())
}

fn invalid(hint: String) -> Failure {
    Failure::refused(Problem::Invalid).with_hint(hint)
}

fn unsupported(hint: &str) -> Failure {
    Failure::refused(Problem::UnsupportedMedia).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_become_what_the_schema_wants() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "x": {"type": "number"}, "b": {"type": "boolean"},
            "list": {"type": "array", "items": {"type": "integer"}}, "o": {"type": "object"},
            "s": {"type": "string"}, "maybe": {"type": ["integer", "null"]}, "d": {"type": "string", "default": "dd"},
        }});
        let input = Input::compile(&schema, 1024).expect("a schema");
        let fields =
            input.fields(b"n=7&x=1.5&b=true&list=1&list=2&o=%7B%22a%22%3A1%7D&s=7&maybe=&other=%2B+y");
        let read = input.judged(fields.expect("fields")).expect("fits");
        let want = json!({"n": 7, "x": 1.5, "b": true, "list": [1, 2], "o": {"a": 1}, "s": "7", "maybe": null,
                          "other": "+ y", "d": "dd"});
        assert_eq!(Value::Object(read), want);
    }

    #[test]
    fn what_does_not_fit_is_named_and_what_is_twice_is_refused() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let input = Input::compile(&schema, 1024).expect("a schema");
        let fields = input.fields(b"n=seven").expect("fields");
        let failure = input.judged(fields).expect_err("no number");
        assert!(failure.hint().is_some_and(|hint| hint.contains("`/n`") && hint.contains("integer")));
        let failure = input.fields(b"n=1&n=2").expect_err("twice");
        assert_eq!(failure.hint(), Some("`/n`: it is there twice"));
    }
}
