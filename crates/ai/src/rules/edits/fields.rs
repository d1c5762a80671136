//! Fields that some target refuses or bounds, by the names that each dialect has for them, and where those of one body
//! stand.

use std::{borrow::Cow, collections::BTreeSet, ops::Range, sync::LazyLock};

use serde_json::{Value, value::RawValue};

use crate::{canon::Feature, dialect::Dialect, members::Members};

/// What a field is for the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A parameter that is taken or refused.
    Plain(Feature),
    /// The most tokens of the answer.
    Most,
    /// Stop sequences.
    Stop,
    /// The form of the answer: JSON, or JSON by a schema.
    Format,
    /// The schema, where it stands beside the form.
    Schema,
    /// Which tool is called.
    Choice,
    /// A word for how much is thought.
    Effort,
    /// How much is thought, in an object.
    Thinking,
    /// Whether anything is thought.
    Switch,
    /// Tokens of thoughts.
    Budget,
    /// What is wanted of a stream.
    Options,
    /// What an answer is to tell besides.
    Include,
}

use Feature as F;
use What::{Budget, Choice, Effort, Format, Include, Most, Options, Plain, Schema, Stop, Switch, Thinking};

type Table = &'static [(&'static str, What)];

const CHAT: Table = &[
    ("max_tokens", Most),
    ("max_completion_tokens", Most),
    ("temperature", Plain(F::Temperature)),
    ("top_p", Plain(F::TopP)),
    ("top_k", Plain(F::TopK)),
    ("frequency_penalty", Plain(F::FrequencyPenalty)),
    ("presence_penalty", Plain(F::PresencePenalty)),
    ("seed", Plain(F::Seed)),
    ("random_seed", Plain(F::Seed)),
    ("stop", Stop),
    ("logit_bias", Plain(F::LogitBias)),
    ("n", Plain(F::Choices)),
    ("logprobs", Plain(F::LogProbabilities)),
    ("top_logprobs", Plain(F::LogProbabilities)),
    ("verbosity", Plain(F::Verbosity)),
    ("modalities", Plain(F::Modalities)),
    ("audio", Plain(F::Modalities)),
    ("service_tier", Plain(F::Tier)),
    ("user", Plain(F::User)),
    ("metadata", Plain(F::Metadata)),
    ("prompt_cache_key", Plain(F::CacheKey)),
    ("store", Plain(F::Store)),
    ("parallel_tool_calls", Plain(F::ParallelToolCalls)),
    ("tool_choice", Choice),
    ("response_format", Format),
    ("stream_options", Options),
    ("reasoning_effort", Effort),
    ("reasoning", Thinking),
    ("thinking", Thinking),
    ("enable_thinking", Switch),
    ("thinking_budget", Budget),
];

const RESPONSES: Table = &[
    ("max_output_tokens", Most),
    ("temperature", Plain(F::Temperature)),
    ("top_p", Plain(F::TopP)),
    ("top_logprobs", Plain(F::LogProbabilities)),
    ("include", Include),
    ("service_tier", Plain(F::Tier)),
    ("user", Plain(F::User)),
    ("metadata", Plain(F::Metadata)),
    ("prompt_cache_key", Plain(F::CacheKey)),
    ("parallel_tool_calls", Plain(F::ParallelToolCalls)),
    ("tool_choice", Choice),
    ("text.verbosity", Plain(F::Verbosity)),
    ("text.format", Format),
    ("reasoning", Thinking),
    ("reasoning.effort", Effort),
];

const ANTHROPIC: Table = &[
    ("max_tokens", Most),
    ("temperature", Plain(F::Temperature)),
    ("top_p", Plain(F::TopP)),
    ("top_k", Plain(F::TopK)),
    ("stop_sequences", Stop),
    ("service_tier", Plain(F::Tier)),
    ("metadata", Plain(F::Metadata)),
    ("tool_choice", Choice),
    ("thinking", Thinking),
    ("output_config.effort", Effort),
    ("output_config.format", Format),
];

