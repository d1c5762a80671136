//! What the configuration knows of models beside what ships: new models, and other facts about known ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Facts about a model, over those that ship. What is left out is as it ships.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CatalogueEntry {
    /// The kind of provider: `openai`, `anthropic`, …
    pub kind: String,
    /// The model, as its provider names it.
    pub model: String,
    /// Most tokens of a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub context: Option<u64>,
    /// Most tokens of an answer; requests for more are lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_output: Option<u64>,
    /// What it can: `tools`, `vision`, `reasoning`, `json-schema`, … as `tidegate models --can` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub can: Option<Vec<String>>,
    /// What a million tokens cost in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<CataloguePrice>,
}

/// What a million tokens cost, in US dollars with at most six places. All of a model's prices are replaced at once.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CataloguePrice {
    /// Of the prompt.
    pub input: Option<f64>,
    /// Of the answer.
    pub output: Option<f64>,
    /// Read from the prompt cache.
    pub cache_read: Option<f64>,
    /// Written to the prompt cache.
    pub cache_write: Option<f64>,
}
