//! OpenAPI documents (3.0 and 3.1): read with the files beside them, and asked.
//!
//! [`schema`] makes their schemas JSON Schemas, [`beside`] brings several files into one, [`api`] knows the operations by
//! method and path, [`parameter`] what stands in paths, queries, headers and cookies, [`media`] and [`form`] what bodies
//! are, [`check`] says what is wrong with a message, [`fitting`] whether a document is of its route's paths, and
//! [`read_json`] reads JSON that has one meaning. Nothing is ever fetched.

pub(crate) mod api;
mod beside;
pub(crate) mod check;
pub(crate) mod fitting;
mod form;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod kinds;
pub(crate) mod media;
mod parameter;
mod path;
pub(crate) mod read_json;
pub(crate) mod schema;

use model::{FilePath, Snapshot};
use serde_json::Value;

use self::schema::Document;

/// Bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads a document. `beside` are files that it may refer to.
///
/// # Errors
/// A sentence for the operator.
pub(crate) fn read(file: &FilePath, beside: &[FilePath], snapshot: &Snapshot) -> Result<Document, String> {
    let mut root = tree(file, snapshot)?;
    let version = root.get("openapi").and_then(Value::as_str).unwrap_or_default();
    let is_old = match version.split('.').take(2).collect::<Vec<_>>().as_slice() {
        ["3", "0"] => true,
        ["3", "1"] => false,
        _ if root.get("swagger").is_some() => {
            return Err("it is of Swagger 2.0; convert it to OpenAPI 3 first".to_owned());
        }
        _ => return Err("`openapi` must say 3.0 or 3.1, such as `openapi: 3.1.0`".to_owned()),
    };
    if !beside.is_empty() {
        let mut others = Vec::with_capacity(beside.len());
        for other in beside {
            let tree = tree(other, snapshot).map_err(|error| format!("`{other}`: {error}"))?;
            others.push((other.as_path().to_path_buf(), tree));
        }
        beside::join(&mut root, file.as_path(), others)?;
    }
    Ok(Document { root, is_old })
}

/// The URI of a file, for references between files.
pub(crate) fn uri(file: &FilePath) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~');
    let path = beside::tidied(file.as_path());
    let path = path.to_string_lossy();
    format!("file:///{}", percent_encoding::utf8_percent_encode(path.trim_start_matches('/'), KEPT))
}

/// What a file of YAML or JSON says.
pub(crate) fn tree(file: &FilePath, snapshot: &Snapshot) -> Result<Value, String> {
    let bytes = snapshot.file(file);
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    if text.trim_start().starts_with('{') {
        // JSON may have tabs where YAML may not.
        return serde_json::from_str(text).map_err(|error| format!("it cannot be read: {error}"));
    }
    let source = model::Source::new(file.to_string(), text);
    model::document(&source).map_err(|found| {
        let first = found.iter().next();
        let place = first.and_then(|first| found.location(first)).unwrap_or_default();
        format!("it cannot be read: {place}: {}", first.map_or("", |first| &first.message))
    })
}

/// The path of the first server.
pub(crate) fn base(root: &Value) -> Result<String, String> {
    let Some(server) = root.get("servers").and_then(|servers| servers.get(0)) else {
        return Ok(String::new());
    };
    let mut url = server.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| rest.get(at..).unwrap_or_default()),
        None => url.as_str(),
    };
    let path = path.trim_end_matches('/');
    let is_good = path.is_empty()
        || (path.starts_with('/')
            && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'{'))
            && !path.split('/').any(|segment| matches!(segment, "." | "..")));
    match is_good {
        true => Ok(path.to_owned()),
        false => Err(format!("servers[0].url: `{url}` has no good path; give `basePath`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_base_is_the_path_of_the_first_server() {
        for (url, want) in [
            ("https://api.example.com/v1/", Ok("/v1".to_owned())),
            ("https://api.example.com", Ok(String::new())),
            ("/v2", Ok("/v2".to_owned())),
            ("https://{region}.example.com/{version}", Ok("/v3".to_owned())),
        ] {
            let root = json!({"servers": [{"url": url, "variables": {"version": {"default": "v3"}}}]});
            assert_eq!(base(&root), want);
        }
        assert!(base(&json!({"servers": [{"url": "/a/../b"}]})).is_err());
        assert_eq!(base(&json!({})), Ok(String::new()));
    }
}
