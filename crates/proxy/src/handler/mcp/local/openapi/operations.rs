//! The operations of a document: which there are, what they are called, what they take and give.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method, header};
use model::resource::mcp_local::McpSelect;
use serde_json::{Map, Value, json};

use super::{
    guarded::Guarded,
    inputs::form,
    request::{Form, Parameter, Piece, Place, Plan},
};
use crate::{
    openapi::schema::{Converter, Document, Told},
    schema::Schema,
};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
/// Letters of a tool's name.
const NAME_MAX: usize = 64;
/// Bytes of a tool's description.
const DESCRIPTION_BYTES_MAX: usize = 8 * 1024;
/// Bytes of all that is told of a tool.
const TOLD_BYTES_MAX: usize = 256 * 1024;
/// An operation as the document has it.
pub(super) struct Found {
    method: Method,
    path: String,
    id: Option<String>,
    tags: Vec<String>,
    /// Parameters of its path, and its own.
    pub(super) parameters: Vec<Value>,
    pub(super) written: Value,
}

/// A tool that was made of one.
pub(super) struct Made {
    pub(super) told: Value,
    pub(super) plan: Plan,
    pub(super) arguments: Schema,
    pub(super) output: Option<Schema>,
}

/// All operations of a document.
pub(super) fn all(document: &Document) -> Result<Vec<Found>, String> {
    let paths = document.root.get("paths").and_then(Value::as_object);
    let mut all = Vec::new();
    for (path, item) in paths.into_iter().flatten() {
        let item = document.part(item).map_err(|error| format!("paths.{path}: {error}"))?;
        for name in METHODS {
            let Some(written) = item.get(name).filter(|written| written.is_object()) else { continue };
            let list =
                |of: &Value| of.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
            let mut parameters = list(item);
            parameters.extend(list(written));
            let tags = written.get("tags").and_then(Value::as_array).into_iter().flatten();
            all.push(Found {
                method: Method::from_bytes(name.to_ascii_uppercase().as_bytes()).unwrap_or(Method::GET),
                path: path.clone(),
                id: written.get("operationId").and_then(Value::as_str).map(str::to_owned),
                tags: tags.filter_map(Value::as_str).map(str::to_owned).collect(),
                parameters,
                written: written.clone(),
            });
        }
    }
    match all.is_empty() {
        true => Err("it has no operations".to_owned()),
        false => Ok(all),
    }
}

