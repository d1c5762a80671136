//! What a provider and a model take and refuse, as data: the writers of requests apply it, so that a call does not
//! fail for a parameter that the caller could not know about.

pub(crate) mod edits;
mod measure;

use serde::Deserialize;

pub use self::edits::Cut;
pub(crate) use self::measure::{Measure, nearest};

use crate::canon::{Effort, Feature};

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The model, as its provider names it.
    pub model: &'a str,
    /// What it takes.
    pub rules: &'a Rules,
}

/// What a model at a provider takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Most tokens that it can answer with; a request for more is lowered.
    pub max_output_tokens: Option<u64>,
    /// The most tokens of an answer where the dialect demands a number and the caller gave none.
    pub default_max_output_tokens: u64,
    /// The name of that number in OpenAI's chat dialect.
    pub max_tokens_field: MaxTokensField,
    /// How it is told to think.
    pub reasoning: ReasoningRule,
    /// Parameters that it refuses: left out, and reported.
    pub refused: Vec<Feature>,
    /// In OpenAI's chat dialect, where earlier thoughts go in an assistant's message; nowhere if `None`.
    pub thoughts: Option<ThoughtsField>,
    /// It knows the role `developer`; else such messages are system messages.
    pub developer_role: bool,
    /// It takes system messages between the turns (Anthropic, Bedrock); else all of them go to the front.
    pub system_anywhere: bool,
    /// It is known to refuse them: where bytes pass they become the user's.
    pub refuses_system_turns: bool,
    /// The flags of Anthropic's header `anthropic-beta` that Bedrock takes for it, in a field of the body.
    pub betas: Vec<String>,
    /// Most stop sequences.
    pub stop_sequences: Option<usize>,
    /// It takes `temperature` or `top_p`, not both: `top_p` is left out, and reported.
    pub temperature_or_top_p: bool,
    /// It takes no budget of thoughts in Claude's dialect: it thinks as it sees fit, with an effort.
    pub no_thinking_budget: bool,
    /// In OpenAI's chat dialect, it knows functions alone: tools that take a free text become such.
    pub no_custom_tools: bool,
    /// It cannot be told to call a tool, or which: such a choice becomes "as it likes", and is reported.
    pub no_forced_tools: bool,
    /// In OpenAI's chat dialect, how thinking is asked for.
    pub reasoning_style: ReasoningStyle,
    /// In OpenAI's chat dialect, the name of the seed.
    pub seed_field: SeedField,
    /// In OpenAI's chat dialect, it refuses `stream_options`: the usage comes of its own, or not at all.
    pub no_stream_options: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            max_output_tokens: None,
            default_max_output_tokens: 4_096,
            max_tokens_field: MaxTokensField::MaxTokens,
            reasoning: ReasoningRule::AsAsked,
            refused: Vec::new(),
            thoughts: None,
            developer_role: false,
            system_anywhere: false,
            refuses_system_turns: false,
            betas: Vec::new(),
            stop_sequences: None,
            temperature_or_top_p: false,
            no_thinking_budget: false,
            no_custom_tools: false,
            no_forced_tools: false,
            reasoning_style: ReasoningStyle::Effort,
            seed_field: SeedField::Seed,
            no_stream_options: false,
        }
    }
}

impl Rules {
    /// Whether a parameter is left out.
    pub fn refuses(&self, feature: Feature) -> bool {
        self.refused.contains(&feature)
    }
}

/// The name of the most tokens of an answer in OpenAI's chat dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// `max_tokens`, which most providers have.
    MaxTokens,
    /// `max_completion_tokens`, which OpenAI's reasoning models demand.
    MaxCompletionTokens,
}

/// How a model is told to think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReasoningRule {
    /// In whatever way the dialect has: nothing more is known of the model.
    AsAsked,
    /// It does not think: the wish is left out, and reported.
    None,
    /// By one of these words; the nearest one that there is.
    Effort(Vec<Effort>),
    /// By a number of tokens within these bounds, below the most tokens of the answer.
    Budget {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
        /// It can be told not to think.
        can_be_off: bool,
    },
}

/// Where thoughts stand in an assistant's message of OpenAI's chat dialect, which has no place of its own for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThoughtsField {
    /// `reasoning_content`, as DeepSeek, Moonshot, Zhipu and vLLM have it.
    ReasoningContent,
    /// `reasoning` and `reasoning_details`, as OpenRouter has them.
    ReasoningDetails,
    /// `reasoning`, as vLLM, Ollama, Groq and Together have it.
    Reasoning,
}

/// How thinking is asked for in OpenAI's chat dialect, where providers differ most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReasoningStyle {
    /// `reasoning_effort: "low"`, as OpenAI has it.
    Effort,
    /// `thinking: {"type": "enabled"}`, as DeepSeek, Moonshot, Zhipu and Volcengine have it; with an effort beside it
    /// where the model knows efforts.
    Thinking,
    /// `enable_thinking: true` and `thinking_budget`, as Qwen and SiliconFlow have it.
    EnableThinking,
    /// `reasoning: {"effort": …}` or `{"max_tokens": …}`, as OpenRouter and Vercel have it.
    Reasoning,
    /// `chat_template_kwargs: {"enable_thinking": true}`, as vLLM, SGLang and llama.cpp hand it to the model's template.
    ChatTemplate,
}

/// The name of the seed in OpenAI's chat dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedField {
    /// `seed`.
    Seed,
    /// `random_seed`, as Mistral has it.
    RandomSeed,
}
