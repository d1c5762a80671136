//! JSON as arguments: every leaf under its path, `json.items.0.name`.
//!
//! It is read as it comes, so that of two members of one name both are seen.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor},
};

use super::{Pair, names_max};

/// Longest path that goes on; below it paths begin anew.
const PATH_BYTES_MAX: usize = 512;

/// Adds the leaves of a body, at most so many.
pub(super) fn flatten(body: &[u8], most: usize, out: &mut Vec<Pair>) -> Result<(), String> {
    if body.trim_ascii().is_empty() {
        return Ok(());
    }
    let mut path = b"json".to_vec();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let mut names = names_max(body);
    let leaves = Leaves { path: &mut path, names: &mut names, most, out };
    leaves.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| error.to_string())
}

struct Leaves<'l> {
    path: &'l mut Vec<u8>,
    /// Bytes of paths that may still be copied.
    names: &'l mut usize,
    most: usize,
    out: &'l mut Vec<Pair>,
}

impl Leaves<'_> {
    fn leaf<E: Error>(self, value: &[u8]) -> Result<(), E> {
        if self.out.len() >= self.most {
            return Err(E::custom(format!("more than {} values", self.most)));
        }
        *self.names = self
            .names
            .checked_sub(self.path.len())
            .ok_or_else(|| E::custom("the paths of its values are too long in all"))?;
        self.out.push((self.path.clone(), value.to_vec()));
        Ok(())
    }

    fn within<T>(&mut self, key: &[u8], run: impl FnOnce(Leaves<'_>) -> T) -> T {
        let Self { path, names, out, most } = self;
        if path.len() >= PATH_BYTES_MAX {
            return run(Leaves { path: &mut key.to_vec(), names, out, most: *most });
        }
        let length = path.len();
        path.push(b'.');
        path.extend_from_slice(key);
        let result = run(Leaves { path, names, out, most: *most });
        path.truncate(length);
        result
    }
}

impl<'de> DeserializeSeed<'de> for Leaves<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A member's name, as it is.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for Leaves<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.leaf(if value { b"true" } else { b"false" })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.leaf(value.to_string().as_bytes())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.leaf(value.to_string().as_bytes())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.leaf(value.to_string().as_bytes())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.leaf(value.as_bytes())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.leaf(b"")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let more = self.within(index.to_string().as_bytes(), |leaf| items.next_element_seed(leaf))?;
            if more.is_none() {
                return if index == 0 { self.leaf(b"") } else { Ok(()) };
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut count = 0_usize;
        while let Some(name) = members.next_key_seed(Name)? {
            count += 1;
            self.within(name.as_bytes(), |leaf| members.next_value_seed(leaf))?;
        }
        // What is empty has a name, all the same.
        if count == 0 { self.leaf(b"") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        flatten(text.as_bytes(), 1_000, &mut out)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Ok(out.into_iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect())
    }

    #[test]
    fn every_leaf_has_its_path_and_doubled_members_are_both_seen() {
        let got = leaves(r#"{"a": {"b": [1, "x", null, true]}, "c": "first", "c": "second", "": -0.5}"#);
        let want = [
            "json.a.b.0=1",
            "json.a.b.1=x",
            "json.a.b.2=",
            "json.a.b.3=true",
            "json.c=first",
            "json.c=second",
        ];
        assert_eq!(got.expect("leaves"), [&want[..], &["json.=-0.5"]].concat());
        assert_eq!(leaves("\"alone\"").expect("a leaf"), ["json=alone"]);
        assert_eq!(leaves(" ").expect("nothing"), [""; 0]);
    }

    #[test]
    fn no_name_is_passed_over() {
        let long = "k".repeat(600);
        for text in [
            format!(r#"{{"{long}": {{"<script>": 1}}}}"#),
            r#"{"k": {"<script>": {}}}"#.into(),
            r#"{"k": [{"<script>": []}]}"#.into(),
            format!(r#"{{"{long}": {{"{long}": {{"<script>": 1}}, "b": 2}}, "c": 3}}"#),
        ] {
            let got = leaves(&text).expect("leaves");
            assert!(got.iter().any(|leaf| leaf.contains("<script>")), "{got:?}");
        }
        assert_eq!(leaves("{}").expect("leaves"), ["json="]);
        assert_eq!(leaves("[[], 1]").expect("leaves"), ["json.0=", "json.1=1"]);
    }

    #[test]
    fn names_are_not_copied_without_bound() {
        for (key, count, is_read) in [(400_000, 900, true), (500, 19_000, false)] {
            let body = format!(r#"{{"{}": [1{}]}}"#, "k".repeat(key), ",1".repeat(count));
            let mut out = Vec::new();
            assert_eq!(flatten(body.as_bytes(), 20_000, &mut out).is_ok(), is_read, "{key}");
            let names: usize = out.iter().map(|(name, _)| name.len()).sum();
            assert!(names <= names_max(body.as_bytes()), "{names}");
        }
        let usual = format!(r#"{{"data": {{"embedding": [1{}]}}}}"#, ",1".repeat(999));
        assert_eq!(leaves(&usual).expect("leaves").len(), 1_000);
        assert!(leaves(&format!("[1{}]", ",1".repeat(1_000))).expect_err("many").contains("more than 1000"));
    }

    #[test]
    fn what_is_no_json_or_too_deep_is_an_error() {
        for text in ["{", "{\"a\": 1} x", "[1,]", &"[".repeat(200)] {
            assert!(leaves(text).is_err(), "{text}");
        }
    }
}
