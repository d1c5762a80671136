//! One finished call, as the data plane tells it to telemetry and analytics.
//!
//! A record is cheap to fill on the request path: names are shared `Arc`s, texts are slices of the head's own
//! bytes. Formatting, redaction, sampling and aggregation belong to whoever reads it.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, Uri, Version};

/// What happened to one request, from its first byte to the last byte of its answer.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// When the head of the request was complete.
    pub started: SystemTime,
    /// How long each phase took.
    pub timings: Timings,
    /// `x-request-id`, kept from a trusted peer or minted.
    pub request_id: HeaderValue,
    /// W3C trace context of the gateway's own span.
    pub trace: Option<TraceContext>,
    /// Name of the listener that took the connection.
    pub listener: Arc<str>,
    /// Name of the route that matched.
    pub route: Option<Arc<str>>,
    /// Which of the route's matches it was, by its place in the list.
    pub rule: Option<u16>,
    /// Name of the upstream that was chosen.
    pub upstream: Option<Arc<str>>,
    /// Address of the endpoint that gave the final answer or the final failure.
    pub endpoint: Option<Arc<str>>,
    /// Name of the consumer that was authenticated.
    pub consumer: Option<Arc<str>>,
    /// Method of the request.
    pub method: Method,
    /// The target as it was routed: normalised path and the query as it came.
    pub uri: Uri,
    /// The host that the client asked for.
    pub host: Option<HeaderValue>,
    /// `User-Agent`, as it came.
    pub user_agent: Option<HeaderValue>,
    /// Protocol version on the client's side.
    pub version: Version,
    /// Whether the client's side is TLS.
    pub tls: bool,
    /// The true client address, found through trusted proxies.
    pub client: IpAddr,
    /// Status sent to the client; 499 when it left before an answer.
    pub status: StatusCode,
    /// `grpc-status` of a gRPC answer.
    pub grpc_status: Option<u16>,
    /// Bytes of body received from the client.
    pub request_bytes: u64,
    /// Bytes of body sent to the client.
    pub response_bytes: u64,
    /// How many tries went to upstreams; 0 when the gateway answered on its own.
    pub attempts: u16,
    /// Those of them that were started beside a slow one.
    pub hedges: u16,
    /// Whether one of those gave the answer.
    pub hedge_won: bool,
    /// Tries that failed before the last one or lost against it, oldest first.
    pub failed_tries: Vec<TryRecord>,
    /// Every try of a call whose trace is sampled and exported, oldest first; empty for others.
    pub tries: Vec<TrySpan>,
    /// Why the call failed, when it did.
    pub failure: Option<FailureRecord>,
    /// The version of the prompt that was used, on a route that serves one.
    pub prompt_version: Option<Arc<str>>,
    /// What a call to a model was like.
    pub ai: Option<Arc<AiRecord>>,
    /// What a message to servers of tools was.
    pub mcp: Option<Arc<McpRecord>>,
    /// The message, when it is one to an agent (A2A).
    pub a2a: Option<Arc<crate::a2a_record::A2aRecord>>,
    /// Name of the policy that answered instead of the handler.
    pub stopped_by: Option<&'static str>,
}

/// A call to a model.
#[derive(Debug)]
pub struct AiRecord {
    /// What was asked for: `chat`, `embeddings`, …
    pub operation: &'static str,
    /// The dialect of the caller.
    pub dialect: &'static str,
    /// Name of the provider that was asked last.
    pub provider: Arc<str>,
    /// Its kind.
    pub kind: &'static str,
    /// The model as the caller named it.
    pub model: Arc<str>,
    /// The model as the provider names it.
    pub served: String,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// The name of the target among others of its model: a test's variant, a canary.
    pub variant: Option<Arc<str>>,
    /// What could not be carried to the provider, in the caller's words.
    pub dropped: Vec<String>,
    /// The name in `ai.models` by which the model was found, `*` included: one of few, whatever callers write.
    pub alias: Arc<str>,
    /// When the provider was asked, and after how long it began to speak.
    asked: Instant,
    first: OnceLock<Duration>,
    broke: OnceLock<&'static str>,
    /// Which of several keys was used last, by its place in the provider's settings.
    key: Mutex<Option<Arc<str>>>,
    /// Tokens of the prompt as counted here, for when nobody tells.
    pub prompt: u64,
    /// What its tokens cost; `None` when nobody knows.
    pub prices: Option<Arc<dyn TokenPrices>>,
    /// What was spent, as far as is known; all of it when the answer has ended.
    charge: Mutex<Charge>,
    /// What guardrails found.
    guarded: Mutex<Vec<GuardFired>>,
    /// What the cache of answers said: `hit`, `miss`, `bypass`.
    pub cache: Option<&'static str>,
}

