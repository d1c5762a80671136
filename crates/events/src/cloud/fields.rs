//! The binary form: attributes as header fields, the data as the payload.

use bytes::Bytes;

use super::{Attribute, Data, Event, PREFIX, Wrong, check, is_json};

pub(super) fn read<'f>(
    all: impl Iterator<Item = (&'f str, &'f [u8])>,
    content_type: Option<&str>,
    body: Bytes,
) -> Result<Event, Wrong> {
    let mut attributes: Vec<(String, Attribute)> = Vec::new();
    for (name, value) in all {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        if name == "datacontenttype" || name == "data" {
            return Err(Wrong(format!(
                "`{PREFIX}{name}`: its place is another: `content-type`, or the body"
            )));
        }
        if attributes.iter().any(|(known, _)| known == name) {
            return Err(Wrong(format!("`{PREFIX}{name}` is there twice")));
        }
        let value = decoded(value).ok_or_else(|| Wrong(format!("`{PREFIX}{name}`: it is no text")))?;
        attributes.push((name.to_owned(), Attribute::Text(value)));
        // Told before the rest is read: somebody may send thousands.
        if attributes.len() > super::ATTRIBUTES_MAX {
            break;
        }
    }
    if let Some(kind) = content_type {
        attributes.push(("datacontenttype".to_owned(), Attribute::Text(kind.to_owned())));
    }
    check::whole(&attributes)?;
    let data = match body.is_empty() {
        true => Data::None,
        false => Data::Bytes(body),
    };
    Ok(Event { attributes, data })
}

pub(super) fn write(event: &Event) -> (Vec<(String, String)>, Bytes) {
    let mut fields = Vec::with_capacity(event.attributes.len() + 1);
    for (name, value) in &event.attributes {
        match name.as_str() {
            "datacontenttype" => fields.push(("content-type".to_owned(), value.text().into_owned())),
            name => fields.push((format!("{PREFIX}{name}"), encoded(&value.text()))),
        }
    }
    let payload = match &event.data {
        Data::None => Bytes::new(),
        Data::Bytes(bytes) => bytes.clone(),
        Data::Json(text) => {
            if event.text("datacontenttype").is_none() {
                fields.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            // A JSON string of something that is no JSON is the text itself.
            match is_json(event.text("datacontenttype")) {
                true => Bytes::from(text.clone()),
                false => match serde_json::from_str::<String>(text) {
                    Ok(plain) => Bytes::from(plain),
                    Err(_) => Bytes::from(text.clone()),
                },
            }
        }
    };
    (fields, payload)
}

/// The value of a field, with escapes for what fields cannot have (HTTP binding §3.1.3.2).
pub fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for one in text.chars() {
        match one {
            '!'..='~' if one != '"' && one != '%' => out.push(one),
            other => {
                let mut bytes = [0; 4];
                for byte in other.encode_utf8(&mut bytes).bytes() {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "%{byte:02X}");
                }
            }
        }
    }
    out
}

/// The text that a field's value stands for: quotes are taken off, escapes are decoded.
pub fn decoded(value: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(value.len());
    match value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) {
        Some(inner) => {
            let mut bytes = inner.iter();
            while let Some(byte) = bytes.next() {
                plain.push(if *byte == b'\\' { *bytes.next()? } else { *byte });
            }
        }
        None => plain.extend_from_slice(value),
    }
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(plain.len());
    let mut at = 0;
    while let Some(byte) = plain.get(at) {
        match (byte, hex(plain.get(at + 1)), hex(plain.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).ok()?);
                at += 3;
            }
            (byte, _, _) => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}
