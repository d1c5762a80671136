//! What to do about settings of LiteLLM's that have no counterpart.

use serde_json::Value;

use crate::cli::import::leftovers::with_remedies;

/// What is to be done about a setting that has no counterpart, by its last name.
fn remedy(key: &str) -> Option<&'static str> {
    Some(match key {
        "max_retries" | "retry_policy" | "retry_after" | "model_group_retry_policy" => {
            "a call that fails goes to the model's next target at once; `retry` of the model asks all of them again"
        }
        "database_url" | "store_model_in_db" | "database_connection_pool_limit" | "proxy_batch_write_at" => {
            "what budgets have spent is kept in `--data-dir` or in `redis`; keys are `consumers`"
        }
        "tags" | "tag_regex" | "enable_tag_filtering" => {
            "`when` of a target chooses by header, consumer or claim"
        }
        "alerting" | "alerting_threshold" | "alert_types" => "alerts are in deploy/prometheus/rules.yaml",
        "max_parallel_requests" => "`keyQueue: {maxConcurrent: …}` of the provider bounds calls at its keys",
        "global_max_parallel_requests" => "`concurrencyLimit` of the route bounds calls",
        "max_budget" | "budget_duration" => "`budget: {key: model}` of the route bounds each model",
        "provider_budget_config" => "`budget: {key: model}` of the route bounds each model",
        "itpm" | "otpm" => "`tokenRateLimit: {input: …, output: …, key: model}` of the route bounds tokens",
        "base_model" => "`ai.prices` has prices of one's own, `ai.catalogue` facts",
        "mock_response" => "a route with `respond` answers without a model",
        "organization" => "`headers: {openai-organization: …}` of the provider",
        "extra_headers" | "default_headers" => "`headers` of the provider",
        "custom_auth"
        | "enable_jwt_auth"
        | "enable_oauth2_auth"
        | "enable_oauth2_proxy_auth"
        | "litellm_jwtauth" => "`jwt`, `oidc` and `keyAuth` say who calls",
        "allowed_routes" => "`match` of the route says which paths are served",
        "max_request_size_mb" => "`requestLimits: {maxBodySize: …}` of the route bounds bodies",
        "environment_variables" => "set them in the environment of the process",
        "pass_through_endpoints" => "a route with `backends` passes anything on",
        "mcp_servers" => "a route with `mcp` has servers of tools",
        _ => return None,
    })
}

/// Tells everything that is left, by its path and with what to do about it.
pub(super) fn leftovers(value: &Value, path: &str, notes: &mut Vec<String>) {
    with_remedies(value, path, remedy, notes);
}
