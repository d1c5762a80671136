//! Policies: what may judge or change a call on its way in and its answer on the way out.
//!
//! A policy is two files of one name: its settings in `model::policy`, its behaviour here. [`compile`] is the one
//! bridge; its match has no `_`, so the compiler names a policy that lacks its second half.

mod acl;
mod basic_auth;
mod call_key;
pub(crate) mod chain;
mod coding;
mod compress;
mod concurrency_limit;
mod cors;
mod credentials;
mod decompress;
mod deprecation;
mod facts;
mod fault_injection;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod headers;
mod ip_restriction;
mod jwt;
mod key_auth;
mod names;
mod rate_limit;
mod request_limits;
pub(crate) mod rewrite;
mod scope;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(test), expect(dead_code, reason = "tests use the rest"))]
pub(crate) mod testing;
mod vary;

use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use http::Response;

pub(crate) use self::{
    chain::{Chain, Passed, Progress},
    names::headers_of,
};
use crate::{body::Body, call::Call, compiled::Building, failure::Failure};

/// A compiled policy. One instance serves every worker at once.
pub(crate) trait Policy: Send + Sync {
    /// Judges or changes the request on its way in.
    fn request<'a>(&'a self, call: &'a mut Call, body: &'a mut Body) -> Flow<'a> {
        let _ = (call, body);
        Flow::Continue
    }

    /// Changes the answer on its way out. Runs for every call that came past this policy's request phase,
    /// whoever answered it.
    fn response(&self, call: &mut Call, answer: &mut Response<Body>) {
        let _ = (call, answer);
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

/// Builds the behaviour of one policy. An error is a sentence for the operator: it refuses the configuration, so a
/// policy that cannot be built never leaves its route open.
pub(crate) fn compile(policy: &model::policy::Policy, cx: &Building<'_>) -> Result<Arc<dyn Policy>, String> {
    use model::policy::Policy as Settings;
    Ok(match policy {
        Settings::KeyAuth(settings) => Arc::new(key_auth::KeyAuth::compile(settings, cx)?),
        Settings::BasicAuth(settings) => Arc::new(basic_auth::BasicAuth::compile(settings, cx)?),
        Settings::Jwt(settings) => Arc::new(jwt::Jwt::compile(settings, cx)?),
        Settings::Acl(settings) => Arc::new(acl::Acl::compile(settings, cx)?),
        Settings::IpRestriction(settings) => Arc::new(ip_restriction::IpRestriction::compile(settings, cx)?),
        Settings::Cors(settings) => Arc::new(cors::Cors::compile(settings, cx)?),
        Settings::RateLimit(settings) => Arc::new(rate_limit::RateLimit::compile(settings, cx)?),
        Settings::ConcurrencyLimit(settings) => {
            Arc::new(concurrency_limit::ConcurrencyLimit::compile(settings, cx)?)
        }
        Settings::RequestLimits(settings) => Arc::new(request_limits::RequestLimits::compile(settings, cx)?),
        Settings::Headers(settings) => Arc::new(headers::Headers::compile(settings, cx)?),
        Settings::Rewrite(settings) => Arc::new(rewrite::Rewrite::compile(settings, cx)?),
        Settings::Deprecation(settings) => Arc::new(deprecation::Deprecation::compile(settings, cx)?),
        Settings::FaultInjection(settings) => {
            Arc::new(fault_injection::FaultInjection::compile(settings, cx)?)
        }
        Settings::Compress(settings) => Arc::new(compress::Compress::compile(settings, cx)?),
        Settings::Decompress(settings) => Arc::new(decompress::Decompress::compile(settings, cx)?),
    })
}
