//! Tools of the gateway's own in an `mcp` route: operations of an OpenAPI document, prompts, models.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mcp::McpServer;
use crate::{FilePath, Size};

/// Operations of an OpenAPI document (3.0 or 3.1) as tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpOpenapi {
    /// The document, in YAML or JSON, with its references inside of it.
    pub file: FilePath,
    /// Where calls go: a name of `upstreams`, whose resilience and policies hold for them.
    pub upstream: String,
    /// Stands before the paths of the document; the path of its first server without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_path: Option<String>,
    /// The operations that one of these fits become tools; all without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<McpSelect>,
    /// The operations that one of these fits do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<McpSelect>,
    /// Names of tools in place of the document's, by operation: its `operationId`, or `METHOD /path`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// Answers up to this size are told; a larger one is an error.
    #[serde(default = "max_answer_size")]
    pub max_answer_size: Size,
}

fn max_answer_size() -> Size {
    Size::kib(4 * 1024)
}

/// Which operations are meant: those that fit all that is given. `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct McpSelect {
    /// The `operationId`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// One of its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The method, such as `GET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path as the document has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A model as a tool that takes a `prompt` and answers with a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct McpModel {
    /// The tool's name: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// The model, by a name of `ai.models`.
    pub model: String,
    /// What it is good for, for whoever may call it.
    pub description: String,
    /// Standing instructions. Without them callers may give their own as `system`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Most tokens of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u64>,
}

impl McpServer {
    /// Whether its tools are the gateway's own, so that there is no server to connect to.
    pub fn is_local(&self) -> bool {
        self.openapi.is_some() || self.asks_models()
    }

    /// Whether its tools ask models.
    pub fn asks_models(&self) -> bool {
        !self.prompts.is_empty() || !self.models.is_empty()
    }
}
