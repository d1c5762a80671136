//! Bodies as one provider wants them: with fields of its own, and without some that the dialect has.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{CatalogueError, Provider};

/// The fields of an object in their order, each value as it was written.
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Those of a document.
    pub(crate) fn of(body: &'a [u8]) -> serde_json::Result<Vec<(Cow<'a, str>, &'a RawValue)>> {
        serde_json::from_slice(body).map(|Self(members)| members)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Read)
    }
}

/// A name of a field, which is a piece of the text unless it has escapes.
#[derive(PartialEq, Eq)]
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(text.into()))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(text.to_owned().into()))
            }
        }
        from.deserialize_str(Read)
    }
}

impl Provider {
    /// A body with this provider's own fields and without those that it does not want; `None` when it takes every body
    /// as it is. Values of all other fields stay as they are written. `value` gives what the configuration says of
    /// placeholders, and `{model}` is the model.
    pub fn body_for(
        &self,
        body: &[u8],
        model: &str,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Vec<u8>>, CatalogueError> {
        if self.body.is_empty() && self.body_without.is_empty() {
            return Ok(None);
        }
        let broken = |error: serde_json::Error| CatalogueError::Broken {
            file: "the body".to_owned(),
            what: error.to_string(),
        };
        let Members(members) = serde_json::from_slice(body).map_err(broken)?;
        let said = |name: &str| if name == "model" { Some(model.to_owned()) } else { value(name) };
        let mut written: Vec<String> = Vec::with_capacity(members.len() + self.body.len());
        for (key, text) in &self.body {
            let text = self.fill(text, said)?;
            written.push(format!("{}:{}", Value::from(key.as_str()), Value::from(text)));
        }
        let stays =
            |key: &str| !self.body.contains_key(key) && !self.body_without.iter().any(|one| one == key);
        for (key, raw) in members.iter().filter(|(key, _)| stays(key)) {
            written.push(format!("{}:{}", Value::from(key.as_ref()), raw.get()));
        }
        Ok(Some(format!("{{{}}}", written.join(",")).into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use crate::catalogue::provider;

    fn with(name: &str, body: &str) -> Option<String> {
        let provider = provider(name).expect("known");
        let project = |name: &str| (name == "project").then(|| "p\"1".to_owned());
        let body = provider.body_for(body.as_bytes(), "a/model", project).expect("a body");
        body.map(|body| String::from_utf8(body).expect("text"))
    }

    #[test]
    fn fields_come_and_go_and_all_others_are_as_they_were() {
        let body = r#" {"model":"x", "messages" : [ {"a": 1.50} ],"stream":true,"anthropic_version":"old"}"#;
        assert_eq!(
            with("vertex-anthropic", body).as_deref(),
            Some(r#"{"anthropic_version":"vertex-2023-10-16","messages":[ {"a": 1.50} ],"stream":true}"#)
        );
        let body = r#"{"mod\u0065l":"x","messages":[],"model_id":"mine","stream_options":{},"stream":true}"#;
        assert_eq!(
            with("watsonx", body).as_deref(),
            Some(r#"{"model_id":"a/model","project_id":"p\"1","messages":[]}"#)
        );
        assert_eq!(with("openai", body), None);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let provider = provider("watsonx").expect("known");
        for body in ["[]", "{", ""] {
            assert!(provider.body_for(body.as_bytes(), "m", |_| Some(String::new())).is_err(), "{body}");
        }
    }
}
