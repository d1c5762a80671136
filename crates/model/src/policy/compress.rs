//! `compress`: compresses answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Size, load::Context};

/// Compresses answers for clients that accept it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Compress {
    /// Codings, the preferred first.
    #[schemars(length(min = 1))]
    pub algorithms: Vec<Coding>,
    /// Answers that announce fewer bytes are left alone.
    pub min_size: Size,
    /// Media types that are compressed; `text/*` covers a family.
    pub content_types: Vec<String>,
    /// From 1 (fast) to 9 (small).
    #[schemars(range(min = 1, max = 9))]
    pub level: u32,
}

impl Default for Compress {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/*+json",
            "application/javascript",
            "application/xml",
            "application/*+xml",
            "image/svg+xml",
        ];
        Self {
            algorithms: vec![Coding::Zstd, Coding::Br, Coding::Gzip],
            min_size: Size::kib(1),
            content_types: types.map(str::to_owned).to_vec(),
            level: 4,
        }
    }
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[derive(Hash)]
pub enum Coding {
    /// RFC 1952.
    #[default]
    Gzip,
    /// RFC 7932.
    Br,
    /// RFC 8878.
    Zstd,
}

impl Settings for Compress {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn gives_way(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.each("contentTypes", &self.content_types, |at, kind| {
            if !kind.contains('/') {
                at.error("expected a media type such as `application/json` or `text/*`");
            }
        });
    }
}