const GEMINI: Table = &[
    ("generationConfig.maxOutputTokens", Most),
    ("generationConfig.temperature", Plain(F::Temperature)),
    ("generationConfig.topP", Plain(F::TopP)),
    ("generationConfig.topK", Plain(F::TopK)),
    ("generationConfig.frequencyPenalty", Plain(F::FrequencyPenalty)),
    ("generationConfig.presencePenalty", Plain(F::PresencePenalty)),
    ("generationConfig.seed", Plain(F::Seed)),
    ("generationConfig.stopSequences", Stop),
    ("generationConfig.candidateCount", Plain(F::Choices)),
    ("generationConfig.responseLogprobs", Plain(F::LogProbabilities)),
    ("generationConfig.logprobs", Plain(F::LogProbabilities)),
    ("generationConfig.responseMimeType", Format),
    ("generationConfig.responseSchema", Schema),
    ("generationConfig.responseJsonSchema", Schema),
    ("generationConfig.thinkingConfig", Thinking),
];

const BEDROCK: Table = &[
    ("inferenceConfig.maxTokens", Most),
    ("inferenceConfig.temperature", Plain(F::Temperature)),
    ("inferenceConfig.topP", Plain(F::TopP)),
    ("inferenceConfig.stopSequences", Stop),
    ("additionalModelRequestFields.top_k", Plain(F::TopK)),
    ("additionalModelRequestFields.thinking", Thinking),
    ("outputConfig.effort", Effort),
    ("outputConfig.textFormat", Format),
    ("toolConfig.toolChoice", Choice),
    ("requestMetadata", Plain(F::Metadata)),
    ("serviceTier", Plain(F::Tier)),
];

const COHERE: Table = &[
    ("max_tokens", Most),
    ("temperature", Plain(F::Temperature)),
    ("p", Plain(F::TopP)),
    ("k", Plain(F::TopK)),
    ("frequency_penalty", Plain(F::FrequencyPenalty)),
    ("presence_penalty", Plain(F::PresencePenalty)),
    ("seed", Plain(F::Seed)),
    ("stop_sequences", Stop),
    ("logprobs", Plain(F::LogProbabilities)),
    ("tool_choice", Choice),
    ("response_format", Format),
    ("thinking", Thinking),
];

fn table(dialect: Dialect) -> Table {
    match dialect {
        Dialect::OpenAiChat => CHAT,
        Dialect::OpenAiResponses => RESPONSES,
        Dialect::Anthropic => ANTHROPIC,
        Dialect::Gemini => GEMINI,
        Dialect::Bedrock => BEDROCK,
        Dialect::Cohere => COHERE,
    }
}

/// What Gemini's servers take in snake case as well.
const IN_SNAKE_CASE: &str = "generation_config";

/// The names at the top of a body, of all dialects.
static TOP: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let all = Dialect::ALL.into_iter().flat_map(table);
    let top = |(path, _): &(&'static str, What)| path.split('.').next().unwrap_or_default();
    all.map(top).chain([IN_SNAKE_CASE]).collect()
});

/// The name of a field at the top of a body that rules may be about, or that holds such.
pub(crate) fn ruled(name: &str) -> Option<&'static str> {
    TOP.get(name).copied()
}

/// A field of a body.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) what: What,
    /// Where its value stands.
    pub(super) at: Range<usize>,
    /// Where its name stands, quotes included; nothing where it is not written as it is.
    pub(super) key: Option<Range<usize>>,
    /// Where the object begins that it is in, behind its brace.
    pub(super) begin: usize,
}

