//! Anthropic Messages: `POST /v1/messages`, and everybody who is compatible with it.
//!
//! Shapes: Anthropic's API reference, and the types of its official Python SDK. What Claude demands of turns and of
//! thinking holds on Bedrock as well, whose dialect uses [`turns`] and [`thinking`] too.

pub(super) mod citation;
pub(super) mod inbound;
#[cfg(test)]
pub(super) mod laws;
pub(super) mod outbound;
pub(super) mod thinking;
pub(super) mod turns;

use serde_json::{Map, Value, json};

use crate::{
    canon::{Feature, Finish, Usage},
    way::Way,
};

/// Who issues proofs that come in this dialect. Claude signs alike on Bedrock.
pub(super) const ISSUER: &str = "anthropic";
/// Who understands vendor parts of this dialect.
const DIALECT: &str = "anthropic";

/// The names of features in this dialect.
pub(super) fn feature_name(feature: Feature) -> &'static str {
    match feature {
        Feature::SpeakerName => "name",
        Feature::ParallelToolCalls => "tool_choice.disable_parallel_tool_use",
        Feature::ToolChoice => "tool_choice",
        Feature::VendorTool | Feature::CustomTool => "tools",
        Feature::Strict => "strict",
        Feature::Temperature => "temperature",
        Feature::TopP => "top_p",
        Feature::TopK => "top_k",
        Feature::FrequencyPenalty => "frequency_penalty",
        Feature::PresencePenalty => "presence_penalty",
        Feature::Seed => "seed",
        Feature::Stop => "stop_sequences",
        Feature::LogitBias => "logit_bias",
        Feature::Choices => "n",
        Feature::JsonMode | Feature::JsonSchema => "output_config.format",
        Feature::Reasoning | Feature::ForeignThoughts => "thinking",
        Feature::ReasoningSummary => "thinking.display",
        Feature::LogProbabilities => "logprobs",
        Feature::Modalities => "modalities",
        Feature::Verbosity => "verbosity",
        Feature::Tier => "service_tier",
        Feature::User => "metadata.user_id",
        Feature::Metadata => "metadata",
        Feature::CacheMark => "cache_control",
        Feature::CacheKey => "prompt_cache_key",
        Feature::Store => "store",
        Feature::Conversation => "conversation",
        Feature::MaxOutputTokens => "max_tokens",
        Feature::Image => "image",
        Feature::ImageDetail => "image.detail",
        Feature::Document => "document",
        Feature::DocumentContext => "document.context",
        Feature::File => "source.file_id",
        Feature::Audio => "audio",
        Feature::Video => "video",
        Feature::Citations => "citations",
        Feature::ToolError => "is_error",
        Feature::VendorPart => "content",
    }
}

/// `stop_reason`, and the `stop_sequence` beside it.
fn stop_words(finish: Option<&Finish>, called: bool, refused: bool) -> (&'static str, Option<&str>) {
    match finish {
        Some(Finish::StopSequence(sequence)) => ("stop_sequence", sequence.as_deref()),
        Some(Finish::Length) => ("max_tokens", None),
        Some(Finish::ToolCalls) => ("tool_use", None),
        Some(Finish::ContentFilter | Finish::Refusal) => ("refusal", None),
        Some(Finish::Pause) => ("pause_turn", None),
        Some(Finish::ContextFull) => ("model_context_window_exceeded", None),
        // Some providers end a turn with calls as any other.
        Some(Finish::Stop | Finish::Other(_)) | None if called => ("tool_use", None),
        Some(Finish::Stop | Finish::Other(_)) | None if refused => ("refusal", None),
        Some(Finish::Stop | Finish::Other(_)) | None => ("end_turn", None),
    }
}

/// What a `stop_reason` means.
fn finish_of(word: &str, sequence: Option<&str>) -> Finish {
    match word {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence(sequence.map(str::to_owned)),
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Refusal,
        "pause_turn" => Finish::Pause,
        "model_context_window_exceeded" => Finish::ContextFull,
        other => Finish::Other(other.to_owned()),
    }
}

/// The `usage` object. Here `input_tokens` leaves out what was read from the cache or written to it.
fn usage_value(usage: &Usage, tier: Option<&str>) -> Value {
    let mut value = json!({
        "input_tokens": usage.input_fresh(),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write.saturating_sub(usage.cache_write_long),
            "ephemeral_1h_input_tokens": usage.cache_write_long,
        },
        "output_tokens": usage.output,
    });
    if usage.reasoning > 0 {
        value["output_tokens_details"] = json!({"thinking_tokens": usage.reasoning});
    }
    if let Some(tier) = tier {
        value["service_tier"] =
            if tier == "priority" || tier == "batch" { tier.into() } else { "standard".into() };
    }
    value
}

/// The class of service in which a call was served, in the canonical word.
fn tier_of(word: &str) -> String {
    if word == "standard" { "default".to_owned() } else { word.to_owned() }
}

/// Reads a `usage` object.
pub(super) fn usage_of(value: &Value) -> Option<Usage> {
    value.get("input_tokens")?;
    let mut counts = Counts::default();
    counts.take(value);
    Some(counts.usage())
}

/// Counts as they come: in a stream later ones replace earlier ones, and those that are missing stay.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    fresh: u64,
    usage: Usage,
}

impl Counts {
    /// Takes a `usage` object.
    fn take(&mut self, value: &Value) {
        let number = |pointer: &str| value.at(pointer).and_then(Value::as_u64);
        let set = |place: &mut u64, found: Option<u64>| *place = found.unwrap_or(*place);
        set(&mut self.fresh, number("/input_tokens"));
        set(&mut self.usage.cache_read, number("/cache_read_input_tokens"));
        set(&mut self.usage.cache_write, number("/cache_creation_input_tokens"));
        set(&mut self.usage.cache_write_long, number("/cache_creation/ephemeral_1h_input_tokens"));
        set(&mut self.usage.output, number("/output_tokens"));
        set(&mut self.usage.reasoning, number("/output_tokens_details/thinking_tokens"));
    }

    /// Counted the canonical way: cached tokens are part of the input.
    fn usage(&self) -> Usage {
        let cached = self.usage.cache_read.saturating_add(self.usage.cache_write);
        Usage { input: self.fresh.saturating_add(cached), ..self.usage }
    }
}

/// An `input` object from arguments as a model wrote them. What is no object is put in one.
pub(super) fn input_value(arguments: &str, custom: bool) -> Value {
    if !custom {
        if arguments.trim().is_empty() {
            return Value::Object(Map::new());
        }
        if let Ok(value @ Value::Object(_)) = serde_json::from_str(arguments) {
            return value;
        }
    }
    json!({"input": arguments})
}
