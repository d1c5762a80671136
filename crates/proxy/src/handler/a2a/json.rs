//! JSON taken apart no further than needed: what is not read stays as it was written.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Members of one object.
const MEMBERS_MAX: usize = 4096;

/// A value in which no object has a member twice: two readers could take two different ones.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut seen = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if seen.len() >= MEMBERS_MAX {
                        return Err(A::Error::custom("an object has too many members"));
                    }
                    if seen.contains(&name) {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                    seen.insert(name);
                    map.next_value::<Unique>()?;
                }
                Ok(Unique)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unique, A::Error> {
                while list.next_element::<Unique>()?.is_some() {}
                Ok(Unique)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
                Ok(Unique)
            }

            fn visit_unit<E>(self) -> Result<Unique, E> {
                Ok(Unique)
            }
        }
        from.deserialize_any(Read)
    }
}

/// Whether a text is JSON in which nothing is there twice. The error is for whoever sent it.
pub(super) fn check(text: &str) -> Result<(), &'static str> {
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Err("the body is no JSON");
    }
    match serde_json::from_str::<Unique>(text) {
        Ok(Unique) => Ok(()),
        // It was JSON before: what cannot be read now nests deeper than this reader goes.
        Err(error) if error.is_syntax() => Err("the body nests too deep"),
        Err(_) => Err("every member of an object is there once"),
    }
}

/// The members of an object in their order, each value as it was written.
#[derive(Default)]
pub(super) struct Object(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        from.deserialize_map(Read)
    }
}

impl Object {
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The text of a member; none when it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.get());
        found.filter(|text| *text != "null")
    }

    /// A member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// A member that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        Self::parse(self.get(name)?)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Puts a value in a member's place, or at the end. A text that is no JSON changes nothing.
    pub(super) fn set(&mut self, name: &str, json: String) {
        let Ok(value) = RawValue::from_string(json) else { return };
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub(super) fn json(&self) -> String {
        let mut out = String::from("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&quoted(name));
            out.push(':');
            out.push_str(value.get());
        }
        out.push('}');
        out
    }

    /// A member that other readers could take for one of these, which it is not: their names differ in case, or are
    /// written with `_`.
    pub(super) fn lookalike(&self, known: &[&str]) -> Option<&str> {
        // Some readers take the long s for an s, as they take the sign of Kelvin for a k.
        let folded = |name: &str| name.replace(['_', '-'], "").replace('\u{17f}', "s").to_lowercase();
        self.names()
            .find(|name| !known.contains(name) && known.iter().any(|known| folded(known) == folded(name)))
    }
}

/// The items of a list, each as it was written.
pub(super) fn list(text: &str) -> Option<Vec<Box<RawValue>>> {
    serde_json::from_str(text).ok()
}

/// A list of such items.
pub(super) fn listed(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// A text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_is_found_at_any_depth() {
        for (text, is_good) in [
            (r#"{"a": [1, {"b": "x", "c": null}], "d": 1.5e3}"#, true),
            (r#"{"a": 1, "a": 1}"#, false),
            (r#"{"a": [{"b": {"c": 1, "\u0063": 2}}]}"#, false),
            ("{", false),
            (&"[".repeat(1000), false),
        ] {
            assert_eq!(check(text).is_ok(), is_good, "{text}");
        }
    }

    #[test]
    fn what_is_not_read_stays_and_lookalikes_are_found() {
        let mut object =
            Object::parse(r#"{"big":123456789012345678901234567890,"id":"a","x":1.0}"#).expect("an object");
        object.set("id", quoted("b\""));
        assert_eq!(object.json(), r#"{"big":123456789012345678901234567890,"id":"b\"","x":1.0}"#);
        for (name, is_odd) in
            [("task_id", true), ("TaskId", true), ("taskid", true), ("taskId", false), ("task", false)]
        {
            let object = Object::parse(&format!("{{\"{name}\": 1}}")).expect("an object");
            assert_eq!(object.lookalike(&["taskId", "contextId"]).is_some(), is_odd, "{name}");
        }
    }
}
