//! Amazon Bedrock Converse: `POST /model/{id}/converse` and `/converse-stream`.
//!
//! Shapes: the service model in botocore (`bedrock-runtime/2023-09-30`). The model and the wish for a stream stand in
//! the path. Signing is not done here.

mod betas;
mod media;

pub(super) mod inbound;
pub(super) mod outbound;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    canon::{Citation, Feature, Finish, Proof, ProofKind, Usage},
    way::Way,
};

pub(super) use self::betas::with_betas;

/// Who issues the proofs in it: Claude signs here as it does at Anthropic.
pub(super) const ISSUER: &str = super::anthropic::ISSUER;
/// Who understands vendor parts of this dialect.
const DIALECT: &str = "bedrock";

/// The names of features in this dialect.
pub(super) fn feature_name(feature: Feature) -> &'static str {
    match feature {
        Feature::SpeakerName => "name",
        Feature::ParallelToolCalls => "parallelToolCalls",
        Feature::ToolChoice => "toolConfig.toolChoice",
        Feature::VendorTool | Feature::CustomTool => "toolConfig.tools",
        Feature::Strict => "toolSpec.strict",
        Feature::Temperature => "inferenceConfig.temperature",
        Feature::TopP => "inferenceConfig.topP",
        Feature::TopK => "additionalModelRequestFields.top_k",
        Feature::FrequencyPenalty => "frequencyPenalty",
        Feature::PresencePenalty => "presencePenalty",
        Feature::Seed => "seed",
        Feature::Stop => "inferenceConfig.stopSequences",
        Feature::LogitBias => "logitBias",
        Feature::Choices => "n",
        Feature::JsonMode | Feature::JsonSchema => "outputConfig.textFormat",
        Feature::Reasoning => "additionalModelRequestFields.thinking",
        Feature::ReasoningSummary => "additionalModelRequestFields.thinking.display",
        Feature::ForeignThoughts => "reasoningContent",
        Feature::LogProbabilities => "logprobs",
        Feature::Modalities => "modalities",
        Feature::Verbosity => "verbosity",
        Feature::Tier => "serviceTier",
        Feature::User => "user",
        Feature::Metadata => "requestMetadata",
        Feature::CacheMark => "cachePoint",
        Feature::CacheKey => "promptCacheKey",
        Feature::Store => "store",
        Feature::Conversation => "conversation",
        Feature::MaxOutputTokens => "inferenceConfig.maxTokens",
        Feature::Image => "image",
        Feature::ImageDetail => "image.detail",
        Feature::Document => "document",
        Feature::DocumentContext => "document.context",
        Feature::File => "file",
        Feature::Audio => "audio",
        Feature::Video => "video",
        Feature::Citations => "citations",
        Feature::ToolError => "toolResult.status",
        Feature::VendorPart => "content",
    }
}

/// `stopReason`.
fn stop_word(finish: Option<&Finish>, called: bool) -> &'static str {
    match finish {
        Some(Finish::StopSequence(_)) => "stop_sequence",
        Some(Finish::Length) => "max_tokens",
        Some(Finish::ToolCalls) => "tool_use",
        Some(Finish::ContentFilter | Finish::Refusal) => "content_filtered",
        Some(Finish::ContextFull) => "model_context_window_exceeded",
        // Some providers end a turn with calls as any other.
        Some(Finish::Stop | Finish::Pause | Finish::Other(_)) | None if called => "tool_use",
        Some(Finish::Stop | Finish::Pause | Finish::Other(_)) | None => "end_turn",
    }
}

/// What a `stopReason` means. Which sequence stopped it stands beside, where the caller asked for it.
fn finish_of(word: &str, beside: Option<&Value>) -> Finish {
    let sequence = beside.and_then(|beside| beside.get("stop_sequence")).and_then(Value::as_str);
    match word {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopSequence(sequence.map(str::to_owned)),
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "content_filtered" | "guardrail_intervened" => Finish::ContentFilter,
        "refusal" => Finish::Refusal,
        "model_context_window_exceeded" => Finish::ContextFull,
        other => Finish::Other(other.to_owned()),
    }
}

/// The `usage` object. Here `inputTokens` leaves out what was read from the cache or written to it.
fn usage_value(usage: &Usage) -> Value {
    let mut value = json!({
        "inputTokens": usage.input_fresh(),
        "outputTokens": usage.output,
        "totalTokens": usage.total(),
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": usage.cache_write,
    });
    if usage.cache_write_long > 0 {
        let short = usage.cache_write.saturating_sub(usage.cache_write_long);
        value["cacheDetails"] = json!([
            {"ttl": "5m", "inputTokens": short},
            {"ttl": "1h", "inputTokens": usage.cache_write_long},
        ]);
    }
    value
}

