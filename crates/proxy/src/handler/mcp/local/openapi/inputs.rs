//! What an operation takes: its parameters and its body as arguments of a tool.

use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::{
    guarded::Guarded,
    multipart,
    operations::{Found, shortened},
    request::{Content, Form, Parameter, Place, Style},
};
use crate::openapi::schema::{Converter, Document};

/// Parameters of one operation.
const PARAMETERS_MAX: usize = 256;

impl Found {
    /// What its parameters are among the arguments.
    pub(super) fn parameters(
        &self,
        document: &Document,
        guarded: &Guarded,
        converter: &mut Converter<'_>,
        properties: &mut Map<String, Value>,
        required: &mut Vec<Value>,
    ) -> Result<Vec<Parameter>, String> {
        if self.parameters.len() > PARAMETERS_MAX {
            return Err(format!("it has more than {PARAMETERS_MAX} parameters"));
        }
        // What the operation says counts over what its path says.
        let mut known = BTreeSet::new();
        let mut written: Vec<&Value> = Vec::new();
        for parameter in self.parameters.iter().rev() {
            let parameter = document.part(parameter)?;
            let text = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
            if known.insert((text("in"), text("name"))) {
                written.push(parameter);
            }
        }
        written.reverse();
        let mut all = Vec::new();
        for parameter in written {
            let text = |key: &str| parameter.get(key).and_then(Value::as_str).unwrap_or_default();
            let name = text("name");
            let (place, other) = match text("in") {
                "path" => (Place::Path, "simple"),
                "query" => (Place::Query, "form"),
                "header" => (Place::Header, "simple"),
                "cookie" => (Place::Cookie, "form"),
                other => return Err(format!("the parameter `{name}` is in `{other}`, which is nowhere")),
            };
            if name.is_empty() {
                return Err("a parameter has no name".to_owned());
            }
            let header = match place {
                Place::Header => {
                    let field = HeaderName::try_from(name)
                        .map_err(|_| format!("`{name}` is no name of a header field"))?;
                    if let Some(why) = guarded.why(&field) {
                        let operation = self.label();
                        tracing::debug!("`{operation}`: its header parameter `{name}` is no argument: {why}");
                        continue;
                    }
                    Some(field)
                }
                _ => None,
            };
            let in_json =
                parameter.get("content").and_then(Value::as_object).and_then(|all| all.values().next());
            let schema = in_json.and_then(|one| one.get("schema")).or_else(|| parameter.get("schema"));
            let style = match parameter.get("style").and_then(Value::as_str).unwrap_or(other) {
                _ if in_json.is_some() => Style::Json,
                "label" => Style::Label,
                "matrix" => Style::Matrix,
                "spaceDelimited" => Style::Space,
                "pipeDelimited" => Style::Pipe,
                "deepObject" => Style::Deep,
                "form" => Style::Form,
                _ => Style::Simple,
            };
            let explode = parameter.get("explode").and_then(Value::as_bool).unwrap_or(style == Style::Form);
            let mut told = match schema {
                Some(schema) => converter.convert(schema)?,
                None => json!({}),
            };
            if let (Some(told), false) = (told.as_object_mut(), text("description").is_empty()) {
                told.insert("description".to_owned(), shortened(text("description")).into());
            }
            let mut property = name.to_owned();
            while properties.contains_key(&property) {
                property = format!("{property}_{}", text("in"));
            }
            if place == Place::Path || parameter.get("required") == Some(&Value::Bool(true)) {
                required.push(property.as_str().into());
            }
            properties.insert(property.clone(), told);
            all.push(Parameter { property, name: name.to_owned(), place, style, explode, header });
        }
        Ok(all)
    }

    /// What its body is among them.
    pub(super) fn content(
        &self,
        document: &Document,
        converter: &mut Converter<'_>,
        properties: &mut Map<String, Value>,
        required: &mut Vec<Value>,
    ) -> Result<Option<Content>, String> {
        let Some(body) = self.written.get("requestBody") else { return Ok(None) };
        let body = document.part(body)?;
        let kinds = body.get("content").and_then(Value::as_object);
        let mut best: Option<(Form, &str, &Value)> = None;
        for (kind, content) in kinds.into_iter().flatten() {
            let Some(form) = form(kind) else { continue };
            if best.is_none_or(|(known, ..)| rank(form) < rank(known)) {
                best = Some((form, kind, content));
            }
        }
        let Some((form, kind, content)) = best else {
            let there: Vec<&str> = kinds.into_iter().flatten().map(|(kind, _)| kind.as_str()).collect();
            return match body.get("required") == Some(&Value::Bool(true)) || there.is_empty() {
                false => Ok(None),
                true => Err(format!(
                    "its body is {}, and only JSON, forms (application/x-www-form-urlencoded, multipart/form-data) and text can be sent",
                    there.join(" or ")
                )),
            };
        };
        let (mut told, parts) = match (form, content.get("schema")) {
            (Form::Multipart, _) => multipart::parts(document, content, converter)?,
            (_, Some(schema)) => (converter.convert(schema)?, Vec::new()),
            (_, None) => (json!({}), Vec::new()),
        };
        let description = body.get("description").and_then(Value::as_str);
        if let (Some(told), Some(description)) = (told.as_object_mut(), description) {
            told.insert("description".to_owned(), shortened(description).into());
        }
        let mut property = "body".to_owned();
        while properties.contains_key(&property) {
            property.push('_');
        }
        if body.get("required") == Some(&Value::Bool(true)) {
            required.push(property.as_str().into());
        }
        properties.insert(property.clone(), told);
        let kind = match kind {
            "*/*" | "application/*" => HeaderValue::from_static("application/json"),
            kind => HeaderValue::from_str(kind).map_err(|_| format!("`{kind}` is no media type"))?,
        };
        Ok(Some(Content { property, kind, form, parts }))
    }
}

/// How a body of a media type is written; none when it cannot be.
pub(super) fn form(kind: &str) -> Option<Form> {
    let plain = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match plain.as_str() {
        "application/json" | "*/*" | "application/*" => Some(Form::Json),
        "application/x-www-form-urlencoded" => Some(Form::Fields),
        "multipart/form-data" => Some(Form::Multipart),
        _ if plain.ends_with("+json") => Some(Form::Json),
        _ if plain.starts_with("text/") => Some(Form::Text),
        _ => None,
    }
}

fn rank(form: Form) -> u8 {
    match form {
        Form::Json => 0,
        Form::Fields => 1,
        Form::Multipart => 2,
        Form::Text => 3,
    }
}
