//! Policies: their settings, one file each, and the order of the phases they run in.
//!
//! What a policy does is in the data plane, in a file of the same name. The enum is the registry of both.

pub mod acl;
pub mod basic_auth;
pub mod compress;
pub mod concurrency_limit;
pub mod cors;
pub mod decompress;
pub mod deprecation;
pub mod fault_injection;
pub mod headers;
pub mod ip_restriction;
pub mod jwt;
pub mod key_auth;
pub mod rate_limit;
pub mod request_limits;
pub mod rewrite;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::load::Context;

pub use self::{
    acl::Acl, basic_auth::BasicAuth, compress::Compress, concurrency_limit::ConcurrencyLimit, cors::Cors,
    decompress::Decompress, deprecation::Deprecation, fault_injection::FaultInjection, headers::Headers,
    ip_restriction::IpRestriction, jwt::Jwt, key_auth::KeyAuth, rate_limit::RateLimit,
    request_limits::RequestLimits, rewrite::Rewrite,
};

/// A policy: one key, its settings below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = crate::schema::one_key)]
pub enum Policy {
    /// Lets in who shows a consumer's API key.
    KeyAuth(KeyAuth),
    /// Lets in who shows a consumer's user name and password.
    BasicAuth(BasicAuth),
    /// Lets in who shows a valid JSON Web Token.
    Jwt(Jwt),
    /// Lets in consumers and groups by name.
    Acl(Acl),
    /// Lets in client addresses.
    IpRestriction(IpRestriction),
    /// Cross-origin resource sharing.
    Cors(Cors),
    /// Bounds calls per time.
    RateLimit(RateLimit),
    /// Bounds calls at a time.
    ConcurrencyLimit(ConcurrencyLimit),
    /// Bounds the size of requests.
    RequestLimits(RequestLimits),
    /// Changes headers of requests and answers.
    Headers(Headers),
    /// Changes the path and the host that the upstream sees.
    Rewrite(Rewrite),
    /// Announces that an API goes away.
    Deprecation(Deprecation),
    /// Breaks a share of the calls, for trials.
    FaultInjection(FaultInjection),
    /// Compresses answers.
    Compress(Compress),
    /// Decompresses requests' bodies for upstreams that cannot.
    Decompress(Decompress),
}

/// Policies that later builds have: they are refused by name.
pub const NOT_IN_THIS_BUILD: &[&str] = &[
    "cache",
    "tokenRateLimit",
    "quota",
    "waf",
    "oidc",
    "introspection",
    "hmacAuth",
    "openapi",
    "jsonSchema",
    "validate",
    "transform",
    "soap",
    "graphql",
    "wasm",
    "extAuth",
    "extProc",
    "mirror",
    "guardrails",
    "budget",
    "semanticCache",
    "idempotency",
    "opa",
];

/// When a policy runs on the way in; on the way out the order is reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Framing, path, hop-by-hop headers, request id.
    Guard,
    /// Cross-origin preflights, which carry no credentials.
    Cors,
    /// Client addresses.
    IpRestriction,
    /// Attack patterns.
    Waf,
    /// Who calls.
    Authentication,
    /// Whether they may.
    Authorization,
    /// How often they may.
    RateLimit,
    /// Whether the request is well-formed.
    Validation,
    /// Whether the answer is known already.
    Cache,
    /// What the upstream sees.
    Transform,
    /// What answers.
    Handler,
}

impl Policy {
    /// The query parameter in which it looks for a key or a token.
    pub fn credential_parameter(&self) -> Option<&str> {
        match self {
            Self::KeyAuth(settings) => settings.query.as_deref(),
            Self::Jwt(settings) => settings.source.query.as_deref(),
            Self::BasicAuth(_)
            | Self::Acl(_)
            | Self::IpRestriction(_)
            | Self::Cors(_)
            | Self::RateLimit(_)
            | Self::ConcurrencyLimit(_)
            | Self::RequestLimits(_)
            | Self::Headers(_)
            | Self::Rewrite(_)
            | Self::Deprecation(_)
            | Self::Compress(_)
            | Self::Decompress(_)
            | Self::FaultInjection(_) => None,
        }
    }

    /// The key in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::KeyAuth(_) => "keyAuth",
            Self::BasicAuth(_) => "basicAuth",
            Self::Jwt(_) => "jwt",
            Self::Acl(_) => "acl",
            Self::IpRestriction(_) => "ipRestriction",
            Self::Cors(_) => "cors",
            Self::RateLimit(_) => "rateLimit",
            Self::ConcurrencyLimit(_) => "concurrencyLimit",
            Self::RequestLimits(_) => "requestLimits",
            Self::Headers(_) => "headers",
            Self::Rewrite(_) => "rewrite",
            Self::Deprecation(_) => "deprecation",
            Self::FaultInjection(_) => "faultInjection",
            Self::Compress(_) => "compress",
            Self::Decompress(_) => "decompress",
        }
    }

    /// Applies the rules that the schema cannot say.
    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        match self {
            Self::KeyAuth(settings) => settings.validate(at),
            Self::BasicAuth(settings) => settings.validate(at),
            Self::Jwt(settings) => settings.validate(at),
            Self::Acl(settings) => settings.validate(at),
            Self::IpRestriction(settings) => settings.validate(at),
            Self::Cors(settings) => settings.validate(at),
            Self::RateLimit(settings) => settings.validate(at),
            Self::ConcurrencyLimit(settings) => settings.validate(at),
            Self::RequestLimits(settings) => settings.validate(at),
            Self::Headers(settings) => settings.validate(at),
            Self::Rewrite(settings) => settings.validate(at),
            Self::Deprecation(settings) => settings.validate(at),
            Self::FaultInjection(settings) => settings.validate(at),
            Self::Compress(settings) => settings.validate(at),
            Self::Decompress(settings) => settings.validate(at),
        }
    }

    /// When it runs.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Cors(_) => Phase::Cors,
            Self::IpRestriction(_) => Phase::IpRestriction,
            Self::KeyAuth(_) | Self::BasicAuth(_) | Self::Jwt(_) => Phase::Authentication,
            Self::Acl(_) => Phase::Authorization,
            Self::RateLimit(_) | Self::ConcurrencyLimit(_) => Phase::RateLimit,
            Self::RequestLimits(_) | Self::Decompress(_) => Phase::Validation,
            Self::Headers(_)
            | Self::Rewrite(_)
            | Self::Deprecation(_)
            | Self::FaultInjection(_)
            | Self::Compress(_) => Phase::Transform,
        }
    }
}

/// A policy in place, or a shared one by name: `{use: name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "most policies are in place, and matching on a box reads worse")]
pub enum PolicyUse {
    /// A shared policy.
    Shared(Shared),
    /// A policy in place.
    Inline(Policy),
}

/// A shared policy by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// Name in the top-level `policies`.
    #[serde(rename = "use")]
    pub name: String,
}

impl JsonSchema for PolicyUse {
    fn schema_name() -> Cow<'static, str> {
        "PolicyUse".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Policy::json_schema(generator);
        schema
            .insert("description".to_owned(), "A policy in place, or a shared one by `{use: name}`.".into());
        if let Some(properties) = schema.get_mut("properties").and_then(|p| p.as_object_mut()) {
            let reference = serde_json::json!({"type": "string", "description": "Name of a shared policy."});
            properties.insert("use".to_owned(), reference);
        }
        schema
    }
}