/// Reads a `usage` object.
pub(super) fn usage_of(value: &Value) -> Option<Usage> {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    let (read, write) = (number(value, "cacheReadInputTokens"), number(value, "cacheWriteInputTokens"));
    let (cache_read, cache_write) = (read.unwrap_or(0), write.unwrap_or(0));
    let details = value.get("cacheDetails").and_then(Value::as_array).into_iter().flatten();
    let long = details.filter(|detail| detail.get("ttl").and_then(Value::as_str) == Some("1h"));
    Some(Usage {
        input: number(value, "inputTokens")?.saturating_add(cache_read).saturating_add(cache_write),
        cache_read,
        cache_write,
        cache_write_long: long
            .filter_map(|detail| number(detail, "inputTokens"))
            .fold(0, u64::saturating_add),
        output: number(value, "outputTokens").unwrap_or(0),
        ..Usage::default()
    })
}

/// Whether sound is of a format that there is.
pub(super) fn takes_sound(source: &crate::canon::Source) -> bool {
    media::Media::Audio.write(source).is_some()
}

/// Reads a citation.
fn citation_of(value: &Value) -> Citation {
    let text = |pointer: &str| value.at(pointer).and_then(Value::as_str).map(str::to_owned);
    let location =
        value.get("location").and_then(Value::as_object).and_then(|location| location.values().next());
    let sources = value.get("sourceContent").and_then(Value::as_array).into_iter().flatten();
    let quote: String = sources.filter_map(|source| source.get("text").and_then(Value::as_str)).collect();
    Citation {
        quote: Some(quote).filter(|quote| !quote.is_empty()),
        title: text("/title"),
        url: text("/location/web/url").or_else(|| text("/source").filter(|source| source.contains("://"))),
        document: location.and_then(|location| location.get("documentIndex")).and_then(Value::as_u64),
        span: None,
        original: Some(value.clone()),
    }
}

/// The vendor's own form, when the vendor is this one.
fn own_citation(citation: &Citation) -> Option<&Value> {
    let original = citation.original.as_ref()?;
    let own =
        original.get("sourceContent").is_some() || original.get("location").is_some_and(Value::is_object);
    own.then_some(original)
}

/// Writes a citation.
fn citation_value(citation: &Citation) -> Value {
    if let Some(original) = own_citation(citation) {
        return original.clone();
    }
    let mut value = Map::new();
    let mut put = |key: &str, found: Option<Value>| value.extend(found.map(|found| (key.to_owned(), found)));
    put("title", citation.title.as_deref().map(Value::from));
    put("source", citation.url.as_deref().map(Value::from));
    put("sourceContent", citation.quote.as_ref().map(|quote| json!([{"text": quote}])));
    let location = match (&citation.url, citation.document) {
        (Some(url), _) => Some(json!({"web": {"url": url}})),
        (None, Some(index)) => Some(json!({"documentChunk": {"documentIndex": index, "start": 0, "end": 0}})),
        (None, None) => None,
    };
    put("location", location);
    value.into()
}

/// A proof as `redactedContent`. SDKs decode the field from base64 and encode it again, so what is not base64, such as
/// an envelope, is encoded once more.
fn redacted(proof: &Proof) -> String {
    if proof.issuer == ISSUER && STANDARD.decode(&proof.value).is_ok() {
        proof.value.clone()
    } else {
        STANDARD.encode(proof.seal())
    }
}

/// Reads `redactedContent`.
fn redacted_of(text: String) -> Proof {
    let bytes = STANDARD.decode(&text).ok();
    let inner = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    inner.and_then(Proof::open).unwrap_or(Proof {
        issuer: ISSUER.to_owned(),
        kind: ProofKind::Encrypted,
        value: text,
        id: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redacted_thoughts_survive_an_sdk_that_decodes_them() {
        for (issuer, value) in
            [("anthropic", "EmwKAhgBEgy3va3pzix="), ("anthropic", "not base64!"), ("gemini", "AA==")]
        {
            let proof =
                Proof { issuer: issuer.into(), kind: ProofKind::Encrypted, value: value.into(), id: None };
            let bytes = STANDARD.decode(redacted(&proof)).expect("base64");
            assert_eq!(redacted_of(STANDARD.encode(bytes)), proof);
        }
    }
}