/// The fields of a body that rules may be about, in the order of their places. `top` are the places of values at its top.
pub(super) fn fields(body: &[u8], top: &[(&'static str, Range<usize>)], dialect: Dialect) -> Vec<Field> {
    let table = table(dialect);
    let begin = body.iter().position(|byte| *byte == b'{').map_or(0, |open| open + 1);
    let mut out = Vec::new();
    for (name, at) in top {
        let told = told(name, dialect);
        if let Some((name_here, what)) = table.iter().find(|(known, _)| *known == told) {
            let key = key(body, name, at);
            out.push(Field { name: name_here, what: *what, at: at.clone(), key, begin });
        }
        let is_within = |path: &str| path.strip_prefix(&*told).is_some_and(|rest| rest.starts_with('.'));
        if table.iter().any(|(path, _)| is_within(path)) {
            within(body, &told, at, (table, dialect), &mut out);
        }
    }
    out
}

/// The fields of an object.
fn within(
    body: &[u8],
    parent: &str,
    at: &Range<usize>,
    (table, dialect): (Table, Dialect),
    out: &mut Vec<Field>,
) {
    let Some(text) = body.get(at.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()) else { return };
    let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(text) else { return };
    let place = |raw: &RawValue| {
        let begin = at.start + (raw.get().as_ptr() as usize - text.as_ptr() as usize);
        begin..begin + raw.get().len()
    };
    let (mut once, mut twice) = (BTreeSet::new(), BTreeSet::new());
    let first = out.len();
    for (name, raw) in &members {
        let told = told(name, dialect);
        let is_it =
            |path: &str| path.strip_prefix(parent).and_then(|rest| rest.strip_prefix('.')) == Some(&told);
        let Some((path, what)) = table.iter().find(|(path, _)| is_it(path)) else { continue };
        if !once.insert(*path) {
            twice.insert(*path);
            continue;
        }
        let at_value = place(raw);
        let key = key(body, name, &at_value);
        out.push(Field { name: path, what: *what, at: at_value, key, begin: at.start + 1 });
    }
    // One that is there twice is left alone: nobody knows which of the two is read.
    let mut place = 0;
    out.retain(|field| {
        place += 1;
        place <= first || !twice.contains(field.name)
    });
}

/// A name as the tables have it.
fn told(name: &str, dialect: Dialect) -> Cow<'_, str> {
    if dialect == Dialect::Gemini && name.contains('_') { camel(name).into() } else { name.into() }
}

/// `max_output_tokens` as `maxOutputTokens`.
pub(super) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut is_next_large = false;
    for letter in name.chars() {
        match letter {
            '_' => is_next_large = true,
            letter if std::mem::take(&mut is_next_large) => out.push(letter.to_ascii_uppercase()),
            letter => out.push(letter),
        }
    }
    out
}

/// Where the name of a field stands, by the place of its value. `None` where it is not written as it is.
pub(super) fn key(body: &[u8], name: &str, value: &Range<usize>) -> Option<Range<usize>> {
    let before = body.get(..value.start)?.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end();
    let start = before.strip_suffix(b"\"")?.strip_suffix(name.as_bytes())?.strip_suffix(b"\"")?.len();
    Some(start..before.len())
}

/// What a field says; nothing where that is `null`.
pub(super) fn said(body: &[u8], at: &Range<usize>) -> Option<Value> {
    let value: Value = serde_json::from_slice(body.get(at.clone())?).ok()?;
    Some(value).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_body_in_every_dialect() {
        let body = br#"{"generation_config" : { "top_p":0.5,"topK": 3, "x":1 },"contents":[]}"#;
        let found = fields(body, &[("generation_config", 23..55)], Dialect::Gemini);
        let texts: Vec<(&str, &[u8], &[u8])> = found
            .iter()
            .map(|field| (field.name, &body[field.key.clone().expect("a key")], &body[field.at.clone()]))
            .collect();
        assert_eq!(
            texts,
            [
                ("generationConfig.topP", &b"\"top_p\""[..], &b"0.5"[..]),
                ("generationConfig.topK", &b"\"topK\""[..], &b"3"[..])
            ]
        );
        let twice = br#"{"inferenceConfig":{"topP":1,"topP":2,"temperature":0}}"#;
        let found = fields(twice, &[("inferenceConfig", 19..54)], Dialect::Bedrock);
        assert_eq!(found.iter().map(|field| field.name).collect::<Vec<_>>(), ["inferenceConfig.temperature"]);
    }

    #[test]
    fn names_at_the_top_are_known_of_every_dialect() {
        for name in
            ["temperature", "generation_config", "generationConfig", "inferenceConfig", "reasoning", "p"]
        {
            assert_eq!(ruled(name), Some(name));
        }
        assert_eq!(ruled("messages"), None);
        assert_eq!(camel("max_output_tokens"), "maxOutputTokens");
    }

    #[test]
    fn a_name_that_is_written_otherwise_stays() {
        let body = br#"{"temper\u0061ture":0.5}"#;
        assert_eq!(key(body, "temperature", &(20..23)), None);
    }
}
