//! Bodies as one provider wants them: with fields of its own, and without some that the dialect has.

use serde_json::Value;

use super::{CatalogueError, Provider};
use crate::members::Members;

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
