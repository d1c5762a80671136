//! Tokens as a model's own vocabulary cuts a text, for where a provider does not tell.
//!
//! The vocabularies that their makers publish are in the program: those of OpenAI, Llama, Qwen, DeepSeek and Mistral. A
//! model of another maker is counted with OpenAI's newest, which is near. One is unpacked when it is first wanted, on a
//! thread of its own (a tenth of a second, about 10 to 25 MB of memory); until it is there, and for texts that are longer
//! than [`COUNTED_BYTES_MAX`], [`estimate`] counts.

use std::sync::atomic::{AtomicU8, Ordering};

use tiktoken::CoreBpe;

use crate::{
    canon::{Format, Part, Request, Source, ToolKind},
    dialect::{Dialect, Spoken},
    estimate,
    guard::leaves::{Leaves, Part as TextPart},
};

/// Bytes of a text that are counted so: what nobody can cut into words takes a tenth of a microsecond for each.
pub const COUNTED_BYTES_MAX: usize = 64 * 1024;
/// Tokens that frame a message in a prompt, as OpenAI counts them.
const MESSAGE_TOKENS: u64 = 4;
/// Tokens that begin an answer.
const ANSWER_TOKENS: u64 = 3;

/// A vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vocabulary {
    /// Of OpenAI's models since GPT-4o, and for all that is not known.
    O200k,
    /// Of OpenAI's models before, and of its embeddings.
    Cl100k,
    /// Of Llama 3 and what is made of it.
    Llama,
    /// Of Qwen and what is made of it.
    Qwen,
    /// Of DeepSeek.
    DeepSeek,
    /// Of Mistral.
    Mistral,
}

const NOBODY_ASKED: u8 = 0;
const IS_UNPACKED: u8 = 1;
const IS_THERE: u8 = 2;

static STATES: [AtomicU8; 6] = [const { AtomicU8::new(NOBODY_ASKED) }; 6];

impl Vocabulary {
    /// Of a model, by its provider's name for it.
    pub fn of(model: &str) -> Self {
        let model = model.to_ascii_lowercase();
        let is = |words: &[&str]| words.iter().any(|word| model.contains(word));
        // What was distilled into another maker's model has its vocabulary.
        if is(&["llama"]) {
            Self::Llama
        } else if is(&["qwen", "qwq", "qvq"]) {
            Self::Qwen
        } else if is(&["deepseek"]) {
            Self::DeepSeek
        } else if is(&["mistral", "mixtral", "ministral", "codestral", "devstral", "magistral", "pixtral"]) {
            Self::Mistral
        } else if is(&["gpt-3", "text-embedding-"])
            || is(&["gpt-4"]) && !is(&["gpt-4o", "gpt-4.1", "gpt-4.5"])
        {
            Self::Cl100k
        } else {
            Self::O200k
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::O200k => "o200k_base",
            Self::Cl100k => "cl100k_base",
            Self::Llama => "llama3",
            Self::Qwen => "qwen2",
            Self::DeepSeek => "deepseek_v3",
            Self::Mistral => "mistral_v3",
        }
    }

