//! OpenAI Responses: `POST /v1/responses`.
//!
//! Shapes: OpenAI's API reference, and the types of its official Python SDK. A conversation is a flat list of items
//! here; consecutive items of the model's are one canonical message. An item of type `reasoning` is where proofs of
//! thought travel: OpenAI's own bare, another vendor's in an envelope, so that agents that send items back keep them.

pub(super) mod inbound;
pub(super) mod outbound;

mod content;
mod echo;
mod hands;
mod thought;

use serde_json::{Value, json};

pub(super) use self::{echo::echo, hands::as_function};
use crate::{
    canon::{Feature, Finish, Part, Usage},
    way::Way,
};

/// Whether an annotation can be made of it.
pub(super) fn shows_citation(citation: &crate::canon::Citation) -> bool {
    content::annotation(citation).is_some()
}

/// Who issues proofs that come in this dialect.
pub(super) const ISSUER: &str = "openai";
/// The name of this dialect, for pieces that only it knows.
const NAME: &str = "openai-responses";

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
        Feature::JsonMode | Feature::JsonSchema => "text.format",
        Feature::Reasoning => "reasoning.effort",
        Feature::ReasoningSummary => "reasoning.summary",
        Feature::ForeignThoughts => "reasoning",
        Feature::LogProbabilities => "top_logprobs",
        Feature::Modalities => "modalities",
        Feature::Verbosity => "text.verbosity",
        Feature::Tier => "service_tier",
        Feature::User => "safety_identifier",
        Feature::Metadata => "metadata",
        Feature::CacheMark => "prompt_cache_breakpoint",
        Feature::CacheKey => "prompt_cache_key",
        Feature::Store => "store",
        Feature::Conversation => "previous_response_id",
        Feature::MaxOutputTokens => "max_output_tokens",
        Feature::Image => "input_image",
        Feature::ImageDetail => "input_image.detail",
        Feature::Document | Feature::File => "input_file",
        Feature::DocumentContext => "input_file.filename",
        Feature::Audio => "input_audio",
        Feature::Video => "input_video",
        Feature::Citations => "annotations",
        Feature::ToolError => "function_call_output.status",
        Feature::VendorPart => "input",
    }
}

/// `status` of a response, and the reason in `incomplete_details`. A refusal that is told as a piece is complete; one that
/// stands among the texts, or is silent, must show itself.
fn status_of(finish: Option<&Finish>, is_refusal_told: bool) -> (&'static str, Option<&'static str>) {
    match finish {
        Some(Finish::Refusal) if !is_refusal_told => ("incomplete", Some("content_filter")),
        Some(Finish::Length | Finish::ContextFull) => ("incomplete", Some("max_output_tokens")),
        Some(Finish::ContentFilter) => ("incomplete", Some("content_filter")),
        None
        | Some(
            Finish::Stop
            | Finish::StopSequence(_)
            | Finish::ToolCalls
            | Finish::Refusal
            | Finish::Pause
            | Finish::Other(_),
        ) => ("completed", None),
    }
}

/// Why a response ended: its status says so, and what it consists of.
fn finish_of<'a>(response: &Value, parts: impl IntoIterator<Item = &'a Part>) -> Option<Finish> {
    let text = |pointer: &str| response.at(pointer).and_then(Value::as_str);
    match (text("/status"), text("/incomplete_details/reason")) {
        (Some("incomplete"), Some("max_output_tokens")) => Some(Finish::Length),
        (Some("incomplete"), Some("content_filter")) => Some(Finish::ContentFilter),
        (Some("incomplete"), reason) => Some(Finish::Other(reason.unwrap_or("incomplete").to_owned())),
        (Some("queued" | "in_progress"), _) => None,
        (Some("completed") | None, _) => Some(finish_of_parts(parts)),
        (Some(other), _) => Some(Finish::Other(other.to_owned())),
    }
}

/// What a complete answer ended with: the dialect does not say it apart.
fn finish_of_parts<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Finish {
    let mut finish = Finish::Stop;
    for part in parts {
        match part {
            Part::ToolCall { .. } => return Finish::ToolCalls,
            Part::Refusal { .. } => finish = Finish::Refusal,
            _ => {}
        }
    }
    finish
}

/// The `usage` object.
fn usage_value(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total(),
    })
}

/// Reads a `usage` object.
pub(super) fn usage_of(value: &Value) -> Option<Usage> {
    let number = |pointer: &str| value.at(pointer).and_then(Value::as_u64);
    Some(Usage {
        input: number("/input_tokens")?,
        cache_read: number("/input_tokens_details/cached_tokens").unwrap_or(0),
        cache_write: number("/input_tokens_details/cache_write_tokens").unwrap_or(0),
        // Of pictures the details are told in these names, of speech written down in the singular.
        input_audio: number("/input_token_details/audio_tokens").unwrap_or(0),
        input_image: number("/input_tokens_details/image_tokens").unwrap_or(0),
        output: number("/output_tokens").unwrap_or(0),
        reasoning: number("/output_tokens_details/reasoning_tokens").unwrap_or(0),
        output_image: number("/output_tokens_details/image_tokens").unwrap_or(0),
        ..Usage::default()
    })
}

/// `service_tier` of an answer: the SDKs know these words alone.
pub(super) fn tier_word(tier: &str) -> &str {
    match tier {
        "auto" | "default" | "flex" | "scale" | "priority" | "fast" | "ultrafast" => tier,
        _ => "default",
    }
}

/// Most letters of an end user's id (OpenAI API reference: `safety_identifier`). Agents put a document into theirs.
const USER_LETTERS_MAX: usize = 64;
const CHECKSUM_LETTERS: usize = 9;

/// An end user's id as it is taken: a longer one is its beginning and a checksum of the whole, always the same.
pub(super) fn user_word(user: &str) -> String {
    if user.chars().count() <= USER_LETTERS_MAX {
        return user.to_owned();
    }
    let kept: String = user.chars().take(USER_LETTERS_MAX - CHECKSUM_LETTERS).collect();
    format!("{kept}_{:08x}", crc32fast::hash(user.as_bytes()))
}

/// Whether a tool is one that OpenAI runs or knows.
pub(super) fn is_hosted(tool: &Value) -> bool {
    matches!(
        tool.get("type").and_then(Value::as_str),
        Some(
            "web_search"
                | "web_search_2025_08_26"
                | "web_search_preview"
                | "web_search_preview_2025_03_11"
                | "file_search"
                | "code_interpreter"
                | "computer"
                | "computer_use_preview"
                | "image_generation"
                | "mcp"
                | "local_shell"
                | "shell"
                | "apply_patch"
                | "tool_search"
                | "namespace"
                | "programmatic_tool_calling"
        )
    )
}
