//! Takes requests apart into what can be lost, each with the features that may name its loss.

use std::collections::BTreeMap;

use ai::{
    canon::{
        CacheMark, Effort, Feature, Format, Message, Modality, Part, Proof, Reasoning, Request, Role, Source,
        Tool, ToolChoice, ToolKind,
    },
    dialect::Dialect,
};
use serde_json::json;

/// What a request consists of: how often each thing is there, and under which features it may be lost; under none,
/// it may not be.
#[derive(Default)]
pub(super) struct Atoms {
    atoms: BTreeMap<String, (usize, Vec<Feature>)>,
    /// Whose own proofs may never be lost.
    issuer: &'static str,
}

impl Atoms {
    pub(super) fn of(request: &Request, dialect: Dialect, takes_own: bool) -> Self {
        let issuer = match dialect {
            _ if !takes_own => "",
            Dialect::OpenAiChat => "openai-chat",
            Dialect::OpenAiResponses => "openai",
            Dialect::Anthropic | Dialect::Bedrock => "anthropic",
            Dialect::Gemini => "gemini",
            Dialect::Cohere => "cohere",
        };
        let mut atoms = Self { issuer, ..Self::default() };
        atoms.add("stream", &request.stream, &[]);
        request.messages.iter().for_each(|message| atoms.message(message));
        let tools = callable(request);
        tools.iter().for_each(|tool| atoms.tool(tool));
        atoms.choice(request, &tools);
        atoms.parameters(request);
        atoms.sampling(request);
        atoms
    }

