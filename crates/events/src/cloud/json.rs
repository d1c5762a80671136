//! The structured form: all of an event is JSON, and its data stays as it was written.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{ATTRIBUTES_MAX, Attribute, Data, Event, Wrong, check, is_json};

/// An event as it is written; what is wrong with it is told by [`whole`].
struct Written {
    attributes: Vec<(String, Attribute)>,
    data: Option<Box<RawValue>>,
    base64: Option<String>,
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, which is a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        let mut written = Written { attributes: Vec::new(), data: None, base64: None };
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "data" => {
                    if written.data.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("`data` is there twice"));
                    }
                }
                "data_base64" => {
                    if written.base64.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("`data_base64` is there twice"));
                    }
                }
                _ => {
                    if written.attributes.len() > ATTRIBUTES_MAX {
                        return Err(A::Error::custom(format!(
                            "expected at most {ATTRIBUTES_MAX} attributes"
                        )));
                    }
                    if written.attributes.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("`{}` is there twice", shown(&name))));
                    }
                    let value = match map.next_value::<Value>()? {
                        // As if it were not there.
                        Value::Null => continue,
                        Value::String(text) => Attribute::Text(text),
                        Value::Bool(truth) => Attribute::Boolean(truth),
                        Value::Number(number) => {
                            let number = number.as_i64().and_then(|number| i32::try_from(number).ok());
                            Attribute::Integer(number.ok_or_else(|| {
                                A::Error::custom(format!("`{}`: expected 32 bits", shown(&name)))
                            })?)
                        }
                        Value::Array(_) | Value::Object(_) => {
                            let wrong = format!("`{}`: an attribute is no list or object", shown(&name));
                            return Err(A::Error::custom(wrong));
                        }
                    };
                    written.attributes.push((name, value));
                }
            }
        }
        Ok(written)
    }
}

/// A name in an error: short.
fn shown(name: &str) -> String {
    name.chars().take(32).collect()
}

pub(super) fn read(text: &[u8]) -> Result<Event, Wrong> {
    whole(serde_json::from_slice(text).map_err(|error| Wrong(told(&error)))?)
}

fn told(error: &serde_json::Error) -> String {
    match error.is_data() {
        true => error.to_string(),
        false => format!("it is not JSON: {error}"),
    }
}

fn whole(written: Written) -> Result<Event, Wrong> {
    let Written { attributes, data, base64 } = written;
    check::whole(&attributes)?;
    let data = match (data, base64) {
        (Some(_), Some(_)) => return Err(Wrong("expected at most one of `data` and `data_base64`".into())),
        (Some(data), None) if data.get() == "null" => Data::None,
        (Some(data), None) => Data::Json(data.get().to_owned()),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_| Wrong("`data_base64`: it is no base64".into()))?;
            Data::Bytes(bytes.into())
        }
        (None, None) => Data::None,
    };
    Ok(Event { attributes, data })
}

/// A batch, of which no more is read than is allowed.
struct Batch<'a>(&'a mut Vec<Event>, usize);

impl<'de> serde::de::DeserializeSeed<'de> for Batch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch, which is a JSON array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(written) = list.next_element::<Written>()? {
            if self.0.len() == self.1 {
                return Err(A::Error::custom(format!("expected at most {} events", self.1)));
            }
            let place = self.0.len();
            self.0.push(whole(written).map_err(|wrong| A::Error::custom(format!("event {place}: {wrong}")))?);
        }
        Ok(())
    }
}

pub(super) fn read_batch(text: &[u8], most: usize) -> Result<Vec<Event>, Wrong> {
    let mut events = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(text);
    serde::de::DeserializeSeed::deserialize(Batch(&mut events, most), &mut reader)
        .and_then(|()| reader.end())
        .map_err(|error| Wrong(told(&error)))?;
    Ok(events)
}

pub(super) fn write(event: &Event) -> Bytes {
    let mut out = String::from("{");
    for (name, value) in &event.attributes {
        if out.len() > 1 {
            out.push(',');
        }
        let value = match value {
            Attribute::Text(text) => Value::from(text.as_str()),
            Attribute::Boolean(truth) => Value::from(*truth),
            Attribute::Integer(number) => Value::from(*number),
        };
        // Names have letters and digits alone.
        out.push_str(&format!("\"{name}\":{value}"));
    }
    let kind = event.text("datacontenttype");
    match &event.data {
        Data::None => {}
        Data::Json(text) => out.push_str(&format!(",\"data\":{text}")),
        Data::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if is_json(kind) && serde_json::from_str::<&RawValue>(text).is_ok() => {
                out.push_str(&format!(",\"data\":{}", text.trim()));
            }
            Ok(text) if !is_json(kind) => out.push_str(&format!(",\"data\":{}", Value::from(text))),
            _ => out.push_str(&format!(",\"data_base64\":\"{}\"", STANDARD.encode(bytes))),
        },
    }
    out.push('}');
    Bytes::from(out)
}
