//! Bodies of several parts (`multipart/form-data`, RFC 7578): fields, and files that a model gives as text or in base64.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use serde_json::{Map, Value, json};

use crate::{
    handler::mcp::process::random_id,
    openapi::schema::{Converter, Document},
};

/// What a file is where nothing is said of it.
const BYTES: &str = "application/octet-stream";

/// A part as the document has it.
pub(super) struct Part {
    name: String,
    is_file: bool,
    /// Media types that it may be of; the first is that of what says none.
    kinds: Vec<String>,
}

/// The schema of the arguments for such a body, and its parts.
pub(super) fn parts(
    document: &Document,
    content: &Value,
    converter: &mut Converter<'_>,
) -> Result<(Value, Vec<Part>), String> {
    let wrong = || "its form (multipart/form-data) has no schema with `properties`".to_owned();
    let schema = document.part(content.get("schema").ok_or_else(wrong)?)?;
    let written = schema.get("properties").and_then(Value::as_object).ok_or_else(wrong)?;
    let (mut properties, mut parts) = (Map::new(), Vec::new());
    for (name, one) in written {
        let property = document.part(one)?;
        if property.get("readOnly") == Some(&Value::Bool(true)) {
            continue;
        }
        let is_list = property.get("type").and_then(Value::as_str) == Some("array");
        let inner = match property.get("items") {
            Some(items) if is_list => document.part(items)?,
            _ => property,
        };
        let is_file = is_binary(inner);
        let kinds = content.get("encoding").and_then(|all| all.get(name)?.get("contentType")?.as_str());
        let kinds: Vec<String> =
            kinds.into_iter().flat_map(|kinds| kinds.split(',')).map(|kind| kind.trim().to_owned()).collect();
        let told = match is_file {
            false => converter.convert(one)?,
            true => {
                let file = file(&kinds, inner);
                if is_list { json!({"type": "array", "items": file}) } else { file }
            }
        };
        properties.insert(name.clone(), told);
        parts.push(Part { name: name.clone(), is_file, kinds });
    }
    let required = schema.get("required").and_then(Value::as_array);
    let is_there = |name: &&Value| name.as_str().is_some_and(|name| properties.contains_key(name));
    let required: Vec<Value> = required.into_iter().flatten().filter(is_there).cloned().collect();
    let mut told = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        told["required"] = required.into();
    }
    Ok((told, parts))
}

/// Whether a property is a file, in the words of 3.0 or of 3.1.
fn is_binary(schema: &Value) -> bool {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    match text("type") {
        Some("string") => text("format") == Some("binary") || text("contentMediaType").is_some(),
        None => text("contentMediaType").is_some(),
        _ => false,
    }
}

/// What a model is told of a file.
fn file(kinds: &[String], schema: &Value) -> Value {
    let about = schema.get("description").and_then(Value::as_str).unwrap_or("A file.");
    let kind = match kinds {
        [] => "Its media type.".to_owned(),
        kinds => format!("Its media type: {}.", kinds.join(" or ")),
    };
    json!({
        "type": "object",
        "description": format!("{about} Either `text` or `base64` holds it."),
        "additionalProperties": false,
        "properties": {
            "text": {"type": "string", "description": "What it holds, if that is text."},
            "base64": {"type": "string", "description": "What it holds, in base64."},
            "name": {"type": "string", "description": "Its name."},
            "mediaType": {"type": "string", "description": kind},
        },
    })
}

/// The body of these arguments and its media type. The error is for whoever gave them.
pub(super) fn written(parts: &[Part], given: &Value) -> Result<(Vec<u8>, HeaderValue), String> {
    // Nobody who writes a part can know it.
    let boundary = format!("tidegate-{}", random_id());
    let mut out = Vec::new();
    for part in parts {
        match given.get(&part.name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) => {
                for item in items {
                    part.write(item, &boundary, &mut out)?;
                }
            }
            Some(one) => part.write(one, &boundary, &mut out)?,
        }
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let kind = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
    Ok((out, kind.map_err(|_| "the body has no boundary".to_owned())?))
}

/// A text within quotes of a header field, as browsers write it.
fn quoted(text: &str) -> String {
    text.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// Whether a text is a media type, which has no end of a line in it.
fn is_media_type(kind: &str) -> bool {
    kind.len() <= 256
        && kind.split_once('/').is_some_and(|(one, other)| !one.is_empty() && !other.is_empty())
        && kind.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Whether a media type is one of these, which may end with `*`.
fn is_one_of(kind: &str, kinds: &[String]) -> bool {
    let essence = |kind: &str| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kind = essence(kind);
    kinds.is_empty()
        || kinds.iter().any(|known| match essence(known).strip_suffix('*') {
            Some(beginning) => kind.starts_with(beginning),
            None => kind == essence(known),
        })
}

impl Part {
    fn write(&self, given: &Value, boundary: &str, out: &mut Vec<u8>) -> Result<(), String> {
        let first = self.kinds.first().filter(|kind| !kind.contains('*')).map(String::as_str);
        let mut head =
            format!("--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"", quoted(&self.name));
        let (kind, bytes) = if self.is_file {
            let text = |key: &str| given.get(key).and_then(Value::as_str);
            let bytes = match (text("text"), text("base64")) {
                (Some(text), None) => text.as_bytes().to_vec(),
                (None, Some(coded)) => STANDARD
                    .decode(coded.trim())
                    .map_err(|_| format!("`{}/base64` is no base64", self.name))?,
                _ => return Err(format!("`{}` needs either `text` or `base64`", self.name)),
            };
            head.push_str(&format!("; filename=\"{}\"", quoted(text("name").unwrap_or(&self.name))));
            let kind = text("mediaType").or(first).unwrap_or(BYTES);
            if !is_media_type(kind) || !is_one_of(kind, &self.kinds) {
                return Err(format!("`{}/mediaType` is none that it may be", self.name));
            }
            (Some(kind), bytes)
        } else {
            match given {
                Value::String(text) => (first, text.clone().into_bytes()),
                Value::Object(_) | Value::Array(_) => {
                    (Some(first.unwrap_or("application/json")), given.to_string().into_bytes())
                }
                other => (first, other.to_string().into_bytes()),
            }
        };
        if let Some(kind) = kind {
            head.push_str(&format!("\r\ncontent-type: {kind}"));
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(&bytes);
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}