    /// What is in these but not in those, or less often.
    pub(super) fn without<'a>(&'a self, those: &'a Self) -> impl Iterator<Item = (&'a str, &'a [Feature])> {
        self.atoms
            .iter()
            .filter(|(key, (count, _))| those.atoms.get(*key).is_none_or(|(other, _)| other < count))
            .map(|(key, (_, features))| (key.as_str(), features.as_slice()))
    }

    fn add(&mut self, what: &str, value: &impl std::fmt::Debug, features: &[Feature]) {
        let entry = self.atoms.entry(format!("{what} {value:?}")).or_default();
        entry.0 += 1;
        entry.1.extend(features);
    }

    fn some<T: std::fmt::Debug>(&mut self, what: &str, value: Option<T>, features: &[Feature]) {
        if let Some(value) = value {
            self.add(what, &value, features);
        }
    }

    fn words(&mut self, what: &str, text: &str, features: &[Feature]) {
        words_of(text).for_each(|word| self.add(what, &word, features));
    }

    fn message(&mut self, message: &Message) {
        self.some("name", message.name.as_deref(), &[Feature::SpeakerName]);
        for part in &message.parts {
            // `Developer` is a name that few know.
            let class = match message.role {
                Role::System | Role::Developer => "system said",
                Role::User => "user said",
                Role::Assistant => "assistant said",
                Role::Tool => "tool said",
            };
            if let Part::Text { text, .. } | Part::Refusal { text } = part {
                self.words(class, text, &[]);
            }
            self.part(part);
        }
    }

    /// What a vendor has signed another cannot read; its own comes back to it always.
    fn proof(&mut self, proof: Option<&Proof>) {
        let is_own = proof.is_some_and(|proof| proof.issuer == self.issuer);
        self.some("proof", proof, if is_own { &[] } else { &[Feature::ForeignThoughts] });
    }

    /// A mark goes with what it is on.
    fn cache(&mut self, mark: Option<&CacheMark>, on: &[Feature]) {
        let features: Vec<Feature> = on.iter().copied().chain([Feature::CacheMark]).collect();
        self.some("mark", mark.map(|_| ()), &features);
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::Text { text, citations, cache, proof } => {
                self.words("word", text, &[]);
                self.cache(cache.as_ref(), &[]);
                self.proof(proof.as_ref());
                for citation in citations {
                    self.some("quote", citation.quote.as_ref(), &[Feature::Citations]);
                    self.some("cited title", citation.title.as_ref(), &[Feature::Citations]);
                    self.some("cited address", citation.url.as_ref(), &[Feature::Citations]);
                }
            }
            Part::Refusal { text } => self.words("word", text, &[]),
            Part::Thinking { text, proof } => {
                self.words("thought", text, &[Feature::ForeignThoughts]);
                self.proof(proof.as_ref());
            }
            Part::ToolCall { id, name, arguments, custom, proof, cache } => {
                // A free text stands in an object where a dialect knows no custom tools.
                let _ = custom;
                let arguments = serde_json::from_str(arguments).unwrap_or(json!({"input": arguments}));
                self.add("call", &(id, name, arguments), &[]);
                self.proof(proof.as_ref());
                self.cache(cache.as_ref(), &[]);
            }
            Part::ToolResult { id, content, is_error, cache, .. } => {
                self.add("result", &id, &[]);
                self.some("failure", is_error.then_some(id), &[Feature::ToolError]);
                self.cache(cache.as_ref(), &[]);
                content.iter().for_each(|part| self.part(part));
            }
            Part::Vendor { value, .. } => self.add("vendor", value, &[Feature::VendorPart]),
            media => self.media(media),
        }
    }

    fn media(&mut self, part: &Part) {
        match part {
            Part::Image { source, detail, cache } => {
                let features = [Feature::Image, Feature::File, Feature::ImageDetail];
                self.source("image", source, &features[..2]);
                // `auto` is what is meant when nothing is said.
                self.some("detail", detail.as_ref().filter(|word| *word != "auto"), &features);
                self.cache(cache.as_ref(), &features[..2]);
            }
            // A document of text may become a text with its title.
            Part::Document { source: Source::Text { text }, name, context, citable, cache } => {
                self.words("word", text, &[Feature::Document]);
                let beside = [Feature::Document, Feature::DocumentContext];
                self.words("word", name.as_deref().unwrap_or_default(), &beside);
                self.words("word", context.as_deref().unwrap_or_default(), &beside);
                self.document(None, *citable);
                self.cache(cache.as_ref(), &beside[..1]);
            }
            Part::Document { source, name, context, citable, cache } => {
                let features = [Feature::Document, Feature::File, Feature::DocumentContext];
                self.source("document", source, &features[..2]);
                // Where a name is demanded, writers make one up; where few letters are allowed, others are left out.
                words_of(name.as_deref().unwrap_or_default())
                    .for_each(|word| self.add("title", &word, &features));
                self.document(context.as_deref(), *citable);
                self.cache(cache.as_ref(), &features[..2]);
            }
            Part::Audio { source, .. } => self.source("sound", source, &[Feature::Audio]),
            Part::Video { source } => self.source("video", source, &[Feature::Video]),
            _ => {}
        }
    }

    fn document(&mut self, context: Option<&str>, citable: bool) {
        let features = [Feature::DocumentContext, Feature::Document, Feature::File];
        self.some("context", context, &features);
        let features = [Feature::Citations, Feature::Document, Feature::File];
        self.some("citable", citable.then_some(()), &features);
    }

    fn source(&mut self, what: &str, source: &Source, features: &[Feature]) {
        match source {
            Source::Inline { media_type, data } => self.add(what, &(media_type, data), features),
            Source::Url { url, .. } => self.add(what, &url, features),
            Source::File { id } => self.add(what, &id, features),
            Source::Text { text } => self.words("word", text, features),
        }
    }

    fn tool(&mut self, tool: &Tool) {
        let none = json!({"type": "object", "properties": {}});
        match &tool.kind {
            // A tool that takes a free text is a function of one text where a dialect knows no others; its grammar is
            // named.
            ToolKind::Custom { format } => {
                self.add("free", &(&tool.name, &tool.description), &[]);
                let grammar = format.as_ref().filter(|format| format.get("grammar").is_some());
                self.some("grammar", grammar, &[Feature::CustomTool]);
            }
            ToolKind::Function { parameters } if takes_text(parameters.as_ref()) => {
                self.add("free", &(&tool.name, &tool.description), &[]);
            }
            ToolKind::Function { parameters } => {
                let parameters = parameters.as_ref().unwrap_or(&none);
                self.add("function", &(&tool.name, parameters, &tool.description), &[]);
                // Not strict is what is meant when nothing is said.
                self.some("strict", (tool.strict == Some(true)).then_some(&tool.name), &[Feature::Strict]);
            }
            ToolKind::Vendor { value, .. } => self.add("vendor tool", value, &[Feature::VendorTool]),
        }
        self.cache(tool.cache.as_ref(), &[Feature::VendorTool]);
    }

    /// What must be called. Where the tools are lost, it is with them.
    fn choice(&mut self, request: &Request, tools: &[&Tool]) {
        let features = [Feature::ToolChoice, Feature::VendorTool];
        let required = match &request.tool_choice {
            Some(ToolChoice::Required | ToolChoice::Among { required: true, .. }) => true,
            Some(ToolChoice::Named(_)) => true,
            Some(ToolChoice::Auto | ToolChoice::None | ToolChoice::Among { required: false, .. }) | None => {
                false
            }
        };
        let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        // In some dialects functions come before the vendor's own, and the order says nothing.
        names.sort_unstable();
        self.some("must call one of", required.then_some(names), &features);
        let alone = request.parallel_tool_calls.filter(|wish| !wish && !tools.is_empty());
        self.some("parallel", alone, &[Feature::ParallelToolCalls, features[1]]);
    }

    fn parameters(&mut self, request: &Request) {
        self.some("most", request.max_output_tokens, &[Feature::MaxOutputTokens]);
        self.some("choices", request.choices.filter(|count| *count != 1), &[Feature::Choices]);
        match &request.format {
            Format::Text => {}
            Format::Json => self.add("JSON", &(), &[Feature::JsonMode]),
            Format::Schema { schema, .. } => self.add("schema", schema, &[Feature::JsonSchema]),
        }
        if let Some(reasoning) = &request.reasoning {
            self.some("effort", wish(reasoning), &[Feature::Reasoning]);
            let features = [Feature::ReasoningSummary, Feature::Reasoning];
            self.some("shown", reasoning.visible.filter(|visible| *visible), &features);
        }
        self.some("probabilities", request.log_probabilities, &[Feature::LogProbabilities]);
        let more = request.modalities.iter().filter(|modality| **modality != Modality::Text);
        for modality in
            more.map(|modality| format!("{modality:?}")).collect::<std::collections::BTreeSet<_>>()
        {
            self.add("modality", &modality, &[Feature::Modalities]);
        }
        self.some("verbosity", request.verbosity, &[Feature::Verbosity]);
        // `auto` is what is meant when nothing is said.
        self.some(
            "tier",
            request
                .tier
                .as_ref()
                .filter(|tier| *tier != "auto" && *tier != "default" && *tier != "standard_only"),
            &[Feature::Tier],
        );
        self.some("user", request.user.as_ref(), &[Feature::User]);
        self.some("metadata", Some(&request.metadata).filter(|map| !map.is_empty()), &[Feature::Metadata]);
        self.some("cache key", request.cache_key.as_ref(), &[Feature::CacheKey]);
        // Most dialects keep nothing.
        self.some("store", request.store.filter(|store| *store), &[Feature::Store]);
        self.some("conversation", request.conversation.as_ref(), &[Feature::Conversation]);
    }

    fn sampling(&mut self, request: &Request) {
        let sampling = &request.sampling;
        // 1 is what is meant when nothing is said.
        self.some("temperature", sampling.temperature.filter(|wish| *wish != 1.0), &[Feature::Temperature]);
        self.some("top_p", sampling.top_p, &[Feature::TopP]);
        self.some("top_k", sampling.top_k, &[Feature::TopK]);
        self.some("frequency penalty", sampling.frequency_penalty, &[Feature::FrequencyPenalty]);
        self.some("presence penalty", sampling.presence_penalty, &[Feature::PresencePenalty]);
        self.some("seed", sampling.seed, &[Feature::Seed]);
        sampling.stop.iter().for_each(|stop| self.add("stop", stop, &[Feature::Stop]));
        self.some("bias", Some(&sampling.logit_bias).filter(|map| !map.is_empty()), &[Feature::LogitBias]);
    }
}

