//! Asking a model's targets again when none has answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, resource::tries::RetryBudget};

/// Asks a model's targets again, in the same order, when none of them has answered: after a limit, an overload (5xx, 408,
/// 429), a time-out or a broken connection, as long as nothing has gone to the caller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ModelRetry {
    /// How often they are asked, the first time included.
    #[schemars(range(min = 2, max = 10))]
    pub max_attempts: u32,
    /// The pause before they are asked again, with full jitter. Where a provider says when it takes calls again
    /// (`Retry-After`, its limits' resets), that long instead.
    pub backoff: ModelBackoff,
    /// How long a call may pause in all. A provider that says it takes longer is not waited for.
    pub max_wait: Duration,
    /// Bound of these retries as a share of the model's calls.
    pub budget: RetryBudget,
}

impl Default for ModelRetry {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: ModelBackoff::default(),
            max_wait: Duration::from_secs(10),
            budget: RetryBudget::default(),
        }
    }
}

/// The pause before a model's targets are asked again: drawn from zero up to a bound that grows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ModelBackoff {
    /// Bound of the first pause.
    pub initial: Duration,
    /// Growth of the bound.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub multiplier: f64,
    /// Largest bound.
    pub max: Duration,
}

impl Default for ModelBackoff {
    fn default() -> Self {
        Self { initial: Duration::from_millis(500), multiplier: 2.0, max: Duration::from_secs(8) }
    }
}
