//! `headers`: changes headers of requests and answers.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::HeaderName;

/// Changes headers of requests and answers. Values are templates: `{{ request.path }}`, `{{ consumer.name }}`,
/// `{{ jwt.sub }}`, `{{ captures.id }}`, `{{ client.address }}`; what is not there is empty.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Headers {
    /// Before the request goes on.
    pub request: HeaderChanges,
    /// Before the answer goes back.
    pub response: HeaderChanges,
}

/// Changes of one head: rename, then remove, then set, then add.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderChanges {
    /// Old name to new name.
    pub rename: BTreeMap<HeaderName, HeaderName>,
    /// Names that are removed.
    pub remove: Vec<HeaderName>,
    /// Values that replace what is there. One that comes out empty removes the header.
    pub set: BTreeMap<HeaderName, String>,
    /// Values that join what is there.
    pub add: BTreeMap<HeaderName, String>,
}