/// Whether a function is one that a tool with a free text became.
fn takes_text(parameters: Option<&serde_json::Value>) -> bool {
    let about = parameters.and_then(|parameters| parameters.pointer("/properties/input/description"));
    about
        .and_then(|about| about.as_str())
        .is_some_and(|about| about.starts_with("The whole input of the tool"))
}

/// The tools that may be called: a choice among some is the same as having no others.
fn callable(request: &Request) -> Vec<&Tool> {
    let tools = request.tools.iter();
    match &request.tool_choice {
        Some(ToolChoice::None) => Vec::new(),
        Some(ToolChoice::Named(name)) => tools.filter(|tool| tool.name == *name).collect(),
        Some(ToolChoice::Among { names, .. }) => tools.filter(|tool| names.contains(&tool.name)).collect(),
        Some(ToolChoice::Auto | ToolChoice::Required) | None => tools.collect(),
    }
}

/// How much thinking is wanted, in the one word that every dialect has some form of: words and budgets are mapped on
/// each other, and that is no loss.
fn wish(reasoning: &Reasoning) -> Option<Effort> {
    // Not to think is what some say by saying nothing.
    if reasoning.enabled == Some(false) {
        return None;
    }
    reasoning.effort.or(reasoning.budget.map(Effort::of_budget)).filter(|effort| *effort != Effort::None)
}

/// The words of the conversation in their order: the caller's and the model's, for instructions may be moved.
pub(super) fn order(request: &Request) -> Vec<String> {
    let spoken =
        request.messages.iter().filter(|message| matches!(message.role, Role::User | Role::Assistant));
    let texts = spoken.flat_map(|message| &message.parts).filter_map(|part| match part {
        // A refusal has a place of its own in some dialects.
        Part::Text { text, .. } => Some(text),
        _ => None,
    });
    texts.flat_map(|text| words_of(text)).collect()
}

/// The words that were drawn, wherever they stand in a text.
pub(super) fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split('w').skip(1).filter_map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!digits.is_empty()).then(|| format!("w{digits}"))
    })
}
