//! `aiCache`: answers of models that are given again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Duration, Size, load::Context, load::scope::Named, resource::postgres::KeptIn};

/// Gives answers of models again to the same request, on routes with `ai`. Answers are
/// kept as what was said and told in the dialect, and as the stream or whole, that the next caller asks for. Answers
/// carry `x-tidegate-cache`: `hit`, `miss` or `bypass`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AiCache {
    /// How long an answer is given again.
    pub ttl: Duration,
    /// Whose requests share answers.
    pub scope: AiCacheScope,
    /// Answers that are kept; beyond it the one that was not asked for the longest goes.
    #[schemars(range(min = 1, max = 1000000))]
    pub max_entries: usize,
    /// Room for all answers together.
    pub max_size: Size,
    /// Where they are: in the memory of each gateway, or in the `postgres` of the configuration, for all gateways that
    /// share it. While that is away nothing is found and nothing kept.
    pub store: KeptIn,
    /// Answer requests with any `temperature` from the cache, too. Without it only those with 0: others ask for
    /// something new each time.
    pub any_temperature: bool,
    /// Answer requests that offer tools from the cache, too.
    pub tools: bool,
    /// Answer requests that mean about the same, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub semantic: Option<SemanticCache>,
}

impl Default for AiCache {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(3600),
            scope: AiCacheScope::default(),
            max_entries: 10_000,
            max_size: Size::kib(64 * 1024),
            store: KeptIn::default(),
            any_temperature: false,
            tools: false,
            semantic: None,
        }
    }
}

/// Whose requests share answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AiCacheScope {
    /// Those of one consumer; of those who are nobody, none.
    #[default]
    Consumer,
    /// Everybody's who comes past this policy.
    Shared,
}

/// Answers requests that mean about the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SemanticCache {
    /// A model of `ai.models` whose provider has embeddings of OpenAI's form.
    pub model: String,
    /// How alike two questions must be: the cosine of their embeddings.
    #[serde(default = "threshold")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
    /// How long the embedding may take. Beyond it the request goes to its model.
    #[serde(default = "timeout")]
    pub timeout: Duration,
}

fn threshold() -> f64 {
    0.95
}

fn timeout() -> Duration {
    Duration::from_secs(2)
}

impl Settings for AiCache {
    fn is_of_ai(&self) -> bool {
        true
    }

    fn place(&self) -> Place<'_> {
        Place::Validation
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.kept_in(self.store);
        if self.ttl.is_zero() {
            at.field("ttl", |at| at.error("expected more than nothing"));
        }
        if let Some(semantic) = &self.semantic {
            at.field("semantic", |at| {
                at.field("model", |at| at.refer(Named::Model, &semantic.model));
            });
        }
    }

    fn gives_way(&self) -> bool {
        true
    }
}
