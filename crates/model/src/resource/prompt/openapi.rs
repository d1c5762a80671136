//! A prompt's route as an OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use super::Prompt;
use crate::{
    PolicyUse, Route,
    policy::Place,
    resource::{path_template::PathTemplate, route_match::PathMatch},
};

/// Where an input may stand: in the body of these methods, else in the query.
const WITH_BODY: [&str; 3] = ["post", "put", "patch"];

impl Prompt {
    /// The OpenAPI 3.1 document of a route that serves this prompt.
    pub fn document(&self, route: &Route) -> Value {
        let mut paths = Map::new();
        for (path, methods) in self.paths(route) {
            let captures = captures(&path);
            let item: Map<String, Value> = methods
                .iter()
                .map(|method| (method.clone(), self.operation(route, &path, method, &captures)))
                .collect();
            paths.insert(path, item.into());
        }
        let mut info = json!({
            "title": route.name,
            "version": self.editions().first().and_then(|edition| edition.name).unwrap_or("1"),
        });
        if !self.description.is_empty() {
            info["description"] = self.description.as_str().into();
        }
        let mut document = json!({
            "openapi": "3.1.0",
            "info": info,
            "paths": paths,
            "components": {"schemas": {"Problem": problem()}},
        });
        let (schemes, needs) = security(route);
        if !needs.is_empty() {
            document["components"]["securitySchemes"] = schemes.into();
            document["security"] = needs.into();
        }
        document
    }

    /// The paths of the route with the methods of each, in lower case.
    fn paths(&self, route: &Route) -> Vec<(String, Vec<String>)> {
        let mut paths: Vec<(String, Vec<String>)> = Vec::new();
        for one in &route.matches {
            let path = match &one.path {
                Some(PathMatch::Exact(path)) => path.clone(),
                Some(PathMatch::Prefix(path)) if path.len() > 1 => path.trim_end_matches('/').to_owned(),
                Some(PathMatch::Template(template)) => plain(template),
                // A pattern names no path that could be written down.
                Some(PathMatch::Prefix(_) | PathMatch::Regex(_)) | None => "/".to_owned(),
            };
            if Some(&path) == self.openapi_path.as_ref() {
                continue;
            }
            let given: Vec<String> = one
                .methods
                .iter()
                .map(|method| method.to_ascii_lowercase())
                .filter(|method| method == "get" || WITH_BODY.contains(&method.as_str()))
                .collect();
            let methods = if given.is_empty() { vec!["post".to_owned()] } else { given };
            match paths.iter_mut().find(|(known, _)| *known == path) {
                Some((_, known)) => known.extend(methods),
                None => paths.push((path, methods)),
            }
        }
        if paths.is_empty() {
            paths.push(("/".to_owned(), vec!["post".to_owned()]));
        }
        paths
    }

    fn operation(&self, route: &Route, path: &str, method: &str, captures: &[String]) -> Value {
        let mut parameters = Vec::new();
        let properties = self.input.get("properties").and_then(Value::as_object);
        let schema_of =
            |name: &str| properties.and_then(|known| known.get(name)).cloned().unwrap_or(json!({}));
        for name in captures {
            parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema_of(name)}));
        }
        let required = self.input.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|names| names.iter().any(|known| known.as_str() == Some(name)));
        let has_body = WITH_BODY.contains(&method);
        if !has_body {
            for name in
                properties.iter().flat_map(|known| known.keys()).filter(|name| !captures.contains(name))
            {
                parameters.push(
                    json!({"name": name, "in": "query", "required": is_required(name), "schema": schema_of(name)}),
                );
            }
        }
        let names: Vec<&str> = self.editions().iter().filter_map(|edition| edition.name).collect();
        if !self.versions.is_empty() {
            parameters.push(json!({
                "name": "x-tidegate-prompt-version", "in": "header", "required": false,
                "description": "The version of the prompt.",
                "schema": {"type": "string", "enum": names, "default": names.first()},
            }));
        }
        let id: String = format!("{method} {} {path}", route.name)
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join("_");
        let mut operation = json!({"operationId": id, "responses": self.responses()});
        if !self.description.is_empty() {
            operation["description"] = self.description.as_str().into();
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if has_body {
            let input = without(&self.input, captures);
            operation["requestBody"] = json!({
                "required": true,
                "content": {
                    "application/json": {"schema": input},
                    "application/x-www-form-urlencoded": {"schema": input},
                },
            });
        }
        operation
    }

    fn responses(&self) -> Value {
        let fails = |text: &str| {
            json!({
                "description": text,
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            })
        };
        json!({
            "200": {
                "description": "The answer; as events `text`, `done` and `error` where the client accepts `text/event-stream`.",
                "content": {
                    "application/json": {"schema": self.answer_schema()},
                    "text/event-stream": {"schema": {"type": "string"}},
                },
            },
            "400": fails("The input does not fit; `detail` names the field."),
            "415": fails("The body is neither JSON nor a form."),
            "429": fails("Too many requests."),
            "502": fails("The model's answer could not be used."),
            "503": fails("The model cannot be reached now."),
            "504": fails("The model did not answer in time."),
        })
    }
}

fn problem() -> Value {
    json!({
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "requestId": {"type": "string"},
        },
    })
}

/// A schema without properties that stand in the path.
fn without(schema: &Value, names: &[String]) -> Value {
    let mut schema = schema.clone();
    if names.is_empty() {
        return schema;
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !names.contains(name));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !name.as_str().is_some_and(|name| names.iter().any(|known| known == name)));
    }
    schema
}

/// A template as OpenAPI writes it: captures without their kinds.
fn plain(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    for (index, piece) in template.split('{').enumerate() {
        match piece.split_once('}') {
            Some((capture, rest)) if index > 0 => {
                let name = capture.split(':').next().unwrap_or(capture).trim_end_matches('*');
                out.push('{');
                out.push_str(name);
                out.push('}');
                out.push_str(rest);
            }
            _ => out.push_str(piece),
        }
    }
    out
}

fn captures(path: &str) -> Vec<String> {
    path.parse::<PathTemplate>()
        .map(|template| template.captures().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// How a caller shows who it is, as far as the route's own policies say.
fn security(route: &Route) -> (Map<String, Value>, Vec<Value>) {
    let (mut schemes, mut needs) = (Map::new(), Vec::new());
    let mut add = |name: String, scheme: Value| {
        needs.push(json!({name.clone(): []}));
        schemes.insert(name, scheme);
    };
    for used in &route.policies {
        let PolicyUse::Inline(policy) = used else { continue };
        let Place::Authentication(shown) = policy.place() else { continue };
        for header in shown.headers {
            add(
                format!("key-{header}"),
                json!({"type": "apiKey", "in": "header", "name": header.to_string()}),
            );
        }
        if let Some(parameter) = shown.parameter {
            add(
                format!("key-in-query-{parameter}"),
                json!({"type": "apiKey", "in": "query", "name": parameter}),
            );
        }
    }
    (schemes, needs)
}
