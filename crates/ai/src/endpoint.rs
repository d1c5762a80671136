//! Endpoints: which dialect a caller speaks and what it wants, by method and path.
//!
//! Each vendor's SDK appends its own paths to the base address that it is given. All of them are known here below one
//! prefix, so that every SDK works as it is.

use crate::dialect::Dialect;

/// What a request wants, and in which dialect it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The dialect.
    pub dialect: Dialect,
    /// What is wanted.
    pub operation: Operation,
    /// The model, where the path names it.
    pub model: Option<String>,
    /// The path asks for a stream.
    pub stream: bool,
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// An answer to a conversation.
    Chat,
    /// The tokens that a conversation would take.
    CountTokens,
    /// Vectors of texts.
    Embeddings,
    /// Text to be gone on with.
    Completions,
    /// Pictures made.
    Images,
    /// Pictures changed; the request is a form.
    ImageEdits,
    /// Speech made; the answer is sound.
    Speech,
    /// Speech written down; the request is a form.
    Transcriptions,
    /// Speech written down in English; the request is a form.
    Translations,
    /// Harmful texts told.
    Moderations,
    /// Documents put in order.
    Rerank,
    /// Files that a provider keeps; what is wanted of them the method and the rest of the path say.
    Files,
    /// Requests that a provider answers later.
    Batches,
    /// An answer or a conversation that a provider keeps.
    Stored,
    /// A conversation in sound, over a WebSocket.
    Realtime,
    /// The models that there are, or one of them.
    Models,
    /// A conversation made shorter (OpenAI's Responses).
    Compact,
    /// Anything else that a vendor has, which is not served here.
    Other,
}

impl Operation {
    /// The name in metrics and records, as OpenTelemetry's conventions for generative AI have it where they do.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::CountTokens => "count_tokens",
            Self::Embeddings => "embeddings",
            Self::Completions => "text_completion",
            Self::Images => "image_generation",
            Self::ImageEdits => "image_edit",
            Self::Speech => "speech",
            Self::Transcriptions => "transcription",
            Self::Translations => "translation",
            Self::Moderations => "moderation",
            Self::Rerank => "rerank",
            Self::Files => "files",
            Self::Batches => "batches",
            Self::Stored => "stored",
            Self::Realtime => "realtime",
            Self::Models => "models",
            Self::Compact => "compact",
            Self::Other => "other",
        }
    }
}

/// OpenAI's paths beside those of chat, below `/v1`.
const OPENAI_OTHERS: [&str; 18] = [
    "/chat/completions/",
    "/images/",
    "/audio/",
    "/realtime",
    "/fine_tuning",
    "/vector_stores",
    "/assistants",
    "/threads",
    "/evals",
    "/graders",
    "/videos",
    "/containers",
    "/skills",
    "/chatkit",
    "/organization",
    "/organizations",
    "/projects",
    "/complete",
];
/// Gemini's collections beside models, below `/v1beta`.
const GEMINI_OTHERS: [&str; 9] = [
    "files",
    "cachedContents",
    "tunedModels",
    "corpora",
    "batches",
    "operations",
    "fileSearchStores",
    "interactions",
    "dynamic",
];
/// What a project has at Vertex beside models and these.
const VERTEX_OTHERS: [&str; 8] = [
    "batchPredictionJobs",
    "tuningJobs",
    "endpoints",
    "ragCorpora",
    "ragFiles",
    "reasoningEngines",
    "evaluationRuns",
    "evaluationItems",
];
/// Conversations in sound of Google's SDKs, over a WebSocket, at the Gemini API and at Vertex.
const GEMINI_LIVE: [&str; 2] = ["/ws/google.ai.generativelanguage.", "/ws/google.cloud.aiplatform."];
/// Versions of the Gemini API. What is served is the same in each.
const GEMINI_VERSIONS: [&str; 2] = ["/v1beta/", "/v1alpha/"];
/// Versions that stand in base addresses, or are taken to do so.
const VERSIONS: [&str; 4] = ["v1", "v2", "v1beta", "v1alpha"];
/// Steps of a path among which a version too many is looked for.
const VERSION_AT_MOST: usize = 3;
/// Bedrock's beside models.
const BEDROCK_OTHERS: [&str; 4] =
    ["/model-invocation-job", "/model-invocation-jobs", "/async-invoke", "/guardrail"];
