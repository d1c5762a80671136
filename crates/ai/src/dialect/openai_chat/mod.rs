//! OpenAI Chat Completions: `POST /v1/chat/completions`, and everybody who is compatible with it.
//!
//! Shapes: OpenAI's API reference, and the types of its official Python SDK. Beyond it stand the fields in which
//! compatible providers tell thoughts (`reasoning_content`, `reasoning_details`), cache marks (`cache_control` on parts)
//! and pictures in answers (`images`).

pub(super) mod inbound;
pub(super) mod outbound;

use serde_json::{Value, json};

use crate::canon::{Feature, Finish, TokenProbability, Usage};

/// Who issues proofs that come in this dialect.
pub(super) const ISSUER: &str = "openai-chat";

/// The names of features in this dialect.
pub(super) fn feature_name(feature: Feature) -> &'static str {
    match feature {
        Feature::SpeakerName => "name",
        Feature::ParallelToolCalls => "parallel_tool_calls",
        Feature::ToolChoice => "tool_choice",
        Feature::VendorTool | Feature::CustomTool => "tools",
        Feature::Strict => "strict",
        Feature::Temperature => "temperature",
        Feature::TopP => "top_p",
        Feature::TopK => "top_k",
        Feature::FrequencyPenalty => "frequency_penalty",
        Feature::PresencePenalty => "presence_penalty",
        Feature::Seed => "seed",
        Feature::Stop => "stop",
        Feature::LogitBias => "logit_bias",
        Feature::Choices => "n",
        Feature::JsonMode | Feature::JsonSchema => "response_format",
        Feature::Reasoning => "reasoning_effort",
        Feature::ReasoningSummary | Feature::ForeignThoughts => "reasoning_content",
        Feature::LogProbabilities => "logprobs",
        Feature::Modalities => "modalities",
        Feature::Verbosity => "verbosity",
        Feature::Tier => "service_tier",
        Feature::User => "user",
        Feature::Metadata => "metadata",
        Feature::CacheMark => "cache_control",
        Feature::CacheKey => "prompt_cache_key",
        Feature::Store => "store",
        Feature::Conversation => "conversation",
        Feature::MaxOutputTokens => "max_completion_tokens",
        Feature::Image => "image_url",
        Feature::ImageDetail => "image_url.detail",
        Feature::Document | Feature::File => "file",
        Feature::DocumentContext => "file.filename",
        Feature::Audio => "input_audio",
        Feature::Video => "video_url",
        Feature::Citations => "annotations",
        Feature::ToolError => "is_error",
        Feature::VendorPart => "content",
    }
}

/// `finish_reason`. A refusal that is told as one ends like any answer; clients take another end for a filter's.
fn finish_word(finish: &Finish, is_refusal_told: bool) -> &'static str {
    match finish {
        Finish::Refusal if is_refusal_told => "stop",
        Finish::Stop | Finish::StopSequence(_) | Finish::Pause | Finish::Other(_) => "stop",
        Finish::Length | Finish::ContextFull => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
    }
}

/// What a `finish_reason` means.
fn finish_of(word: &str) -> Finish {
    match word {
        "stop" | "eos" | "end_turn" => Finish::Stop,
        "length" | "max_tokens" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

/// The `usage` object.
fn usage_value(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": usage.input_audio,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.output_audio,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    })
}

/// Reads a `usage` object. DeepSeek tells cached tokens as `prompt_cache_hit_tokens`.
pub(super) fn usage_of(value: &Value) -> Option<Usage> {
    let number = |of: Option<&Value>, name: &str| of.and_then(|of| of.get(name)).and_then(Value::as_u64);
    let (all, of_prompt) = (Some(value), value.get("prompt_tokens_details"));
    let of_answer = value.get("completion_tokens_details");
    let cached = number(of_prompt, "cached_tokens").or_else(|| number(all, "prompt_cache_hit_tokens"));
    Some(Usage {
        input: number(all, "prompt_tokens")?,
        cache_read: cached.unwrap_or(0),
        cache_write: number(of_prompt, "cache_write_tokens").unwrap_or(0),
        input_audio: number(of_prompt, "audio_tokens").unwrap_or(0),
        output: number(all, "completion_tokens").unwrap_or(0),
        reasoning: number(of_answer, "reasoning_tokens").unwrap_or(0),
        output_audio: number(of_answer, "audio_tokens").unwrap_or(0),
        ..Usage::default()
    })
}

/// A token in `logprobs.content`.
pub(super) fn probability_value(token: &TokenProbability) -> Value {
    let mut value = alternative_value(token);
    value["top_logprobs"] = token.alternatives.iter().map(alternative_value).collect();
    value
}

/// A token that was likely where another one is.
fn alternative_value(token: &TokenProbability) -> Value {
    json!({
        "token": token.token,
        "logprob": token.log_probability,
        "bytes": token.bytes.as_deref().unwrap_or(token.token.as_bytes()),
    })
}

/// Reads a token in `logprobs.content`.
pub(super) fn probability_of(value: &Value) -> Option<TokenProbability> {
    let bytes = value.get("bytes").and_then(Value::as_array).map(|bytes| {
        bytes.iter().filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect()
    });
    let alternatives = value.get("top_logprobs").and_then(Value::as_array);
    Some(TokenProbability {
        token: value.get("token")?.as_str()?.to_owned(),
        bytes,
        log_probability: value.get("logprob")?.as_f64()?,
        alternatives: alternatives.into_iter().flatten().filter_map(probability_of).collect(),
    })
}