    fn state(self) -> &'static AtomicU8 {
        &STATES[self as usize]
    }

    /// Has it unpacked, if nobody has.
    pub fn want(self) {
        let first =
            self.state().compare_exchange(NOBODY_ASKED, IS_UNPACKED, Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            // Without a thread there is none, and the estimate stays.
            let _ = std::thread::Builder::new().name("vocabulary".into()).spawn(move || self.unpack());
        }
    }

    /// Unpacks it, and waits until that is done.
    pub fn unpack(self) {
        if tiktoken::get_encoding(self.name()).is_some() {
            self.state().store(IS_THERE, Ordering::Release);
        }
    }

    /// It, if it is there.
    fn there(self) -> Option<&'static CoreBpe> {
        if self.state().load(Ordering::Acquire) != IS_THERE {
            return None;
        }
        tiktoken::get_encoding(self.name())
    }

    /// Whether it is there.
    pub fn is_there(self) -> bool {
        self.there().is_some()
    }

    /// Tokens of a text, where it is there and the text not too long.
    pub fn count(self, text: &str) -> Option<u64> {
        if text.len() > COUNTED_BYTES_MAX {
            return None;
        }
        Some(self.there()?.count(text) as u64)
    }

    /// Tokens of a text, estimated where it cannot be counted.
    pub fn about(self, text: &str) -> u64 {
        self.count(text).unwrap_or_else(|| estimate::tokens(text.as_bytes()))
    }

    /// Tokens of a request's body, estimated where they cannot be counted.
    pub fn of_prompt(self, dialect: Dialect, spoken: &Spoken, body: &[u8]) -> u64 {
        if body.len() > COUNTED_BYTES_MAX || self.there().is_none() {
            return estimate::tokens(body);
        }
        if let Ok(request) = dialect.read_request(spoken, body) {
            return self.of_request(&request);
        }
        // What is to become a vector, say: its texts, and nothing around them.
        let Ok(leaves) = Leaves::of(body) else { return estimate::tokens(body) };
        let mut tokens = 0_u64;
        leaves.edit(|leaf| {
            if leaf.part != TextPart::Piece {
                tokens = tokens.saturating_add(self.about(&leaf.text));
            }
            None
        });
        tokens
    }

    fn of_request(self, request: &Request) -> u64 {
        let messages = request.messages.iter().map(|message| MESSAGE_TOKENS + self.of_parts(&message.parts));
        let tools = request.tools.iter().map(|tool| {
            let schema = match &tool.kind {
                ToolKind::Function { parameters: Some(parameters) } => parameters.to_string(),
                _ => String::new(),
            };
            let description = tool.description.as_deref().unwrap_or_default();
            MESSAGE_TOKENS + self.about(&tool.name) + self.about(description) + self.about(&schema)
        });
        let format = match &request.format {
            Format::Schema { schema, .. } => self.about(&schema.to_string()),
            _ => 0,
        };
        messages.chain(tools).fold(ANSWER_TOKENS + format, u64::saturating_add)
    }

    fn of_parts(self, parts: &[Part]) -> u64 {
        let part = |part: &Part| match part {
            Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text } => {
                self.about(text)
            }
            Part::ToolCall { name, arguments, .. } => self.about(name) + self.about(arguments),
            Part::ToolResult { content, .. } => self.of_parts(content),
            Part::Document { source: Source::Text { text }, .. } => self.about(text),
            Part::Image { .. } | Part::Document { .. } | Part::Audio { .. } | Part::Video { .. } => {
                estimate::MEDIA_TOKENS
            }
            Part::Vendor { value, .. } => self.about(&value.to_string()),
        };
        parts.iter().map(part).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_their_names() {
        for (model, want) in [
            ("gpt-4o-mini", Vocabulary::O200k),
            ("gpt-5.1", Vocabulary::O200k),
            ("gpt-4-turbo", Vocabulary::Cl100k),
            ("gpt-3.5-turbo", Vocabulary::Cl100k),
            ("gpt-4.1", Vocabulary::O200k),
            ("text-embedding-3-small", Vocabulary::Cl100k),
            ("claude-opus-4-5", Vocabulary::O200k),
            ("us.meta.llama3-3-70b-instruct-v1:0", Vocabulary::Llama),
            ("deepseek-r1-distill-qwen-32b", Vocabulary::Qwen),
            ("deepseek-ai/DeepSeek-V3", Vocabulary::DeepSeek),
            ("mistralai/Mixtral-8x7B", Vocabulary::Mistral),
        ] {
            assert_eq!(Vocabulary::of(model), want, "{model}");
        }
    }

    /// The counts are those of OpenAI's own `tiktoken` 0.14 for Python.
    #[test]
    fn texts_are_cut_as_their_makers_cut_them() {
        for vocabulary in [Vocabulary::O200k, Vocabulary::Cl100k] {
            vocabulary.unpack();
        }
        let mixed =
            "Straße 12, naïve façade: {\"a\": [1, 2.5e10]} 日本語 👍🏽 x=(y-z)/2__ HTTPServerError  \n\n end";
        for (text, o200k, cl100k) in [
            ("", 0, 0),
            ("Hello, world!", 4, 4),
            ("The quick brown fox jumps over the lazy dog.", 10, 10),
            (mixed, 39, 43),
            ("Die Würde des Menschen ist unantastbar.", 11, 12),
            ("すべての人間は、生まれながらにして自由である", 17, 22),
        ] {
            assert_eq!(Vocabulary::O200k.count(text), Some(o200k), "{text}");
            assert_eq!(Vocabulary::Cl100k.count(text), Some(cl100k), "{text}");
        }
        assert_eq!(Vocabulary::O200k.count(&"a ".repeat(COUNTED_BYTES_MAX)), None);
    }

    #[test]
    fn the_others_are_there_too() {
        for vocabulary in [Vocabulary::Llama, Vocabulary::Qwen, Vocabulary::DeepSeek, Vocabulary::Mistral] {
            assert_eq!(vocabulary.count("tide"), None, "{vocabulary:?}");
            vocabulary.want();
            vocabulary.unpack();
            let count = vocabulary.count("The quick brown fox jumps over the lazy dog.").expect("there");
            assert!((9..=12).contains(&count), "{vocabulary:?}: {count}");
        }
    }

    #[test]
    fn prompts_are_counted_by_their_texts() {
        Vocabulary::O200k.unpack();
        let spoken = Spoken { model: None, stream: false };
        let count = |body: &str| Vocabulary::O200k.of_prompt(Dialect::OpenAiChat, &spoken, body.as_bytes());
        // Four for each message, three for the answer.
        assert_eq!(
            count(r#"{"model":"m","messages":[{"role":"user","content":"Hello, world!"}]}"#),
            4 + 4 + 3
        );
        let with_tool = r#"{"model":"m","messages":[{"role":"user","content":"Hello, world!"}],"tools":[{"type":"function","function":{"name":"tide","parameters":{}}}]}"#;
        assert!(count(with_tool) > 11 + 4);
        assert_eq!(count(r#"{"model":"m","input":["Hello, world!","Hello, world!"]}"#), 8);
    }
}