/// What else Bedrock does with a model.
const BEDROCK_METHODS: [&str; 1] = ["invoke-with-bidirectional-stream"];
/// Cohere's below `/v1`. Its old client's `/chat` and `/embed` are not among them: they are exact, for other paths begin so.
const COHERE_OTHERS: [&str; 9] = [
    "/tokenize",
    "/detokenize",
    "/classify",
    "/summarize",
    "/embed-jobs",
    "/datasets",
    "/connectors",
    "/finetuning",
    "/check-api-key",
];
/// Anthropic's of these, told by its header.
const ANTHROPIC_OTHERS: [&str; 3] = ["/skills", "/organizations", "/complete"];

impl Endpoint {
    /// The same for a request that bears a field of Google's SDKs, which ask for the list of models below `/v1`, too.
    pub fn of_google(path: &str) -> Option<Self> {
        let mut endpoint = Self::of(path, false)?;
        if endpoint.operation == Operation::Models {
            endpoint.dialect = Dialect::Gemini;
        }
        Some(endpoint)
    }

    /// What a path means, below the route's prefix. `None` when no vendor has it. `anthropic` says that the request
    /// bears `anthropic-version`, for the one path that two vendors share.
    pub fn of(path: &str, anthropic: bool) -> Option<Self> {
        claude_of_a_cloud(path)
            .or_else(|| gemini(path))
            .or_else(|| bedrock(path))
            .or_else(|| azure(path))
            .or_else(|| {
                let (dialect, operation) = fixed(path, anthropic)?;
                Some(Self { dialect, operation, model: None, stream: false })
            })
    }
}

