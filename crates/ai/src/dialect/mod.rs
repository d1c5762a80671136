//! The six chat dialects. Each is a folder of two translators: `inbound` for what callers speak, `outbound` for what
//! providers speak; the enum joins them, and a `match` without `_` finds what is missing.

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod openai_chat;
mod openai_responses;
mod renamed;
mod unshown;

pub(crate) use self::{anthropic::thinking::below as budget_below, openai_chat::outbound::write_reasoning};
use crate::{
    canon::{Answer, Error, Event, Feature, Losses, Part, Request, Usage},
    endpoint::Operation,
    fit::{self, Names},
    rules::Target,
    stream::{Frame, Framing},
};

/// A chat dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI Chat Completions, and everybody who is compatible with it.
    OpenAiChat,
    /// OpenAI Responses.
    OpenAiResponses,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini `generateContent`.
    Gemini,
    /// Amazon Bedrock Converse.
    Bedrock,
    /// Cohere Chat v2.
    Cohere,
}

/// What a caller sent, beside the body: what its dialect says in the path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spoken {
    /// The model, where the path names it (Gemini, Bedrock).
    pub model: Option<String>,
    /// The path asks for a stream (Gemini, Bedrock).
    pub stream: bool,
}

/// A request as a provider takes it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outgoing {
    /// The path below the provider's base address, with its query if any: `/chat/completions`.
    pub path: String,
    /// Header fields that belong to the dialect, such as `anthropic-version`.
    pub headers: Vec<(&'static str, String)>,
    /// The body, JSON.
    pub body: Vec<u8>,
    /// What could not be carried.
    pub losses: Losses,
}

/// What an answer needs to know beside itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Telling {
    /// The model that answers, as its provider names it.
    pub model: String,
    /// An id for the answer, for where the provider gave none.
    pub id: String,
    /// Seconds since 1970, for where the provider did not say.
    pub created: u64,
    /// In a stream, the usage is wanted at the end.
    pub include_usage: bool,
    /// How a stream is framed, as [`Dialect::caller_framing`] tells; the dialect's common way if `None`.
    pub framing: Option<Framing>,
    /// What the answer repeats of its request, as [`Dialect::echo`] tells.
    pub echo: serde_json::Map<String, serde_json::Value>,
    /// Names of tools that the provider was told otherwise, as [`Dialect::names`] of its dialect tells.
    pub names: Names,
}

/// Writes a stream in a caller's dialect. One lives as long as one stream.
pub trait StreamWriter {
    /// Appends what an event is in this dialect, framed.
    fn write(&mut self, event: Event, out: &mut Vec<u8>);
}

/// Reads a provider's stream. One lives as long as one stream.
pub trait StreamReader {
    /// What a frame tells. A frame that breaks the dialect's rules is told as [`Event::Error`].
    fn read(&mut self, frame: Frame, out: &mut Vec<Event>);

