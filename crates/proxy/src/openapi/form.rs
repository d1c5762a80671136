//! Forms, as objects: `application/x-www-form-urlencoded`, and `multipart/form-data` (RFC 7578).

use std::collections::BTreeMap;

use memchr::memmem;
use serde_json::{Map, Value};

use super::{
    kinds::Kinds,
    media::{self, MediaRange},
    read_json::read_json,
    schema::Document,
};

/// Fields of one form.
const FIELDS_MAX: usize = 1_000;
/// Bytes of the head of a part.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What is known of a form's fields.
#[derive(Default)]
pub(super) struct Fields {
    kinds: Kinds,
    encodings: BTreeMap<String, Encoding>,
}

/// How one field is written.
#[derive(Default)]
struct Encoding {
    /// Media types that a part of this name may have.
    types: Vec<MediaRange>,
    separator: Option<char>,
}

impl Fields {
    pub(super) fn of(media: &Value, schema: &Value, document: &Document) -> Result<Self, String> {
        let mut encodings = BTreeMap::new();
        for (name, written) in media.get("encoding").and_then(Value::as_object).into_iter().flatten() {
            let types = written.get("contentType").and_then(Value::as_str).unwrap_or_default();
            let explode = written.get("explode").and_then(Value::as_bool);
            let separator = match (written.get("style").and_then(Value::as_str), explode) {
                (Some("spaceDelimited"), _) => Some(' '),
                (Some("pipeDelimited"), _) => Some('|'),
                (None | Some("form"), Some(false)) => Some(','),
                _ => None,
            };
            let types = types.split(',').filter_map(MediaRange::parse).collect();
            encodings.insert(name.clone(), Encoding { types, separator });
        }
        Ok(Self { kinds: Kinds::of(schema, document)?, encodings })
    }

    /// Whether a text may stand for two values.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.kinds.is_ambiguous()
    }

    /// The object that a form of names and values is.
    pub(super) fn urlencoded(&self, body: &[u8], prefer: bool) -> Result<Value, String> {
        let mut all = Map::new();
        for (count, (name, text)) in form_urlencoded::parse(body).enumerate() {
            if count == FIELDS_MAX {
                return Err(format!("has more than {FIELDS_MAX} fields"));
            }
            self.put(&mut all, &name, &text, None, prefer)?;
        }
        Ok(Value::Object(all))
    }

    fn put(
        &self,
        all: &mut Map<String, Value>,
        name: &str,
        text: &str,
        kind: Option<&MediaRange>,
        prefer: bool,
    ) -> Result<(), String> {
        // `list[]` is how some write a list.
        let is_listed = |stem: &str| self.kinds.property(stem).is_some_and(|kinds| kinds.array);
        let name = name.strip_suffix("[]").filter(|stem| is_listed(stem)).unwrap_or(name);
        let nothing = Kinds::text();
        let own = self.kinds.property(name).unwrap_or(&nothing);
        let json = |kinds: &Kinds| kind.is_some_and(MediaRange::is_json) || (kinds.object && !kinds.string);
        if own.array {
            let list = all.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = list.as_array_mut() else {
                return Err("a list and a value have one name".to_owned());
            };
            let separator = self.encodings.get(name).and_then(|encoding| encoding.separator);
            let items = own.items.as_deref().unwrap_or(&nothing);
            match separator {
                _ if kind.is_some_and(MediaRange::is_json) || json(items) => {
                    match read_json(text.as_bytes())? {
                        // The whole list in one part.
                        Value::Array(whole) if items.items.is_none() && list.is_empty() => *list = whole,
                        one => list.push(one),
                    }
                }
                Some(separator) => list.extend(text.split(separator).map(|item| items.value(item, prefer))),
                None => list.push(items.value(text, prefer)),
            }
            return Ok(());
        }
        let value = match json(own) {
            true => read_json(text.as_bytes()).map_err(|wrong| format!("one of its fields: {wrong}"))?,
            false => own.value(text, prefer),
        };
        match all.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err("a field that is no list stands there twice".to_owned()),
        }
    }

    /// The object that a form of parts is. Bytes of a file are letters of the same number.
    pub(super) fn multipart(&self, content_type: &str, body: &[u8], prefer: bool) -> Result<Value, String> {
        let mut all = Map::new();
        for part in parts(content_type, body)? {
            let types = self.encodings.get(&part.name).map_or(&[][..], |encoding| &encoding.types);
            let kind = part.kind.clone().or_else(|| MediaRange::parse("text/plain"));
            if !types.is_empty()
                && !kind.as_ref().is_some_and(|kind| types.iter().any(|one| one.fits(kind).is_some()))
            {
                let names: Vec<String> = types.iter().map(ToString::to_string).collect();
                return Err(format!("a part of it is not of its media type: expected {}", names.join(", ")));
            }
            let own = self.kinds.property(&part.name);
            let own = own.map(|kinds| kinds.items.as_deref().filter(|_| kinds.array).unwrap_or(kinds));
            let is_file = part.is_file || own.is_some_and(|kinds| kinds.binary);
            if !is_file && !part.is_like_ascii {
                return Err("has a field in another character set; expected UTF-8".to_owned());
            }
            match std::str::from_utf8(part.value) {
                Ok(text) if !is_file || part.kind.as_ref().is_some_and(MediaRange::is_json) => {
                    self.put(&mut all, &part.name, text, part.kind.as_ref(), prefer)?;
                }
                Err(_) if !is_file => return Err("a field that is no file is no UTF-8".to_owned()),
                _ => {
                    let letters: String = part.value.iter().map(|byte| char::from(*byte)).collect();
                    self.put(&mut all, &part.name, &letters, None, true)?;
                }
            }
        }
        Ok(Value::Object(all))
    }
}

