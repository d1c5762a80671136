//! The AI gateway: providers of models, and the models that clients may name.

mod again;
mod choice;
mod credentials;
mod files;
mod realtime;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    again::{ModelBackoff, ModelRetry},
    choice::{FallbackOn, Shadow, Sticky, Strategy},
    credentials::{
        AssumeRole, AwsCredentials, AzureCredentials, ClientIn, Cloud, GoogleCredentials, KeyCooldown,
        MetadataCredentials, OAuthCredentials,
    },
    files::FilesRoute,
    realtime::RealtimeRoute,
};
use super::{
    catalogue::CatalogueEntry,
    health::OutlierDetection,
    tls::UpstreamTls,
    tries::{Bulkhead, CircuitBreaker, TimeoutOverrides},
    upstream::Pool,
};
use crate::{Duration, HeaderName, Secret, Size, Usd};

/// Providers of models, and the models that clients may name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ai {
    /// Who serves models, and with which credentials.
    pub providers: Vec<Provider>,
    /// The names that clients use, and what stands behind each.
    pub models: Vec<Model>,
    /// Facts about models over those that ship: new models, other limits and prices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catalogue: Vec<CatalogueEntry>,
    /// Prices of models that the catalogue does not have, or has otherwise; the first that fits holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prices: Vec<ModelPrice>,
}

/// What a model costs at a provider, in US dollars: per million tokens, and each of what is counted otherwise. What is
/// left out costs what the prompt (`cacheRead`, `cacheWrite`) or nothing costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelPrice {
    /// Name of a provider.
    pub provider: String,
    /// The model, as the provider names it; a `*` at its end stands for anything.
    pub model: String,
    /// A million tokens of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Usd>,
    /// A million tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Usd>,
    /// A million tokens read from the prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_read: Option<Usd>,
    /// A million tokens written to the prompt cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Usd>,
    /// A picture made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Usd>,
    /// A letter that is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub character: Option<Usd>,
    /// A second of sound that is listened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_in: Option<Usd>,
    /// A second of sound that is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_out: Option<Usd>,
    /// A search: a query over up to a hundred documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<Usd>,
}

/// Who serves models, and with which credentials. Its state shows as the upstream `ai:NAME`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Provider {
    /// Unique name.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// Whose API it is, by its name in the catalogue: `openai`, `anthropic`, `gemini`, `cohere`, `mistral`, …;
    /// `openai-compatible` for any other that speaks like OpenAI.
    pub kind: String,
    /// Where it is, in the shape of the kind's own address: `http://127.0.0.1:11434/v1` for kinds that speak like OpenAI, with
    /// `/v1beta` for `gemini`, without a version for `anthropic`, `bedrock` and `cohere`. The kind's own address without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// What the kind's address and paths leave open: `resource`, `region`, `account`, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
    /// What voices that callers name are called there, for speech at kinds with voices of their own: `alloy: …`; `*` for
    /// all others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub voices: BTreeMap<String, String>,
    /// Its keys, used in turn. One that is refused or limited is set aside, and the next one tried for the same call.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// Bound of calls at a time for each key, and the queue of those that wait for one; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_queue: Option<KeyQueue>,
    /// How long a key is set aside that the provider refuses.
    #[serde(default)]
    pub key_cooldown: KeyCooldown,
    /// Credentials of AWS, for kinds that want requests signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsCredentials>,
    /// A client of Microsoft Entra ID, for kinds that take its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureCredentials>,
    /// A Google service account, for kinds that take its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google: Option<GoogleCredentials>,
    /// A client of an OAuth server, for providers that take its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthCredentials>,
    /// An identity that the machine has from its cloud, for kinds of that cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<MetadataCredentials>,
    /// Header fields of every request to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<HeaderName, String>,
    /// How long each part of a call may take. Models think before they answer: `request` is 10m without it, and
    /// `idle` 2m.
    #[serde(default)]
    pub timeouts: TimeoutOverrides,
    /// How long a stream may take to its first word before the next target is asked; no bound but `timeouts` without
    /// it. Where no target is left it is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<Duration>,
    /// How long a stream may pause between two tokens before it counts as broken; signs of life are no tokens. Without
    /// it `timeouts.idle` alone holds, which any byte satisfies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_tokens: Option<Duration>,
    /// Circuit breaker of the provider; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Bound of calls at a time; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulkhead: Option<Bulkhead>,
    /// Ejection of addresses that fail live traffic; without it one that refuses a connection alone is set
    /// aside, for 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS towards a provider with `https`.
    #[serde(default)]
    pub tls: UpstreamTls,
    /// Connections that are kept.
    #[serde(default)]
    pub pool: Pool,
}

