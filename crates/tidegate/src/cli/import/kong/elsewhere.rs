//! What does here the work of Kong's plugins that are not turned.

/// What does the work of a plugin here, where it is written otherwise than by turning its settings.
pub(super) fn elsewhere(plugin: &str) -> Option<&'static str> {
    Some(match plugin {
        "ai-proxy" | "ai-proxy-advanced" | "ai-request-transformer" | "ai-response-transformer" => {
            "write models under `ai` and a route with `ai`"
        }
        "ai-rate-limiting-advanced" => "`tokenRateLimit` and `budget` bound tokens and money",
        "ai-prompt-guard" | "ai-semantic-prompt-guard" | "ai-sanitizer" => {
            "`guardrails` has rules over what is said"
        }
        "ai-semantic-cache" => "`aiCache` gives known answers",
        "ai-prompt-template" | "ai-prompt-decorator" => "a route with `prompt` has messages of its own",
        "ai-mcp-proxy" => "a route with `mcp` has servers of tools",
        "bot-detection" => "`botDetection` judges clients",
        "http-log" | "tcp-log" | "udp-log" | "syslog" | "loggly" | "kafka-log" => {
            "`accessLog` has sinks of other kinds"
        }
        "opentelemetry" | "zipkin" | "datadog" | "statsd" => {
            "`telemetry.otlp` sends traces and metrics; `/metrics` has them for Prometheus"
        }
        "rate-limiting-advanced" | "response-ratelimiting" => "`rateLimit` and `quota` bound calls",
        "request-validator" | "oas-validation" | "json-threat-protection" | "xml-threat-protection" => {
            "`validate` and `requestLimits` judge requests"
        }
        "injection-protection" => "`waf` has the Core Rule Set",
        "grpc-web" | "grpc-gateway" => "a route with `transcode` speaks gRPC-Web and REST to gRPC",
        "mocking" => "`respond.openapi` answers from a document",
        "canary" => "`weight` of `backends` shares, `strangler` moves",
        "redirect" => "a route with `redirect`",
        "jq" => "`transform` has jq",
        "exit-transformer" => "`normalizeErrors` gives errors one shape",
        "upstream-timeout" => "`timeouts` of the route",
        "graphql-rate-limiting-advanced" | "graphql-proxy-cache-advanced" => {
            "`graphql` judges operations; `cache` keeps answers"
        }
        "kafka-upstream" => "a route with `publish`",
        "proxy-cache-advanced" => "`cache` keeps answers",
        "service-protection" => "`bulkhead` and `circuitBreaker` of the upstream",
        _ => return None,
    })
}
