//! What providers and models take, as the catalogue's files say it, and how it becomes [`Rules`].
//!
//! A file's `[quirks]` come first, then each of its `[[rules]]` in order; a field that a later one sets replaces what
//! an earlier one said.

use serde::{Deserialize, Deserializer, de};

use super::pattern;
use crate::{
    canon::{Effort, Feature},
    rules::{MaxTokensField, ReasoningRule, ReasoningStyle, Rules, SeedField, ThoughtsField},
};

/// Some fields of [`Rules`], for the models that fit.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(super) struct Quirks {
    /// Patterns of names; none means every model.
    pub(super) models: Vec<String>,
    /// Patterns of names that fit, but are not meant.
    except: Vec<String>,
    max_output_tokens: Option<u64>,
    default_max_output_tokens: Option<u64>,
    max_tokens_field: Option<MaxTokensField>,
    reasoning: Option<Reasoning>,
    refuses: Option<Vec<Refused>>,
    /// Refused beside what was refused already.
    also_refuses: Vec<Refused>,
    thoughts: Option<Thoughts>,
    developer_role: Option<bool>,
    stop_sequences: Option<usize>,
    temperature_or_top_p: Option<bool>,
    no_thinking_budget: Option<bool>,
    no_forced_tools: Option<bool>,
    reasoning_style: Option<ReasoningStyle>,
    seed_field: Option<SeedField>,
    no_stream_options: Option<bool>,
    system_turns: Option<SystemTurns>,
    betas: Option<Vec<String>>,
}

/// What becomes of system messages between the turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SystemTurns {
    /// They may stand there.
    Taken,
    /// They are an error.
    Refused,
}

impl Quirks {
    /// Whether they hold for a model.
    pub(super) fn fit(&self, model: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| pattern::fits(pattern, model));
        (self.models.is_empty() || any(&self.models)) && !any(&self.except)
    }

    /// Replaces what they say something about.
    pub(super) fn apply(&self, rules: &mut Rules) {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(from) = from {
                to.clone_from(from);
            }
        }
        if self.max_output_tokens.is_some() {
            rules.max_output_tokens = self.max_output_tokens;
        }
        if self.stop_sequences.is_some() {
            rules.stop_sequences = self.stop_sequences;
        }
        set(&mut rules.default_max_output_tokens, &self.default_max_output_tokens);
        set(&mut rules.max_tokens_field, &self.max_tokens_field);
        set(&mut rules.developer_role, &self.developer_role);
        set(&mut rules.temperature_or_top_p, &self.temperature_or_top_p);
        set(&mut rules.no_thinking_budget, &self.no_thinking_budget);
        set(&mut rules.no_forced_tools, &self.no_forced_tools);
        set(&mut rules.reasoning_style, &self.reasoning_style);
        set(&mut rules.seed_field, &self.seed_field);
        set(&mut rules.no_stream_options, &self.no_stream_options);
        set(&mut rules.betas, &self.betas);
        if let Some(turns) = self.system_turns {
            rules.system_anywhere = turns == SystemTurns::Taken;
            rules.refuses_system_turns = turns == SystemTurns::Refused;
        }
        if let Some(Reasoning(reasoning)) = &self.reasoning {
            rules.reasoning.clone_from(reasoning);
        }
        if let Some(Thoughts(thoughts)) = self.thoughts {
            rules.thoughts = thoughts;
        }
        if let Some(refuses) = &self.refuses {
            rules.refused.clear();
            rules.refused.extend(refuses.iter().map(|refused| refused.0));
        }
        for Refused(feature) in &self.also_refuses {
            if !rules.refuses(*feature) {
                rules.refused.push(*feature);
            }
        }
    }
}

/// Parameters that a file may say are refused. What is not here, the writers of requests never leave out for a rule.
const REFUSABLE: [(&str, Feature); 24] = [
    ("temperature", Feature::Temperature),
    ("top-p", Feature::TopP),
    ("top-k", Feature::TopK),
    ("frequency-penalty", Feature::FrequencyPenalty),
    ("presence-penalty", Feature::PresencePenalty),
    ("seed", Feature::Seed),
    ("stop", Feature::Stop),
    ("logit-bias", Feature::LogitBias),
    ("choices", Feature::Choices),
    ("json-mode", Feature::JsonMode),
    ("json-schema", Feature::JsonSchema),
    ("log-probabilities", Feature::LogProbabilities),
    ("modalities", Feature::Modalities),
    ("verbosity", Feature::Verbosity),
    ("tier", Feature::Tier),
    ("user", Feature::User),
    ("metadata", Feature::Metadata),
    ("cache-key", Feature::CacheKey),
    ("cache-mark", Feature::CacheMark),
    ("store", Feature::Store),
    ("parallel-tool-calls", Feature::ParallelToolCalls),
    ("tool-choice", Feature::ToolChoice),
    ("speaker-name", Feature::SpeakerName),
    ("strict", Feature::Strict),
];

#[derive(Debug, Clone, Copy, PartialEq)]
struct Refused(Feature);

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let found = REFUSABLE.iter().find(|(known, _)| *known == name);
        found.map(|(_, feature)| Self(*feature)).ok_or_else(|| {
            let known: Vec<&str> = REFUSABLE.iter().map(|(name, _)| *name).collect();
            de::Error::custom(format!("`{name}` cannot be refused: expected one of {}", known.join(", ")))
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Reasoning(ReasoningRule);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Thinking {
    efforts: Option<Vec<String>>,
    least: Option<u64>,
    most: Option<u64>,
    #[serde(default)]
    can_be_off: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Word(String),
    Table(Thinking),
}

impl<'de> Deserialize<'de> for Reasoning {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let wrong = || {
            de::Error::custom(
                "expected \"none\", \"as-asked\", { efforts = [\"low\", …] }, or { least = 1024, most = 32000, can-be-off = true }",
            )
        };
        let rule = match Said::deserialize(from).map_err(|_| wrong())? {
            Said::Word(word) if word == "none" => ReasoningRule::None,
            Said::Word(word) if word == "as-asked" => ReasoningRule::AsAsked,
            Said::Table(Thinking { efforts: Some(words), least: None, most: None, can_be_off: false }) => {
                let known: Option<Vec<Effort>> = words.iter().map(|word| Effort::from_word(word)).collect();
                ReasoningRule::Effort(known.filter(|known| !known.is_empty()).ok_or_else(wrong)?)
            }
            Said::Table(Thinking { efforts: None, least: Some(least), most: Some(most), can_be_off })
                if least <= most =>
            {
                ReasoningRule::Budget { least, most, can_be_off }
            }
            _ => return Err(wrong()),
        };
        Ok(Self(rule))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Thoughts(Option<ThoughtsField>);

impl<'de> Deserialize<'de> for Thoughts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match String::deserialize(from)?.as_str() {
            "nowhere" => Ok(Self(None)),
            "reasoning_content" => Ok(Self(Some(ThoughtsField::ReasoningContent))),
            "reasoning_details" => Ok(Self(Some(ThoughtsField::ReasoningDetails))),
            "reasoning" => Ok(Self(Some(ThoughtsField::Reasoning))),
            other => Err(de::Error::custom(format!(
                "`{other}` is no place for thoughts: expected nowhere, reasoning_content, reasoning_details or reasoning"
            ))),
        }
    }
}
