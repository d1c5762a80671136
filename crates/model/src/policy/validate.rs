//! `validate`: judges requests and answers by an OpenAPI document or by JSON Schemas.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{FilePath, Size, load::Context};

/// Judges requests, and answers by choice, by an OpenAPI document or by JSON Schemas. A request that does not fit is 400
/// with a list of what is wrong and where, never with what was sent; one that fits goes on byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Validate {
    /// An OpenAPI document (3.0 or 3.1); this or `schemas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub openapi: Option<OpenapiDocument>,
    /// JSON Schemas for all requests of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schemas: Option<ValidateSchemas>,
    /// What becomes of requests that do not fit.
    pub requests: ValidateMode,
    /// What becomes of answers that do not fit: 502 when it is `enforce`.
    pub answers: ValidateMode,
    /// What becomes of a request that is none of the document's operations.
    pub unknown_operations: Unknown,
    /// What becomes of parameters in the query that the operation does not have.
    pub unknown_parameters: Unknown,
    /// Bytes of a request's body that is judged; a larger one is 413.
    pub max_body_size: Size,
    /// Bytes of an answer's body that is judged. A larger one passes unread when it is only reported, and is 502 when it
    /// is enforced.
    pub max_answer_size: Size,
}

impl Default for Validate {
    fn default() -> Self {
        Self {
            openapi: None,
            schemas: None,
            requests: ValidateMode::Enforce,
            answers: ValidateMode::Off,
            unknown_operations: Unknown::Refuse,
            unknown_parameters: Unknown::Pass,
            max_body_size: Size::mib(1),
            max_answer_size: Size::mib(1),
        }
    }
}

/// An OpenAPI document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenapiDocument {
    /// The document, in YAML or JSON.
    pub file: FilePath,
    /// Files that it may refer to, and each other. References lead nowhere else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<FilePath>,
    /// Stands before the paths of the document; the path of its first server without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
}

/// JSON Schemas for the parts of a message.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ValidateSchemas {
    /// Of the body of a request: JSON, or a form as an object. Requests of methods that have none are let alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<SchemaSource>,
    /// Of the query as an object of its parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<SchemaSource>,
    /// Of the header fields that it names, as an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<SchemaSource>,
    /// Of the body of an answer that went well (2xx).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<SchemaSource>,
}

/// A JSON Schema: in a file, or in place.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SchemaSource {
    /// The schema, in JSON or YAML; its `$schema` says which draft it is of (2020-12 without it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FilePath>,
    /// Files that it may refer to by their names. References lead nowhere else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<FilePath>,
    /// The schema in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
}

/// What becomes of what does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValidateMode {
    /// It is refused.
    #[default]
    Enforce,
    /// It passes; what is wrong is counted and in the access log.
    Report,
    /// Nothing is judged.
    Off,
}

/// What becomes of what the document does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unknown {
    /// It is refused.
    #[default]
    Refuse,
    /// It passes.
    Pass,
}

impl OpenapiDocument {
    /// Applies the rules that the schema cannot say.
    pub(crate) fn check(&self, at: &mut Context<'_, '_>) {
        if let Some(base) = self.base_path.as_ref().filter(|base| !base.starts_with('/') && !base.is_empty())
        {
            at.field("basePath", |at| {
                at.error(format!("expected a path that begins with `/`, found `{base}`"))
            });
        }
    }
}

impl SchemaSource {
    fn check(&self, at: &mut Context<'_, '_>) {
        match (&self.file, &self.schema) {
            (Some(_), Some(_)) => at.error("has both `file` and `schema`; expected one of them"),
            (None, None) => {
                at.error_with("expected a schema", "`file: order.schema.json`, or `schema: {…}` in place")
            }
            _ => {}
        }
    }
}

impl Settings for Validate {
    fn place(&self) -> Place<'_> {
        Place::Validation
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        match (&self.openapi, &self.schemas) {
            (None, None) => at.error_with(
                "expected `openapi` or `schemas`",
                "`openapi: {file: api.yaml}`, or `schemas: {body: {file: order.schema.json}}`",
            ),
            (Some(_), Some(_)) => at.error("has both `openapi` and `schemas`; expected one of them"),
            (Some(openapi), None) => at.field("openapi", |at| openapi.check(at)),
            (None, Some(schemas)) => at.field("schemas", |at| {
                let all = [
                    ("body", &schemas.body),
                    ("query", &schemas.query),
                    ("headers", &schemas.headers),
                    ("answer", &schemas.answer),
                ];
                if all.iter().all(|(_, source)| source.is_none()) {
                    at.error("expected at least one of `body`, `query`, `headers` and `answer`");
                }
                for (key, source) in all {
                    if let Some(source) = source {
                        at.field(key, |at| source.check(at));
                    }
                }
            }),
        }
        if self.requests == ValidateMode::Off && self.answers == ValidateMode::Off {
            at.error("judges neither requests nor answers");
        }
        let judges_an_answer = self.schemas.as_ref().is_some_and(|schemas| schemas.answer.is_some());
        if judges_an_answer && self.answers == ValidateMode::Off {
            at.field("answers", |at| {
                at.error_with("is `off`, though there is a schema for answers", "`report` or `enforce`");
            });
        }
        let has_schemas_of_requests_alone = self.openapi.is_none()
            && self.schemas.as_ref().is_some_and(|schemas| {
                schemas.answer.is_none()
                    && (schemas.body.is_some() || schemas.query.is_some() || schemas.headers.is_some())
            });
        if has_schemas_of_requests_alone && self.answers != ValidateMode::Off && at.is_whole() {
            at.field("answers", |at| {
                at.warning_with(
                    "there is no schema for answers: no answer is judged",
                    "`schemas: {answer: {file: order.schema.json}}`, or leave it out",
                );
            });
        }
        for (key, size) in [("maxBodySize", self.max_body_size), ("maxAnswerSize", self.max_answer_size)] {
            if size.bytes() == 0 {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
    }
}
