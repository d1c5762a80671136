//! Prompts as APIs: a prompt and a model behind a typed endpoint.
//!
//! [`document`](Prompt::document) tells such a route as OpenAPI, [`tool`](Prompt::tool) as a tool of MCP.

mod openapi;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Size;

/// A prompt and a model as an API: typed input, a versioned prompt, typed output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Prompt {
    /// What it does, for people and for models that may call it.
    pub description: String,
    /// The model, by a name of `ai.models`.
    pub model: String,
    /// The name of the version that `messages` are; told in `x-tidegate-prompt-version` and in the record.
    pub version: Option<String>,
    /// What the model is told, oldest first, with `{{ variables }}` of the input.
    pub messages: Vec<PromptMessage>,
    /// Pairs of input and output that show the model how it is done, before the real input.
    pub examples: Vec<Example>,
    /// How the model answers.
    pub parameters: Parameters,
    /// What the model may call. Calls come back to the caller as `toolCalls`.
    pub tools: Vec<PromptTool>,
    /// Whether and what it must call: `auto`, `none`, `required`, or the name of a tool.
    pub tool_choice: Option<String>,
    /// Several versions by their names, in place of `messages`. A caller chooses one with
    /// `x-tidegate-prompt-version`.
    pub versions: BTreeMap<String, PromptVersion>,
    /// The version for callers who choose none; needed when there are several.
    pub default: Option<String>,
    /// JSON Schema of the input, an object. Its properties are the variables of the messages.
    #[schemars(schema_with = "object_schema")]
    pub input: Value,
    /// JSON Schema of the answer, an object. The answer is `{"text": …}` without it.
    #[schemars(schema_with = "optional_object_schema")]
    pub output: Option<Value>,
    /// Ask the model once more when its answer does not fit `output`, and say what is wrong.
    pub repair: bool,
    /// Path at which the OpenAPI document of the route is served to whoever may call it; a `match` of the route must
    /// take it. The admin API has the document without it, too.
    #[schemars(extend("format" = "absolute-path"))]
    pub openapi_path: Option<String>,
    /// Refuse with 422 what cannot be carried whole to the model's dialect, rather than leave it out and name it in
    /// `x-tidegate-dropped`.
    pub strict: bool,
    /// Inputs up to this size are taken.
    pub max_body_size: Size,
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            description: String::new(),
            model: String::new(),
            version: None,
            messages: Vec::new(),
            examples: Vec::new(),
            parameters: Parameters::default(),
            tools: Vec::new(),
            tool_choice: None,
            versions: BTreeMap::new(),
            default: None,
            input: json!({"type": "object"}),
            output: None,
            repair: true,
            openapi_path: None,
            strict: false,
            max_body_size: Size::kib(4 * 1024),
        }
    }
}

fn object_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "additionalProperties": true})
}

fn optional_object_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": ["object", "null"], "additionalProperties": true})
}

/// A message of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptMessage {
    /// Who speaks.
    pub role: PromptRole,
    /// What is said: a template (minijinja), in which values of the input are text and nothing else.
    pub content: String,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PromptRole {
    /// Standing instructions.
    System,
    /// The same under OpenAI's newer name, which ranks below `system`.
    Developer,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// A pair of input and output that shows the model how it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Example {
    /// An input, as a caller would send it.
    pub input: Value,
    /// The answer to it: what fits `output`, or a text without one.
    pub output: Value,
}

/// One of several versions of a prompt. What is left out is the prompt's own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PromptVersion {
    /// The model.
    pub model: Option<String>,
    /// What the model is told.
    pub messages: Vec<PromptMessage>,
    /// Pairs of input and output.
    pub examples: Option<Vec<Example>>,
    /// How the model answers.
    pub parameters: Option<Parameters>,
    /// What the model may call.
    pub tools: Option<Vec<PromptTool>>,
}

