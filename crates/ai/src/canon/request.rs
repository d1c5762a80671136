//! What a caller asks of a model, whatever dialect it was said in.

use serde_json::{Map, Value};

use super::message::Message;

/// Fields that the canonical form has no place for, each with its path in the caller's own body
/// (`messages[2].name`).
pub type Extra = Vec<(String, Value)>;

/// One request to a chat model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// The model as the caller names it.
    pub model: String,
    /// The answer is wanted as a stream of events.
    pub stream: bool,
    /// Everything said so far, oldest first. Standing instructions are messages of the roles
    /// [`Role::System`](super::Role::System) and [`Role::Developer`](super::Role::Developer).
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether and what it must call.
    pub tool_choice: Option<ToolChoice>,
    /// Several calls in one answer are welcome; `None` leaves it to the provider.
    pub parallel_tool_calls: Option<bool>,
    /// Most tokens of the answer, reasoning included.
    pub max_output_tokens: Option<u64>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Answers wanted side by side; `None` is one.
    pub choices: Option<u32>,
    /// The form of the answer's text.
    pub format: Format,
    /// Thinking before the answer.
    pub reasoning: Option<Reasoning>,
    /// Log probabilities of the tokens chosen, with this many alternatives each.
    pub log_probabilities: Option<u32>,
    /// What the answer may consist of; empty is text.
    pub modalities: Vec<Modality>,
    /// How speech in the answer should sound.
    pub audio: Option<AudioOutput>,
    /// How wordy the answer should be.
    pub verbosity: Option<Verbosity>,
    /// Speed and price class, in the caller's word: `auto`, `default`, `flex`, `priority`, `standard_only`.
    pub tier: Option<String>,
    /// The end user behind the caller, for abuse reports.
    pub user: Option<String>,
    /// Labels that the provider keeps with the call.
    pub metadata: Map<String, Value>,
    /// Requests of one key are kept near each other, so that prompt caches hit.
    pub cache_key: Option<String>,
    /// The provider may keep the answer for later retrieval.
    pub store: Option<bool>,
    /// A conversation that the provider remembers.
    pub conversation: Option<Conversation>,
    /// In a stream, tell the usage at the end: dialects that always do so say `true`.
    pub include_usage: bool,
    /// Fields that only the caller's own dialect knows.
    pub extra: Extra,
    /// Where each message stands in the caller's own body, for reports; where they are not told, at `messages[…]`.
    pub places: Vec<String>,
}

/// How tokens are drawn.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// 0 to 2 (Anthropic: to 1).
    pub temperature: Option<f64>,
    /// Nucleus sampling, 0 to 1.
    pub top_p: Option<f64>,
    /// Only the k likeliest tokens.
    pub top_k: Option<u64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// Same seed, same answer, as far as the provider can.
    pub seed: Option<i64>,
    /// The answer ends before the first of these.
    pub stop: Vec<String>,
    /// Bias by token id.
    pub logit_bias: Map<String, Value>,
}

/// Something that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What it is.
    pub kind: ToolKind,
    /// The name that calls use.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// Arguments must fit the schema exactly.
    pub strict: Option<bool>,
    /// The prompt up to here is worth caching.
    pub cache: Option<super::CacheMark>,
}

/// What a tool is.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolKind {
    /// A function of the caller, with the JSON Schema of its arguments (an object schema).
    Function {
        /// JSON Schema; `None` takes no arguments.
        parameters: Option<Value>,
    },
    /// A function of the caller whose argument is free text (OpenAI's `custom`), with its grammar.
    Custom {
        /// The `format` of the tool, as the dialect has it.
        format: Option<Value>,
    },
    /// A tool that one vendor runs or knows (`web_search_20250305`, `code_interpreter`, `googleSearch`). Another vendor
    /// cannot take it.
    Vendor {
        /// Whose it is: `openai`, `anthropic`, `gemini`, `bedrock`.
        vendor: &'static str,
        /// Its own JSON, whole.
        value: Value,
    },
}

impl Tool {
    /// A tool that one vendor runs or knows: its name is the vendor's word, and not the caller's.
    pub fn is_vendors(&self) -> bool {
        matches!(self.kind, ToolKind::Vendor { .. })
    }
}

