//! `transform`: makes other bodies and statuses of requests and answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Size, load::Context};

/// Makes other bodies of requests and answers, step by step: by jq, patches and templates, from XML to JSON and back; and
/// other statuses of answers. Answers that are streams of events or lines go through piece by piece.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Transform {
    /// What becomes of requests.
    pub request: TransformRequest,
    /// What becomes of answers.
    pub answer: TransformAnswer,
}

/// What becomes of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TransformRequest {
    /// Steps that a body goes through whose media type the first one understands; others pass.
    pub body: Vec<TransformStep>,
    /// Bytes of a body that are held, and that come out; a larger one is 413.
    pub max_size: Size,
}

/// What becomes of answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TransformAnswer {
    /// Statuses whose bodies go through the steps: `404`, or a class such as `2xx`.
    pub on: Vec<String>,
    /// Steps that a body goes through whose media type the first one understands; others pass.
    pub body: Vec<TransformStep>,
    /// Bytes of a body that are held, and that come out; of a stream, of each piece. What is larger is 502.
    pub max_size: Size,
    /// Other statuses, by the upstream's: `404`, or a class such as `5xx`.
    pub status: BTreeMap<String, u16>,
}

/// One step: exactly one of these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TransformStep {
    /// A program of jq over the JSON; `$request` has `method`, `path` and `query`, `$status` the answer's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jq: Option<String>,
    /// A JSON Patch (RFC 6902).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Vec<serde_json::Value>>,
    /// A JSON Merge Patch (RFC 7396).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_patch: Option<serde_json::Value>,
    /// A template (minijinja) that makes a text of `body`, `request` and `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The media type of what the template makes; `text/plain; charset=utf-8` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// XML becomes JSON: attributes are `@name`, text is `#text`, children of one name a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xml_to_json: Option<UseXmlToJson>,
    /// JSON becomes XML in the same way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_to_xml: Option<UseJsonToXml>,
}

/// XML becomes JSON: `true` and `{}` say the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UseXmlToJson {
    /// On or off.
    Switch(bool),
    /// On.
    With(XmlToJson),
}

/// How XML becomes JSON: there is one way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XmlToJson {}

/// JSON becomes XML: `true` and `{}` say the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UseJsonToXml {
    /// On or off.
    Switch(bool),
    /// On, in this way.
    With(JsonToXml),
}

/// How JSON becomes XML.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JsonToXml {
    /// Name of the root element; without it the only member of the object is the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
}

impl Default for TransformRequest {
    fn default() -> Self {
        Self { body: Vec::new(), max_size: Size::mib(1) }
    }
}

impl Default for TransformAnswer {
    fn default() -> Self {
        Self { on: vec!["2xx".to_owned()], body: Vec::new(), max_size: Size::mib(1), status: BTreeMap::new() }
    }
}

/// A status, or the first digit of a class.
pub fn status(text: &str) -> Option<u16> {
    match text.strip_suffix("xx") {
        Some(class) => class.parse().ok().filter(|class| (2..=5).contains(class)),
        None => text.parse().ok().filter(|status| (200..=599).contains(status)),
    }
}

impl TransformStep {
    /// Whether XML becomes JSON.
    pub fn makes_json(&self) -> bool {
        match &self.xml_to_json {
            Some(UseXmlToJson::Switch(is_on)) => *is_on,
            Some(UseXmlToJson::With(_)) => true,
            None => false,
        }
    }

    /// How JSON becomes XML, where it does.
    pub fn makes_xml(&self) -> Option<JsonToXml> {
        match &self.json_to_xml {
            Some(UseJsonToXml::Switch(is_on)) => is_on.then(JsonToXml::default),
            Some(UseJsonToXml::With(settings)) => Some(settings.clone()),
            None => None,
        }
    }

    fn check(&self, at: &mut Context<'_, '_>) {
        let all = [
            self.jq.is_some(),
            self.patch.is_some(),
            self.merge_patch.is_some(),
            self.template.is_some(),
            self.makes_json(),
            self.makes_xml().is_some(),
        ];
        if all.into_iter().filter(|is_there| *is_there).count() != 1 {
            at.error("expected exactly one of `jq`, `patch`, `mergePatch`, `template`, `xmlToJson` and `jsonToXml`");
        }
        if self.content_type.is_some() && self.template.is_none() {
            at.field("contentType", |at| at.error("is for a `template` alone"));
        }
    }
}

impl Settings for Transform {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.request.body.is_empty() && self.answer.body.is_empty() && self.answer.status.is_empty() {
            at.error("changes nothing; expected `request.body`, `answer.body` or `answer.status`");
        }
        at.field("request", |at| {
            at.each("body", &self.request.body, |at, step| step.check(at));
        });
        at.field("answer", |at| {
            at.each("body", &self.answer.body, |at, step| step.check(at));
            at.each("on", &self.answer.on, |at, text| {
                if status(text).is_none() {
                    at.error(format!("expected a status such as `404` or `2xx`, found `{text}`"));
                }
            });
            at.field("status", |at| {
                for (from, to) in &self.answer.status {
                    at.field(from, |at| {
                        if status(from).is_none() {
                            at.error(format!("expected a status such as `404` or `5xx`, found `{from}`"));
                        }
                        if !(200..=599).contains(to) || matches!(to, 204 | 205 | 206 | 304) {
                            at.error(format!("expected a status whose answers have a body, found {to}"));
                        }
                    });
                }
            });
        });
    }
}
