//! `google.api.http`: which requests mean which method, as annotations say.

use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage};

use crate::schema::{Method, Schema};

/// The annotation (google/api/http.proto).
#[derive(Clone, PartialEq, Message)]
struct HttpRule {
    #[prost(string, tag = "2")]
    get: String,
    #[prost(string, tag = "3")]
    put: String,
    #[prost(string, tag = "4")]
    post: String,
    #[prost(string, tag = "5")]
    delete: String,
    #[prost(string, tag = "6")]
    patch: String,
    #[prost(string, tag = "7")]
    body: String,
    #[prost(message, optional, tag = "8")]
    custom: Option<Custom>,
    #[prost(message, repeated, tag = "11")]
    additional_bindings: Vec<HttpRule>,
    #[prost(string, tag = "12")]
    response_body: String,
}

#[derive(Clone, PartialEq, Message)]
struct Custom {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    path: String,
}

/// One way to call a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The method of HTTP; `*` is any.
    pub method: String,
    /// The template of its path.
    pub path: String,
    /// The field that the body is, `*` for the whole message, or nothing.
    pub body: String,
    /// The field that the answer is; the whole message when empty.
    pub response_body: String,
}

/// The ways to call a method, as its annotation says; none without one.
pub fn of(schema: &Schema, method: &Method) -> Result<Vec<Rule>, String> {
    let Some(extension) = schema.pool.get_extension_by_name("google.api.http") else { return Ok(Vec::new()) };
    let options = method.descriptor.options();
    if options.descriptor().get_extension(extension.number()).is_none() || !options.has_extension(&extension)
    {
        return Ok(Vec::new());
    }
    let annotation = options.get_extension(&extension);
    let rule = annotation.as_message().map(DynamicMessage::transcode_to::<HttpRule>);
    let Some(Ok(rule)) = rule else { return Err("its `google.api.http` cannot be read".to_owned()) };
    let mut rules = Vec::with_capacity(1 + rule.additional_bindings.len());
    rules.push(rule.one()?);
    for further in &rule.additional_bindings {
        if !further.additional_bindings.is_empty() {
            return Err("`additional_bindings` within `additional_bindings`".to_owned());
        }
        rules.push(further.one()?);
    }
    Ok(rules)
}

impl HttpRule {
    fn one(&self) -> Result<Rule, String> {
        let named = [
            ("GET", &self.get),
            ("PUT", &self.put),
            ("POST", &self.post),
            ("DELETE", &self.delete),
            ("PATCH", &self.patch),
        ];
        let mut found = named.into_iter().filter(|(_, path)| !path.is_empty());
        let (method, path) = match (found.next(), &self.custom) {
            (Some((method, path)), None) => (method.to_owned(), path.clone()),
            (None, Some(custom)) => (custom.kind.to_ascii_uppercase(), custom.path.clone()),
            (None, None) => return Err("its `google.api.http` has no path".to_owned()),
            (Some(_), Some(_)) => return Err("its `google.api.http` has two paths".to_owned()),
        };
        if method == "GET" && self.body == "*" {
            return Err("`get` has no `body`".to_owned());
        }
        Ok(Rule { method, path, body: self.body.clone(), response_body: self.response_body.clone() })
    }
}
