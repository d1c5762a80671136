//! JSON values as jq has them, and back.

use jaq_core::ValT;
use jaq_json::{Map, Val};
use serde_json::{Number, Value};

use super::Stopped;

/// Arrays and objects in one another that are written.
const DEPTH_MAX: usize = 256;

/// A value as programs see it.
pub(super) fn read(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(is) => Val::Bool(*is),
        Value::Number(number) => Val::from_num(&number.to_string()).unwrap_or(Val::Null),
        Value::String(text) => Val::utf8_str(text.clone()),
        Value::Array(items) => items.iter().map(read).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| (Val::utf8_str(key.clone()), read(value)));
            Val::obj(members.collect::<Map>())
        }
    }
}

/// An object of such values; what is not there is null.
pub(super) fn object<'v>(members: impl Iterator<Item = (&'v str, Option<&'v Value>)>) -> Val {
    let members = members.map(|(key, value)| (Val::utf8_str(key.to_owned()), value.map_or(Val::Null, read)));
    Val::obj(members.collect::<Map>())
}

/// How many values a JSON text has at most, told without reading it: an object, whose table is large, is four.
pub(crate) fn nodes(text: &[u8]) -> u64 {
    let mut nodes = 1;
    let mut is_text = false;
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_text = !is_text,
            b'\\' if is_text => _ = bytes.next(),
            b'{' if !is_text => nodes += 4,
            b'[' | b',' if !is_text => nodes += 1,
            _ => {}
        }
    }
    nodes
}

/// A value as JSON.
pub(super) fn write(value: &Val, bytes_max: usize) -> Result<Vec<u8>, Stopped> {
    let mut out = Vec::new();
    put(value, &mut out, bytes_max, 0)?;
    Ok(out)
}

fn put(value: &Val, out: &mut Vec<u8>, bytes_max: usize, depth: usize) -> Result<(), Stopped> {
    if depth > DEPTH_MAX {
        return Err(Stopped::NotJson("it is too deep"));
    }
    if out.len() > bytes_max {
        return Err(Stopped::TooLarge);
    }
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        // What JSON has no number for is null, as in jq.
        Val::Num(number) => {
            let text = number.to_string();
            let is_number = serde_json::from_str::<Number>(&text).is_ok();
            out.extend_from_slice(if is_number { text.as_bytes() } else { b"null" });
        }
        Val::TStr(text) => {
            let text = String::from_utf8_lossy(text);
            serde_json::to_writer(&mut *out, &*text).map_err(|_| Stopped::TooLarge)?;
        }
        Val::BStr(_) => return Err(Stopped::NotJson("it holds bytes")),
        Val::Arr(items) => {
            out.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                put(item, out, bytes_max, depth + 1)?;
            }
            out.push(b']');
        }
        Val::Obj(members) => {
            out.push(b'{');
            for (place, (key, member)) in members.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                match key {
                    Val::TStr(_) => put(key, out, bytes_max, depth + 1)?,
                    _ => return Err(Stopped::NotJson("a key is no text")),
                }
                out.push(b':');
                put(member, out, bytes_max, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    match out.len() > bytes_max {
        true => Err(Stopped::TooLarge),
        false => Ok(()),
    }
}
