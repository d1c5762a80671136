//! What a call of a model cost, as the result of a tool tells it.

use model::{AiRecord, Usd};
use serde_json::{Value, json};

/// The receipt of a call whose answer has been read to its end.
pub(super) fn of(told: &AiRecord) -> Value {
    let mut receipt = json!({"model": &*told.model});
    if !told.provider.is_empty() {
        receipt["provider"] = (*told.provider).into();
        receipt["servedModel"] = told.served.as_str().into();
    }
    if let Some(cache) = told.cache {
        receipt["cache"] = cache.into();
    }
    let Some(spending) = told.spending() else { return receipt };
    let usage = &spending.usage;
    receipt["usage"] = json!({
        "inputTokens": usage.input,
        "cachedInputTokens": usage.cache_read,
        "outputTokens": usage.output,
        "reasoningTokens": usage.reasoning,
        "isEstimate": spending.is_estimate,
    });
    if let Some(picodollars) = spending.picodollars {
        // A text: as a number it would lose its last places.
        receipt["costUsd"] = Usd::of(picodollars).to_string().into();
    }
    if let Some(prices) = &told.prices {
        receipt["priceTable"] = prices.table().into();
    }
    receipt
}