/// One part of a form.
#[derive(Debug, PartialEq)]
struct Part<'b> {
    name: String,
    is_file: bool,
    kind: Option<MediaRange>,
    is_like_ascii: bool,
    value: &'b [u8],
}

/// The parts of a form. What some take for another part, or for a part of another name, is refused.
fn parts<'b>(content_type: &str, body: &'b [u8]) -> Result<Vec<Part<'b>>, String> {
    let boundary = only(content_type, "boundary")?.filter(|boundary| (1..=70).contains(&boundary.len()));
    let delimiter = format!("\r\n--{}", boundary.ok_or("is a form without a `boundary`")?);
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first delimiter may stand at the very beginning, without a line before it.
    let first = delimiter.as_bytes().get(2..).unwrap_or_default();
    let mut rest = match body.strip_prefix(first) {
        Some(rest) => rest,
        None => {
            let at = finder.find(body).ok_or("is a form without parts")?;
            not_stray(body.get(..at).unwrap_or_default(), first)?;
            body.get(at + delimiter.len()..).unwrap_or_default()
        }
    };
    let mut parts = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(b"--") {
            // There are readers to which only a line of nothing else is the end, and some (PHP's) that look for parts behind it.
            match after.iter().find(|byte| !matches!(byte, b' ' | b'\t')) {
                None | Some(b'\r' | b'\n') => not_stray(after, first)?,
                Some(_) => return Err("has a last boundary that something else follows".to_owned()),
            }
            return Ok(parts);
        }
        // White space may stand behind a delimiter (RFC 2046 §5.1.1).
        let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let inside = rest.get(padding..).and_then(|rest| rest.strip_prefix(b"\r\n"));
        let inside = inside.ok_or("has a boundary that something else follows")?;
        // The value of an empty part shares its line's end with the head.
        let (head, value) = match inside.starts_with(b"\r\n") {
            true => (&[][..], inside),
            false => {
                let end = memmem::find(inside.get(..HEAD_BYTES_MAX).unwrap_or(inside), b"\r\n\r\n");
                let end = end.ok_or("has a part whose head does not end")?;
                (inside.get(..end).unwrap_or_default(), inside.get(end + 2..).unwrap_or_default())
            }
        };
        let end = finder.find(value).ok_or("has a last part that does not end")?;
        not_stray(inside.get(..inside.len() - value.len() + end).unwrap_or_default(), first)?;
        let content = value.get(2..end.max(2)).unwrap_or_default();
        rest = value.get(end + delimiter.len()..).unwrap_or_default();
        if parts.len() == FIELDS_MAX {
            return Err(format!("has more than {FIELDS_MAX} parts"));
        }
        parts.push(part(head, content)?);
    }
}

