//! `guardrails`: what may be asked of models, and what they may answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings};
use crate::{Duration, Size, load::Context, load::scope::Named};

/// Rules over what is asked of models and what they answer, on routes with `ai`. What fired is in the access log's
/// `ai.guardrails`; the text is not, unless `recordText` says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guardrails {
    /// The rules. Where two find the same, the first is asked.
    pub rules: Vec<GuardRule>,
    /// Bytes of a stream's text that are held back at most while it is not yet sure whether something is found.
    #[serde(default = "hold_back")]
    pub hold_back: Size,
    /// Bytes of a request's texts, and of an answer's, that `moderation`, `webhook` and `judge` are shown: in pieces of
    /// 128 KiB that overlap, each asked about in turn. Longer requests are refused with 413 and the code
    /// `too_long_to_judge`; on longer answers the rule fires.
    #[serde(default = "judge_at_most")]
    pub judge_at_most: Size,
    /// Record the first few texts that fired, too. They are what the rules are there to keep secret.
    #[serde(default)]
    pub record_text: bool,
    /// What callers are told when a rule refuses; the rule's name without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

fn judge_at_most() -> Size {
    Size::kib(1024)
}

fn hold_back() -> Size {
    Size::kib(4)
}

/// A rule: a name, one thing that it looks for, and what is done about it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GuardRule {
    /// Unique name, for the record and for placeholders.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Where it looks.
    pub on: GuardSide,
    /// What is done about what it finds.
    pub mode: GuardMode,
    /// Looks for personal data and secrets of these kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal_data: Option<Vec<PersonalData>>,
    /// Looks for words and phrases: in any case, as whole words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<String>>,
    /// Looks for regular expressions (of the `regex` crate; `\b` looks at ASCII letters).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patterns: Option<Vec<String>>,
    /// With `mode: block`, refuse only when `words` or `patterns` are found in so many places, in all of a request (its
    /// earlier turns, too) or of an answer: one that is there twice counts twice, so it may be more than there are in the
    /// list. What `mask` and `flag` do they do at each place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub at_least: Option<u32>,
    /// Looks in requests for attempts to talk the model out of its instructions. Heuristics: they see the common ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection: Option<InjectionGuard>,
    /// Finds texts of more characters, all of a request's or of an answer's together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_characters: Option<usize>,
    /// Finds texts in other languages than these, where the language can be told: `en`, `de`, `fr`, `es`, `it`, `pt`,
    /// `nl`, `pl`, `sv`, `tr`, `ru`, `uk`, `el`, `ar`, `he`, `hi`, `th`, `zh`, `ja`, `ko`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// Finds answers that are not JSON of a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<OutputSchema>,
    /// Asks a moderation endpoint of OpenAI's form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moderation: Option<ModerationGuard>,
    /// Asks a service of the operator's own over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookGuard>,
    /// Asks a second model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeGuard>,
}

/// Where a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GuardSide {
    /// At what is asked.
    Request,
    /// At what is answered.
    Answer,
    /// At both.
    #[default]
    Both,
}

/// What is done about what a rule finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GuardMode {
    /// The call is refused with 400 and the code `guardrail_blocked`; a stream that has begun ends as one that the
    /// provider's filter cut.
    #[default]
    Block,
    /// A placeholder takes its place, such as `<EMAIL_1>`. What was masked in a request comes back in the answer as
    /// what it was; what only the answer tells is masked for good.
    Mask,
    /// It is recorded alone.
    Flag,
}

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PersonalData {
    /// Addresses of e-mail.
    Email,
    /// Phone numbers: E.164 and the common forms of Europe and North America.
    Phone,
    /// Payment cards, by issuer and check digit.
    Card,
    /// Bank accounts, by country, length and check digits.
    Iban,
    /// Numbers of persons: of Brazil, France, Germany, Poland, Spain, the United Kingdom and the United States.
    NationalId,
    /// Keys, tokens and private keys.
    Secret,
}

/// Attempts to talk a model out of its instructions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct InjectionGuard {
    /// The score from which on a text counts, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f64,
}

impl Default for InjectionGuard {
    fn default() -> Self {
        Self { threshold: 0.5 }
    }
}

/// Answers that must be JSON of a schema. A stream is held back whole until it is known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutputSchema {
    /// The JSON Schema, as JSON text. Without it, the one that the request asks for; a request that asks for none is
    /// not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Ask the model once more, with what is wrong, before the rule fires.
    pub repair: bool,
}

/// What happens when a service that judges does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnGuardError {
    /// The call is refused with 503.
    #[default]
    Refuse,
    /// The call goes on.
    Pass,
}

/// A moderation endpoint of OpenAI's form (`/moderations`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModerationGuard {
    /// A model of `ai.models`.
    pub model: String,
    /// The categories that count; all without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// The score from which on a category counts; the endpoint's own verdict without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// How long the answer may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// What happens when it does not come.
    #[serde(default)]
    pub on_error: OnGuardError,
}

/// A service that is sent `{"side", "dialect", "model", "consumer", "text"}` and answers
/// `{"verdict": "pass" | "block"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookGuard {
    /// An upstream.
    pub upstream: String,
    /// The path.
    #[serde(default = "root")]
    pub path: String,
    /// How long the answer may take.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// What happens when it does not come.
    #[serde(default)]
    pub on_error: OnGuardError,
}

/// A second model that judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JudgeGuard {
    /// A model of `ai.models`.
    pub model: String,
    /// What it is to find, in words.
    pub instructions: String,
    /// How long the answer may take.
    #[serde(default = "judge_timeout")]
    pub timeout: Duration,
    /// What happens when it does not come.
    #[serde(default)]
    pub on_error: OnGuardError,
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn judge_timeout() -> Duration {
    Duration::from_secs(30)
}