/// What one rule of `guardrails` found in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardFired {
    /// Name of the rule.
    pub rule: Arc<str>,
    /// What it found: a kind of data, or the kind of the rule.
    pub kind: &'static str,
    /// What was done: `block`, `mask`, `flag`.
    pub mode: &'static str,
    /// Where: `request`, `answer`.
    pub side: &'static str,
    /// How often.
    pub count: u32,
    /// The first few texts, where the operator wants them.
    pub texts: Vec<String>,
}

/// What a call has spent until now.
#[derive(Debug, Clone, Default)]
struct Charge {
    told: Option<TokenUsage>,
    /// Tokens of the answer as counted here.
    heard: u64,
    /// The provider's word for the class in which it was served.
    tier: Option<String>,
    /// A provider has, or may have, the request, and has not refused it.
    is_due: bool,
    has_ended: bool,
}

/// What the tokens of a model cost.
pub trait TokenPrices: Send + Sync + std::fmt::Debug {
    /// What a usage costs in picodollars, served in the class of this word.
    fn picodollars(&self, usage: &TokenUsage, tier: Option<&str>) -> u128;

    /// Which table of prices says so.
    fn table(&self) -> &str;
}

/// What a call to a model has spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spending {
    /// Its tokens.
    pub usage: TokenUsage,
    /// What they cost in picodollars; `None` when nobody knows the price.
    pub picodollars: Option<u128>,
    /// They were counted here, for the provider did not tell, or not to the end.
    pub is_estimate: bool,
}

/// How many times as much must be heard as was told before what was told is taken for a beginning only.
const HEARD_OVER_TOLD: u64 = 4;
/// Tokens of an answer below which no such doubt arises.
const DOUBT_TOKENS: u64 = 64;

impl AiRecord {
    /// A call that has spent nothing yet.
    pub fn new(operation: &'static str, dialect: &'static str, model: Arc<str>) -> Self {
        Self {
            operation,
            dialect,
            provider: "".into(),
            kind: "",
            model,
            served: String::new(),
            is_stream: false,
            variant: None,
            dropped: Vec::new(),
            alias: "".into(),
            asked: Instant::now(),
            first: OnceLock::new(),
            broke: OnceLock::new(),
            key: Mutex::new(None),
            prompt: 0,
            prices: None,
            charge: Mutex::default(),
            guarded: Mutex::default(),
            cache: None,
        }
    }

    /// Tells what guardrails have found until now, all of it.
    pub fn guard(&self, fired: Vec<GuardFired>) {
        *self.guarded.lock().unwrap_or_else(PoisonError::into_inner) = fired;
    }

    /// What guardrails found.
    pub fn guarded(&self) -> Vec<GuardFired> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the provider has begun to speak; only the first time counts.
    pub fn speak(&self) {
        let _ = self.first.get_or_init(|| self.asked.elapsed());
    }

    /// From the request to the provider to the first token of a stream.
    pub fn first_token(&self) -> Option<Duration> {
        self.first.get().copied()
    }

    /// Notes why the answer broke off after it had begun.
    pub fn break_off(&self, reason: &'static str) {
        let _ = self.broke.set(reason);
    }