/// Calls that wait for a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyQueue {
    /// Calls at a time with each key, streams until their end.
    #[schemars(range(min = 1, max = 100000))]
    pub max_concurrent: u32,
    /// Bounds of single keys, in the order of `keys`, where one takes more or fewer than `maxConcurrent`; those that are
    /// not in the list have that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 1, max = 100000)))]
    pub per_key: Vec<u32>,
    /// Calls that may wait when all keys are at that. Further ones get 429, unless they are more urgent than one that
    /// waits: then that one does.
    #[serde(default = "queue_size")]
    #[schemars(range(max = 100000))]
    pub size: u32,
    /// How long a call may wait before the next target is asked, or 429 answered.
    #[serde(default = "queue_timeout")]
    pub timeout: Duration,
}

fn queue_size() -> u32 {
    100
}

fn queue_timeout() -> Duration {
    Duration::from_secs(10)
}

/// A name that clients use, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Model {
    /// What clients ask for. A `*` at its end stands for anything, as in `openai/*`.
    pub name: String,
    /// What serves it. One is drawn by the strategy; the others follow when it fails before its first byte.
    pub targets: Vec<ModelTarget>,
    /// Which target is asked first.
    #[serde(default)]
    pub strategy: Strategy,
    /// Keep what belongs together at one target, so that its prompt cache hits; off without it. With `weighted` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Models that are asked the same when an answer begins, to compare theirs with it. What they cost is in their own
    /// records and in the metrics, in no budget.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shadow: Vec<Shadow>,
    /// `firstToken` of this model's targets, in place of their providers'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token: Option<Duration>,
    /// `betweenTokens` of this model's targets, in place of their providers'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_tokens: Option<Duration>,
    /// What else the next target is asked after, beside failures; none of these without it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_on: Vec<FallbackOn>,
    /// Asks the targets again when none has answered; off without it, and `{}` turns it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<ModelRetry>,
    /// Pass over targets that cannot take a request, as far as the catalogue knows: images, PDF documents, sound, video,
    /// tools, a prompt longer than the context. With none left the request is refused with 400 before anything is sent.
    #[serde(default = "yes")]
    pub check_capabilities: bool,
}

/// A model of a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelTarget {
    /// Name of a provider.
    pub provider: String,
    /// The model, as the provider names it. `*` is what the client's name has in place of its own `*`.
    pub model: String,
    /// Its share of first tries against the other targets; with 0 it serves only when others fail.
    #[serde(default = "one")]
    #[schemars(range(max = 1000000))]
    pub weight: u32,
    /// A condition in CEL over `request`, `client`, `consumer`, `jwt` and `ai` (`ai.model`, `ai.dialect`, `ai.stream`,
    /// `ai.tools`, `ai.images`, `ai.inputTokens`, `ai.maxTokens`). Where it holds the target goes before those without
    /// one; where it does not, it is not asked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cel"))]
    pub when: Option<String>,
    /// A name for the record of calls that it answers, to tell variants of a test or a canary apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

/// The AI gateway as a handler: every dialect's endpoints below one prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AiRoute {
    /// Taken off the path before the dialect's own endpoint is looked for, as `/ai` in `/ai/v1/chat/completions`.
    pub strip_prefix: Option<String>,
    /// The models of `ai.models` that this route serves, by name; all without it.
    pub models: Option<Vec<String>>,
    /// Refuse with 422 what cannot be carried whole to the model's dialect, rather than leave it out and name it in
    /// `x-tidegate-dropped`.
    pub strict: bool,
    /// How urgent calls are where they wait for a key (`keyQueue`): `high`, `normal`, `low`, or an expression in CEL over
    /// `request`, `client`, `consumer`, `jwt` and `ai` that yields one of these, as in
    /// `'gold' in consumer.groups ? 'high' : 'low'`. `normal` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cel"))]
    pub priority: Option<String>,
    /// When a stream breaks off after it has said something, ask the next target for the rest, and go on as one answer.
    /// Streams of such a route are read and told anew: fields that the gateway does not know are left out. What cannot
    /// be taken up (half a call or thought, JSON, several answers side by side) ends with an error all the same.
    pub continue_streams: bool,
    /// Bodies of requests up to this size are taken.
    pub max_body_size: Size,
    /// Record what was asked and answered in the access log's `ai.prompt_text` and `ai.answer_text`, up to so many bytes
    /// of each (at most `64KiB`): the end of what was asked, the beginning of the answer. What guardrails mask is masked
    /// there, too. Off without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_text: Option<Size>,
    /// Files and batches; without it they are answered with 501.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesRoute>,
    /// Bounds of Realtime conversations.
    pub realtime: RealtimeRoute,
}

impl Default for AiRoute {
    fn default() -> Self {
        Self {
            strip_prefix: None,
            models: None,
            strict: false,
            priority: None,
            continue_streams: false,
            max_body_size: Size::kib(32 * 1024),
            record_text: None,
            files: None,
            realtime: Default::default(),
        }
    }
}
