//! Gemini: `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`, at the Gemini API and at Vertex.
//!
//! Shapes: the types of Google's official Python SDK. Google's servers read JSON as it stands for protocol buffers:
//! every field in camel case or in snake case, names of enums in any case, base64 in either alphabet. So do the
//! readers of requests here; what is written is camel case.

pub(super) mod inbound;
pub(super) mod outbound;
mod part;
mod schema;
#[cfg(test)]
mod tests;

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use serde_json::{Value, json};

use crate::canon::{Error, Feature, Finish, Proof, ProofKind, TokenProbability, Usage};

/// Who issues proofs that come in this dialect.
pub(super) const ISSUER: &str = "gemini";

/// The name of the dialect in parts that it alone knows.
const DIALECT: &str = "gemini";

/// The names of features in this dialect.
pub(super) fn feature_name(feature: Feature) -> &'static str {
    match feature {
        Feature::SpeakerName => "role",
        Feature::ParallelToolCalls | Feature::ToolChoice => "toolConfig.functionCallingConfig",
        Feature::VendorTool | Feature::CustomTool => "tools",
        Feature::Strict => "toolConfig.functionCallingConfig.mode",
        Feature::Temperature => "generationConfig.temperature",
        Feature::TopP => "generationConfig.topP",
        Feature::TopK => "generationConfig.topK",
        Feature::FrequencyPenalty => "generationConfig.frequencyPenalty",
        Feature::PresencePenalty => "generationConfig.presencePenalty",
        Feature::Seed => "generationConfig.seed",
        Feature::Stop => "generationConfig.stopSequences",
        Feature::LogitBias => "logitBias",
        Feature::Choices => "generationConfig.candidateCount",
        Feature::JsonMode => "generationConfig.responseMimeType",
        Feature::JsonSchema => "generationConfig.responseJsonSchema",
        Feature::Reasoning => "generationConfig.thinkingConfig",
        Feature::ReasoningSummary => "generationConfig.thinkingConfig.includeThoughts",
        Feature::ForeignThoughts => "thoughtSignature",
        Feature::LogProbabilities => "generationConfig.responseLogprobs",
        Feature::Modalities => "generationConfig.responseModalities",
        Feature::Verbosity => "verbosity",
        Feature::Tier => "serviceTier",
        Feature::User => "user",
        Feature::Metadata => "labels",
        Feature::CacheMark | Feature::CacheKey => "cachedContent",
        Feature::Store => "store",
        Feature::Conversation => "conversation",
        Feature::MaxOutputTokens => "generationConfig.maxOutputTokens",
        Feature::Image | Feature::Document | Feature::Audio | Feature::Video => "inlineData",
        Feature::ImageDetail => "mediaResolution",
        Feature::DocumentContext => "displayName",
        Feature::File => "fileData",
        Feature::Citations => "groundingMetadata",
        Feature::ToolError => "functionResponse.response.error",
        Feature::VendorPart => "parts",
    }
}

/// `finishReason`.
fn finish_word(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) | Finish::ToolCalls => "STOP",
        Finish::Length | Finish::ContextFull => "MAX_TOKENS",
        Finish::ContentFilter | Finish::Refusal => "SAFETY",
        Finish::Pause => "CONTINUATION",
        Finish::Other(word) if OTHER_REASONS.contains(&word.as_str()) => word,
        Finish::Other(_) => "OTHER",
    }
}

/// Reasons to end that no other dialect has, and that are no filter's.
const OTHER_REASONS: [&str; 8] = [
    "LANGUAGE",
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "IMAGE_OTHER",
    "NO_IMAGE",
];

/// What a `finishReason` means. Calls end with `STOP` like everything else.
fn finish_of(word: &str, calls: bool) -> Finish {
    match word {
        "STOP" if calls => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR" => Finish::ContentFilter,
        "CONTINUATION" => Finish::Pause,
        other => Finish::Other(other.to_owned()),
    }
}

/// The `usageMetadata` object. Thoughts stand beside the candidates' tokens, not among them.
fn usage_value(usage: &Usage, tier: Option<&str>) -> Value {
    let mut value = json!({
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output.saturating_sub(usage.reasoning),
        "totalTokenCount": usage.total(),
    });
    if usage.cache_read > 0 {
        value["cachedContentTokenCount"] = usage.cache_read.into();
    }
    if usage.reasoning > 0 {
        value["thoughtsTokenCount"] = usage.reasoning.into();
    }
    let answer = usage.output.saturating_sub(usage.reasoning);
    let sides = [
        ("promptTokensDetails", usage.input, usage.input_audio, usage.input_image),
        ("candidatesTokensDetails", answer, usage.output_audio, usage.output_image),
    ];
    for (key, total, audio, image) in sides {
        if audio > 0 || image > 0 {
            let text = total.saturating_sub(audio).saturating_sub(image);
            let all = [("TEXT", text), ("AUDIO", audio), ("IMAGE", image)];
            let counts = all.iter().filter(|(_, count)| *count > 0);
            value[key] = counts.map(|(name, count)| json!({"modality": name, "tokenCount": count})).collect();
        }
    }
    match tier {
        Some("priority") => value["trafficType"] = "ON_DEMAND_PRIORITY".into(),
        Some("flex") => value["trafficType"] = "ON_DEMAND_FLEX".into(),
        Some("default") => value["trafficType"] = "ON_DEMAND".into(),
        _ => {}
    }
    value
}