/// Refuses a line that begins like a delimiter and is none here, for the line before it ends in another way, or for it stands
/// in a head: there are readers to which it is one.
fn not_stray(bytes: &[u8], delimiter: &[u8]) -> Result<(), String> {
    let begins_line = |at: usize| match at.checked_sub(1) {
        None => true,
        Some(before) => matches!(bytes.get(before), Some(b'\r' | b'\n')),
    };
    match memmem::find_iter(bytes, delimiter).any(begins_line) {
        true => Err("has its boundary in a part of it".to_owned()),
        false => Ok(()),
    }
}

fn part<'b>(head: &[u8], value: &'b [u8]) -> Result<Part<'b>, String> {
    let head = std::str::from_utf8(head).map_err(|_| "has a part whose head is no UTF-8".to_owned())?;
    // Where this reads on, others may begin a line, and the other way round.
    let is_odd = |line: &str| {
        let is_control = |letter: char| letter.is_ascii_control() && letter != '\t';
        line.starts_with([' ', '\t']) || line.contains(is_control)
    };
    if head.split("\r\n").any(is_odd) {
        return Err("has a part whose head has a folded line or a control character".to_owned());
    }
    let field = |wanted: &str| {
        let mut all = head.split("\r\n").filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then_some(value)
        });
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => Err(format!("has a part with `{wanted}` twice")),
        }
    };
    // There are readers that undo it, which makes another value of one that is judged.
    let is_as_it_is = |coding: &str| {
        ["7bit", "8bit", "binary"].iter().any(|known| known.eq_ignore_ascii_case(coding.trim()))
    };
    if field("content-transfer-encoding")?.is_some_and(|coding| !is_as_it_is(coding)) {
        return Err("has a part with a `content-transfer-encoding`; expected `binary`".to_owned());
    }
    let disposition = field("content-disposition")?.unwrap_or_default();
    let name = only(disposition, "name")?.ok_or("has a part without a name")?;
    let said = parameters(disposition).unwrap_or_default();
    let is_file = said.iter().any(|(name, _)| name == "filename" || name.starts_with("filename*"));
    let kind = field("content-type")?;
    let is_like_ascii = kind.is_none_or(media::is_like_ascii);
    Ok(Part { name, is_file, kind: kind.and_then(MediaRange::parse), is_like_ascii, value })
}

/// A parameter that is there once, in its plain form: of two some read the first and some the last, and some the extended
/// one (`name*`) before the plain.
fn only(value: &str, wanted: &str) -> Result<Option<String>, String> {
    let all =
        parameters(value).ok_or_else(|| format!("has parameters beside `{wanted}` that cannot be read"))?;
    let is_own =
        |name: &str| name.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('*'));
    let mut own = all.into_iter().filter(|(name, _)| is_own(name));
    match (own.next(), own.next()) {
        (None, _) => Ok(None),
        (Some((name, value)), None) if name == wanted => Ok(Some(value)),
        _ => Err(format!("has a `{wanted}` that may be read in two ways")),
    }
}

