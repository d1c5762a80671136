//! `extAuth`: a service of the operator's own says who is let in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Settings, headers::FRAMING};
use crate::{
    Duration, HeaderName, Size,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
};

/// The largest beginning of a body that is shown.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Asks a service of the operator's own whether a call is let in: over HTTP, as `forwardAuth` and `auth_request` elsewhere,
/// or by Envoy's `ext_authz` over gRPC. It is told the method, the target, the client's address and the headers that are
/// named here. A good answer (2xx) lets in; one of 5xx is none; of any other the client gets the status, the body and the
/// headers that are named here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtAuth {
    /// The upstream that the service is.
    #[schemars(extend("format" = "name"))]
    pub upstream: String,
    /// How it is asked.
    #[serde(default)]
    pub protocol: ExtAuthProtocol,
    /// The path that is asked for over HTTP. The client's own target is in `X-Forwarded-Uri`, its method in
    /// `X-Forwarded-Method`.
    #[serde(default = "path")]
    pub path: String,
    /// The method by which it is asked over HTTP: `GET`, or `POST` with a `body`, without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The client's headers that it is shown, and by which callers are told apart.
    #[serde(default = "request_headers")]
    #[schemars(length(min = 1))]
    pub request_headers: Vec<HeaderName>,
    /// Headers of a good answer that upstreams get. Such headers from outside are removed first. They are claims, too:
    /// `{{ jwt.x-user }}`.
    #[serde(default)]
    pub upstream_headers: Vec<HeaderName>,
    /// Headers of a good answer that the client gets with the upstream's.
    #[serde(default)]
    pub answer_headers: Vec<HeaderName>,
    /// Headers of a refusal that the client gets.
    #[serde(default = "refusal_headers")]
    pub refusal_headers: Vec<HeaderName>,
    /// The header of a good answer that names the consumer; one that names nobody is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_header: Option<HeaderName>,
    /// Show it the request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<ExtAuthBody>,
    /// Keep what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<ExtAuthCache>,
    /// Bound of each question, tries included.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// What is done with calls when it gives no answer.
    #[serde(default)]
    pub on_error: OnError,
}

/// How a service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ExtAuthProtocol {
    /// By a request of HTTP.
    #[default]
    Http,
    /// By `envoy.service.auth.v3.Authorization/Check`; the upstream speaks gRPC.
    Grpc,
}

/// What is done when nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnError {
    /// The call gets 503.
    #[default]
    Deny,
    /// The call goes on, as nobody's.
    Allow,
}

/// How much of a body a service is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtAuthBody {
    /// The largest; up to 4 MiB.
    pub max_size: Size,
    /// Show the beginning of larger ones; without it they get 413.
    pub partial: bool,
}

impl Default for ExtAuthBody {
    fn default() -> Self {
        Self { max_size: Size(64 * 1024), partial: false }
    }
}

/// How long what a service says is kept: for the same method, host, target and shown headers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtAuthCache {
    /// That a call is let in.
    pub ttl: Duration,
    /// That it is not; `0s` keeps none.
    pub negative_ttl: Duration,
    /// Answers of each kind that are kept at a time.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_entries: usize,
    /// Leave out the target, where the service judges by the shown headers alone.
    pub ignore_target: bool,
}

impl Default for ExtAuthCache {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(10),
            negative_ttl: Duration::from_secs(0),
            max_entries: 10_000,
            ignore_target: false,
        }
    }
}

fn path() -> String {
    "/".to_owned()
}

fn request_headers() -> Vec<HeaderName> {
    ["authorization", "cookie"].map(HeaderName::from_static).to_vec()
}

fn refusal_headers() -> Vec<HeaderName> {
    ["content-type", "location", "retry-after", "set-cookie", "www-authenticate"]
        .map(HeaderName::from_static)
        .to_vec()
}

fn timeout() -> Duration {
    Duration::from_secs(1)
}