/// Where a model's method is. Tuned models are beside the others.
pub(super) fn model_path(model: &str, method: &str) -> Result<String, Error> {
    let name = crate::name::segments(model)?;
    let whole = ["models/", "tunedModels/"].iter().any(|folder| name.starts_with(folder));
    Ok(if whole { format!("/{name}:{method}") } else { format!("/models/{name}:{method}") })
}

/// Reads a `usageMetadata` object. Prompts of tools that Google runs are counted apart.
pub(super) fn usage_of(value: &Value) -> Option<Usage> {
    let number = |key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let modality = |key: &str, name: &str| {
        let entries = value.get(key).and_then(Value::as_array).into_iter().flatten();
        entries
            .filter(|entry| entry.get("modality").and_then(Value::as_str) == Some(name))
            .filter_map(|entry| entry.get("tokenCount").and_then(Value::as_u64))
            .fold(0u64, u64::saturating_add)
    };
    if !value.is_object() {
        return None;
    }
    let thoughts = number("thoughtsTokenCount");
    Some(Usage {
        input: number("promptTokenCount").saturating_add(number("toolUsePromptTokenCount")),
        cache_read: number("cachedContentTokenCount"),
        input_audio: modality("promptTokensDetails", "AUDIO"),
        input_image: modality("promptTokensDetails", "IMAGE"),
        output: number("candidatesTokenCount").saturating_add(thoughts),
        reasoning: thoughts,
        output_audio: modality("candidatesTokensDetails", "AUDIO"),
        output_image: modality("candidatesTokensDetails", "IMAGE"),
        ..Usage::default()
    })
}

/// The class of service that Vertex tells with the usage.
fn tier_of(usage: &Value) -> Option<&'static str> {
    match usage.get("trafficType").and_then(Value::as_str)? {
        "ON_DEMAND" => Some("default"),
        "ON_DEMAND_PRIORITY" => Some("priority"),
        "ON_DEMAND_FLEX" => Some("flex"),
        _ => None,
    }
}

/// `logprobsResult`: what was chosen, and beside it what else was likely.
fn probabilities_value(tokens: &[TokenProbability]) -> Value {
    let one =
        |token: &TokenProbability| json!({"token": token.token, "logProbability": token.log_probability});
    let mut value = json!({"chosenCandidates": tokens.iter().map(one).collect::<Vec<_>>()});
    if tokens.iter().any(|token| !token.alternatives.is_empty()) {
        let top = tokens
            .iter()
            .map(|token| json!({"candidates": token.alternatives.iter().map(one).collect::<Vec<_>>()}));
        value["topCandidates"] = top.collect();
    }
    value
}

/// Reads `logprobsResult`.
fn probabilities_of(value: &Value) -> Vec<TokenProbability> {
    let list =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let one = |value: &Value| {
        Some(TokenProbability {
            token: value.get("token")?.as_str()?.to_owned(),
            log_probability: value.get("logProbability").and_then(Value::as_f64).unwrap_or(0.0),
            ..TokenProbability::default()
        })
    };
    let top = list(value, "topCandidates");
    let chosen = list(value, "chosenCandidates");
    let tokens = chosen.iter().enumerate().filter_map(|(at, chosen)| {
        let alternatives = top.get(at).map(|top| list(top, "candidates")).unwrap_or_default();
        Some(TokenProbability { alternatives: alternatives.iter().filter_map(one).collect(), ..one(chosen)? })
    });
    tokens.collect()
}

/// Reads base64 of either alphabet, padded or not.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let url_safe = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if url_safe { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(text).ok()
}

/// Base64 in the standard alphabet with padding, as every other dialect wants it: Google's own SDK for Python writes
/// the other alphabet.
fn standard_base64(text: String) -> String {
    if text.len().is_multiple_of(4) && !text.bytes().any(|byte| matches!(byte, b'-' | b'_')) {
        return text;
    }
    decode(&text).map_or(text, |bytes| general_purpose::STANDARD.encode(bytes))
}

/// Reads a `thoughtSignature`: SDKs hold it as bytes, so what is another vendor's stands in base64 around its envelope.
fn proof_of(text: String, kind: ProofKind) -> Proof {
    let sealed =
        decode(&text).and_then(|bytes| String::from_utf8(bytes).ok()).and_then(|text| Proof::open(&text));
    sealed.unwrap_or_else(|| Proof { issuer: ISSUER.to_owned(), kind, value: text, id: None })
}

/// Writes a `thoughtSignature` for a caller.
fn signature_of(proof: &Proof) -> String {
    if proof.issuer == ISSUER { proof.value.clone() } else { general_purpose::STANDARD.encode(proof.seal()) }
}

/// Writes one `thoughtSignature` for several proofs of other vendors.
fn signature_of_all(proofs: &[Proof]) -> String {
    let sealed: Vec<String> = proofs.iter().map(Proof::seal).collect();
    general_purpose::STANDARD.encode(sealed.join("."))
}

/// The proofs of other vendors that a `thoughtSignature` holds.
fn proofs_of_others(text: &str) -> Vec<Proof> {
    let inner = decode(text).and_then(|bytes| String::from_utf8(bytes).ok());
    inner.map(|inner| Proof::open_all(&inner)).unwrap_or_default()
}