/// What was meant by a path that has a version too many, as it comes of a base address that ends with the one which an SDK
/// adds by itself: the dialect of that SDK, and how the address ends that it wants.
pub fn misplaced(path: &str, anthropic: bool) -> Option<(Dialect, &'static str)> {
    let mut begin = 0;
    for _ in 0..VERSION_AT_MOST {
        let rest = path.get(begin..)?.strip_prefix('/')?;
        let end = begin + 1 + rest.find('/')?;
        if VERSIONS.contains(&path.get(begin + 1..end)?) {
            let meant = [path.get(..begin)?, path.get(end..)?].concat();
            if let Some(endpoint) = Endpoint::of(&meant, anthropic) {
                let is_openai = matches!(endpoint.dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
                let ends = if !is_openai || meant.starts_with("/openai/deployments/") {
                    ""
                } else if meant.starts_with("/openai/") {
                    "/openai/v1"
                } else {
                    "/v1"
                };
                return Some((endpoint.dialect, ends));
            }
        }
        begin = end;
    }
    None
}

fn fixed(path: &str, anthropic: bool) -> Option<(Dialect, Operation)> {
    // OpenAI's SDKs take a base address with its version or without.
    let openai = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let found = match openai {
        "/chat/completions" => (Dialect::OpenAiChat, Operation::Chat),
        "/responses" => (Dialect::OpenAiResponses, Operation::Chat),
        "/embeddings" => (Dialect::OpenAiChat, Operation::Embeddings),
        "/completions" => (Dialect::OpenAiChat, Operation::Completions),
        "/images/generations" => (Dialect::OpenAiChat, Operation::Images),
        "/images/edits" => (Dialect::OpenAiChat, Operation::ImageEdits),
        "/audio/speech" => (Dialect::OpenAiChat, Operation::Speech),
        "/audio/transcriptions" => (Dialect::OpenAiChat, Operation::Transcriptions),
        "/audio/translations" => (Dialect::OpenAiChat, Operation::Translations),
        "/moderations" => (Dialect::OpenAiChat, Operation::Moderations),
        "/rerank" => (Dialect::OpenAiChat, Operation::Rerank),
        "/messages" => (Dialect::Anthropic, Operation::Chat),
        "/messages/count_tokens" => (Dialect::Anthropic, Operation::CountTokens),
        "/v2/chat" => (Dialect::Cohere, Operation::Chat),
        "/v2/embed" => (Dialect::Cohere, Operation::Embeddings),
        "/v2/rerank" => (Dialect::Cohere, Operation::Rerank),
        _ if below(openai, "/models") && anthropic => (Dialect::Anthropic, Operation::Models),
        _ if below(openai, "/models") => (Dialect::OpenAiChat, Operation::Models),
        "/realtime" => (Dialect::OpenAiChat, Operation::Realtime),
        _ if below(openai, "/files") && anthropic => (Dialect::Anthropic, Operation::Files),
        _ if below(openai, "/files") || below(openai, "/uploads") => (Dialect::OpenAiChat, Operation::Files),
        _ if below(openai, "/batches") => (Dialect::OpenAiChat, Operation::Batches),
        _ if below(openai, "/messages/batches") => (Dialect::Anthropic, Operation::Batches),
        "/responses/input_tokens" => (Dialect::OpenAiResponses, Operation::CountTokens),
        "/responses/compact" => (Dialect::OpenAiResponses, Operation::Compact),
        _ if below(openai, "/responses") => (Dialect::OpenAiResponses, Operation::Stored),
        _ if below(openai, "/conversations") => (Dialect::OpenAiResponses, Operation::Stored),
        _ if below(openai, "/messages") => (Dialect::Anthropic, Operation::Other),
        _ if anthropic && ANTHROPIC_OTHERS.iter().any(|other| below(openai, other)) => {
            (Dialect::Anthropic, Operation::Other)
        }
        _ if OPENAI_OTHERS.iter().any(|other| below(openai, other)) => {
            (Dialect::OpenAiChat, Operation::Other)
        }
        "/chat" | "/embed" => (Dialect::Cohere, Operation::Other),
        _ if COHERE_OTHERS.iter().any(|other| below(openai, other)) => (Dialect::Cohere, Operation::Other),
        _ => return None,
    };
    Some(found)
}

/// Whether a path is this one, or lies below it.
fn below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || parent.ends_with('/'))
}

/// What is asked for at the doors of clouds, with the dialect in which its failures are told.
fn claude_of_a_cloud(path: &str) -> Option<Endpoint> {
    let door = crate::door::Door::of(path)?;
    let dialect = door.dialect();
    Some(Endpoint { dialect, operation: door.operation, model: door.model, stream: door.stream })
}

/// What a vendor has and nobody serves here: it is told so in the vendor's own words.
fn not_served(dialect: Dialect) -> Endpoint {
    Endpoint { dialect, operation: Operation::Other, model: None, stream: false }
}

/// The path behind a version of the Gemini API's.
fn behind_version(path: &str) -> Option<&str> {
    GEMINI_VERSIONS.iter().find_map(|version| path.strip_prefix(version))
}

/// What belongs to a project at Vertex and is no model: `/v1beta1/projects/{project}/locations/{location}/…`.
fn is_of_a_project(path: &str) -> bool {
    let versions = ["/v1beta1/", "/v1/", "/v1beta/"];
    let rest = versions.iter().find_map(|version| path.strip_prefix(version)?.strip_prefix("projects/"));
    let named = rest.and_then(|rest| rest.split_once("/locations/")?.1.split_once('/'));
    let among = |rest: &str, others: &[&str]| others.iter().any(|other| below(rest, other));
    named.is_some_and(|(_, rest)| among(rest, &GEMINI_OTHERS) || among(rest, &VERTEX_OTHERS))
}

