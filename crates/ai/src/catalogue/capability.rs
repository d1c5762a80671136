//! What a model can, as a set that is cheap to compare.

use serde::{Deserialize, Deserializer, de};

use super::error::alike;

/// Something that not every model can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Calls tools.
    Tools,
    /// Calls several tools at once.
    ParallelTools,
    /// Can be told which tool to call.
    ToolChoice,
    /// Sees pictures.
    Vision,
    /// Reads PDF documents.
    Pdf,
    /// Hears.
    AudioIn,
    /// Speaks.
    AudioOut,
    /// Sees films.
    VideoIn,
    /// Thinks before it answers.
    Reasoning,
    /// Keeps to a JSON Schema.
    JsonSchema,
    /// Takes marks for the prompt cache, or caches by itself.
    PromptCaching,
    /// Searches the web by itself.
    WebSearch,
    /// Uses a computer.
    ComputerUse,
    /// Streams natively.
    Streaming,
}

impl Capability {
    /// Every capability with its name.
    pub const NAMES: [(Self, &'static str); 14] = [
        (Self::Tools, "tools"),
        (Self::ParallelTools, "parallel-tools"),
        (Self::ToolChoice, "tool-choice"),
        (Self::Vision, "vision"),
        (Self::Pdf, "pdf"),
        (Self::AudioIn, "audio-in"),
        (Self::AudioOut, "audio-out"),
        (Self::VideoIn, "video-in"),
        (Self::Reasoning, "reasoning"),
        (Self::JsonSchema, "json-schema"),
        (Self::PromptCaching, "prompt-caching"),
        (Self::WebSearch, "web-search"),
        (Self::ComputerUse, "computer-use"),
        (Self::Streaming, "streaming"),
    ];
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// From names between commas or blanks: `tools,vision`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for name in text.split([',', ' ']).filter(|name| !name.is_empty()) {
            let Some((found, _)) = Capability::NAMES.iter().find(|(_, known)| *known == name) else {
                let known = Capability::NAMES.iter().map(|(_, name)| *name);
                let written = name.to_ascii_lowercase().replace('_', "-");
                let meant =
                    alike(&written, known.clone()).map(|meant| format!("did you mean `{meant}`? There are "));
                let known: Vec<&str> = known.collect();
                return Err(format!(
                    "`{name}` is no capability: {}{}",
                    meant.as_deref().unwrap_or("there are "),
                    known.join(", ")
                ));
            };
            set = set.with(*found);
        }
        Ok(set)
    }

    /// With one more.
    #[must_use]
    pub fn with(self, one: Capability) -> Self {
        Self(self.0 | 1 << one as u8)
    }

    /// Whether this one is among them.
    pub fn has(self, one: Capability) -> bool {
        self.0 & 1 << one as u8 != 0
    }

    /// Whether all of the others are among them.
    pub fn covers(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// What others have and this set lacks.
    #[must_use]
    pub fn missing(self, others: Self) -> Self {
        Self(others.0 & !self.0)
    }

    /// There is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their names, in a fixed order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Capability::NAMES.iter().filter(move |(one, _)| self.has(*one)).map(|(_, name)| *name)
    }
}

impl<'de> Deserialize<'de> for Capabilities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}
