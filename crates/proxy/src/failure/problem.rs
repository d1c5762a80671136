//! The closed list of problems that the gateway answers on its own (RFC 9457).
//!
//! Each has a stable slug, which is the end of its `type` and a section of docs/problems.md.

use http::StatusCode;

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:ident, $grpc:literal, $title:literal;)*) => {
        /// What the gateway answers on its own.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Problem { $($(#[$doc])* $name,)* }

        impl Problem {
            /// Every problem, in the order of docs/problems.md.
            pub const ALL: &'static [Problem] = &[$(Problem::$name,)*];

            /// The last part of the problem's `type`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// The status of the answer.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// The gRPC status code that a gRPC caller gets instead.
            pub fn grpc_status(self) -> u16 {
                match self { $(Self::$name => $grpc,)* }
            }

            /// A short text for people, the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problems! {
    /// The bytes are not a request that has one meaning.
    BadRequest = "bad-request", BAD_REQUEST, 13, "The request is malformed";
    /// The path is ambiguous or not in normal form.
    BadPath = "bad-path", BAD_REQUEST, 13, "The path of the request is ambiguous";
    /// A value in the request does not fit.
    Invalid = "invalid", BAD_REQUEST, 3, "The request does not fit what the API expects";
    /// A rule of `guardrails` fired, on what was asked or on what was answered.
    ContentBlocked = "content-blocked", BAD_REQUEST, 3, "The content is not let through";
    /// No credential, or a wrong one.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, 16, "A valid credential is needed";
    /// The caller is known and may not do this.
    Forbidden = "forbidden", FORBIDDEN, 7, "The caller may not do this";
    /// No route matches.
    NoRoute = "no-route", NOT_FOUND, 12, "No route matches the request";
    /// Nothing lies at the path.
    NoFile = "no-file", NOT_FOUND, 5, "There is no such file";
    /// A route matches, but not with this method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, 12, "The method is not allowed here";
    /// The client did not send its request in time.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, 4, "The request did not arrive in time";
    /// The first request with this key has no answer to give yet, or none that was kept.
    IdempotencyConflict = "idempotency-conflict", CONFLICT, 10, "A request with this key was there before";
    /// The API was switched off.
    Gone = "gone", GONE, 12, "The API has been retired";
    /// The body is larger than allowed.
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, 8, "The body of the request is too large";
    /// The target is longer than allowed.
    UriTooLong = "uri-too-long", URI_TOO_LONG, 3, "The target of the request is too long";
    /// The media type or the content coding is not supported.
    UnsupportedMedia = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, 3, "The content is not of a supported type";
    /// The expectation is not one that is known.
    ExpectationFailed = "expectation-failed", EXPECTATION_FAILED, 3, "The expectation cannot be met";
    /// The connection cannot serve this host.
    Misdirected = "misdirected", MISDIRECTED_REQUEST, 14, "The connection is not for this host";
    /// The key is that of another request.
    IdempotencyMismatch = "idempotency-mismatch", UNPROCESSABLE_ENTITY, 9, "The key is that of another request";
    /// The request may be a repetition, and is not safe to repeat.
    TooEarly = "too-early", TOO_EARLY, 14, "The request came before the handshake was over";
    /// A limit on calls is used up.
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, 8, "Too many requests";
    /// A budget has less left than the call might cost.
    BudgetSpent = "budget-spent", TOO_MANY_REQUESTS, 8, "The budget does not allow this";
    /// A quota of calls is used up for this period.
    QuotaExceeded = "quota-exceeded", TOO_MANY_REQUESTS, 8, "The quota of this period is used up";
    /// A limit on simultaneous calls is used up.
    ConcurrencyLimited = "concurrency-limited", TOO_MANY_REQUESTS, 8, "Too many simultaneous requests";
    /// The head is larger than allowed.
    HeadTooLarge = "head-too-large", REQUEST_HEADER_FIELDS_TOO_LARGE, 8, "The header fields are too large";
    /// The service behind a `transcode` route answered with an error.
    GrpcStatus = "grpc-status", INTERNAL_SERVER_ERROR, 2, "The service answered with an error";
    /// The gateway broke.
    Internal = "internal", INTERNAL_SERVER_ERROR, 13, "The gateway failed";
    /// The gateway does not do that.
    NotImplemented = "not-implemented", NOT_IMPLEMENTED, 12, "The gateway does not support this";
    /// The protocol version is not served.
    VersionNotSupported = "version-not-supported", HTTP_VERSION_NOT_SUPPORTED, 12, "The HTTP version is not supported";
    /// A fault that an operator injects.
    InjectedFault = "injected-fault", SERVICE_UNAVAILABLE, 14, "A fault was injected";
    /// The upstream could not be reached.
    ConnectFailed = "connect-failed", BAD_GATEWAY, 14, "The upstream could not be reached";
    /// The upstream's connection broke before an answer.
    UpstreamReset = "upstream-reset", BAD_GATEWAY, 14, "The upstream broke off";
    /// The upstream's answer is not one that has one meaning.
    BadUpstreamAnswer = "bad-upstream-answer", BAD_GATEWAY, 13, "The upstream gave a malformed answer";
    /// A call that the answer is made of failed.
    CallFailed = "call-failed", BAD_GATEWAY, 13, "A call that the answer is made of failed";
    /// The token that the upstream wants cannot be had now.
    NoToken = "no-token", SERVICE_UNAVAILABLE, 14, "No token for the upstream could be had";
    /// No endpoint can be used.
    NoHealthyEndpoint = "no-healthy-endpoint", SERVICE_UNAVAILABLE, 14, "No endpoint of the upstream is available";
    /// The circuit breaker is open.
    CircuitOpen = "circuit-open", SERVICE_UNAVAILABLE, 14, "The circuit to the upstream is open";
    /// Too many calls to the upstream are in flight.
    BulkheadFull = "bulkhead-full", SERVICE_UNAVAILABLE, 14, "Too many calls to the upstream are in flight";
    /// The upstream is on its way up, and no more calls are held for it.
    UpstreamStarting = "upstream-starting", SERVICE_UNAVAILABLE, 14, "The upstream is starting";
    /// More calls than can be served are on their way.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, 14, "More requests than can be served are on their way";
    /// The gateway is shutting down or has no room.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, 14, "The gateway cannot take the request now";
    /// The broker cannot be reached.
    BrokerAway = "broker-away", SERVICE_UNAVAILABLE, 14, "The broker cannot take the message now";
    /// Nothing at the broker keeps such messages.
    NotKept = "not-kept", SERVICE_UNAVAILABLE, 14, "Nothing keeps such messages";
    /// The broker does not want the message.
    BrokerRefused = "broker-refused", BAD_GATEWAY, 13, "The broker refused the message";
    /// The broker did not confirm in time: whether the message is kept is unknown.
    BrokerTimeout = "broker-timeout", GATEWAY_TIMEOUT, 4, "The broker did not confirm in time";
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream-timeout", GATEWAY_TIMEOUT, 4, "The upstream did not answer in time";
    /// Only a kept answer was wanted, and there is none.
    NotCached = "not-cached", GATEWAY_TIMEOUT, 5, "No kept answer fits the request";
    /// The client left; never sent, only recorded.
    ClientLeft = "client-left", REQUEST_TIMEOUT, 1, "The client closed the connection";
}

impl Problem {
    /// The status that the record shows: 499 for a client that left.
    pub fn recorded_status(self) -> StatusCode {
        match self {
            Self::ClientLeft => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
            other => other.status(),
        }
    }
}
