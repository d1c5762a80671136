//! The AI gateway: providers of models, and the models that clients may name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    catalogue::CatalogueEntry,
    health::OutlierDetection,
    tls::UpstreamTls,
    tries::{Bulkhead, CircuitBreaker, TimeoutOverrides},
    upstream::Pool,
};
use crate::{HeaderName, Secret, Size};

/// Providers of models, and the models that clients may name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ai {
    /// Who serves models, and with which credentials.
    pub providers: Vec<Provider>,
    /// The names that clients use, and what stands behind each.
    pub models: Vec<Model>,
    /// Facts about models over those that ship: new models, other limits and prices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catalogue: Vec<CatalogueEntry>,
}

/// Who serves models, and with which credentials. Its state shows as the upstream `ai:NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Whose API it is, by its name in the catalogue: `openai`, `anthropic`, `gemini`, `cohere`, `mistral`, …;
    /// `openai-compatible` for any other that speaks like OpenAI.
    pub kind: String,
    /// Where it is, as the vendor's own SDK takes it: `http://127.0.0.1:11434/v1` for kinds that speak like OpenAI,
    /// without a version for `anthropic` and `cohere`. The kind's own address without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// What the kind's address and paths leave open: `resource`, `region`, `account`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
    /// Its keys, used in turn.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// Header fields of every request to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<HeaderName, String>,
    /// How long each part of a call may take. Models think before they answer: `request` is 10m without it, and
    /// `idle` 2m.
    #[serde(default)]
    pub timeouts: TimeoutOverrides,
    /// Circuit breaker of the provider; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bound of calls at a time; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<Bulkhead>,
    /// Ejection of addresses that fail live traffic; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards a provider with `https`.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// Connections that are kept.
    #[serde(default)]
    pub pool: Pool,
}

/// A name that clients use, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// What clients ask for. A `*` at its end stands for anything, as in `openai/*`.
    pub name: String,
    /// What serves it. One is drawn by weight; the others follow in their order when it fails before its first byte.
    pub targets: Vec<ModelTarget>,
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelTarget {
    /// Name of a provider.
    pub provider: String,
    /// The model, as the provider names it. `*` is what the client's name has in place of its own `*`.
    pub model: String,
    /// Its share of first tries against the other targets; with 0 it serves only when others fail.
    #[serde(default = "one")]
    #[schemars(range(max = 1000000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// The AI gateway as a handler: every dialect's endpoints below one prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AiRoute {
    /// Taken off the path before the dialect's own endpoint is looked for, as `/ai` in `/ai/v1/chat/completions`.
    pub strip_prefix: Option<String>,
    /// The models of `ai.models` that this route serves, by name; all without it.
    pub models: Option<Vec<String>>,
    /// Refuse with 422 what cannot be carried whole to the model's dialect, rather than leave it out and name it in
    /// `x-tidegate-dropped`.
    pub strict: bool,
    /// Bodies of requests up to this size are taken.
    pub max_body_size: Size,
}

impl Default for AiRoute {
    fn default() -> Self {
        Self { strip_prefix: None, models: None, strict: false, max_body_size: Size::kib(32 * 1024) }
    }
}