/// Whether a text fits a pattern, in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let Some(last) = pattern.contains('*').then(|| pattern.rsplit('*').next().unwrap_or_default()) else {
        return rest.is_empty();
    };
    let between = pattern.matches('*').count() - 1;
    for piece in pieces.take(between) {
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl Found {
    /// Its name in messages.
    pub(super) fn label(&self) -> String {
        self.id.clone().unwrap_or_else(|| format!("{} {}", self.method, self.path))
    }

    /// Whether it is called so.
    pub(super) fn is(&self, operation: &str) -> bool {
        self.id.as_deref() == Some(operation) || format!("{} {}", self.method, self.path) == operation
    }

    /// Whether all that is asked for is so.
    pub(super) fn fits(&self, rule: &McpSelect) -> bool {
        let one = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| fits(wanted, has));
        one(&rule.path, &self.path)
            && rule
                .operation
                .as_ref()
                .is_none_or(|wanted| self.id.as_deref().is_some_and(|id| fits(wanted, id)))
            && one(&rule.method.as_ref().map(|method| method.to_ascii_uppercase()), self.method.as_str())
            && rule.tag.as_ref().is_none_or(|wanted| self.tags.iter().any(|tag| fits(wanted, tag)))
    }

    /// Its name as a tool: letters, digits, `_` and `-`, which all models take.
    pub(super) fn tool_name(&self, names: &BTreeMap<String, String>) -> String {
        if let Some((_, name)) = names.iter().find(|(operation, _)| self.is(operation)) {
            return name.clone();
        }
        let raw = self.id.clone().unwrap_or_else(|| {
            format!("{}{}", self.method.as_str().to_ascii_lowercase(), self.path.replace(['{', '}'], ""))
        });
        let mut name = String::new();
        for letter in raw.chars().take(NAME_MAX) {
            match letter {
                letter if letter.is_ascii_alphanumeric() || letter == '-' => name.push(letter),
                _ if name.ends_with('_') && letter != '_' => {}
                _ => name.push('_'),
            }
        }
        name.trim_end_matches('_').to_owned()
    }

    /// Makes a tool of it.
    pub(super) fn tool(
        &self,
        document: &Document,
        name: &str,
        base: &str,
        headers: &[(HeaderName, HeaderValue)],
        guarded: &Guarded,
    ) -> Result<Made, String> {
        let mut converter = Converter::new(document, Told::Request);
        let (mut properties, mut required) = (Map::new(), Vec::new());
        let parameters =
            self.parameters(document, guarded, &mut converter, &mut properties, &mut required)?;
        let content = self.content(document, &mut converter, &mut properties, &mut required)?;
        let mut input = Map::new();
        input.insert("type".to_owned(), "object".into());
        input.insert("properties".to_owned(), properties.into());
        if !required.is_empty() {
            input.insert("required".to_owned(), required.into());
        }
        input.insert("additionalProperties".to_owned(), false.into());
        converter.finish(&mut input)?;
        let input = Value::Object(input);
        let output = self.output(document)?;
        let mut told = json!({"name": name, "inputSchema": input});
        let text =
            |key: &str| self.written.get(key).and_then(Value::as_str).map(str::trim).unwrap_or_default();
        let description = match (text("summary"), text("description")) {
            ("", "") => format!("{} {}", self.method, self.path),
            ("", one) | (one, "") => one.to_owned(),
            (summary, description) if description.starts_with(summary) => description.to_owned(),
            (summary, description) => format!("{summary}\n\n{description}"),
        };
        told["description"] = shortened(&description).into();
        if let Some(output) = &output {
            told["outputSchema"] = output.clone();
        }
        told["annotations"] = self.annotations(text("summary"));
        if told.to_string().len() > TOLD_BYTES_MAX {
            return Err(format!("what is told of it is larger than {TOLD_BYTES_MAX} bytes"));
        }
        let mut headers = headers.to_vec();
        let accept = HeaderValue::from_static("application/json, */*;q=0.5");
        headers.insert(0, (header::ACCEPT, accept));
        let schema = |schema: &Value| Schema::compile(schema).map_err(|error| format!("its schema: {error}"));
        Ok(Made {
            arguments: schema(&input)?,
            output: output.as_ref().map(schema).transpose()?,
            told,
            plan: Plan {
                method: self.method.clone(),
                path: self.pieces(base, &parameters)?,
                parameters,
                content,
                headers,
            },
        })
    }

    fn annotations(&self, title: &str) -> Value {
        let mut told = Map::new();
        if !title.is_empty() {
            told.insert("title".to_owned(), shortened(title).into());
        }
        let reads = matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS);
        told.insert("readOnlyHint".to_owned(), reads.into());
        if self.method == Method::DELETE {
            told.insert("destructiveHint".to_owned(), true.into());
        }
        if matches!(self.method, Method::PUT | Method::DELETE) {
            told.insert("idempotentHint".to_owned(), true.into());
        }
        told.insert("openWorldHint".to_owned(), true.into());
        told.into()
    }

    /// The path in pieces.
    fn pieces(&self, base: &str, parameters: &[Parameter]) -> Result<Vec<Piece>, String> {
        let mut pieces = vec![Piece::Text(base.to_owned())];
        for (index, part) in self.path.split('{').enumerate() {
            let text = match (index, part.split_once('}')) {
                (0, _) => part,
                (_, Some((name, rest))) => {
                    let at = parameters
                        .iter()
                        .position(|one| one.place == Place::Path && one.name == name)
                        .ok_or_else(|| {
                        format!("its path has `{{{name}}}`, of which no parameter says what it is")
                    })?;
                    pieces.push(Piece::Parameter(at));
                    rest
                }
                _ => return Err("its path has a `{` that is not closed".to_owned()),
            };
            if text.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#')) {
                return Err("its path has letters that no URL's path has".to_owned());
            }
            pieces.push(Piece::Text(text.to_owned()));
        }
        Ok(pieces)
    }

    /// The schema of good answers, where all of them are one and the same kind of object.
    fn output(&self, document: &Document) -> Result<Option<Value>, String> {
        let mut good = Vec::new();
        for (status, response) in
            self.written.get("responses").and_then(Value::as_object).into_iter().flatten()
        {
            if status.starts_with('2') {
                good.push(document.part(response)?);
            }
        }
        let [response] = good.as_slice() else { return Ok(None) };
        let Some(kinds) = response.get("content").and_then(Value::as_object) else { return Ok(None) };
        let is_json = |kind: &str| form(kind) == Some(Form::Json);
        if kinds.is_empty() || !kinds.keys().all(|kind| is_json(kind)) {
            return Ok(None);
        }
        let Some(schema) = kinds.values().next().and_then(|content| content.get("schema")) else {
            return Ok(None);
        };
        if document.part(schema)?.get("type").and_then(Value::as_str) != Some("object") {
            return Ok(None);
        }
        let mut converter = Converter::new(document, Told::Answer);
        let converted = converter.convert(schema)?;
        // At its root such a schema says that it is an object, in every revision.
        let mut root = match converted.get("$ref") {
            Some(_) => Map::from_iter([
                ("type".to_owned(), "object".into()),
                ("allOf".to_owned(), json!([converted])),
            ]),
            None => converted.as_object().cloned().unwrap_or_default(),
        };
        if root.get("type").and_then(Value::as_str) != Some("object") {
            return Ok(None);
        }
        converter.finish(&mut root)?;
        Ok(Some(Value::Object(root)))
    }
}

/// A description that is not too long.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= DESCRIPTION_BYTES_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, want) in [
            ("listPets", "listPets", true),
            ("listPets", "listPetsToo", false),
            ("list*", "listPets", true),
            ("*Pets", "listPets", true),
            ("/pets/*", "/pets/{id}", true),
            ("/pets/*/toys", "/pets/{id}/toys", true),
            ("/pets/*/toys", "/pets/toys", false),
            ("*", "", true),
            ("a*b*a", "aba", true),
            ("a*b*a", "aa", false),
        ] {
            assert_eq!(fits(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn names_are_such_as_all_models_take() {
        let found = |method: &str, path: &str, id: Option<&str>| Found {
            method: Method::from_bytes(method.as_bytes()).expect("a method"),
            path: path.to_owned(),
            id: id.map(str::to_owned),
            tags: Vec::new(),
            parameters: Vec::new(),
            written: Value::Null,
        };
        let none = BTreeMap::new();
        assert_eq!(found("GET", "/pets/{petId}/toys", None).tool_name(&none), "get_pets_petId_toys");
        assert_eq!(found("GET", "/", None).tool_name(&none), "get");
        assert_eq!(found("GET", "/", Some("pets.list all/ü")).tool_name(&none), "pets_list_all");
        assert_eq!(found("GET", "/", Some(&"a".repeat(99))).tool_name(&none).len(), 64);
        let names = BTreeMap::from([("GET /a".to_owned(), "mine".to_owned())]);
        assert_eq!(found("GET", "/a", None).tool_name(&names), "mine");
    }
}