    /// Why the answer broke off after it had begun, if it did.
    pub fn broke(&self) -> Option<&'static str> {
        self.broke.get().copied()
    }

    /// Notes which key is used.
    pub fn use_key(&self, key: Arc<str>) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
    }

    /// Which of several keys was used last; `None` where there is but one.
    pub fn key(&self) -> Option<Arc<str>> {
        self.key.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what has been spent until now.
    pub fn spend(&self, usage: TokenUsage) {
        self.charge().told = Some(usage);
    }

    /// Notes tokens of the answer that came by and were counted here.
    pub fn hear(&self, tokens: u64) {
        if tokens > 0 {
            let mut charge = self.charge();
            charge.heard = charge.heard.saturating_add(tokens);
        }
    }

    /// Notes the class in which it is served.
    pub fn serve_in(&self, tier: &str) {
        self.charge().tier = Some(tier.to_owned());
    }

    /// Notes whether a provider has the request, as far as is known, and has not refused it.
    pub fn owe(&self, is_due: bool) {
        self.charge().is_due = is_due;
    }

    /// Notes that the answer came to its end.
    pub fn end(&self) {
        self.charge().has_ended = true;
    }

    /// What has been spent: as the provider told, else as counted here; `None` when no provider did anything.
    pub fn spending(&self) -> Option<Spending> {
        let charge = self.charge();
        let (usage, is_estimate) = match charge.told {
            None if !charge.is_due => return None,
            None => (TokenUsage { input: self.prompt, output: charge.heard, ..TokenUsage::default() }, true),
            Some(told) => {
                // Some tell at the beginning, and again at the end: a stream that broke off told too little.
                let doubt = match charge.has_ended {
                    true => charge.heard > told.output.saturating_mul(HEARD_OVER_TOLD).max(DOUBT_TOKENS),
                    false => charge.heard > told.output,
                };
                let output = if doubt { charge.heard } else { told.output };
                (TokenUsage { output, ..told }, doubt)
            }
        };
        let picodollars =
            self.prices.as_ref().map(|prices| prices.picodollars(&usage, charge.tier.as_deref()));
        Some(Spending { usage, picodollars, is_estimate })
    }

    fn charge(&self) -> MutexGuard<'_, Charge> {
        self.charge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message of the Model Context Protocol.
#[derive(Debug, Default)]
pub struct McpRecord {
    /// Its method, such as `tools/call`; `response` for an answer of the client's.
    pub method: Box<str>,
    /// The tool, prompt or resource that it names, as the client does.
    pub name: Option<Box<str>>,
    /// It is a call of a tool that its server lists or that a rule names, so that it can be counted by its name.
    pub is_known_tool: bool,
    /// The server that it went to, where it was one.
    pub server: Option<Arc<str>>,
    /// A digest of the session, which says nothing of its id.
    pub session: Option<Box<str>>,
    /// The revision that the client speaks.
    pub revision: &'static str,
    /// How it ended, as far as is known: 1 well, 2 with an error of the protocol's, 3 with a tool's.
    end: AtomicU8,
}

impl McpRecord {
    /// Notes how it ended: with an error of the protocol's, or with a result that is one of the tool's.
    pub fn ended(&self, is_error: bool, is_tool_error: bool) {
        let end = if is_error {
            2
        } else if is_tool_error {
            3
        } else {
            1
        };
        self.end.store(end, Ordering::Relaxed);
    }

    /// Whether it ended with an error, of either kind; `None` when that is not known.
    pub fn is_error(&self) -> Option<bool> {
        match self.end.load(Ordering::Relaxed) {
            0 => None,
            end => Some(end > 1),
        }
    }
}

/// Tokens of a call to a model. Parts are contained in their totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Of the prompt.
    pub input: u64,
    /// Of these, read from a prompt cache.
    pub cache_read: u64,
    /// Of these, written to a prompt cache.
    pub cache_write: u64,
    /// Of those written, kept for an hour.
    pub cache_write_long: u64,
    /// Of the prompt, sound.
    pub input_audio: u64,
    /// Of the prompt, images, where the provider tells.
    pub input_image: u64,
    /// Of the answer.
    pub output: u64,
    /// Of these, thoughts.
    pub reasoning: u64,
    /// Of these, sound.
    pub output_audio: u64,
    /// Of these, images, where the provider tells.
    pub output_image: u64,
}

