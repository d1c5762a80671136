//! Uploads, as the GraphQL multipart request specification has them: where `operations` is in a body.
//!
//! The whole body is looked through, so that there is only one such part whoever reads it; what two readers might cut
//! differently is refused.

use std::ops::Range;

use memchr::memmem;

use crate::refusal::{Code, Refusal};

/// Parts of a body.
const PARTS_MAX: usize = 128;
/// Bytes of a boundary (RFC 2046 §5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// The boundary in a `Content-Type` of `multipart/form-data`.
pub fn boundary(content_type: &str) -> Option<&str> {
    let mut found = None;
    for parameter in content_type.split(';').skip(1) {
        let (name, value) = parameter.trim().split_once('=')?;
        if name.trim().eq_ignore_ascii_case("boundary") {
            let value = value.trim();
            let value = match value.strip_prefix('"') {
                Some(rest) => rest.strip_suffix('"')?,
                None => value,
            };
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
            let fits = !value.is_empty() && value.len() <= BOUNDARY_BYTES_MAX && value.bytes().all(is_plain);
            if !fits || found.replace(value).is_some() {
                return None;
            }
        }
    }
    found
}

/// Where the content of `operations` is.
///
/// # Errors
/// It is not the first part, is there twice, or the body cannot be cut in one way alone.
pub fn operations(body: &[u8], boundary: &str) -> Result<Range<usize>, Refusal> {
    let mark = format!("\r\n--{boundary}");
    let first = mark.as_bytes().get(2..).unwrap_or_default();
    let mut at = match body.starts_with(first) {
        true => first.len(),
        false => return Err(bad("the body does not begin with its boundary")),
    };
    let finder = memmem::Finder::new(&mark);
    let mut found = None;
    let mut parts = 0;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        if let Some(end) = rest.strip_prefix(b"--") {
            return match end {
                b"" | b"\r\n" => found.ok_or_else(|| bad("there is no part `operations`")),
                _ => Err(bad("there is something after the last part")),
            };
        }
        if !rest.starts_with(b"\r\n") {
            return Err(bad("a boundary is not followed by the end of its line"));
        }
        parts += 1;
        if parts > PARTS_MAX {
            return Err(bad(format!("there are more than {PARTS_MAX} parts")));
        }
        let start = at + 2;
        let length = finder.find(body.get(start..).unwrap_or_default());
        let end = start + length.ok_or_else(|| bad("the last part has no end"))?;
        let part = body.get(start..end).unwrap_or_default();
        let head = memmem::find(part, b"\r\n\r\n").ok_or_else(|| bad("a part has no head"))?;
        let is_operations = is_operations(part.get(..head).unwrap_or_default())?;
        match (is_operations, parts) {
            (true, 1) => found = Some(start + head + 4..end),
            (true, _) => return Err(bad("`operations` is there twice or is not the first part")),
            (false, 1) => return Err(bad("the first part is not `operations`")),
            (false, _) => {}
        }
        at = end + mark.len();
    }
}

/// Whether a part is `operations`, by its head.
fn is_operations(head: &[u8]) -> Result<bool, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| bad("the head of a part is no UTF-8"))?;
    let mut name = None;
    let mut has_more = false;
    for line in head.split("\r\n") {
        if line.contains(['\r', '\n']) {
            return Err(bad("the head of a part has a bare end of line"));
        }
        let (field, value) =
            line.split_once(':').ok_or_else(|| bad("the head of a part has a broken line"))?;
        match field {
            _ if field.eq_ignore_ascii_case("content-disposition") => {
                if name.is_some() {
                    return Err(bad("a part is named twice"));
                }
                name = Some(disposition(value)?);
            }
            _ if field.eq_ignore_ascii_case("content-type") => {
                let value = value.trim().to_ascii_lowercase();
                has_more |= value.contains("charset") && !value.ends_with("charset=utf-8");
            }
            _ => has_more = true,
        }
    }
    let (name, is_file) = name.ok_or_else(|| bad("a part has no name"))?;
    let is_operations = name == "operations";
    if !is_operations && name.eq_ignore_ascii_case("operations") {
        return Err(bad("the name of a part is not quite `operations`"));
    }
    match is_operations && (has_more || is_file) {
        true => Err(bad("`operations` is a plain part of UTF-8")),
        false => Ok(is_operations),
    }
}

/// The name in a `Content-Disposition`, and whether the part is a file.
fn disposition(value: &str) -> Result<(&str, bool), Refusal> {
    let odd = || bad("the disposition of a part cannot be read");
    let rest = value.trim().strip_prefix("form-data").ok_or_else(odd)?;
    let mut rest = rest.trim_start();
    let (mut name, mut is_file) = (None, false);
    while let Some(parameter) = rest.strip_prefix(';') {
        let (key, after) = parameter.split_once('=').ok_or_else(odd)?;
        let after = after.strip_prefix('"').ok_or_else(odd)?;
        let key = key.trim();
        // A file's name may have an escaped quote in it; the name of a part may not.
        let mut end = None;
        let mut is_escaped = false;
        for (at, byte) in after.bytes().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let end = end.ok_or_else(odd)?;
        let text = after.get(..end).unwrap_or_default();
        match key {
            "name" if name.is_none() && !text.contains(['\\', '%']) => name = Some(text),
            "filename" if !is_file => is_file = true,
            _ => return Err(odd()),
        }
        rest = after.get(end + 1..).unwrap_or_default().trim_start();
    }
    match (rest, name) {
        ("", Some(name)) => Ok((name, is_file)),
        _ => Err(odd()),
    }
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadRequest, message)
}