    /// The connection has ended. What the dialect still owed is told: at least [`Event::End`], or [`Event::Error`]
    /// when the stream broke off.
    fn end(&mut self, out: &mut Vec<Event>);
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 6] =
        [Self::OpenAiChat, Self::OpenAiResponses, Self::Anthropic, Self::Gemini, Self::Bedrock, Self::Cohere];

    /// The name in configuration, headers and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::OpenAiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Bedrock => "bedrock",
            Self::Cohere => "cohere",
        }
    }

    /// Reads a caller's request.
    pub fn read_request(self, spoken: &Spoken, body: &[u8]) -> Result<Request, Error> {
        let request = match self {
            Self::OpenAiChat => openai_chat::inbound::read_request(spoken, body),
            Self::OpenAiResponses => openai_responses::inbound::read_request(spoken, body),
            Self::Anthropic => anthropic::inbound::read_request(spoken, body),
            Self::Gemini => gemini::inbound::read_request(spoken, body),
            Self::Bedrock => bedrock::inbound::read_request(spoken, body),
            Self::Cohere => cohere::inbound::read_request(spoken, body),
        }?;
        // In JSON it can stand as this alone, whatever the case of its last letter.
        if memchr::memmem::find(body, b"\\u001").is_some() {
            fit::refuse_broken(&request, self)?;
        }
        Ok(request)
    }

    /// What an answer in this dialect repeats of its request.
    pub fn echo(self, request: &Request) -> serde_json::Map<String, serde_json::Value> {
        match self {
            Self::OpenAiResponses => openai_responses::echo(request),
            Self::OpenAiChat | Self::Anthropic | Self::Gemini | Self::Bedrock | Self::Cohere => {
                serde_json::Map::new()
            }
        }
    }

    /// Writes a whole answer for a caller.
    pub fn write_answer(self, answer: Answer, telling: &Telling) -> Vec<u8> {
        let answer = fit::without_scopes(telling.names.answer(answer), self);
        match self {
            Self::OpenAiChat => openai_chat::inbound::write_answer(answer, telling),
            Self::OpenAiResponses => openai_responses::inbound::write_answer(answer, telling),
            Self::Anthropic => anthropic::inbound::write_answer(answer, telling),
            Self::Gemini => gemini::inbound::write_answer(answer, telling),
            Self::Bedrock => bedrock::inbound::write_answer(answer, telling),
            Self::Cohere => cohere::inbound::write_answer(answer, telling),
        }
    }

    /// Writes a stream for a caller, framed as `telling` says.
    pub fn stream_writer(self, mut telling: Telling) -> Box<dyn StreamWriter> {
        let names = std::mem::take(&mut telling.names);
        let inner = self.plain_stream_writer(telling);
        Box::new(renamed::Renamed { names: fit::Renaming::new(names, self), inner })
    }

    fn plain_stream_writer(self, telling: Telling) -> Box<dyn StreamWriter> {
        match self {
            Self::OpenAiChat => Box::new(openai_chat::inbound::Writer::new(telling)),
            Self::OpenAiResponses => Box::new(openai_responses::inbound::Writer::new(telling)),
            Self::Anthropic => Box::new(anthropic::inbound::Writer::new(telling)),
            Self::Gemini if telling.framing == Some(Framing::JsonArray) => {
                Box::new(gemini::inbound::Writer::array(telling))
            }
            Self::Gemini => Box::new(gemini::inbound::Writer::new(telling)),
            Self::Bedrock => Box::new(bedrock::inbound::Writer::new(telling)),
            Self::Cohere => Box::new(cohere::inbound::Writer::new(telling)),
        }
    }

    /// How streams to callers are framed. Gemini's are an array of JSON, unless the query asks for events.
    pub fn caller_framing(self, query: Option<&str>) -> Framing {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::Anthropic | Self::Cohere => Framing::Sse,
            Self::Gemini => {
                let mut pairs = query.unwrap_or_default().split('&');
                let events = pairs.any(|pair| matches!(pair, "alt=sse" | "$alt=sse" | "%24alt=sse"));
                if events { Framing::Sse } else { Framing::JsonArray }
            }
            Self::Bedrock => Framing::EventStream,
        }
    }

    /// Writes an error for a caller that waits for a whole answer. The status is the error's own.
    pub fn write_error(self, error: &Error) -> Vec<u8> {
        match self {
            Self::OpenAiChat => openai_chat::inbound::write_error(error),
            Self::OpenAiResponses => openai_responses::inbound::write_error(error),
            Self::Anthropic => anthropic::inbound::write_error(error),
            Self::Gemini => gemini::inbound::write_error(error),
            Self::Bedrock => bedrock::inbound::write_error(error),
            Self::Cohere => cohere::inbound::write_error(error),
        }
    }

    /// What a caller of this dialect calls a feature, for the loss report.
    pub fn feature_name(self, feature: Feature) -> &'static str {
        match self {
            Self::OpenAiChat => openai_chat::feature_name(feature),
            Self::OpenAiResponses => openai_responses::feature_name(feature),
            Self::Anthropic => anthropic::feature_name(feature),
            Self::Gemini => gemini::feature_name(feature),
            Self::Bedrock => bedrock::feature_name(feature),
            Self::Cohere => cohere::feature_name(feature),
        }
    }

    /// Writes a request for a provider.
    pub fn write_request(self, request: &Request, target: Target<'_>) -> Result<Outgoing, Error> {
        let mut losses = Losses::default();
        let request = &*fit::fit(request, self, target.rules, &mut losses);
        let mut written = match self {
            Self::OpenAiChat => openai_chat::outbound::write_request(request, target),
            Self::OpenAiResponses => openai_responses::outbound::write_request(request, target),
            Self::Anthropic => anthropic::outbound::write_request(request, target),
            Self::Gemini => gemini::outbound::write_request(request, target),
            Self::Bedrock => bedrock::outbound::write_request(request, target),
            Self::Cohere => cohere::outbound::write_request(request, target),
        }?;
        lost_proofs(request, self.issuer(), &mut written.losses);
        lost_besides(self, request, &mut written.losses);
        losses.extend(written.losses);
        Ok(Outgoing { losses: losses.placed(&request.places), ..written })
    }

    /// Names of tools that a provider of this dialect is told otherwise: an answer's [`Telling`] needs them.
    pub fn names(self, request: &Request) -> Names {
        Names::of(request, self)
    }

    /// Whether tools that a vendor runs or knows can be asked for. OpenAI's stand in Responses alone; Claude has its own
    /// on Bedrock too.
    pub(crate) fn takes_tools_of(self, vendor: &str) -> bool {
        match self {
            Self::OpenAiChat | Self::Cohere => false,
            Self::OpenAiResponses | Self::Anthropic | Self::Gemini => vendor == self.issuer(),
            Self::Bedrock => vendor == self.name() || vendor == self.issuer(),
        }
    }

    /// Who issues the proofs that this dialect's providers take back.
    pub(crate) fn issuer(self) -> &'static str {
        match self {
            Self::OpenAiChat => openai_chat::ISSUER,
            Self::OpenAiResponses => openai_responses::ISSUER,
            Self::Anthropic | Self::Bedrock => anthropic::ISSUER,
            Self::Gemini => gemini::ISSUER,
            Self::Cohere => "cohere",
        }
    }

    /// A text that stands in base64 where this dialect has bytes.
    pub(crate) fn decoded(self, text: &str) -> Option<String> {
        // Gemini's reader takes either alphabet, and what is not in it is no text of ours.
        gemini::decode(text).and_then(|bytes| String::from_utf8(bytes).ok())
    }

    /// The path of an operation below a provider's base address, for a request that passes untranslated.
    pub fn path(self, operation: Operation, model: &str, stream: bool) -> Result<String, Error> {
        let fixed = match (self, operation) {
            (_, Operation::Models) => "/models",
            (Self::Cohere, Operation::Rerank) => "/v2/rerank",
            (_, Operation::Rerank) => "/rerank",
            (Self::OpenAiChat, Operation::Embeddings) => "/embeddings",
            (Self::OpenAiChat, Operation::Completions) => "/completions",
            (Self::OpenAiChat, Operation::Images) => "/images/generations",
            (Self::OpenAiChat, Operation::ImageEdits) => "/images/edits",
            (Self::OpenAiChat, Operation::Speech) => "/audio/speech",
            (Self::OpenAiChat, Operation::Transcriptions) => "/audio/transcriptions",
            (Self::OpenAiChat, Operation::Translations) => "/audio/translations",
            (Self::OpenAiChat, Operation::Moderations) => "/moderations",
            (Self::OpenAiChat, _) => "/chat/completions",
            (Self::OpenAiResponses, Operation::CountTokens) => "/responses/input_tokens",
            (Self::OpenAiResponses, Operation::Compact) => "/responses/compact",
            (Self::OpenAiResponses, _) => "/responses",
            (Self::Anthropic, Operation::CountTokens) => "/v1/messages/count_tokens",
            (Self::Anthropic, _) => "/v1/messages",
            (Self::Gemini, Operation::CountTokens) => return gemini::model_path(model, "countTokens"),
            (Self::Gemini, Operation::Embeddings) => return gemini::model_path(model, "embedContent"),
            (Self::Gemini, _) if stream => return gemini::model_path(model, "streamGenerateContent"),
            (Self::Gemini, _) => return gemini::model_path(model, "generateContent"),
            (Self::Bedrock, _) => {
                let is_stream = operation == Operation::Chat && stream;
                let method = match operation {
                    Operation::CountTokens => "count-tokens",
                    _ if is_stream => "converse-stream",
                    _ => "converse",
                };
                return Ok(format!("/model/{}/{method}", crate::name::segment(model)?));
            }
            (Self::Cohere, Operation::Embeddings) => "/v2/embed",
            (Self::Cohere, _) => "/v2/chat",
        };
        Ok(fixed.to_owned())
    }

    /// Header fields that the dialect demands of every request.
    pub fn headers(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Anthropic => vec![("anthropic-version", "2023-06-01".to_owned())],
            Self::OpenAiChat | Self::OpenAiResponses | Self::Gemini | Self::Bedrock | Self::Cohere => {
                Vec::new()
            }
        }
    }

    /// The usage in a whole answer, which is read over and not built.
    pub fn peek_usage(self, body: &[u8]) -> Option<Usage> {
        let value = crate::peek::usage(body)?;
        match self {
            // Of pictures and of speech written down it is told as Responses tell it.
            Self::OpenAiChat => openai_chat::usage_of(&value).or_else(|| openai_responses::usage_of(&value)),
            Self::OpenAiResponses => openai_responses::usage_of(&value),
            Self::Anthropic => anthropic::usage_of(&value),
            Self::Gemini => gemini::usage_of(&value),
            Self::Bedrock => bedrock::usage_of(&value),
            Self::Cohere => cohere::usage_of(&value),
        }
    }

    /// Reads a provider's whole answer.
    pub fn read_answer(self, body: &[u8]) -> Result<Answer, Error> {
        match self {
            Self::OpenAiChat => openai_chat::outbound::read_answer(body),
            Self::OpenAiResponses => openai_responses::outbound::read_answer(body),
            Self::Anthropic => anthropic::outbound::read_answer(body),
            Self::Gemini => gemini::outbound::read_answer(body),
            Self::Bedrock => bedrock::outbound::read_answer(body),
            Self::Cohere => cohere::outbound::read_answer(body),
        }
    }

    /// Reads a provider's stream.
    pub fn stream_reader(self) -> Box<dyn StreamReader> {
        match self {
            Self::OpenAiChat => Box::new(openai_chat::outbound::Reader::default()),
            Self::OpenAiResponses => Box::new(openai_responses::outbound::Reader::default()),
            Self::Anthropic => Box::new(anthropic::outbound::Reader::default()),
            Self::Gemini => Box::new(gemini::outbound::Reader::default()),
            Self::Bedrock => Box::new(bedrock::outbound::Reader::default()),
            Self::Cohere => Box::new(cohere::outbound::Reader::default()),
        }
    }

    /// How providers frame their streams.
    pub fn provider_framing(self) -> Framing {
        match self {
            Self::OpenAiChat => Framing::Sse,
            Self::OpenAiResponses => Framing::Sse,
            Self::Anthropic => Framing::Sse,
            Self::Gemini => Framing::Sse,
            Self::Bedrock => Framing::EventStream,
            Self::Cohere => Framing::Sse,
        }
    }

    /// Reads what a provider says with a status other than 2xx.
    pub fn read_error(self, status: u16, body: &[u8]) -> Error {
        match self {
            Self::OpenAiChat => openai_chat::outbound::read_error(status, body),
            Self::OpenAiResponses => openai_responses::outbound::read_error(status, body),
            Self::Anthropic => anthropic::outbound::read_error(status, body),
            Self::Gemini => gemini::outbound::read_error(status, body),
            Self::Bedrock => bedrock::outbound::read_error(status, body),
            Self::Cohere => cohere::outbound::read_error(status, body),
        }
    }
}