/// Whether and what the model must call.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// Nothing.
    None,
    /// At least one, whichever.
    Required,
    /// This one.
    Named(String),
    /// One or more of these (`required`), or as it likes but only these.
    Among {
        /// The names.
        names: Vec<String>,
        /// At least one.
        required: bool,
    },
}

impl ToolChoice {
    /// Something must be called.
    pub fn is_forced(&self) -> bool {
        match self {
            Self::Required | Self::Named(_) | Self::Among { required: true, .. } => true,
            Self::Auto | Self::None | Self::Among { required: false, .. } => false,
        }
    }
}

/// The form of the answer's text.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// Valid JSON.
    Json,
    /// JSON that fits a schema.
    Schema {
        /// A name for it; dialects without names leave it empty.
        name: String,
        /// What it is, for the model.
        description: Option<String>,
        /// JSON Schema.
        schema: Value,
        /// It must fit exactly.
        strict: Option<bool>,
    },
}

/// Thinking before the answer. Dialects say it by effort or by budget; what is not said is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reasoning {
    /// `Some(false)`: not at all, said outright.
    pub enabled: Option<bool>,
    /// How much, by word.
    pub effort: Option<Effort>,
    /// How much, in tokens.
    pub budget: Option<u64>,
    /// The thoughts themselves are wanted in the answer; the caller's word for how (`auto`, `concise`, `detailed`)
    /// stands in `summary`.
    pub visible: Option<bool>,
    /// That they are wanted was said by nobody: the caller's dialect shows them unasked.
    pub unasked: Unasked,
    /// How thoughts are summed up.
    pub summary: Option<String>,
    /// Encrypted thoughts are wanted, to be sent back in the next turn (Responses: `include`).
    pub encrypted: bool,
}

/// Whether something was said by nobody. It is how a request was worded, not what it means: requests that differ in it
/// alone are equal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unasked(pub bool);

impl PartialEq for Unasked {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Reasoning {
    /// Thoughts are wanted in the answer, and the caller said so.
    pub fn asks_for_thoughts(&self) -> bool {
        self.visible == Some(true) && !self.unasked.0
    }

    /// Not to think, however it is said.
    pub fn is_off(&self) -> bool {
        self.enabled == Some(false) || self.effort == Some(Effort::None) || self.budget == Some(0)
    }
}

/// How much thinking, by word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// None.
    None,
    /// The least that there is.
    Minimal,
    /// Little.
    Low,
    /// The common measure.
    Medium,
    /// Much.
    High,
    /// More than `high`.
    ExtraHigh,
    /// All that the model can.
    Max,
}

impl Effort {
    /// Every effort with the word for it, least first.
    pub const WORDS: [(Self, &'static str); 7] = [
        (Self::None, "none"),
        (Self::Minimal, "minimal"),
        (Self::Low, "low"),
        (Self::Medium, "medium"),
        (Self::High, "high"),
        (Self::ExtraHigh, "xhigh"),
        (Self::Max, "max"),
    ];

    /// From the word that most dialects use.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(effort, _)| *effort)
    }

    /// The word that most dialects use.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(effort, _)| *effort == self).map_or("medium", |(_, word)| word)
    }

    /// A budget in tokens that means about as much.
    pub fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1_024,
            Self::Low => 2_048,
            Self::Medium => 8_192,
            Self::High => 16_384,
            Self::ExtraHigh => 32_768,
            Self::Max => 65_536,
        }
    }

    /// The word for about this many tokens.
    pub fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..=1_024 => Self::Minimal,
            1_025..=4_096 => Self::Low,
            4_097..=12_288 => Self::Medium,
            12_289..=24_576 => Self::High,
            24_577..=49_152 => Self::ExtraHigh,
            _ => Self::Max,
        }
    }
}

/// What an answer may consist of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modality {
    /// Text.
    Text,
    /// Speech.
    Audio,
    /// Pictures.
    Image,
}

/// How speech in the answer should sound.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioOutput {
    /// The voice, in the caller's word.
    pub voice: Option<String>,
    /// `wav`, `mp3`, `pcm16`, …
    pub format: Option<String>,
}

/// How wordy the answer should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Terse.
    Low,
    /// Usual.
    Medium,
    /// Long.
    High,
}

/// A conversation that the provider remembers (Responses).
#[derive(Debug, Clone, PartialEq)]
pub enum Conversation {
    /// Goes on from an earlier answer, by its id.
    After(String),
    /// Belongs to a stored conversation, by its id.
    Stored(String),
}
