//! What a request needs of a model: whether it can take it is known before anything is sent.
//!
//! Tokens are estimated from letters, for every model cuts texts its own way. To refuse, the estimate is a cautious one
//! ([`Needs::tokens_at_least`]): what may fit is not refused.

use std::{borrow::Cow, sync::LazyLock};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::{
    canon::{Format, Part, Request, Source, ToolKind},
    catalogue::{Capabilities, Capability, Model},
};

/// Letters per token as texts commonly have it.
const LETTERS_PER_TOKEN: u64 = 4;
/// Letters without blanks per token that hardly a text exceeds.
const LETTERS_PER_TOKEN_MOST: u64 = 7;

/// What a request needs of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// What it must be able to do.
    pub can: Capabilities,
    /// Bytes of text in the prompt, tools among them.
    pub letters: u64,
    /// Those of them that are no blanks.
    pub black: u64,
    /// Most tokens of the answer, where they are told.
    pub max_output: Option<u64>,
}

/// Words of which one stands in every body that needs more of a model than to read a text.
const HINTS: [&str; 10] =
    ["tools", "unction", "image", "inline", "file", "document", "audio", "video", "chema", "toolConfig"];

/// Where no automaton can be built of them, every body may.
static FINDER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(HINTS).ok());

impl Needs {
    /// Whether a body may need more than a short text does. What is sure not to need not be read.
    pub fn may_matter(body: &[u8], least_context: Option<u64>) -> bool {
        least_context.is_some_and(|context| body.len() as u64 / LETTERS_PER_TOKEN_MOST > context)
            || FINDER.as_ref().is_none_or(|hints| hints.is_match(body))
    }

    /// What a request needs.
    pub fn of(request: &Request) -> Self {
        let mut needs = Self { max_output: request.max_output_tokens, ..Self::default() };
        for message in &request.messages {
            needs.parts(&message.parts);
        }
        for tool in &request.tools {
            needs.text(&tool.name);
            needs.text(tool.description.as_deref().unwrap_or_default());
            match &tool.kind {
                ToolKind::Function { parameters } => {
                    needs.can = needs.can.with(Capability::Tools);
                    if let Some(parameters) = parameters {
                        needs.text(&parameters.to_string());
                    }
                }
                ToolKind::Custom { .. } => needs.can = needs.can.with(Capability::Tools),
                // What a vendor's own tool wants of a model only the vendor knows.
                ToolKind::Vendor { .. } => {}
            }
        }
        // Which models take a schema catalogues tell too seldom to refuse by it.
        if let Format::Schema { schema, .. } = &request.format {
            needs.text(&schema.to_string());
        }
        needs
    }

    fn parts(&mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Text { text, .. } | Part::Thinking { text, .. } | Part::Refusal { text } => {
                    self.text(text)
                }
                Part::Image { .. } => self.can = self.can.with(Capability::Vision),
                Part::Audio { .. } => self.can = self.can.with(Capability::AudioIn),
                Part::Video { .. } => self.can = self.can.with(Capability::VideoIn),
                Part::Document { source, .. } => match source {
                    Source::Text { text } => self.text(text),
                    Source::Inline { media_type, .. } if media_type == "application/pdf" => {
                        self.can = self.can.with(Capability::Pdf);
                    }
                    Source::Inline { .. } | Source::Url { .. } | Source::File { .. } => {}
                },
                Part::ToolCall { name, arguments, .. } => {
                    self.text(name);
                    self.text(arguments);
                }
                Part::ToolResult { content, .. } => self.parts(content),
                Part::Vendor { .. } => {}
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.letters = self.letters.saturating_add(text.len() as u64);
        let black = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).count();
        self.black = self.black.saturating_add(black as u64);
    }

    /// About how many tokens the prompt has.
    pub fn tokens_about(&self) -> u64 {
        self.letters.div_ceil(LETTERS_PER_TOKEN)
    }

    /// How many tokens the prompt has at least, as far as can be told from letters.
    pub fn tokens_at_least(&self) -> u64 {
        self.black / LETTERS_PER_TOKEN_MOST
    }

    /// What a model cannot take of it, for the caller; empty when it can take all. Of a model whose capabilities are
    /// not told none is missed.
    pub fn lacking(&self, model: &Model) -> Vec<Cow<'static, str>> {
        let mut lacking: Vec<Cow<'static, str>> = Vec::new();
        if !model.can.is_empty() {
            lacking.extend(model.can.missing(self.can).names().map(|name| Cow::Borrowed(plain(name))));
        }
        lacking
    }

    /// The least tokens of the prompt, and the context of a model for which they are too many.
    pub fn too_long_for(&self, model: &Model) -> Option<(u64, u64)> {
        let tokens = self.tokens_at_least();
        model.context.filter(|context| tokens > *context).map(|context| (tokens, context))
    }
}

/// A capability in a caller's words.
fn plain(name: &'static str) -> &'static str {
    match name {
        "vision" => "images",
        "pdf" => "PDF documents",
        "audio-in" => "sound",
        "video-in" => "video",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Dialect, Spoken};

    fn needs(body: &str) -> Needs {
        let spoken = Spoken { model: None, stream: false };
        let request = Dialect::OpenAiChat.read_request(&spoken, body.as_bytes()).expect("a request");
        Needs::of(&request)
    }

    const PICTURE: &str = r#"{"model":"m","max_tokens":50,"messages":[{"role":"user","content":[{"type":"text","text":"what is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"}}}}"#;

    #[test]
    fn what_a_request_needs_is_read_from_it() {
        let needs = needs(PICTURE);
        let names: Vec<&str> = needs.can.names().collect();
        assert_eq!(names, ["tools", "vision"]);
        assert_eq!(needs.max_output, Some(50));
        assert!(Needs::may_matter(PICTURE.as_bytes(), None));
        let plain = r#"{"model":"m","messages":[{"role":"user","content":"hello there"}]}"#;
        assert!(!Needs::may_matter(plain.as_bytes(), Some(10)));
        assert!(Needs::may_matter(plain.as_bytes(), Some(5)));
        let bounded = r#"{"model":"m","max_tokens":5,"messages":[]}"#;
        assert!(
            !Needs::may_matter(bounded.as_bytes(), None),
            "a bound of the answer is nothing to be able to do"
        );
    }

    #[test]
    fn base64_is_no_text_and_blanks_are_no_tokens() {
        let body = format!(
            r#"{{"model":"m","messages":[{{"role":"user","content":[{{"type":"text","text":"{}"}},{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{}"}}}}]}}]}}"#,
            format!("word{}", " ".repeat(96)).repeat(70),
            "A".repeat(100_000)
        );
        let needs = needs(&body);
        assert_eq!((needs.letters, needs.tokens_at_least()), (7000, 40));
    }

    #[test]
    fn what_a_model_lacks_is_named() {
        let model = Model {
            name: "m".into(),
            surface: crate::catalogue::Surface::Chat,
            context: Some(10),
            max_output: Some(40),
            vector_size: None,
            can: Capabilities::default().with(Capability::Tools),
            prices: Default::default(),
            retires: None,
        };
        let needs = Needs { black: 700, ..needs(PICTURE) };
        assert_eq!(needs.lacking(&model), ["images"]);
        assert_eq!(needs.too_long_for(&model), Some((100, 10)));
        let unknown = Model { can: Capabilities::default(), context: None, ..model };
        assert!(needs.lacking(&unknown).is_empty());
    }
}
