//! Draws canonical requests and answers from numbers, so that proptest can shrink them: fewer and smaller numbers are
//! a smaller request. Every text is a word of its own, by which it is found again.

use ai::canon::{
    Answer, CacheMark, Choice, Citation, Conversation, Effort, Finish, Format, Message, Modality, Part,
    Proof, ProofKind, Reasoning, Request, Role, Sampling, Source, TokenProbability, Tool, ToolChoice,
    ToolKind, Usage, Verbosity,
};
use serde_json::{Value, json};

/// Numbers to draw from; when they are spent, everything is the least that it can be.
pub(super) struct Draw<'a> {
    numbers: std::slice::Iter<'a, u8>,
    words: u32,
}

impl<'a> Draw<'a> {
    pub(super) fn new(numbers: &'a [u8]) -> Self {
        Self { numbers: numbers.iter(), words: 0 }
    }

    fn below(&mut self, most: u8) -> u8 {
        self.numbers.next().map_or(0, |number| number % most)
    }

    fn chance(&mut self) -> bool {
        self.below(4) == 1
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance().then(|| draw(self))
    }

    fn several<T>(&mut self, least: u8, most: u8, mut draw: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = least + self.below(most - least + 1);
        (0..count).map(|_| draw(self)).collect()
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::from(self.below(u8::try_from(of.len()).expect("short")))].clone()
    }

    fn word(&mut self) -> String {
        self.words += 1;
        format!("w{}", self.words)
    }

    fn cache(&mut self) -> Option<CacheMark> {
        self.maybe(|draw| CacheMark { ttl: draw.maybe(|_| "1h".to_owned()) })
    }

    fn proof(&mut self, mark: bool) -> Proof {
        let issuer = self.one(&["anthropic", "openai", "gemini", "bedrock", "openai-chat"]);
        let kind = match (mark, issuer) {
            (true, _) => return self.signed("gemini", ProofKind::Mark),
            (false, "openai") => ProofKind::Encrypted,
            (false, _) => ProofKind::Signature,
        };
        self.signed(issuer, kind)
    }

    fn signed(&mut self, issuer: &str, kind: ProofKind) -> Proof {
        // What is signed is bytes, and some dialects carry it as base64.
        self.words += 1;
        Proof { issuer: issuer.to_owned(), kind, value: format!("EqQB{:04}", self.words), id: None }
    }

    pub(super) fn request(&mut self) -> Request {
        let mut request = Request {
            model: "a-model".to_owned(),
            stream: self.chance(),
            messages: self.messages(),
            tools: self.several(0, 3, Self::tool),
            max_output_tokens: self.maybe(|draw| 2_000 + u64::from(draw.below(100))),
            sampling: self.sampling(),
            choices: self.maybe(|draw| 1 + u32::from(draw.below(3))),
            format: self.format(),
            reasoning: self.maybe(Self::reasoning),
            log_probabilities: self.maybe(|draw| u32::from(draw.below(4))),
            modalities: self
                .maybe(|draw| draw.several(1, 2, |draw| draw.one(&MODALITIES)))
                .unwrap_or_default(),
            verbosity: self.maybe(|draw| draw.one(&[Verbosity::Low, Verbosity::Medium, Verbosity::High])),
            tier: self.maybe(|draw| draw.one(&["auto", "default", "flex", "priority"]).to_owned()),
            user: self.maybe(Self::word),
            cache_key: self.maybe(Self::word),
            store: self.maybe(Self::chance),
            conversation: self.maybe(|draw| Conversation::After(draw.word())),
            include_usage: true,
            ..Request::default()
        };
        if let Some(label) = self.maybe(Self::word) {
            request.metadata.insert("label".to_owned(), label.into());
        }
        if !request.tools.is_empty() {
            let names: Vec<String> = request.tools.iter().map(|tool| tool.name.clone()).collect();
            request.tool_choice = self.maybe(|draw| draw.choice(&names));
            request.parallel_tool_calls = self.maybe(Self::chance);
        }
        if let Some(word) = self.maybe(Self::word) {
            request.extra.push(("a_field_of_its_own".to_owned(), word.into()));
        }
        request
    }

    fn messages(&mut self) -> Vec<Message> {
        let mut messages = self.several(0, 2, |draw| {
            let role = draw.one(&[Role::System, Role::Developer]);
            Message { role, name: None, parts: draw.several(1, 2, Self::text) }
        });
        for _ in 0..self.below(3) {
            messages.push(self.user());
            let mut parts = self.several(0, 1, Self::thinking);
            parts.extend(self.several(1, 2, Self::said));
            let calls = self.several(0, 2, Self::call);
            let results: Vec<Part> = calls.iter().filter_map(|call| self.result(call)).collect();
            parts.extend(calls);
            messages.push(Message { role: Role::Assistant, name: None, parts });
            if !results.is_empty() {
                messages.push(Message { role: Role::Tool, name: None, parts: results });
            }
        }
        messages.push(self.user());
        messages
    }

    fn user(&mut self) -> Message {
        let mut parts = vec![self.text()];
        parts.extend(self.several(0, 2, Self::media));
        Message { role: Role::User, name: self.maybe(Self::word), parts }
    }

    fn text(&mut self) -> Part {
        Part::Text { text: self.word(), citations: Vec::new(), cache: self.cache(), proof: None }
    }

    fn inline(&mut self, media_type: &str) -> Source {
        self.words += 1;
        Source::Inline { media_type: media_type.to_owned(), data: format!("AA{:06}", self.words) }
    }

    fn source(&mut self, media_type: &str) -> Source {
        match self.below(3) {
            0 => self.inline(media_type),
            1 => {
                let ending = media_type.split_once('/').map_or("", |(_, ending)| ending);
                Source::Url { url: format!("https://example.com/{}.{ending}", self.word()), media_type: None }
            }
            _ => Source::File { id: format!("file-{}", self.word()) },
        }
    }

    fn media(&mut self) -> Part {
        match self.below(5) {
            0 => self.text(),
            1 => self.image(),
            2 => {
                let source = match self.chance() {
                    true => Source::Text { text: self.word() },
                    false => self.source("application/pdf"),
                };
                let (name, context) =
                    (self.maybe(|draw| format!("{}.pdf", draw.word())), self.maybe(Self::word));
                Part::Document { source, name, context, citable: self.chance(), cache: self.cache() }
            }
            3 => Part::Audio { source: self.inline("audio/wav"), transcript: None, id: None },
            _ => Part::Video { source: self.inline("video/mp4") },
        }
    }

    fn image(&mut self) -> Part {
        Part::Image {
            source: self.source("image/png"),
            detail: self.maybe(|_| "low".to_owned()),
            cache: self.cache(),
        }
    }

    fn thinking(&mut self) -> Part {
        let proof = self.maybe(|draw| draw.proof(false));
        let Some(mut proof) = proof else { return Part::Thinking { text: self.word(), proof } };
        // Some thoughts are told by their proof alone, and redacted ones are nothing else.
        if proof.issuer == "anthropic" && self.chance() {
            proof.kind = ProofKind::Encrypted;
        }
        let is_silent = proof.kind == ProofKind::Encrypted && proof.issuer == "anthropic" || self.chance();
        let text = if is_silent { String::new() } else { self.word() };
        Part::Thinking { text, proof: Some(proof) }
    }

    fn said(&mut self) -> Part {
        match self.below(6) {
            0..4 => Part::Text {
                text: self.word(),
                citations: self.several(0, 1, Self::citation),
                cache: self.cache(),
                proof: self.maybe(|draw| draw.proof(true)),
            },
            4 => Part::Refusal { text: self.word() },
            _ => Part::Vendor {
                dialect: "openai-responses",
                value: json!({"type": "web_search_call", "id": self.word(), "status": "completed"}),
            },
        }
    }

    fn citation(&mut self) -> Citation {
        Citation {
            quote: self.maybe(Self::word),
            title: Some(self.word()),
            url: self.maybe(|draw| format!("https://example.com/{}", draw.word())),
            document: self.maybe(|_| 0),
            span: Some((0, 1)),
            original: None,
        }
    }

    fn call(&mut self) -> Part {
        let custom = self.chance();
        let word = self.word();
        let arguments = match custom {
            true => word,
            false => json!({"a": word}).to_string(),
        };
        let id = format!("call_{}", self.word());
        let proof = self.maybe(|draw| draw.proof(true));
        Part::ToolCall {
            id,
            name: format!("f_{}", self.word()),
            arguments,
            custom,
            proof,
            cache: self.cache(),
        }
    }

    fn result(&mut self, call: &Part) -> Option<Part> {
        let Part::ToolCall { id, name, custom, .. } = call else { return None };
        let mut content = self.several(1, 2, Self::text);
        content.extend(self.maybe(Self::image));
        let (id, name, custom) = (id.clone(), Some(name.clone()), *custom);
        Some(Part::ToolResult { id, name, content, is_error: self.chance(), custom, cache: self.cache() })
    }

    fn tool(&mut self) -> Tool {
        let mut name = format!("f_{}", self.word());
        let kind = match self.below(5) {
            0 => ToolKind::Function { parameters: None },
            1 => ToolKind::Custom { format: None },
            2 => {
                let word = self.word();
                let vendor = self.one(&["openai", "anthropic", "gemini", "bedrock", "openai-chat"]);
                let (value, called) = match vendor {
                    "openai" => (json!({"type": "web_search", "user_location": word}), "web_search"),
                    "gemini" => (json!({"googleSearch": {"a": word}}), "googleSearch"),
                    "bedrock" => (json!({"systemTool": {"name": name}}), name.as_str()),
                    _ => (json!({"type": "web_search_20250305", "name": name}), name.as_str()),
                };
                name = called.to_owned();
                ToolKind::Vendor { vendor, value }
            }
            _ => ToolKind::Function { parameters: Some(schema(&self.word())) },
        };
        let function = matches!(kind, ToolKind::Function { .. });
        let strict = self.maybe(Self::chance).filter(|_| function);
        let vendor = matches!(kind, ToolKind::Vendor { .. });
        let description = self.maybe(Self::word).filter(|_| !vendor);
        let cache = self.cache().filter(|_| !vendor);
        Tool { kind, name, description, strict, cache }
    }

    fn choice(&mut self, names: &[String]) -> ToolChoice {
        match self.below(5) {
            0 => ToolChoice::Auto,
            1 => ToolChoice::None,
            2 => ToolChoice::Required,
            3 => ToolChoice::Named(self.one(names)),
            _ => ToolChoice::Among { names: names[..1].to_vec(), required: self.chance() },
        }
    }

    fn sampling(&mut self) -> Sampling {
        let mut sampling = Sampling {
            temperature: self.maybe(|draw| f64::from(draw.below(5)) / 2.0),
            top_p: self.maybe(|_| 0.5),
            top_k: self.maybe(|draw| 1 + u64::from(draw.below(40))),
            frequency_penalty: self.maybe(|_| 0.5),
            presence_penalty: self.maybe(|_| -0.5),
            seed: self.maybe(|draw| i64::from(draw.below(100))),
            stop: self.maybe(|draw| draw.several(1, 2, Self::word)).unwrap_or_default(),
            ..Sampling::default()
        };
        if self.chance() {
            sampling.logit_bias.insert("50256".to_owned(), (-100).into());
        }
        sampling
    }

    fn format(&mut self) -> Format {
        match self.below(4) {
            1 => Format::Json,
            2 => Format::Schema {
                name: "thing".to_owned(),
                description: None,
                schema: schema(&self.word()),
                strict: Some(true),
            },
            _ => Format::Text,
        }
    }

    fn reasoning(&mut self) -> Reasoning {
        let mut reasoning = Reasoning { visible: self.maybe(|_| true), ..Reasoning::default() };
        match self.below(4) {
            0 => reasoning.effort = Some(self.one(&[Effort::Low, Effort::Medium, Effort::High])),
            1 => reasoning.budget = Some(1_024 + 512 * u64::from(self.below(40))),
            2 => {
                reasoning.enabled = Some(false);
                reasoning.visible = None;
            }
            _ => reasoning.enabled = Some(true),
        }
        reasoning
    }

    pub(super) fn answer(&mut self) -> Answer {
        Answer {
            id: format!("id-{}", self.word()),
            model: "a-model".to_owned(),
            created: Some(1_700_000_000),
            choices: self.several(1, 2, Self::answered),
            usage: self.maybe(Self::usage),
            tier: self.maybe(|_| "default".to_owned()),
            extra: Vec::new(),
        }
    }

    fn answered(&mut self) -> Choice {
        let mut parts = self.several(0, 3, Self::thinking);
        parts.extend(self.several(0, 2, |draw| match draw.below(6) {
            4 => Part::Refusal { text: draw.word() },
            5 => Part::Image { source: draw.inline("image/png"), detail: None, cache: None },
            _ => Part::Text {
                text: draw.word(),
                citations: draw.several(0, 1, Self::citation),
                cache: None,
                proof: draw.maybe(|draw| draw.proof(true)),
            },
        }));
        // Models think between the words and the calls, too.
        if self.chance() {
            parts.extend(self.several(0, 1, Self::thinking));
            parts.extend(self.several(0, 1, Self::call));
            parts.extend(self.several(0, 1, Self::thinking));
            parts.push(self.call());
        }
        // One vendor answers: it signs thoughts, or marks texts and calls. The prompt is marked for caches, not the answer.
        let marks = self.chance();
        for part in &mut parts {
            match part {
                Part::ToolCall { cache, proof, .. } => {
                    *cache = None;
                    proof.take_if(|_| !marks);
                }
                Part::Text { proof, .. } => drop(proof.take_if(|_| !marks)),
                Part::Thinking { proof, .. } => drop(proof.take_if(|_| marks)),
                _ => {}
            }
        }
        let calls = parts.iter().any(|part| matches!(part, Part::ToolCall { .. }));
        let finish = match (calls, self.below(4)) {
            (true, _) => Finish::ToolCalls,
            (_, 1) => Finish::Length,
            (_, 2) => Finish::ContentFilter,
            _ => Finish::Stop,
        };
        let said = parts.iter().any(|part| matches!(part, Part::Text { .. }));
        let log_probabilities = self.maybe(Self::probability).filter(|_| said).into_iter().collect();
        Choice { parts, finish: Some(finish), log_probabilities }
    }

    fn probability(&mut self) -> TokenProbability {
        let token = self.word();
        let bytes = Some(token.clone().into_bytes());
        TokenProbability { token, bytes, log_probability: -0.5, alternatives: Vec::new() }
    }

    fn usage(&mut self) -> Usage {
        Usage {
            input: 100 + u64::from(self.below(100)),
            cache_read: self.below(50).into(),
            cache_write: self.below(50).into(),
            input_audio: self.below(40).into(),
            output: 20 + u64::from(self.below(100)),
            reasoning: self.below(10).into(),
            output_audio: self.below(8).into(),
            ..Usage::default()
        }
    }
}

const MODALITIES: [Modality; 3] = [Modality::Text, Modality::Audio, Modality::Image];

fn schema(word: &str) -> Value {
    json!({
        "type": "object",
        "properties": {word: {"type": "string"}},
        "required": [word],
        "additionalProperties": false,
    })
}
