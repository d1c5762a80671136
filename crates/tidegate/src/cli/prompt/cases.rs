//! A file of cases for a prompt: what is sent, and what must be so of the answer.

use std::{collections::BTreeMap, path::Path};

use model::{Document, Source};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::Deserialize;
use serde_json::Value;

use super::super::color;
use crate::exit::Exit;

/// A file of cases.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct File {
    /// Where the prompt is: a URL, or a path below `--url`.
    pub(super) url: String,
    /// The key of whoever may call, as a reference: `{env: NAME}` or `{file: path}`.
    #[serde(default)]
    #[schemars(schema_with = "reference")]
    pub(super) key: Option<Reference>,
    /// The header field that carries the key.
    #[serde(default = "key_header")]
    pub(super) key_header: String,
    /// Further header fields.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// The version of the prompt.
    #[serde(default)]
    pub(super) version: Option<String>,
    /// Who judges.
    #[serde(default)]
    pub(super) judge: Judge,
    /// The cases.
    #[schemars(length(min = 1))]
    pub(super) cases: Vec<Case>,
}

fn key_header() -> String {
    "x-api-key".to_owned()
}

/// Where a secret is.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) enum Reference {
    /// In a variable of the environment.
    Env(String),
    /// In a file, relative to the file of cases.
    File(String),
}

/// Exactly one of the two.
fn reference(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {"env": {"type": "string"}, "file": {"type": "string"}},
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// One regular expression or several.
fn patterns(_: &mut SchemaGenerator) -> Schema {
    let one = serde_json::json!({"type": "string", "format": "regex"});
    json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
}

/// Who judges answers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Judge {
    /// Address of OpenAI's chat endpoint, or a path at the prompt's own gateway; `/ai/v1/chat/completions` there without
    /// it.
    pub(super) url: Option<String>,
    /// The model, for criteria that name none.
    pub(super) model: Option<String>,
}

/// One case.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Case {
    /// What it shows.
    pub(super) name: String,
    /// The input.
    #[serde(default = "nothing")]
    pub(super) input: Value,
    /// Another version of the prompt than the file's.
    #[serde(default)]
    pub(super) version: Option<String>,
    /// How often it is sent: models do not always say the same.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub(super) repeat: u32,
    /// How many of these must pass; all without it.
    #[serde(default)]
    pub(super) at_least: Option<u32>,
    /// What must be so.
    #[serde(default)]
    pub(super) expect: Expect,
}

fn nothing() -> Value {
    Value::Object(Default::default())
}

fn one() -> u32 {
    1
}

/// What must be so of an answer. Texts are looked for in the answer's `text` when it has nothing else, else in all of
/// its JSON.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Expect {
    /// The status; 200 without it.
    #[schemars(range(min = 100, max = 599))]
    pub(super) status: Option<u16>,
    /// A JSON pointer to the part of the answer that the others look at.
    #[schemars(extend("format" = "json-pointer"))]
    pub(super) at: Option<String>,
    /// It has all of these.
    pub(super) contains: Several,
    /// It has none of these.
    pub(super) not_contains: Several,
    /// It is this.
    pub(super) equals: Option<Value>,
    /// It matches all of these regular expressions.
    #[schemars(schema_with = "patterns")]
    pub(super) matches: Several,
    /// It fits this JSON Schema.
    pub(super) schema: Option<Value>,
    /// A model finds that all of these are so.
    pub(super) judge: Criteria,
    /// It is there within this time.
    pub(super) max_latency: Option<model::Duration>,
}

/// One text or several.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Several {
    /// None.
    #[default]
    None,
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Several {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Something that a model judges.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Criterion {
    /// What must be so, in words.
    pub(super) criterion: String,
    /// The model that judges.
    #[serde(default)]
    pub(super) model: Option<String>,
}

/// One criterion or several.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Criteria {
    /// None.
    #[default]
    None,
    /// One.
    One(Criterion),
    /// Several.
    Many(Vec<Criterion>),
}

impl Criteria {
    pub(super) fn all(&self) -> &[Criterion] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Reads a file of cases, or says all that is wrong with it, line by line.
pub(super) fn read(path: &Path) -> Result<File, Exit> {
    let shown = path.display();
    let refused = |what: String| {
        eprintln!("error: {shown}: {what}");
        Exit::Configuration
    };
    let drawn = |found: model::Diagnostics| {
        eprintln!("{}", found.render(color()));
        Exit::Configuration
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>().to_value();
    let mut document = Document::read(Source::new(shown.to_string(), text), &schema).map_err(drawn)?;
    let judge = document
        .get("judge")
        .and_then(|judge| serde_json::from_value::<Judge>(judge).ok())
        .unwrap_or_default();
    let url = document.get("url").and_then(|url| serde_json::from_value::<String>(url).ok());
    for (place, text) in [("url", &url), ("judge.url", &judge.url)] {
        if let Some(wrong) = text.as_deref().and_then(|text| no_address(text, true)) {
            document.error(place, wrong);
        }
    }
    for (index, case) in document.items("cases") {
        // What does not fit was told already.
        let Ok(case) = serde_json::from_value::<Case>(case) else { continue };
        for (below, what) in check(&case, &judge) {
            document.error(&format!("cases[{index}].{below}"), what);
        }
    }
    let value = document.finish().map_err(drawn)?;
    serde_json::from_value(value).map_err(|error| refused(error.to_string()))
}

/// Why a text is no address of a gateway. A path at one will do where it `may_be_path`.
pub(super) fn no_address(text: &str, may_be_path: bool) -> Option<String> {
    let uri = text.parse::<http::Uri>();
    let is_address = |uri: &http::Uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    };
    let is_path = may_be_path && text.starts_with('/');
    let is_good = uri.is_ok_and(|uri| is_path || is_address(&uri));
    let or_path = if may_be_path { ", or a path such as `/v1/…`" } else { "" };
    (!is_good).then(|| format!("`{text}` is no address: expected such as `http://127.0.0.1:8080`{or_path}"))
}

/// What is wrong with a case that its schema cannot say, and where.
fn check(case: &Case, judge: &Judge) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    if let Some(least) = case.at_least.filter(|least| *least == 0 || *least > case.repeat) {
        let what = format!("expected from 1 to `repeat`, which is {}, found {least}", case.repeat);
        wrong.push(("atLeast", what));
    }
    if let Some(schema) = &case.expect.schema
        && let Err(error) = jsonschema::draft202012::new(schema)
    {
        wrong.push(("expect.schema", error.to_string()));
    }
    if case.expect.judge.all().iter().any(|one| one.model.is_none() && judge.model.is_none()) {
        let what = "no `model` judges: give one here, or in `judge` at the top";
        wrong.push(("expect.judge", what.to_owned()));
    }
    wrong
}

impl Reference {
    /// The secret.
    pub(super) fn resolve(&self, beside: &Path) -> Result<String, String> {
        match self {
            Self::Env(name) => {
                std::env::var(name).map_err(|_| format!("key: `{name}` is not in the environment"))
            }
            Self::File(file) => {
                let path = beside.parent().unwrap_or(Path::new(".")).join(file);
                let text = std::fs::read_to_string(&path);
                text.map(|text| text.trim().to_owned())
                    .map_err(|error| format!("key: {}: {error}", path.display()))
            }
        }
    }
}
