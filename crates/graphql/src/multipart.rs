//! Uploads, as the GraphQL multipart request specification has them: where `operations` is in a body.
//!
//! The whole body is looked through, so that there is only one such part whoever reads it; what two readers might cut
//! differently is refused.

use std::{collections::HashMap, ops::Range};

use memchr::memmem;
use serde_json::{Map, Value as Json};

use crate::{
    refusal::{Code, Refusal},
    request::{self, Payload},
};

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

/// A body that was looked through: where `operations` is, and what its `map` puts where.
#[derive(Debug)]
pub struct Upload {
    /// The content of `operations`.
    pub operations: Range<usize>,
    /// Paths into the operations, by the names of files.
    map: HashMap<String, Vec<String>>,
}

impl Upload {
    /// Judges where files are put: in the place of a `null` among the variables alone, for whatever else they replaced
    /// would have been judged in vain.
    ///
    /// # Errors
    /// They are put elsewhere.
    pub fn judge(&self, payload: &Payload) -> Result<(), Refusal> {
        let variables = payload.asked.iter().map(request::Asked::variables).collect::<Result<Vec<_>, _>>()?;
        let is_right = |path: &String| {
            let (at, path) = match payload.is_batch {
                true => path.split_once('.').and_then(|(at, path)| Some((index(at)?, path)))?,
                false => (0, path.as_str()),
            };
            let path = path.strip_prefix("variables.")?;
            is_null(variables.get(at)?.as_ref()?, path).then_some(())
        };
        match self.map.values().flatten().all(|path| is_right(path).is_some()) {
            true => Ok(()),
            false => Err(bad("`map` puts a file elsewhere than in the place of a null among the variables")),
        }
    }
}

/// Whether a null stands at a path among variables.
fn is_null(variables: &Map<String, Json>, path: &str) -> bool {
    let mut steps = path.split('.');
    let mut at = steps.next().and_then(|step| variables.get(step));
    for step in steps {
        at = match at {
            Some(Json::Object(members)) => members.get(step),
            Some(Json::Array(items)) => index(step).and_then(|place| items.get(place)),
            _ => None,
        };
    }
    at.is_some_and(Json::is_null)
}

/// A place in a list, written in one way.
fn index(text: &str) -> Option<usize> {
    let place: usize = text.parse().ok()?;
    (place.to_string() == text).then_some(place)
}

/// Looks a body through.
///
/// # Errors
/// `operations` and `map` are not its first parts, are there twice, another part is no file of the map, or the body cannot
/// be cut in one way alone.
pub fn read(body: &[u8], boundary: &str) -> Result<Upload, Refusal> {
    let mark = format!("\r\n--{boundary}");
    let first = mark.as_bytes().get(2..).unwrap_or_default();
    let mut at = match body.starts_with(first) {
        true => first.len(),
        false => return Err(bad("the body does not begin with its boundary")),
    };
    let finder = memmem::Finder::new(&mark);
    let (mut operations, mut map) = (None, None);
    let mut files: Vec<&str> = Vec::new();
    let mut parts = 0;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        if let Some(end) = rest.strip_prefix(b"--") {
            return match (end, operations, map) {
                (b"" | b"\r\n", Some(operations), Some(map)) => Ok(Upload { operations, map }),
                (b"" | b"\r\n", ..) => Err(bad("there is no part `operations`, or no `map` after it")),
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
        let Head { name, is_file, is_plain } = read_head(part.get(..head).unwrap_or_default())?;
        match (parts, &map) {
            (1, _) if name == "operations" && is_plain && !is_file => {
                operations = Some(start + head + 4..end);
            }
            (1, _) => return Err(bad("the first part is not `operations`, plain and in UTF-8")),
            (2, _) if name == "map" && is_plain && !is_file => {
                map = Some(read_map(part.get(head + 4..).unwrap_or_default())?);
            }
            (_, Some(map)) if is_file && map.contains_key(name) && !files.contains(&name) => files.push(name),
            (2, _) => return Err(bad("the second part is not `map`, plain and in UTF-8")),
            _ => return Err(bad("a part is no file, is there twice, or is not in `map`")),
        }
        at = end + mark.len();
    }
}

/// What `map` says.
fn read_map(content: &[u8]) -> Result<HashMap<String, Vec<String>>, Refusal> {
    let wrong = || bad("`map` is no object of lists of paths by the names of files");
    let raw = serde_json::from_slice(content).map_err(|_| wrong())?;
    let mut map = HashMap::new();
    for (name, paths) in request::strict(raw).map_err(|_| wrong())? {
        // Names that a service might take for those of other parts.
        let bare = request::bare(&name);
        if ["operations", "map"].iter().any(|known| known.eq_ignore_ascii_case(bare)) {
            return Err(wrong());
        }
        request::refuse_lookalike(&name)?;
        let paths: Vec<String> = serde_json::from_value(paths).map_err(|_| wrong())?;
        map.insert(name, paths);
    }
    Ok(map)
}

/// The head of a part.
struct Head<'a> {
    name: &'a str,
    is_file: bool,
    /// Whether it is of UTF-8, and nothing says how to read it otherwise.
    is_plain: bool,
}

fn read_head(head: &[u8]) -> Result<Head<'_>, Refusal> {
    let head = std::str::from_utf8(head).map_err(|_| bad("the head of a part is no UTF-8"))?;
    let mut name = None;
    let mut is_plain = true;
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
                is_plain &= !value.contains("charset") || value.ends_with("charset=utf-8");
            }
            _ => is_plain = false,
        }
    }
    let (name, is_file) = name.ok_or_else(|| bad("a part has no name"))?;
    Ok(Head { name, is_file, is_plain })
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