/// Durations of the phases of a call; a phase that did not happen is `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timings {
    /// Guard, routing and request policies.
    pub policies: Option<Duration>,
    /// Of the last try: from the pick of the endpoint to a usable connection, or to the failure to get one.
    pub connect: Option<Duration>,
    /// Of the last try: from the connection to the head of the upstream's answer, or to the failure to get one.
    pub upstream_first_byte: Option<Duration>,
    /// From the start to the moment the answer's head was given to the client.
    pub head: Option<Duration>,
    /// The whole exchange, body included.
    pub total: Duration,
}

/// The gateway's own span in a W3C trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Trace id, never all zero.
    pub trace_id: [u8; 16],
    /// Id of the gateway's span.
    pub span_id: [u8; 8],
    /// Id of the caller's span, when it sent one.
    pub parent_span_id: Option<[u8; 8]>,
    /// The sampled flag.
    pub sampled: bool,
}

/// One try that failed and was followed by another.
#[derive(Debug, Clone)]
pub struct TryRecord {
    /// Address of the endpoint.
    pub endpoint: Arc<str>,
    /// Status it answered, when it did.
    pub status: Option<StatusCode>,
    /// Stable reason, such as `connect-refused`.
    pub reason: &'static str,
    /// How long the try took.
    pub duration: Duration,
}

/// A try as a span of its own.
#[derive(Debug, Clone)]
pub struct TrySpan {
    /// Id of the span; the upstream was given it as its parent.
    pub span_id: [u8; 8],
    /// From the start of the call to the start of the try.
    pub started: Duration,
    /// To the head of the answer, to the failure, or to the answer of another; none when the call ended before.
    pub duration: Option<Duration>,
    /// Address of the endpoint.
    pub endpoint: Arc<str>,
    /// Whether the upstream is reached over TLS.
    pub tls: bool,
    /// The target that was asked for.
    pub uri: Uri,
    /// `Host` of the request.
    pub host: Option<HeaderValue>,
    /// Whether it was started beside a slow one.
    pub is_hedge: bool,
    /// How it ended.
    pub end: TryEnd,
}

/// How a try ended.
#[derive(Debug, Clone)]
pub enum TryEnd {
    /// With an answer.
    Answered {
        /// Its status.
        status: StatusCode,
        /// Its protocol version.
        version: Version,
        /// Whether the client got it; else it was thrown away, and another try followed or had won.
        is_passed_on: bool,
    },
    /// With a failure, by its stable reason such as `connect-failed`.
    Failed(&'static str),
    /// Cancelled, because another try beside it had answered first.
    Overtaken,
    /// Not at all: the call ended first.
    CutOff,
}

/// Why a call failed: whose fault, where, and what.
#[derive(Debug, Clone)]
pub struct FailureRecord {
    /// Whose fault it is.
    pub side: Side,
    /// How far the call had come.
    pub stage: Stage,
    /// Stable reason, such as `rate-limited`: the last part of the problem type.
    pub reason: &'static str,
    /// What only the operator may know, never sent to the client; or else the hint that the client was given.
    pub detail: Option<String>,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client sent something wrong, or left.
    Client,
    /// The gateway refused or broke.
    Gateway,
    /// The upstream broke, or could not be reached.
    Upstream,
}

/// How far a call had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Accepting the connection, TLS, reading the head.
    Listener,
    /// Normalising and refusing what is ambiguous.
    Guard,
    /// Finding the route.
    Router,
    /// A policy, by its own name in `stopped_by`.
    Policy,
    /// Choosing an endpoint, its breaker and bulkhead.
    Pick,
    /// Opening the connection.
    Connect,
    /// The TLS handshake with the upstream.
    Tls,
    /// Sending the request.
    Send,
    /// Waiting for the answer's head.
    FirstByte,
    /// The bodies.
    Body,
}

impl Side {
    /// The name used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Upstream => "upstream",
        }
    }
}

impl Stage {
    /// The name used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Guard => "guard",
            Self::Router => "router",
            Self::Policy => "policy",
            Self::Pick => "pick",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Send => "send",
            Self::FirstByte => "first-byte",
            Self::Body => "body",
        }
    }
}