fn root() -> String {
    "/".to_owned()
}

/// Bytes that may be held back of each text of a stream.
const HOLD_BACK: std::ops::RangeInclusive<u64> = 64..=64 * 1024;

impl GuardRule {
    /// The keys of what it looks for.
    fn checks(&self) -> Vec<&'static str> {
        [
            ("personalData", self.personal_data.is_some()),
            ("words", self.words.is_some()),
            ("patterns", self.patterns.is_some()),
            ("injection", self.injection.is_some()),
            ("maxCharacters", self.max_characters.is_some()),
            ("languages", self.languages.is_some()),
            ("jsonSchema", self.json_schema.is_some()),
            ("moderation", self.moderation.is_some()),
            ("webhook", self.webhook.is_some()),
            ("judge", self.judge.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect()
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        let checks = self.checks();
        if self.name.is_empty() {
            at.error("expected a `name`");
        }
        if checks.len() != 1 {
            at.error(format!(
                "expected one of `personalData`, `words`, `patterns`, `injection`, `maxCharacters`, `languages`, \
                 `jsonSchema`, `moderation`, `webhook` and `judge`, found {}",
                if checks.is_empty() { "none".to_owned() } else { checks.join(" and ") }
            ));
        }
        let can_mask = self.personal_data.is_some() || self.words.is_some() || self.patterns.is_some();
        if self.mode == GuardMode::Mask && !can_mask {
            at.field("mode", |at| {
                at.error_with(
                    "what this rule finds has no place in the text that could be masked",
                    "use `block` or `flag`",
                );
            });
        }
        if self.at_least.is_some() && self.words.is_none() && self.patterns.is_none() {
            at.field("atLeast", |at| at.error("`atLeast` counts `words` or `patterns`"));
        } else if self.at_least.is_some_and(|least| least > 1) {
            self.validate_at_least(at);
        }
        let lists = [
            ("personalData", self.personal_data.as_ref().is_some_and(Vec::is_empty)),
            ("words", self.words.as_ref().is_some_and(Vec::is_empty)),
            ("patterns", self.patterns.as_ref().is_some_and(Vec::is_empty)),
            ("languages", self.languages.as_ref().is_some_and(Vec::is_empty)),
        ];
        for (key, _) in lists.into_iter().filter(|(_, empty)| *empty) {
            at.field(key, |at| at.error("expected at least one"));
        }
        at.each("words", self.words.as_deref().unwrap_or_default(), |at, word| {
            if word.trim().is_empty() {
                at.error("expected a word");
            }
        });
        at.each("languages", self.languages.as_deref().unwrap_or_default(), |at, language| {
            if !LANGUAGES.contains(&language.as_str()) {
                at.error_with(
                    format!("`{language}` cannot be told"),
                    format!("those that can: {}", LANGUAGES.join(", ")),
                );
            }
        });
        self.validate_sides(at);
    }

    /// Only what refuses waits for more places than one.
    fn validate_at_least(&self, at: &mut Context<'_, '_>) {
        at.field("atLeast", |at| match self.mode {
            GuardMode::Block => {}
            GuardMode::Mask => at.error_with("each place is masked when it comes", "leave `atLeast` out"),
            GuardMode::Flag => at.warning_with(
                "each place is recorded, however many there are: this does nothing",
                "leave `atLeast` out, or use `mode: block`",
            ),
        });
    }

    fn validate_sides(&self, at: &mut Context<'_, '_>) {
        if self.injection.is_some() && self.on == GuardSide::Answer {
            at.field("on", |at| at.error("`injection` looks at requests"));
        }
        if self.json_schema.is_some() && self.on == GuardSide::Request {
            at.field("on", |at| at.error("`jsonSchema` looks at answers"));
        }
        if let Some(moderation) = &self.moderation {
            at.field("moderation", |at| at.field("model", |at| at.refer(Named::Model, &moderation.model)));
        }
        if let Some(judge) = &self.judge {
            at.field("judge", |at| at.field("model", |at| at.refer(Named::Model, &judge.model)));
        }
        if let Some(webhook) = &self.webhook {
            at.field("webhook", |at| {
                at.field("upstream", |at| at.refer(Named::Upstream, &webhook.upstream));
                if !webhook.path.starts_with('/') || webhook.path.contains(['#', ' ']) {
                    at.field("path", |at| at.error("expected a path that begins with `/`"));
                }
            });
        }
    }
}

/// Languages that can be told.
pub const LANGUAGES: [&str; 20] = [
    "en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "tr", "ru", "uk", "el", "ar", "he", "hi", "th",
    "zh", "ja", "ko",
];

impl Settings for Guardrails {
    fn is_of_ai(&self) -> bool {
        true
    }

    fn guards(&self) -> &[GuardRule] {
        &self.rules
    }

    fn place(&self) -> Place<'_> {
        Place::Validation
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if self.rules.is_empty() {
            at.field("rules", |at| at.error("expected at least one rule"));
        }
        if !HOLD_BACK.contains(&self.hold_back.bytes()) {
            at.field("holdBack", |at| at.error("expected 64 bytes to 64KiB"));
        }
        if self.judge_at_most.bytes() == 0 {
            at.field("judgeAtMost", |at| at.error("expected more than nothing"));
        }
        let mut seen: Vec<&str> = Vec::new();
        at.each("rules", &self.rules, |at, rule| {
            if seen.contains(&rule.name.as_str()) {
                at.field("name", |at| at.error(format!("the name `{}` is there twice", rule.name)));
            }
            seen.push(&rule.name);
            rule.validate(at);
        });
    }
}
