//! `wasm` as a handler: a component answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Size;

/// Has a WebAssembly component answer: it gets the request with its body, and gives status, headers and body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PluginRoute {
    /// Name of the plugin in `plugins`; it exports `handle`.
    pub plugin: String,
    /// What the component is configured with, any JSON. No place for secrets: it is shown with the configuration.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "anything")]
    pub config: Value,
    /// Upstreams that the component may send requests to; none without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// Bytes of a request's body, which is held whole, and of the answers of upstreams.
    #[serde(default = "body_size")]
    pub max_body_size: Size,
}

/// Any JSON.
pub(crate) fn anything(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": ["object", "array", "string", "number", "boolean", "null"],
        "additionalProperties": true,
    })
}

fn body_size() -> Size {
    Size::mib(1)
}
