//! `normalizeErrors`: makes problem documents of services' errors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, mask::warn_of_another_language, transform::status};
use crate::{Size, load::Context};

/// Makes problem documents (RFC 9457) of services' errors, whatever their shape. The status stays, and so do fields such as
/// `Retry-After`, `WWW-Authenticate` and `Allow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NormalizeErrors {
    /// Statuses whose answers become problem documents: `404`, or a class such as `5xx`.
    pub on: Vec<String>,
    /// Let answers pass that are problem documents already.
    pub keep_problems: bool,
    /// Where in a JSON body a text stands that clients may be told as `detail`: names with dots between them; the first that
    /// is there counts. Without any, nothing of the body is told.
    pub detail_from: Vec<String>,
    /// Statuses whose `detail` is told.
    pub detail_on: Vec<String>,
    /// Bytes of a body that is looked into for it.
    pub max_size: Size,
}

impl Default for NormalizeErrors {
    fn default() -> Self {
        Self {
            on: vec!["4xx".to_owned(), "5xx".to_owned()],
            keep_problems: true,
            detail_from: Vec::new(),
            detail_on: vec!["4xx".to_owned()],
            max_size: Size::kib(64),
        }
    }
}

impl Settings for NormalizeErrors {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.on.is_empty() {
            at.field("on", |at| at.error("expected at least one status"));
        }
        for (key, all) in [("on", &self.on), ("detailOn", &self.detail_on)] {
            at.each(key, all, |at, text| {
                if status(text).is_none_or(|status| (2..4).contains(&status) || (200..400).contains(&status))
                {
                    at.error(format!("expected a status of errors such as `404` or `5xx`, found `{text}`"));
                }
            });
        }
        at.each("detailFrom", &self.detail_from, |at, path| {
            if path.split('.').any(str::is_empty) {
                at.error_with(
                    format!("`{path}` is no path"),
                    "names with dots between them, such as `error.message`",
                );
            } else {
                warn_of_another_language(path, at);
            }
        });
    }
}