/// The parameters of a header field's value: names in small letters, values with their quotes taken off. None where one
/// cannot be read.
fn parameters(value: &str) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while !rest.trim().is_empty() {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let (value, left) = after.split_at(after.find(';').unwrap_or(after.len()));
                (value.trim().to_owned(), left)
            }
        };
        let name = name.trim();
        if name.contains(|letter: char| letter.is_whitespace() || matches!(letter, ';' | '"')) {
            return None;
        }
        all.push((name.to_ascii_lowercase(), value));
        let left = left.trim_start();
        rest = match left.strip_prefix(';') {
            Some(rest) => rest,
            None if left.is_empty() => left,
            None => return None,
        };
    }
    Some(all)
}

/// What stands before the closing quote, and what behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"b ~\"";

    fn fields(schema: Value, encoding: Value) -> Fields {
        let document = Document { root: json!({}), is_old: false };
        Fields::of(&json!({"encoding": encoding}), &schema, &document).expect("fields")
    }

    #[test]
    fn forms_become_objects() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}},
            "ids": {"type": "array", "items": {"type": "integer"}}, "o": {"type": "object"}}});
        let own = fields(schema, json!({"ids": {"explode": false}}));
        let body = b"n=5&tags=a&tags=b%26+c&ids=1,2&o=%7B%22x%22%3A1%7D&more=x";
        let want = json!({"n": 5, "tags": ["a", "b& c"], "ids": [1, 2], "o": {"x": 1}, "more": "x"});
        assert_eq!(own.urlencoded(body, false), Ok(want));
        for wrong in [&b"n=1&n=2"[..], b"o=x", b"more=1&more=2"] {
            assert!(own.urlencoded(wrong, false).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn parts_become_objects_and_files_keep_their_length() {
        let schema = json!({"type": "object", "properties": {
            "n": {"type": "integer"}, "meta": {"type": "object"}, "file": {"type": "string", "format": "binary"}}});
        let own = fields(schema, json!({"file": {"contentType": "image/png, image/*"}}));
        let part = |head: &str, value: &[u8]| {
            [
                b"--b ~\r\nContent-Disposition: form-data; ".as_slice(),
                head.as_bytes(),
                b"\r\n\r\n",
                value,
                b"\r\n",
            ]
            .concat()
        };
        let good = [
            part("name=n", b"5"),
            part("name=meta", b"{\"a\":1}"),
            part("name=\"file\"; filename=\"a;\\\".png\"\r\nContent-Type: image/jpeg", b"\xff\x00\r\n--b"),
            b"--b ~--\r\n".to_vec(),
        ]
        .concat();
        let read = own.multipart(TYPE, &good, false).expect("a form");
        assert_eq!((&read["n"], &read["meta"]), (&json!(5), &json!({"a": 1})));
        assert_eq!(read["file"].as_str().map(|text| text.chars().count()), Some(7));
        for end in 0..good.len() - 4 {
            assert!(own.multipart(TYPE, &good[..end], false).is_err(), "{end}");
        }
        let other =
            [part("name=file; filename=x\r\nContent-Type: text/html", b"x"), b"--b ~--".to_vec()].concat();
        assert!(own.multipart(TYPE, &other, false).is_err_and(|wrong| wrong.contains("image/png")));
        assert!(own.multipart("multipart/form-data", &good, false).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_form_or_none(body in prop::collection::vec(any::<u8>(), 0..200), pieces in prop::collection::vec(0..6_usize, 0..30)) {
            let known = [&b"\r\n"[..], b"--b ~", b"Content-Disposition: form-data; name=\"a\"", b"\r\n\r\n", b"--", b"x"];
            let made: Vec<u8> = pieces.iter().flat_map(|at| known[*at].iter().copied()).collect();
            let own = fields(json!({"type": "object"}), json!({}));
            let _ = own.multipart(TYPE, &body, false);
            let _ = own.urlencoded(&body, false);
            if let Ok(parts) = parts(TYPE, &made) {
                for part in parts {
                    prop_assert!(memmem::find(part.value, b"\r\n--b ~").is_none());
                }
            }
        }
    }
}
