//! `mask`: hides what not everybody may see, in bodies and in the access log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, guardrails::PersonalData};
use crate::{Size, load::Context};

/// Hides fields of JSON by their paths, and by choice whatever detectors find in texts, in bodies of requests and answers, in
/// streams of events and lines, and in the access log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mask {
    /// Paths in JSON such as `user.email`, `items[].card`, `meta.*`; `**.password` is one of this name anywhere.
    pub fields: Vec<String>,
    /// What is looked for in all texts, as the guardrails of models do.
    pub detect: Vec<PersonalData>,
    /// What stands in the place of what is hidden.
    pub replacement: String,
    /// Take fields away instead.
    pub remove: bool,
    /// Which bodies.
    pub on: MaskSide,
    /// Names of parameters in the query whose values are hidden in the access log and in traces; what detectors find in others
    /// is hidden as well.
    pub log_query: Vec<String>,
    /// Bytes of a body that is held; of a stream, of each piece. A larger request is 413, a larger answer 502.
    pub max_size: Size,
}

/// Which bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MaskSide {
    /// Of requests.
    Request,
    /// Of answers.
    #[default]
    Answer,
    /// Of both.
    Both,
}

impl Default for Mask {
    fn default() -> Self {
        Self {
            fields: Vec::new(),
            detect: Vec::new(),
            replacement: "[masked]".to_owned(),
            remove: false,
            on: MaskSide::Answer,
            log_query: Vec::new(),
            max_size: Size::mib(1),
        }
    }
}

impl Settings for Mask {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.fields.is_empty() && self.detect.is_empty() && self.log_query.is_empty() {
            at.error("hides nothing; expected `fields`, `detect` or `logQuery`");
        }
        at.each("fields", &self.fields, |at, path| {
            let is_wrong = |name: &str| {
                let name = name.trim_end_matches("[]");
                name.is_empty() || name.contains(['[', ']'])
            };
            let names: Vec<&str> = path.split('.').collect();
            let is_open = names.last().is_some_and(|last| *last == "**");
            if names.iter().any(|name| is_wrong(name)) || is_open || names.len() > 64 {
                at.error_with(
                    format!("`{path}` is no path"),
                    "names with dots between them, `[]` behind a list's name, `*` for any name, `**` for any depth",
                );
            }
        });
        if self.max_size.bytes() == 0 {
            at.field("maxSize", |at| at.error("expected more than nothing"));
        }
    }
}