/// What all have in common who ask a service: names of headers, how much of a body is shown, and for how long it is waited.
pub(super) fn check(
    names: &[(&str, &[HeaderName])],
    body: Option<&ExtAuthBody>,
    timeout: Duration,
    at: &mut Context<'_, '_>,
) {
    for (key, names) in names {
        at.each(key, names, |at, name| {
            if FRAMING.contains(&name.as_str()) {
                at.error(format!("`{name}` is the gateway's own to set"));
            }
        });
    }
    if let Some(body) = body
        && (body.max_size.get() == 0 || body.max_size.get() > BODY_BYTES_MAX)
    {
        at.field("body", |at| at.field("maxSize", |at| at.error("expected 1 byte to 4 MiB")));
    }
    if timeout.is_zero() {
        at.field("timeout", |at| at.error("expected more than nothing"));
    }
}

impl Settings for ExtAuth {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: None,
            headers: self.request_headers.clone(),
            parameter: None,
            asks: self,
        })
    }

    fn answers_itself(&self) -> bool {
        true
    }

    /// The service judges whatever it is shown.
    fn reads_passwords(&self) -> bool {
        self.request_headers.iter().any(|name| name.as_str() == "authorization")
    }

    /// The service may well look for a signature where it is shown the header.
    fn covers(&self, header: &HeaderName) -> Option<bool> {
        self.request_headers.contains(header).then_some(true)
    }

    fn lets_in_unknown(&self) -> bool {
        self.on_error == OnError::Allow
    }

    fn tells_claims(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("upstream", |at| {
            at.refer(Named::Upstream, &self.upstream);
            if self.protocol == ExtAuthProtocol::Grpc && at.is_of_http1(&self.upstream) {
                at.error_with(
                    format!("`{}` speaks HTTP/1.1, and gRPC goes over HTTP/2", self.upstream),
                    "give the upstream `protocol: grpc`",
                );
            }
        });
        if !self.path.starts_with('/') || self.path.parse::<http::uri::PathAndQuery>().is_err() {
            at.field("path", |at| at.error("expected a path such as `/verify`"));
        }
        if self.protocol == ExtAuthProtocol::Grpc {
            for key in ["path", "method"] {
                if at.is_written(key) {
                    at.field(key, |at| at.error("gRPC has a path and a method of its own"));
                }
            }
        }
        if let Some(method) = &self.method {
            let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
            if !is_method || method == "CONNECT" {
                at.field("method", |at| at.error("expected a method such as `GET` or `POST`"));
            }
            if self.body.is_some() && matches!(method.as_str(), "GET" | "HEAD") {
                at.field("method", |at| at.error("a `body` is shown by POST or another method that has one"));
            }
        }
        let names = [
            ("upstreamHeaders", &*self.upstream_headers),
            ("answerHeaders", &self.answer_headers),
            ("refusalHeaders", &self.refusal_headers),
            ("requestHeaders", &self.request_headers),
        ];
        check(&names, self.body.as_ref(), self.timeout, at);
        if self.body.is_some() && self.cache.is_some() {
            at.field("cache", |at| at.error("what is said about bodies is not kept"));
        }
        if self.on_error == OnError::Allow && self.consumer_header.is_some() {
            at.field("onError", |at| {
                at.error("with `consumerHeader` nobody passes whom the service does not name")
            });
        }
    }
}

impl Asks for ExtAuth {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        // Where calls go on when nobody answers, they do so when the service is brought down.
        (self.on_error == OnError::Deny)
            .then(|| demand(Allowed { upstream: self.upstream.clone(), path: self.path.clone() }))
    }
}

/// Somebody whom this service lets in.
struct Allowed {
    upstream: String,
    path: String,
}

impl Terms for Allowed {
    fn implies(&self, other: &Self) -> bool {
        self.upstream == other.upstream && self.path == other.path
    }

    fn words(&self) -> String {
        format!("extAuth by {}{}", self.upstream, self.path)
    }
}
