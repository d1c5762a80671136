//! The catalogue's texts, and what they became once somebody asked.

use std::sync::OnceLock;

use super::{CatalogueError, Models, Provider};

/// A provider's files.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    pub(super) models_text: Option<&'static str>,
    provider: OnceLock<Result<Provider, CatalogueError>>,
    models: OnceLock<Result<Models, CatalogueError>>,
}

impl Entry {
    const fn new(name: &'static str, text: &'static str, models_text: Option<&'static str>) -> Self {
        Self { name, text, models_text, provider: OnceLock::new(), models: OnceLock::new() }
    }

    pub(super) fn provider(&'static self) -> Result<&'static Provider, CatalogueError> {
        let parse = || Provider::parse(&format!("{}.toml", self.name), self.text);
        self.provider.get_or_init(parse).as_ref().map_err(Clone::clone)
    }

    pub(super) fn models(&'static self) -> Result<&'static Models, CatalogueError> {
        let parse = || match self.models_text {
            Some(text) => Models::parse(&format!("{}.models.toml", self.name), text),
            None => Ok(Models::none()),
        };
        self.models.get_or_init(parse).as_ref().map_err(Clone::clone)
    }
}

/// `entry!("name")` for a provider without a table of models, `entry!("name", models)` for one with.
macro_rules! entry {
    ($name:literal) => {
        Entry::new($name, include_str!(concat!("../../catalogue/", $name, ".toml")), None)
    };
    ($name:literal, models) => {
        Entry::new(
            $name,
            include_str!(concat!("../../catalogue/", $name, ".toml")),
            Some(include_str!(concat!("../../catalogue/", $name, ".models.toml"))),
        )
    };
}

/// Every provider, in the order of their names. A test finds the file that is missing here.
pub(super) static ENTRIES: [Entry; 59] = [
    entry!("ai21", models),
    entry!("anthropic", models),
    entry!("azure-foundry", models),
    entry!("azure-openai", models),
    entry!("baseten", models),
    entry!("bedrock", models),
    entry!("bedrock-mantle", models),
    entry!("cerebras", models),
    entry!("cloudflare", models),
    entry!("cohere", models),
    entry!("databricks", models),
    entry!("deepgram", models),
    entry!("deepinfra", models),
    entry!("deepseek", models),
    entry!("elevenlabs", models),
    entry!("fireworks", models),
    entry!("gemini", models),
    entry!("github-models"),
    entry!("groq", models),
    entry!("huggingface"),
    entry!("hunyuan", models),
    entry!("hyperbolic", models),
    entry!("jina", models),
    entry!("llama-cpp"),
    entry!("lm-studio"),
    entry!("minimax", models),
    entry!("mistral", models),
    entry!("moonshot", models),
    entry!("nebius", models),
    entry!("novita", models),
    entry!("nscale", models),
    entry!("nvidia-nim", models),
    entry!("ollama", models),
    entry!("openai", models),
    entry!("openai-compatible"),
    entry!("openrouter"),
    entry!("ovhcloud", models),
    entry!("perplexity", models),
    entry!("qianfan"),
    entry!("qwen", models),
    entry!("sambanova", models),
    entry!("scaleway", models),
    entry!("sglang"),
    entry!("siliconflow"),
    entry!("stability", models),
    entry!("stepfun"),
    entry!("tgi"),
    entry!("together", models),
    entry!("vercel", models),
    entry!("vertex", models),
    entry!("vertex-anthropic", models),
    entry!("vertex-ranking"),
    entry!("vllm"),
    entry!("volcengine", models),
    entry!("voyage", models),
    entry!("wandb", models),
    entry!("watsonx", models),
    entry!("xai", models),
    entry!("zhipu", models),
];
