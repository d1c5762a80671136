//! `static`: files of a directory.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{FilePath, policy::compress::Coding};

/// Files of a directory, for `GET` and `HEAD`: with validators, ranges and encoded forms that lie beside them. Nothing
/// outside the directory is ever read, whatever a path or a symbolic link says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticFiles {
    /// The directory. A relative path starts at the directory of this file. It is looked up anew for every request, so
    /// that a link which leads to another release takes effect at once. Neither the configuration nor a file that it
    /// names may lie in it.
    #[schemars(extend("format" = "directory"))]
    pub root: FilePath,
    /// What is cut off the path before it is looked for, such as `/app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// Names that answer for a directory, the first that is there.
    #[serde(default = "index")]
    pub index: Vec<String>,
    /// The file that answers, with 200, where nothing is at a path and the client accepts HTML: the page of an
    /// application that routes in the browser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spa_fallback: Option<String>,
    /// The file that is the body of a 404.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_found: Option<String>,
    /// Codings in which files may lie beside themselves: `app.js.br`, `app.js.zst`, `app.js.gz`. The client's liking
    /// decides, then this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precompressed: Vec<Coding>,
    /// `Cache-Control` of answers: the first entry that fits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cache_control: Vec<FileCacheControl>,
    /// Files that may be on their way at a time; further requests are 503.
    #[serde(default = "max_open")]
    #[schemars(range(min = 1, max = 100000))]
    pub max_open: u32,
    /// Serve names that begin with a dot, too. `.well-known` always is.
    #[serde(default)]
    pub hidden: bool,
    /// Media types by the ends of names (`wasm: application/wasm`), over those that are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub types: BTreeMap<String, String>,
}

/// How long clients may keep some of the files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileCacheControl {
    /// The directory or file below the root that it is for, such as `assets`; everything without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
    /// The value, such as `public, max-age=31536000, immutable`.
    pub value: String,
}

fn max_open() -> u32 {
    1024
}

fn index() -> Vec<String> {
    vec!["index.html".to_owned()]
}