/// A body for Bedrock with these flags of Anthropic's `anthropic-beta`; `None` where it is none.
pub fn with_betas(body: &[u8], flags: &[&str]) -> Option<Vec<u8>> {
    bedrock::with_betas(body, flags)
}

/// A tool that a vendor knows by a word and the caller runs, as a function: its description and its parameters.
pub(crate) fn as_function(vendor: &str, value: &serde_json::Value) -> Option<(String, serde_json::Value)> {
    (vendor == openai_responses::ISSUER).then(|| openai_responses::as_function(value)).flatten()
}

/// Names the proofs that go no further, since another vendor issued them.
fn lost_proofs(request: &Request, issuer: &str, losses: &mut Losses) {
    for (index, message) in request.messages.iter().enumerate() {
        let foreign = message.parts.iter().any(|part| match part {
            Part::Text { proof: Some(proof), .. }
            | Part::Thinking { proof: Some(proof), .. }
            | Part::ToolCall { proof: Some(proof), .. } => proof.issuer != issuer,
            _ => false,
        });
        if foreign {
            losses.feature_at(Feature::ForeignThoughts, format_args!("messages[{index}]"));
        }
    }
}

/// Names what some dialects have no place for anywhere, so that their writers need not look for it.
fn lost_besides(dialect: Dialect, request: &Request, losses: &mut Losses) {
    for (index, message) in request.messages.iter().enumerate() {
        for part in &message.parts {
            match (dialect, part) {
                (Dialect::Gemini, Part::Text { citations, .. }) if !citations.is_empty() => {
                    losses.feature_at(Feature::Citations, format_args!("messages[{index}]"));
                }
                (Dialect::Cohere, Part::ToolResult { is_error: true, .. }) => {
                    losses.feature_at(Feature::ToolError, format_args!("messages[{index}]"));
                }
                _ => {}
            }
        }
    }
}
