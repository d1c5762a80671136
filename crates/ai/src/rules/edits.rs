//! Rules for a request that passes in its own dialect: what its target is known to refuse is taken out of the bytes, or
//! written otherwise, where it stands; everything else stays byte for byte. Each change is named in the loss report,
//! unless what goes says no more than nothing would.
//!
//! Fields at the top of the document are looked at and none below: what stands deeper passes as it is.

use std::ops::Range;

use serde_json::Value;

use super::{MaxTokensField, ReasoningRule, ReasoningStyle, Rules};
use crate::{
    canon::{Feature, Losses},
    dialect::Dialect,
};

/// A piece of a body, and what stands there instead.
pub type Cut = (Range<usize>, String);

/// Fields at the top of a body that some target refuses, and what they are. Their places are noted when a body is read
/// over.
pub(crate) const FIELDS: [(&str, Feature); 21] = [
    ("temperature", Feature::Temperature),
    ("top_p", Feature::TopP),
    ("top_k", Feature::TopK),
    ("frequency_penalty", Feature::FrequencyPenalty),
    ("presence_penalty", Feature::PresencePenalty),
    ("seed", Feature::Seed),
    ("stop", Feature::Stop),
    ("logit_bias", Feature::LogitBias),
    ("n", Feature::Choices),
    ("logprobs", Feature::LogProbabilities),
    ("top_logprobs", Feature::LogProbabilities),
    ("verbosity", Feature::Verbosity),
    ("service_tier", Feature::Tier),
    ("user", Feature::User),
    ("metadata", Feature::Metadata),
    ("prompt_cache_key", Feature::CacheKey),
    ("store", Feature::Store),
    ("parallel_tool_calls", Feature::ParallelToolCalls),
    ("reasoning_effort", Feature::Reasoning),
    ("reasoning", Feature::Reasoning),
    ("thinking", Feature::Reasoning),
];

/// The names of the most tokens of an answer.
const MOST: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// The name of a field that rules may be about.
pub(crate) fn ruled(name: &str) -> Option<&'static str> {
    MOST.into_iter().chain(FIELDS.iter().map(|(known, _)| *known)).find(|known| *known == name)
}

