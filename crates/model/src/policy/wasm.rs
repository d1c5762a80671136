//! `wasm`: a WebAssembly component judges and changes requests and answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Place, Settings};
use crate::{
    HeaderName, Size,
    load::{Context, scope::Named},
    resource::plugin_route::anything,
};

/// Has a WebAssembly component judge and change requests and answers: those of the two that it exports a function for. A call
/// for which the component traps or goes over one of its bounds is a 500.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wasm {
    /// Name of the plugin in `plugins`; it exports `on-request`, `on-response` or both.
    pub plugin: String,
    /// What the component is configured with, any JSON. No place for secrets: it is shown with the configuration.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    #[schemars(schema_with = "anything")]
    pub config: Value,
    /// When it runs.
    #[serde(default)]
    pub phase: WasmPhase,
    /// Upstreams that the component may send requests to; none without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// Headers of requests that the component reads or sets: a client's `Connection` cannot have them removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderName>,
    /// Bytes of a body that the component asks for, and of the answers of upstreams. A larger request is a 413, a larger answer
    /// a 502.
    #[serde(default = "body_size")]
    pub max_body_size: Size,
    /// Ask the upstream for answers without encoding and whole, so that the component can read their bodies.
    #[serde(default)]
    pub plain_answers: bool,
}

/// When a component runs among the other policies; on the way out the order is reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum WasmPhase {
    /// Before it is known who calls.
    First,
    /// When callers are known, let in and within their limits.
    Validation,
    /// After the cache, as the last before the upstream.
    #[default]
    Transform,
}

fn body_size() -> Size {
    Size::mib(1)
}

impl Settings for Wasm {
    fn place(&self) -> Place<'_> {
        match self.phase {
            WasmPhase::First => Place::Waf,
            WasmPhase::Validation => Place::Validation,
            WasmPhase::Transform => Place::Transform,
        }
    }

    /// The component may refuse calls as it likes.
    fn narrows(&self) -> bool {
        true
    }

    fn moves_paths(&self) -> bool {
        true
    }

    fn runs(&self) -> Option<&str> {
        Some(&self.plugin)
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("plugin", |at| at.refer(Named::Plugin, &self.plugin));
        at.each("upstreams", &self.upstreams, |at, upstream| at.refer(Named::Upstream, upstream));
    }
}