/// How the model answers. What a model does not take is left out and named in `x-tidegate-dropped`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Parameters {
    /// 0 to 2; some models take at most 1.
    #[schemars(range(min = 0, max = 2))]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub top_p: Option<f64>,
    /// Most tokens of the answer, thoughts included.
    #[schemars(range(min = 1))]
    pub max_tokens: Option<u64>,
    /// Same seed, same answer, as far as the provider can.
    pub seed: Option<i64>,
    /// The answer ends before the first of these.
    pub stop: Vec<String>,
    /// −2 to 2.
    #[schemars(range(min = -2, max = 2))]
    pub frequency_penalty: Option<f64>,
    /// −2 to 2.
    #[schemars(range(min = -2, max = 2))]
    pub presence_penalty: Option<f64>,
    /// How much it thinks first.
    pub reasoning_effort: Option<ReasoningEffort>,
}

/// How much a model thinks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReasoningEffort {
    /// Not at all.
    None,
    /// The least that there is.
    Minimal,
    /// Little.
    Low,
    /// The common measure.
    Medium,
    /// Much.
    High,
}

impl ReasoningEffort {
    /// The word for it, the same as in configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// A function that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PromptTool {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of its arguments, an object; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "optional_object_schema")]
    pub parameters: Option<Value>,
    /// Arguments must fit the schema exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// One version of a prompt with everything that holds for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edition<'p> {
    /// Its name, if it has one.
    pub name: Option<&'p str>,
    /// The model.
    pub model: &'p str,
    /// What the model is told.
    pub messages: &'p [PromptMessage],
    /// Pairs of input and output.
    pub examples: &'p [Example],
    /// How the model answers.
    pub parameters: &'p Parameters,
    /// What the model may call.
    pub tools: &'p [PromptTool],
}

impl Prompt {
    /// Its versions, the default one first: at least one.
    pub fn editions(&self) -> Vec<Edition<'_>> {
        let mut all: Vec<Edition<'_>> =
            self.versions.iter().map(|(name, own)| self.edition(name, own)).collect();
        if all.is_empty() {
            all.push(Edition {
                name: self.version.as_deref(),
                model: &self.model,
                messages: &self.messages,
                examples: &self.examples,
                parameters: &self.parameters,
                tools: &self.tools,
            });
        }
        all.sort_by_key(|edition| self.default.as_deref() != edition.name);
        all
    }

    fn edition<'p>(&'p self, name: &'p str, own: &'p PromptVersion) -> Edition<'p> {
        Edition {
            name: Some(name),
            model: own.model.as_deref().unwrap_or(&self.model),
            messages: &own.messages,
            examples: own.examples.as_deref().unwrap_or(&self.examples),
            parameters: own.parameters.as_ref().unwrap_or(&self.parameters),
            tools: own.tools.as_deref().unwrap_or(&self.tools),
        }
    }

    /// The JSON Schema of what callers get: `output` or a text, and calls where there are tools.
    pub fn answer_schema(&self) -> Value {
        let answer = self.output.clone().unwrap_or_else(
            || json!({"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}),
        );
        if self.editions().iter().all(|edition| edition.tools.is_empty()) {
            return answer;
        }
        let call = json!({
            "type": "object",
            "required": ["id", "name", "arguments"],
            "properties": {"id": {"type": "string"}, "name": {"type": "string"}, "arguments": {"type": "object"}},
        });
        let calls = json!({
            "type": "object",
            "required": ["toolCalls"],
            "properties": {"text": {"type": "string"}, "toolCalls": {"type": "array", "items": call}},
        });
        json!({"anyOf": [answer, calls]})
    }

    /// The prompt as a tool of MCP, by the name of its route.
    pub fn tool(&self, route: &str) -> Value {
        let mut tool = json!({"name": route, "inputSchema": self.input});
        if !self.description.is_empty() {
            tool["description"] = self.description.as_str().into();
        }
        // MCP's `outputSchema` is an object's; calls come beside it.
        if let (Some(output), true) =
            (&self.output, self.editions().iter().all(|edition| edition.tools.is_empty()))
        {
            tool["outputSchema"] = output.clone();
        }
        tool
    }
}
