//! Answers that an OpenAPI document describes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FilePath, Size, load::Context};

/// An OpenAPI document (3.0 or 3.1) whose operations are answered: with its examples, or with data in the shape of its
/// schemas. `Prefer: code=404`, `example=name` and `dynamic=true` choose, and `Accept` the media type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mock {
    /// The document, in YAML or JSON.
    pub file: FilePath,
    /// Files that it may refer to, and each other. References lead nowhere else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<FilePath>,
    /// Stands before the paths of the document; the path of its first server without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
    /// Refuse requests that do not fit the document.
    #[serde(default = "yes")]
    pub validate: bool,
    /// Bytes of a request's body that is judged; a larger one is 413.
    #[serde(default = "max_body_size")]
    pub max_body_size: Size,
}

impl Mock {
    /// What is judged must have room, and a bound of what is not judged bounds nothing.
    pub(crate) fn validate_bounds(&self, at: &mut Context<'_, '_>) {
        if self.max_body_size.bytes() == 0 {
            at.field("maxBodySize", |at| at.error("expected more than nothing"));
        } else if !self.validate && at.is_written("maxBodySize") {
            at.field("maxBodySize", |at| {
                at.warning("bodies are bounded where they are judged, and `validate: false` judges none");
            });
        }
    }
}

fn yes() -> bool {
    true
}

fn max_body_size() -> Size {
    Size::mib(1)
}
