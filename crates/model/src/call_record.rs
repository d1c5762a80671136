//! One finished call, as the data plane tells it to telemetry and analytics.
//!
//! A record is cheap to fill on the request path: names are shared `Arc`s, texts are slices of the head's own
//! bytes. Formatting, redaction, sampling and aggregation belong to whoever reads it.

mod a2a;
mod ai;
mod compose;
mod content;
mod delivered;
mod fed;
mod geo;
mod graphql;
mod heard;
mod judged;
mod mcp;
mod mirrored;
mod onward;
mod published;
mod stream;
mod traffic;
mod transcode;
mod waf;

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Method, StatusCode, Uri, Version};

pub use self::{
    a2a::A2aRecord,
    ai::{AiRecord, Comparison, Continued, GuardFired, Spending, TokenPrices, TokenUsage, UnitUsage},
    compose::{ComposeRecord, ComposedCall},
    content::ContentRecord,
    delivered::DeliveryRecord,
    fed::FeedRecord,
    geo::GeoRecord,
    graphql::GraphqlRecord,
    heard::CountsTokens,
    judged::Judged,
    mcp::McpRecord,
    mirrored::{Difference, MirrorRecord},
    onward::Onward,
    published::PublishRecord,
    stream::StreamRecord,
    traffic::{Classed, Moved, Paced, TrafficRecord},
    transcode::TranscodeRecord,
    waf::{WafFired, WafRecord},
};

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
    pub a2a: Option<Arc<A2aRecord>>,
    /// What the cache of answers did: `hit`, `stale`, `revalidated`, `miss`, `bypass` and the like.
    pub cache: Option<&'static str>,
    /// Rules against attacks that fired.
    pub waf: Option<Box<WafRecord>>,
    /// What was asked of a service of GraphQL.
    pub graphql: Option<Box<GraphqlRecord>>,
    /// What policies that look for abuse said of it, where they objected or had something to tell.
    pub judged: Vec<Judged>,
    /// What policies showed the upstream of who calls.
    pub onward: Vec<Onward>,
    /// Where the client is, as a database of addresses says.
    pub geo: Option<Box<GeoRecord>>,
    /// What policies over content found.
    pub content: Option<Box<ContentRecord>>,
    /// The calls that the answer is made of, on a route that composes one.
    pub composed: Option<Arc<ComposeRecord>>,
    /// The gRPC call that it was carried over to, on a route that transcodes.
    pub transcoded: Option<Arc<TranscodeRecord>>,
    /// What a broker was given, on a route that publishes.
    pub published: Option<Arc<PublishRecord>>,
    /// What flowed to the client, on a route that subscribes.
    pub fed: Option<Arc<FeedRecord>>,
    /// The message that was delivered, where the record is of a delivery.
    pub delivered: Option<Arc<DeliveryRecord>>,
    /// How it was sent on its way, where something decided about that.
    pub traffic: Option<Box<TrafficRecord>>,
    /// How the answer to a copied request differs, where the record is of such a copy.
    pub mirrored: Option<Arc<MirrorRecord>>,
    /// The byte stream or the session of datagrams, where the record is of one: method, target and version say nothing then.
    pub stream: Option<Box<StreamRecord>>,
    /// What became of a sign-in or a session, when something did: `begun`, `signed-in`, `renewed` and the like.
    pub sign_in: Option<&'static str>,
    /// Name of the policy that answered instead of the handler.
    pub stopped_by: Option<&'static str>,
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
    /// Name of the upstream, where the call went on to another one. Nothing was sent when the endpoint is empty.
    pub upstream: Option<Arc<str>>,
}

impl TryRecord {
    /// Why a kept connection that the upstream had closed is noted, which is no try.
    pub const STALE: &'static str = "stale-connection";

    /// The upstream that the try went to, when it is not the one that gave the answer.
    pub fn sent_elsewhere(&self) -> Option<&Arc<str>> {
        self.upstream.as_ref().filter(|_| !self.endpoint.is_empty() && self.reason != Self::STALE)
    }
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
    /// Name of the upstream.
    pub upstream: Arc<str>,
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