/// `/v1beta/models/{model}:{method}`; Vertex has a project, a location and a publisher before `models`.
fn gemini(path: &str) -> Option<Endpoint> {
    let below_version = behind_version(path.strip_prefix("/upload").unwrap_or(path));
    let is_other = below_version.is_some_and(|rest| GEMINI_OTHERS.iter().any(|other| below(rest, other)));
    if is_other || is_of_a_project(path) || GEMINI_LIVE.iter().any(|begin| path.starts_with(begin)) {
        return Some(not_served(Dialect::Gemini));
    }
    let rest = behind_version(path).or_else(|| path.strip_prefix("/v1beta1/"));
    let rest = rest.or_else(|| path.strip_prefix("/v1/").filter(|rest| rest.contains(':')))?;
    let rest = match rest.rsplit_once("models/") {
        Some((before, rest)) if before.is_empty() || before.ends_with('/') => rest,
        _ if rest == "models" => "",
        _ => return None,
    };
    let models =
        Endpoint { dialect: Dialect::Gemini, operation: Operation::Models, model: None, stream: false };
    let Some((model, method)) = rest.rsplit_once(':') else { return Some(models) };
    let (operation, stream) = match method {
        "generateContent" => (Operation::Chat, false),
        "streamGenerateContent" => (Operation::Chat, true),
        "countTokens" => (Operation::CountTokens, false),
        "embedContent" | "batchEmbedContents" => (Operation::Embeddings, false),
        _ => (Operation::Other, false),
    };
    Some(Endpoint { dialect: Dialect::Gemini, operation, model: Some(decoded(model)), stream })
}

/// `/openai/deployments/{model}/chat/completions`, as Azure's clients of OpenAI's SDKs have it; what belongs to no
/// deployment stands right below `/openai`.
fn azure(path: &str) -> Option<Endpoint> {
    let rest = path.strip_prefix("/openai").filter(|rest| rest.starts_with('/'))?;
    let (model, rest) = match rest.strip_prefix("/deployments/") {
        Some(rest) => {
            let (model, _) = rest.split_once('/')?;
            (Some(decoded(model)).filter(|model| !model.is_empty())?.into(), rest.get(model.len()..)?)
        }
        None => (None, rest),
    };
    let (dialect, operation) = fixed(rest, false)?;
    let is_openai = matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiResponses);
    is_openai.then_some(Endpoint { dialect, operation, model, stream: false })
}

/// `/model/{model}/converse`.
fn bedrock(path: &str) -> Option<Endpoint> {
    if BEDROCK_OTHERS.iter().any(|other| below(path, other)) {
        return Some(not_served(Dialect::Bedrock));
    }
    let (model, method) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let (operation, stream) = match method {
        "converse" => (Operation::Chat, false),
        "converse-stream" => (Operation::Chat, true),
        "count-tokens" => (Operation::CountTokens, false),
        _ if BEDROCK_METHODS.contains(&method) => (Operation::Other, false),
        _ => return None,
    };
    Some(Endpoint { dialect: Dialect::Bedrock, operation, model: Some(decoded(model)), stream })
}

