//! JSON in which no object has two members of one name: what two readers might take for different things is no JSON here.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// Reads it. An error says where, and repeats nothing of it.
pub(crate) fn read_json(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<Once>(text).map(|read| read.0).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => {
                format!("a member stands twice, or a number is out of range ({place})")
            }
            _ => format!("it is no JSON ({place})"),
        }
    })
}

struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Read).map(Self)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Once(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Once(value))) = members.next_entry::<String, Once>()? {
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_two_meanings_is_none() {
        for (text, want) in [
            (r#"{"a":{"b":[1,-2,1.5,null,true,"x"],"A":1}}"#, Ok(())),
            (r#"{"a":1,"\u0061":2}"#, Err("twice")),
            (r#"[{"a":{"x":1,"x":1}}]"#, Err("twice")),
            (r#"{"a":1} x"#, Err("no JSON (line 1, column 9)")),
            (r#"{"secret-name": secret-value}"#, Err("no JSON")),
            ("\u{feff}{}", Err("no JSON")),
            ("", Err("no JSON")),
        ] {
            match (read_json(text.as_bytes()), want) {
                (Ok(read), Ok(())) => assert_eq!(read, serde_json::from_str::<Value>(text).expect("JSON")),
                (Err(told), Err(says)) => assert!(told.contains(says) && !told.contains("secret"), "{told}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
        assert!(read_json("[".repeat(100_000).as_bytes()).is_err());
        assert!(read_json(b"\"\xff\"").is_err());
    }
}
