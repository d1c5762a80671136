//! Messages and what they are made of.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Proof;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The standing instructions of whoever runs the application.
    System,
    /// The same under OpenAI's newer name, which ranks below `System`.
    Developer,
    /// The person, or program, that asks.
    User,
    /// The model.
    Assistant,
    /// Results of calls: every part is a [`Part::ToolResult`].
    Tool,
}

/// One turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// A name for the speaker, where several share a role.
    pub name: Option<String>,
    /// What is said, in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, name: None, parts: vec![Part::text(text)] }
    }
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// What it quotes, when the model says so.
        citations: Vec<Citation>,
        /// The prompt up to here is worth caching.
        cache: Option<CacheMark>,
        /// What the model wants back with it in the next turn (Gemini signs any part).
        proof: Option<Proof>,
    },
    /// A picture.
    Image {
        /// Where it is.
        source: Source,
        /// How closely to look: `low`, `high`, `auto`.
        detail: Option<String>,
        /// The prompt up to here is worth caching.
        cache: Option<CacheMark>,
    },
    /// A document (PDF, text, …).
    Document {
        /// Where it is.
        source: Source,
        /// Its file name or title.
        name: Option<String>,
        /// What is known about it, for the model.
        context: Option<String>,
        /// The model may quote it.
        citable: bool,
        /// The prompt up to here is worth caching.
        cache: Option<CacheMark>,
    },
    /// Sound.
    Audio {
        /// Where it is.
        source: Source,
        /// What is said in it, when the model spoke it.
        transcript: Option<String>,
        /// The id under which the provider remembers it.
        id: Option<String>,
    },
    /// Moving pictures.
    Video {
        /// Where they are.
        source: Source,
    },
    /// What the model thought.
    Thinking {
        /// The thoughts, or their summary; empty when they are hidden.
        text: String,
        /// What the model wants back with them in the next turn.
        proof: Option<Proof>,
    },
    /// A call that the model wants made.
    ToolCall {
        /// Joins it with its result.
        id: String,
        /// The tool.
        name: String,
        /// Its arguments: JSON text for functions, any text for custom tools. Kept as the model wrote it.
        arguments: String,
        /// It calls a custom tool.
        custom: bool,
        /// What the model wants back with it in the next turn.
        proof: Option<Proof>,
        /// The prompt up to here is worth caching.
        cache: Option<CacheMark>,
    },
    /// What a call gave.
    ToolResult {
        /// The call.
        id: String,
        /// The tool, where the dialect tells.
        name: Option<String>,
        /// What it gave: texts, images, documents.
        content: Vec<Part>,
        /// The call failed, and the content says why.
        is_error: bool,
        /// It answers a custom tool.
        custom: bool,
        /// The prompt up to here is worth caching.
        cache: Option<CacheMark>,
    },
    /// The model declines.
    Refusal {
        /// How it says so.
        text: String,
    },
    /// A piece that one vendor knows (a web search that its side ran, an item of a hosted tool): its own JSON, whole.
    #[serde(skip)]
    Vendor {
        /// Who understands it: the name of a dialect.
        #[serde(skip)]
        dialect: &'static str,
        /// The piece.
        value: Value,
    },
}

impl Part {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), citations: Vec::new(), cache: None, proof: None }
    }
}

impl Part {
    /// Its mark for the prompt cache.
    pub fn cache(&self) -> Option<&CacheMark> {
        match self {
            Self::Text { cache, .. }
            | Self::Image { cache, .. }
            | Self::Document { cache, .. }
            | Self::ToolCall { cache, .. }
            | Self::ToolResult { cache, .. } => cache.as_ref(),
            Self::Audio { .. }
            | Self::Video { .. }
            | Self::Thinking { .. }
            | Self::Refusal { .. }
            | Self::Vendor { .. } => None,
        }
    }

    /// Where it has its mark for the prompt cache, if it can have one.
    pub fn cache_mut(&mut self) -> Option<&mut Option<CacheMark>> {
        match self {
            Self::Text { cache, .. }
            | Self::Image { cache, .. }
            | Self::Document { cache, .. }
            | Self::ToolCall { cache, .. }
            | Self::ToolResult { cache, .. } => Some(cache),
            Self::Audio { .. }
            | Self::Video { .. }
            | Self::Thinking { .. }
            | Self::Refusal { .. }
            | Self::Vendor { .. } => None,
        }
    }

    /// The parts of a result; no other part has any.
    pub fn inner(&self) -> &[Self] {
        match self {
            Self::ToolResult { content, .. } => content,
            _ => &[],
        }
    }

    /// Takes the marks for the prompt cache off it and its parts.
    pub fn unmark(&mut self) {
        if let Some(cache) = self.cache_mut() {
            *cache = None;
        }
        if let Self::ToolResult { content, .. } = self {
            content.iter_mut().for_each(Self::unmark);
        }
    }
}

/// Where media are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// Here, in base64.
    Inline {
        /// The media type, such as `image/png`.
        media_type: String,
        /// Base64, standard alphabet.
        data: String,
    },
    /// At an address (`https:`, `gs:`, `s3:`).
    Url {
        /// The address.
        url: String,
        /// The media type, where it is told.
        media_type: Option<String>,
    },
    /// In the provider's own file store.
    File {
        /// Its id there.
        id: String,
    },
    /// Plain text, for documents.
    Text {
        /// The text.
        text: String,
    },
}

/// The prompt up to here is worth caching.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CacheMark {
    /// For how long, in the provider's word (`5m`, `1h`).
    pub ttl: Option<String>,
}

/// What a piece of an answer quotes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Citation {
    /// The words quoted.
    pub quote: Option<String>,
    /// The title of what is quoted.
    pub title: Option<String>,
    /// Its address.
    pub url: Option<String>,
    /// Which of the request's documents, counted from 0.
    pub document: Option<u64>,
    /// Where in the answer's text it applies, in characters: from, to.
    pub span: Option<(u64, u64)>,
    /// The vendor's own form, for the way back to the same vendor.
    pub original: Option<Value>,
}