/// Percent-encoded bytes decoded, where they are well formed: model names of Bedrock hold `:` and `/`.
pub fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        match (byte, after) {
            (b'%', [high, low, further @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(high) * 16 + digit(low));
                rest = further;
            }
            _ => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, want: Option<(Dialect, Operation, Option<&str>, bool)>) {
        let want = want.map(|(dialect, operation, model, stream)| Endpoint {
            dialect,
            operation,
            model: model.map(str::to_owned),
            stream,
        });
        assert_eq!(Endpoint::of(path, false), want, "{path}");
    }

    #[test]
    fn what_was_meant_by_a_version_too_many_is_known() {
        for (path, anthropic, meant) in [
            ("/v1/v1/messages", false, Some((Dialect::Anthropic, ""))),
            ("/v1beta/v1/messages/batches", false, Some((Dialect::Anthropic, ""))),
            ("/v1/v1/files", true, Some((Dialect::Anthropic, ""))),
            ("/v1/v1/files", false, Some((Dialect::OpenAiChat, "/v1"))),
            ("/v1/v1/responses/resp_1", false, Some((Dialect::OpenAiResponses, "/v1"))),
            ("/v2/chat/completions", false, Some((Dialect::OpenAiChat, "/v1"))),
            ("/v2/v2/rerank", false, Some((Dialect::Cohere, ""))),
            ("/v1/model/m/converse", false, Some((Dialect::Bedrock, ""))),
            ("/openai/v1/v1/chat/completions", false, Some((Dialect::OpenAiChat, "/openai/v1"))),
            ("/v1/openai/deployments/m/embeddings", false, Some((Dialect::OpenAiChat, ""))),
            ("/v1/v1/nobodys", false, None),
            ("/v1/v1", false, None),
            ("/v3/messages", false, None),
            ("/a/b/c/v1/v1/messages", false, None),
            ("", false, None),
        ] {
            assert_eq!(misplaced(path, anthropic), meant, "{path}");
        }
    }

    #[test]
    fn the_paths_of_every_sdk_are_known() {
        use Dialect::{Anthropic, Bedrock, Cohere, Gemini, OpenAiChat, OpenAiResponses};
        use Operation::{
            Batches, Chat, CountTokens, Embeddings, Files, Images, Models, Other, Realtime, Rerank, Stored,
            Transcriptions,
        };
        check("/v1/chat/completions", Some((OpenAiChat, Chat, None, false)));
        check("/chat/completions", Some((OpenAiChat, Chat, None, false)));
        check("/v1/responses", Some((OpenAiResponses, Chat, None, false)));
        check("/v1/responses/resp_1/input_items", Some((OpenAiResponses, Stored, None, false)));
        check("/v1/responses/input_tokens", Some((OpenAiResponses, CountTokens, None, false)));
        check("/v1/responses/compact", Some((OpenAiResponses, Operation::Compact, None, false)));
        check("/v1/conversations", Some((OpenAiResponses, Stored, None, false)));
        check("/v1/conversations/conv_1/items/msg_1", Some((OpenAiResponses, Stored, None, false)));
        check("/v1/embeddings", Some((OpenAiChat, Embeddings, None, false)));
        check("/v1/models", Some((OpenAiChat, Models, None, false)));
        check("/v1/models/gpt-4o", Some((OpenAiChat, Models, None, false)));
        check("/v1/images/generations", Some((OpenAiChat, Images, None, false)));
        check("/v1/images/variations", Some((OpenAiChat, Other, None, false)));
        check("/v1/audio/transcriptions", Some((OpenAiChat, Transcriptions, None, false)));
        check("/v1/rerank", Some((OpenAiChat, Rerank, None, false)));
        check("/v2/rerank", Some((Cohere, Rerank, None, false)));
        check("/v1/messages", Some((Anthropic, Chat, None, false)));
        check("/v1/messages/count_tokens", Some((Anthropic, CountTokens, None, false)));
        check("/v1/messages/batches", Some((Anthropic, Batches, None, false)));
        check("/v1/messages/batches/b/results", Some((Anthropic, Batches, None, false)));
        check("/v1/batches/b/cancel", Some((OpenAiChat, Batches, None, false)));
        check("/v1/files/f/content", Some((OpenAiChat, Files, None, false)));
        check("/v1/uploads/u/parts", Some((OpenAiChat, Files, None, false)));
        check("/v1/realtime", Some((OpenAiChat, Realtime, None, false)));
        check("/v1/realtime/client_secrets", Some((OpenAiChat, Other, None, false)));
        assert_eq!(Endpoint::of("/v1/files", true).map(|endpoint| endpoint.dialect), Some(Anthropic));
        let model = Some("gemini-2.5-pro");
        check("/v1beta/models/gemini-2.5-pro:generateContent", Some((Gemini, Chat, model, false)));
        check("/v1beta/models/gemini-2.5-pro:streamGenerateContent", Some((Gemini, Chat, model, true)));
        check("/v1beta/models/gemini-2.5-pro:countTokens", Some((Gemini, CountTokens, model, false)));
        check("/v1/models/gemini-2.5-pro:generateContent", Some((Gemini, Chat, model, false)));
        check(
            "/v1beta1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:generateContent",
            Some((Gemini, Chat, model, false)),
        );
        check("/v1beta/models", Some((Gemini, Models, None, false)));
        let claude = Some("anthropic.claude-v2:0");
        check("/model/anthropic.claude-v2%3A0/converse", Some((Bedrock, Chat, claude, false)));
        check("/model/anthropic.claude-v2:0/converse-stream", Some((Bedrock, Chat, claude, true)));
        let deployed = Some("gpt-4o");
        check("/openai/deployments/gpt-4o/chat/completions", Some((OpenAiChat, Chat, deployed, false)));
        check("/openai/deployments/gpt-4o/embeddings", Some((OpenAiChat, Embeddings, deployed, false)));
        check("/openai/deployments/a%2Fb/images/generations", Some((OpenAiChat, Images, Some("a/b"), false)));
        check("/openai/v1/responses", Some((OpenAiResponses, Chat, None, false)));
        check("/openai/responses", Some((OpenAiResponses, Chat, None, false)));
        check("/openai/models", Some((OpenAiChat, Models, None, false)));
        for path in ["/openai", "/openai/deployments/gpt-4o", "/openai/deployments//chat/completions"] {
            check(path, None);
        }
        check("/v1alpha/models/gemini-2.5-pro:generateContent", Some((Gemini, Chat, model, false)));
        for path in [
            "/v1beta/cachedContents/c1",
            "/v1alpha/files",
            "/upload/v1alpha/files",
            "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
            "/v1beta1/projects/p/locations/l/cachedContents",
            "/v1beta1/projects/p/locations/l/batchPredictionJobs/1",
            "/v1/projects/p/locations/l/tuningJobs",
        ] {
            check(path, Some((Gemini, Other, None, false)));
        }
        for path in [
            "/model-invocation-job",
            "/model-invocation-jobs",
            "/async-invoke/a",
            "/guardrail/g/version/1/apply",
        ] {
            check(path, Some((Bedrock, Other, None, false)));
        }
        check(
            "/model/nova-sonic/invoke-with-bidirectional-stream",
            Some((Bedrock, Other, Some("nova-sonic"), false)),
        );
        check("/upload/v1beta/files", Some((Gemini, Other, None, false)));
        check("/v1/evals/e/runs", Some((OpenAiChat, Other, None, false)));
        check("/v1/threads", Some((OpenAiChat, Other, None, false)));
        assert_eq!(Endpoint::of("/v1/skills", true).map(|endpoint| endpoint.dialect), Some(Anthropic));
        assert_eq!(Endpoint::of_google("/v1/models").map(|endpoint| endpoint.dialect), Some(Gemini));
        check("/v2/chat", Some((Cohere, Chat, None, false)));
        for path in ["/v1/chat", "/v1/embed", "/v1/tokenize", "/v1/embed-jobs/j/cancel"] {
            check(path, Some((Cohere, Other, None, false)));
        }
        assert_eq!(
            Endpoint::of("/v1/models", true).map(|endpoint| endpoint.dialect),
            Some(Anthropic),
            "two vendors share this path, and a header tells them apart"
        );
    }

    #[test]
    fn other_paths_are_nobodys() {
        for path in
            ["/", "", "/v1", "/v1/chat/x", "/v1/chatcompletions", "/v1beta/x", "/model/x", "/v1/messagesx"]
        {
            check(path, None);
        }
    }

    #[test]
    fn odd_escapes_stay() {
        assert_eq!(decoded("a%3ab%zz%4"), "a:b%zz%4");
        assert_eq!(decoded("%ff"), "%ff");
    }
}