/// The changes that a target needs. `places` are those of the values of ruled fields, in their order.
pub(crate) fn edits(
    body: &[u8],
    places: &[(&'static str, Range<usize>)],
    dialect: Dialect,
    rules: &Rules,
    losses: &mut Losses,
) -> Vec<Cut> {
    let value = |at: &Range<usize>| serde_json::from_slice::<Value>(body.get(at.clone()).unwrap_or_default());
    let has = |name: &str| {
        places.iter().any(|(known, at)| *known == name && !matches!(value(at), Ok(Value::Null) | Err(_)))
    };
    let (mut cuts, mut gone) = (Vec::new(), Vec::new());
    for (name, at) in places {
        // Nothing is said by `null`.
        let Some(said) = value(at).ok().filter(|said| !said.is_null()) else { continue };
        if MOST.contains(name) {
            let is_old = *name == "max_tokens" && !has("max_completion_tokens");
            if is_old
                && dialect == Dialect::OpenAiChat
                && demands_new_name(rules)
                && let Some(key) = key(body, name, at)
            {
                cuts.push((key, "\"max_completion_tokens\"".to_owned()));
            }
            if let (Some(most), Some(asked)) = (rules.max_output_tokens, said.as_u64())
                && asked > most
            {
                losses.feature(Feature::MaxOutputTokens);
                cuts.push((at.clone(), most.to_string()));
            }
            continue;
        }
        let Some((_, feature)) = FIELDS.iter().find(|(known, _)| known == name) else { continue };
        let is_refused = match *name {
            "reasoning_effort" => {
                dialect == Dialect::OpenAiChat
                    && rules.reasoning == ReasoningRule::None
                    && rules.reasoning_style == ReasoningStyle::Effort
            }
            "reasoning" => dialect == Dialect::OpenAiResponses && rules.reasoning == ReasoningRule::None,
            "thinking" => {
                let is_off = said.get("type").is_some_and(|kind| kind == "disabled");
                dialect == Dialect::Anthropic && rules.reasoning == ReasoningRule::None && !is_off
            }
            "top_p" if rules.temperature_or_top_p && has("temperature") => true,
            // What is kept or not is another question where answers can be asked for later.
            "store" => rules.refuses(*feature) && dialect == Dialect::OpenAiChat,
            _ => rules.refuses(*feature),
        };
        if is_refused && let Some(key) = key(body, name, at) {
            if !is_as_ever(name, &said) {
                losses.feature(*feature);
            }
            gone.push(key.start..at.end);
        }
    }
    cuts.extend(without(body, gone).into_iter().map(|at| (at, String::new())));
    cuts
}

/// OpenAI's reasoning models refuse `max_tokens`; others that prefer the new name take the old one.
fn demands_new_name(rules: &Rules) -> bool {
    rules.max_tokens_field == MaxTokensField::MaxCompletionTokens
        && matches!(rules.reasoning, ReasoningRule::Effort(_))
}

/// Whether a value says what would be meant if nothing were said.
fn is_as_ever(name: &str, said: &Value) -> bool {
    match name {
        "temperature" | "top_p" | "n" => said.as_f64() == Some(1.0),
        "frequency_penalty" | "presence_penalty" => said.as_f64() == Some(0.0),
        "store" | "logprobs" => *said == Value::Bool(false),
        "parallel_tool_calls" => *said == Value::Bool(true),
        "service_tier" => matches!(said.as_str(), Some("auto" | "default")),
        "logit_bias" | "metadata" => said.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

/// Where the name of a field stands, by the place of its value. `None` where it is not written as it is.
fn key(body: &[u8], name: &str, value: &Range<usize>) -> Option<Range<usize>> {
    let before = body.get(..value.start)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let start = before.strip_suffix(b"\"")?.strip_suffix(name.as_bytes())?.strip_suffix(b"\"")?.len();
    Some(start..before.len())
}

/// Fields with the commas that go with them: the one before, and for those at the very beginning the one behind.
fn without(body: &[u8], fields: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let blank = |at: Range<usize>| body.get(at).is_some_and(|between| between.trim_ascii().is_empty());
    let mut lead = body.iter().position(|byte| *byte == b'{').map_or(0, |open| open + 1);
    let mut out = Vec::with_capacity(fields.len());
    for field in fields {
        if blank(lead..field.start) {
            let behind = body.get(field.end..).unwrap_or_default();
            let space = behind.len() - behind.trim_ascii_start().len();
            let end = field.end + if behind.get(space) == Some(&b',') { space + 1 } else { 0 };
            lead = end;
            out.push(field.start..end);
        } else {
            let before = body.get(..field.start).unwrap_or_default().trim_ascii_end();
            let start = if before.ends_with(b",") { before.len() - 1 } else { field.start };
            out.push(start..field.end);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalogue, peek::Peek};

    fn check(dialect: Dialect, (provider, model): (&str, &str), body: &str, want: &str, lost: &[Feature]) {
        let rules = catalogue::rules(provider, model);
        let peek = Peek::of(body.as_bytes()).expect("JSON");
        let mut losses = Losses::default();
        let cuts = peek.edits(body.as_bytes(), dialect, &rules, &mut losses);
        let out = peek.edited(body.as_bytes(), Some(model), dialect == Dialect::OpenAiChat, cuts);
        assert_eq!(String::from_utf8(out).expect("text"), want, "{provider} {model} {body}");
        let mut named = Losses::default();
        lost.iter().for_each(|feature| named.feature(*feature));
        assert_eq!(losses, named, "{provider} {model} {body}");
        serde_json::from_str::<Value>(want).expect("JSON");
    }

    #[test]
    fn what_a_model_refuses_goes_and_all_else_stays() {
        use Dialect::{Anthropic, OpenAiChat, OpenAiResponses};
        let o3 = ("openai", "o3");
        for (body, want, lost) in [
            (
                r#"{ "model":"o3", "max_tokens" : 5,"temperature":0.5, "x":1.50}"#,
                r#"{ "model":"o3", "max_completion_tokens" : 5, "x":1.50}"#,
                &[Feature::Temperature][..],
            ),
            // At the beginning, at the end, and one behind the other.
            (
                r#"{"temperature":0.5,"top_p":0.1,"model":"o3"}"#,
                r#"{"model":"o3"}"#,
                &[Feature::Temperature, Feature::TopP],
            ),
            (
                r#"{"model":"o3","temperature":0.5,"top_p":0.1 }"#,
                r#"{"model":"o3" }"#,
                &[Feature::Temperature, Feature::TopP],
            ),
            (
                r#"{"temperature":0,"model":"o3","logit_bias":{"5":1},"stream":false,"presence_penalty":2}"#,
                r#"{"model":"o3","stream":false}"#,
                &[Feature::Temperature, Feature::LogitBias, Feature::PresencePenalty],
            ),
            // What says nothing goes unnamed, and nothing is not looked at.
            (r#"{"model":"o3","temperature":1}"#, r#"{"model":"o3"}"#, &[]),
            (r#"{"model":"o3","temperature":null}"#, r#"{"model":"o3","temperature":null}"#, &[]),
            (
                r#"{"model":"o3","max_completion_tokens":7,"seed":3}"#,
                r#"{"model":"o3","max_completion_tokens":7,"seed":3}"#,
                &[],
            ),
        ] {
            check(OpenAiChat, o3, body, want, lost);
        }
        // Of other models nothing is known that would be refused.
        let plain = r#"{"model":"gpt-4o","max_tokens":5,"temperature":0.5,"user":"u"}"#;
        check(OpenAiChat, ("openai", "gpt-4o"), plain, plain, &[]);
        let plain = plain.replace("gpt-4o", "ours");
        check(OpenAiChat, ("openai-compatible", "ours"), &plain, &plain, &[]);
        check(
            OpenAiChat,
            ("openai", "gpt-4o"),
            r#"{"model":"gpt-4o","reasoning_effort":"low","max_tokens":999999}"#,
            r#"{"model":"gpt-4o","max_tokens":16384}"#,
            &[Feature::Reasoning, Feature::MaxOutputTokens],
        );
        check(
            OpenAiResponses,
            o3,
            r#"{"model":"o3","temperature":0.5,"input":"x"}"#,
            r#"{"model":"o3","input":"x"}"#,
            &[Feature::Temperature],
        );
        check(
            OpenAiChat,
            ("groq", "llama-3.3-70b-versatile"),
            r#"{"model":"llama-3.3-70b-versatile","logit_bias":{"1":1},"temperature":0.1}"#,
            r#"{"model":"llama-3.3-70b-versatile","temperature":0.1}"#,
            &[Feature::LogitBias],
        );
        let claude = r#"{"model":"claude-sonnet-4-5","temperature":0.5,"max_tokens":9}"#;
        check(Anthropic, ("anthropic", "claude-sonnet-4-5"), claude, claude, &[]);
    }

    #[test]
    fn a_name_that_is_written_otherwise_stays() {
        let body = br#"{"temper\u0061ture":0.5}"#;
        assert_eq!(key(body, "temperature", &(20..23)), None);
    }
}
