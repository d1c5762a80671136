//! Cohere Chat v2: `POST /v2/chat`.
//!
//! Shapes: the types of Cohere's official Python SDK. The dialect has no place for signatures of thoughts: they ride on
//! the ids of calls.

mod citation;
pub(super) mod inbound;
pub(super) mod outbound;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::{
    canon::{ErrorKind, Feature, Finish, TokenProbability, Usage},
    way::Way,
};

/// The names of features in this dialect.
pub(super) fn feature_name(feature: Feature) -> &'static str {
    match feature {
        Feature::SpeakerName => "name",
        Feature::ParallelToolCalls => "parallel_tool_calls",
        Feature::ToolChoice => "tool_choice",
        Feature::VendorTool | Feature::CustomTool => "tools",
        Feature::Strict => "strict_tools",
        Feature::Temperature => "temperature",
        Feature::TopP => "p",
        Feature::TopK => "k",
        Feature::FrequencyPenalty => "frequency_penalty",
        Feature::PresencePenalty => "presence_penalty",
        Feature::Seed => "seed",
        Feature::Stop => "stop_sequences",
        Feature::LogitBias => "logit_bias",
        Feature::Choices => "num_generations",
        Feature::JsonMode => "response_format",
        Feature::JsonSchema => "response_format.json_schema",
        Feature::Reasoning => "thinking",
        Feature::ReasoningSummary | Feature::ForeignThoughts => "content.thinking",
        Feature::LogProbabilities => "logprobs",
        Feature::Modalities => "modalities",
        Feature::Verbosity => "verbosity",
        Feature::Tier => "priority",
        Feature::User => "user",
        Feature::Metadata => "metadata",
        Feature::CacheMark | Feature::CacheKey => "cache",
        Feature::Store => "store",
        Feature::Conversation => "conversation",
        Feature::MaxOutputTokens => "max_tokens",
        Feature::Image => "image_url",
        Feature::ImageDetail => "image_url.detail",
        Feature::Document | Feature::File => "documents",
        Feature::DocumentContext => "documents.data",
        Feature::Audio => "audio",
        Feature::Video => "video",
        Feature::Citations => "citations",
        Feature::ToolError => "tool_call_id",
        Feature::VendorPart => "content",
    }
}

/// `finish_reason`.
fn finish_word(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Pause | Finish::Other(_) => "COMPLETE",
        Finish::StopSequence(_) => "STOP_SEQUENCE",
        Finish::Length | Finish::ContextFull => "MAX_TOKENS",
        Finish::ToolCalls => "TOOL_CALL",
        Finish::ContentFilter | Finish::Refusal => "ERROR_TOXIC",
    }
}

/// What a `finish_reason` means.
fn finish_of(word: &str) -> Finish {
    match word {
        "COMPLETE" => Finish::Stop,
        "STOP_SEQUENCE" => Finish::StopSequence(None),
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        "ERROR_TOXIC" => Finish::ContentFilter,
        "ERROR_LIMIT" => Finish::ContextFull,
        other => Finish::Other(other.to_owned()),
    }
}

/// The `usage` object.
fn usage_value(usage: &Usage) -> Value {
    let counts = json!({"input_tokens": usage.input, "output_tokens": usage.output});
    let mut value = json!({"billed_units": counts, "tokens": counts});
    if usage.cache_read > 0 {
        value["cached_tokens"] = usage.cache_read.into();
    }
    value
}

/// Reads a `usage` object. What is billed counts: `tokens` has the provider's own template in it, which nobody pays.
pub(super) fn usage_of(value: &Value) -> Option<Usage> {
    let number = |pointer: &str| {
        let number = value.at(pointer)?;
        // Counts may be written as 12.0.
        number
            .as_u64()
            .or_else(|| number.as_f64().filter(|count| (0.0..9e15).contains(count)).map(|count| count as u64))
    };
    let count =
        |key: &str| number(&format!("/billed_units/{key}")).or_else(|| number(&format!("/tokens/{key}")));
    let input = count("input_tokens")?;
    Some(Usage {
        input,
        cache_read: number("/cached_tokens").unwrap_or(0).min(input),
        output: count("output_tokens").unwrap_or(0),
        ..Usage::default()
    })
}

/// An item of `logprobs`: a piece of text and its tokens.
fn probability_value(token: &TokenProbability) -> Value {
    json!({"text": token.token, "token_ids": [], "logprobs": [token.log_probability]})
}

/// Reads an item of `logprobs`. A piece of several tokens is as likely as all of them together.
fn probability_of(value: &Value) -> Option<TokenProbability> {
    let each = value.get("logprobs").and_then(Value::as_array)?;
    Some(TokenProbability {
        token: value.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
        log_probability: each.iter().filter_map(Value::as_f64).sum(),
        ..TokenProbability::default()
    })
}

/// Words for kinds of failure, in the gateway's own errors: Cohere's have a message alone.
const KINDS: [(&str, ErrorKind); 12] = [
    ("invalid_request", ErrorKind::Invalid),
    ("authentication", ErrorKind::Authentication),
    ("permission", ErrorKind::Permission),
    ("not_found", ErrorKind::NotFound),
    ("too_large", ErrorKind::TooLarge),
    ("context_length", ErrorKind::ContextLength),
    ("content_filter", ErrorKind::ContentFilter),
    ("rate_limit", ErrorKind::RateLimited),
    ("quota", ErrorKind::Quota),
    ("server", ErrorKind::Server),
    ("overloaded", ErrorKind::Overloaded),
    ("timeout", ErrorKind::Timeout),
];
