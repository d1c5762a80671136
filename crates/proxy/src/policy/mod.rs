//! Policies: what may judge or change a call on its way in and its answer on the way out.
//!
//! A policy is two files of one name: its settings in `model::policy`, its behaviour here. The table here
//! is the registry: the matches that it makes have no `_`, so the compiler names a policy that lacks its second half.

mod call_key;
pub(crate) mod chain;
pub(crate) mod coding;
pub(crate) mod counted;
pub(crate) mod credentials;
mod decided;
pub(crate) mod errand;
pub(crate) mod facts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub(crate) mod held;
mod judged;
pub(crate) mod meter_key;
mod needs;
mod networks;
mod onward;
mod origins;
mod over;
mod renewing;
mod scope;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), expect(dead_code, reason = "tests use the rest"))]
pub(crate) mod testing;
mod vary;

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use http::{HeaderName, Method, Response};

pub(crate) use self::{
    chain::{Chain, Passed, Progress},
    needs::{Needs, NeedsOf},
};
use crate::{body::Body, call::Call, compiled::Building, failure::Failure, upstream::Upstream};

/// A compiled policy. One instance serves every worker at once.
pub(crate) trait Policy: Send + Sync {
    /// Judges or changes the request on its way in.
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        let _ = (call, body);
        Flow::Continue
    }

    /// Upstreams that it may have calls sent to in place of their route's own.
    fn leads_to(&self) -> Vec<Arc<Upstream>> {
        Vec::new()
    }

    /// What it would do with a request, in words, where that is worth a line of an explanation.
    fn explain(&self, method: &Method, path: &str) -> Vec<String> {
        let _ = (method, path);
        Vec::new()
    }

    /// Whether the call shows what this finds out callers by.
    fn is_shown(&self, call: &Call) -> bool {
        let _ = call;
        false
    }

    /// Takes that out of a call, but for the headers and query parameters that stay.
    fn conceal(&self, call: &mut Call, stays: &dyn Fn(&HeaderName) -> bool, asked: &dyn Fn(&str) -> bool) {
        let _ = (call, stays, asked);
    }

    /// Changes the answer on its way out. Runs for every call that came past this policy's request phase,
    /// whoever answered it.
    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let _ = (call, answer);
    }

    /// Whether it wants to see an answer whole: then [`Self::judge`] runs in the place of [`Self::response`].
    fn waits_for_answers(&self) -> bool {
        false
    }

    /// Judges an answer, which takes time; what fails takes the answer's place.
    fn judge<'a>(
        &'a self,
        call: &'a mut Call,
        answer: &'a mut Response<Body>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        let _ = (call, answer);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What a policy decides about a request.
pub(crate) enum Flow<'a> {
    /// On to the next.
    Continue,
    /// The answer is this; nothing further in sees the call.
    Answer(Box<Response<Body>>),
    /// Refused.
    Fail(Failure),
    /// The decision takes time; the common case must not need this, for it costs a box.
    Wait(LocalBoxFuture<'a, Verdict>),
}

/// What a policy decided after it waited.
pub(crate) enum Verdict {
    /// On to the next.
    Continue,
    /// The answer is this.
    Answer(Box<Response<Body>>),
    /// Refused.
    Fail(Failure),
}

/// Makes of each line a module and its place in everything that is asked of every policy.
macro_rules! policies {
    ($($file:ident: $Name:ident;)*) => {
        $(pub(crate) mod $file;)*

        /// Builds the behaviour of one policy. An error is a sentence for the operator: it refuses the
        /// configuration, so a policy that cannot be built never leaves its route open.
        pub(crate) fn compile(
            policy: &model::Policy,
            cx: &Building<'_>,
        ) -> Result<Arc<dyn Policy>, String> {
            Ok(match policy {
                $(model::Policy::$Name(settings) => Arc::new($file::$Name::compile(settings, cx)?),)*
            })
        }

        /// What one policy needs of a request's head.
        pub(crate) fn needs(policy: &model::Policy) -> Needs {
            match policy {
                $(model::Policy::$Name(settings) => settings.needs().and_credentials(policy),)*
            }
        }
    };
}

// Every policy: its file and the behaviour in it. rustfmt finds no file by way of a macro: `make fmt` and a test name
// these to it.
policies! {
    key_auth: KeyAuth;
    basic_auth: BasicAuth;
    ldap_auth: LdapAuth;
    jwt: Jwt;
    oidc: Oidc;
    oauth2_introspection: Oauth2Introspection;
    ext_auth: ExtAuth;
    hmac: Hmac;
    mtls: Mtls;
    any_of: AnyOf;
    acl: Acl;
    authorize: Authorize;
    opa: Opa;
    lockout: Lockout;
    ip_restriction: IpRestriction;
    ip_reputation: IpReputation;
    geo: Geo;
    waf: Waf;
    bot_detection: BotDetection;
    csrf: Csrf;
    security_headers: SecurityHeaders;
    cors: Cors;
    rate_limit: RateLimit;
    quota: Quota;
    token_rate_limit: TokenRateLimit;
    budget: Budget;
    concurrency_limit: ConcurrencyLimit;
    priority: Priority;
    bandwidth: Bandwidth;
    web_socket_limits: WebSocketLimits;
    load_shed: LoadShed;
    anti_replay: AntiReplay;
    request_limits: RequestLimits;
    headers: Headers;
    rewrite: Rewrite;
    internal_jwt: InternalJwt;
    client_credentials: ClientCredentials;
    oauth2_token_exchange: Oauth2TokenExchange;
    sign_requests: SignRequests;
    deprecation: Deprecation;
    fault_injection: FaultInjection;
    cache: Cache;
    strangler: Strangler;
    mirror: Mirror;
    validate: Validate;
    graphql: Graphql;
    wasm: Wasm;
    transform: Transform;
    mask: Mask;
    normalize_errors: NormalizeErrors;
    etag: Etag;
    idempotency: Idempotency;
    compress: Compress;
    decompress: Decompress;
    guardrails: Guardrails;
    ai_cache: AiCache;
}
