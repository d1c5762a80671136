//! Policies: their settings, one file each, and the order of the phases they run in.
//!
//! What a policy does is in the data plane, in a file of the same name. The table here is the registry: one line makes
//! a policy known to everything that asks of all of them, and [`Settings`] is what its own file answers.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::{
    HeaderName,
    diff::{Asks, GuardRule},
    load::Context,
    rules::{Around, Sessions},
};

/// Makes of each line a module, a variant and its place in everything that is asked of every policy.
macro_rules! policies {
    ($($file:ident: $Name:ident => $key:literal, $about:literal;)*) => {
        $(pub mod $file;)*

        $(pub use self::$file::$Name;)*

        /// A policy: one key, its settings below it.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(transform = crate::schema::one_key)]
        pub enum Policy {
            $(
                #[doc = $about]
                #[serde(rename = $key)]
                $Name($Name),
            )*
        }

        impl Policy {
            /// The keys of all policies.
            pub const NAMES: &[&str] = &[$($key),*];

            /// The key in the configuration.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$Name(_) => $key,)*
                }
            }

            fn settings(&self) -> &dyn Settings {
                match self {
                    $(Self::$Name(settings) => settings,)*
                }
            }
        }
    };
}

// Every policy: its file, the settings in it, its key, and what it is for. rustfmt finds no file by way of a macro:
// `make fmt` and a test name these to it.
policies! {
    key_auth: KeyAuth => "keyAuth", "Lets in who shows a consumer's API key.";
    basic_auth: BasicAuth => "basicAuth", "Lets in who shows a consumer's user name and password.";
    ldap_auth: LdapAuth => "ldapAuth", "Lets in who shows a user name and password that a directory knows.";
    jwt: Jwt => "jwt", "Lets in who shows a valid JSON Web Token.";
    oidc: Oidc => "oidc", "Signs people in with their browser at an OpenID provider.";
    oauth2_introspection: Oauth2Introspection => "oauth2Introspection", "Lets in who shows a token that its issuer says is good.";
    ext_auth: ExtAuth => "extAuth", "A service of the operator's own says who is let in.";
    hmac: Hmac => "hmac", "Lets in who has signed the request.";
    mtls: Mtls => "mtls", "Lets in who shows a certificate.";
    any_of: AnyOf => "anyOf", "Several ways to show who calls, of which one is enough.";
    acl: Acl => "acl", "Lets in consumers and groups by name.";
    authorize: Authorize => "authorize", "Lets in calls that meet conditions.";
    opa: Opa => "opa", "The Open Policy Agent says who is let in.";
    lockout: Lockout => "lockout", "Locks out who fails to sign in too often.";
    ip_restriction: IpRestriction => "ipRestriction", "Lets in client addresses.";
    ip_reputation: IpReputation => "ipReputation", "Refuses client addresses that lists tell of.";
    geo: Geo => "geo", "Judges and tells where clients are.";
    waf: Waf => "waf", "Judges requests and answers by rules against attacks.";
    bot_detection: BotDetection => "botDetection", "Finds programs among visitors.";
    csrf: Csrf => "csrf", "Refuses what other sites make browsers do.";
    security_headers: SecurityHeaders => "securityHeaders", "Tells browsers what they may do with answers.";
    cors: Cors => "cors", "Cross-origin resource sharing.";
    rate_limit: RateLimit => "rateLimit", "Bounds calls per time.";
    quota: Quota => "quota", "Bounds calls per hour, day, week or month.";
    token_rate_limit: TokenRateLimit => "tokenRateLimit", "Bounds tokens of models per time.";
    budget: Budget => "budget", "Bounds money or tokens of models per day, week or month.";
    concurrency_limit: ConcurrencyLimit => "concurrencyLimit", "Bounds calls at a time.";
    priority: Priority => "priority", "Divides calls at a time among classes of calls.";
    bandwidth: Bandwidth => "bandwidth", "Bounds bytes per second.";
    web_socket_limits: WebSocketLimits => "webSocketLimits", "Bounds WebSocket connections.";
    load_shed: LoadShed => "loadShed", "Refuses some calls while there are too many, so that the others are served.";
    anti_replay: AntiReplay => "antiReplay", "Lets each request in once.";
    request_limits: RequestLimits => "requestLimits", "Bounds the size of requests.";
    headers: Headers => "headers", "Changes headers of requests and answers.";
    rewrite: Rewrite => "rewrite", "Changes the path and the host that the upstream sees.";
    internal_jwt: InternalJwt => "internalJwt", "Tells upstreams who calls, by a token that the gateway signs.";
    client_credentials: ClientCredentials => "clientCredentials", "Shows upstreams a token of the gateway's own.";
    oauth2_token_exchange: Oauth2TokenExchange => "oauth2TokenExchange", "Shows upstreams a token in exchange for the caller's.";
    sign_requests: SignRequests => "signRequests", "Signs what is sent to upstreams.";
    deprecation: Deprecation => "deprecation", "Announces that an API goes away.";
    fault_injection: FaultInjection => "faultInjection", "Breaks a share of the calls, for trials.";
    cache: Cache => "cache", "Gives answers again, as RFC 9111 says.";
    strangler: Strangler => "strangler", "Moves paths from an old system to new services, step by step.";
    mirror: Mirror => "mirror", "Sends copies of requests to another upstream, and compares its answers.";
    validate: Validate => "validate", "Judges requests and answers by an OpenAPI document or JSON Schemas.";
    graphql: Graphql => "graphql", "Judges operations of GraphQL before they are run.";
    wasm: Wasm => "wasm", "Has a WebAssembly component judge and change requests and answers.";
    transform: Transform => "transform", "Makes other bodies and statuses of requests and answers.";
    mask: Mask => "mask", "Hides fields and what detectors find, in bodies and in the access log.";
    normalize_errors: NormalizeErrors => "normalizeErrors", "Makes problem documents of services' errors.";
    etag: Etag => "etag", "Tags answers, and answers 304 to whoever has them.";
    idempotency: Idempotency => "idempotency", "Answers requests that are sent again with the answer of the first.";
    compress: Compress => "compress", "Compresses answers.";
    decompress: Decompress => "decompress", "Decompresses requests' bodies for upstreams that cannot.";
    guardrails: Guardrails => "guardrails", "Rules over what is asked of models and what they answer.";
    ai_cache: AiCache => "aiCache", "Gives answers of models again.";
}

/// What every policy's settings say of themselves. What is asked has no default where leaving it out would let
/// somebody in.
pub(crate) trait Settings {
    /// Where it stands among the others, and what a policy of that place owes.
    fn place(&self) -> Place<'_>;

    /// Applies the rules that the schema cannot say.
    fn validate(&self, at: &mut Context<'_, '_>);

    /// Applies the rules that depend on what each match of its route captures.
    fn validate_captures(&self, offered: &[Vec<String>], at: &mut Context<'_, '_>) {
        let _ = (offered, at);
    }

    /// Applies the rules that depend on the route that it is attached to, and on what else runs there.
    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        let _ = (around, at);
    }

    /// Whether it tells more of a caller than its name: the claims of a token, or what is like them.
    fn tells_claims(&self) -> bool {
        false
    }

    /// Whether it may let in somebody of whom nothing tells who that is, though nobody is `anonymous`.
    fn lets_in_unknown(&self) -> bool {
        false
    }

    /// Whether it lets in no more than some, by their addresses, places or conditions.
    fn narrows(&self) -> bool {
        false
    }

    /// Whether the path may be another one after it.
    fn moves_paths(&self) -> bool {
        false
    }

    /// Whether it lets in nobody of whom nothing tells who that is.
    fn lets_in_nobody_unknown(&self) -> bool {
        false
    }

    /// Whether it knows callers by the credentials of consumers alone, and by nothing that tells of them from elsewhere.
    fn reads_credentials(&self) -> bool {
        false
    }

    /// Whether it looks for users' names with passwords.
    fn reads_passwords(&self) -> bool {
        false
    }

    /// Whether it looks for keys, or tokens, that are told apart by how they begin. A session is none.
    fn reads_keys(&self) -> bool {
        let Place::Authentication(way) = self.place() else { return false };
        way.parameter.is_some() || way.headers.iter().any(|name| name.as_str() != "cookie")
    }

    /// The sessions that it keeps in browsers.
    fn sessions(&self) -> Option<Sessions<'_>> {
        None
    }

    /// Whether requests that come past it have a signature that has to cover a header; nothing where it looks for none.
    fn covers(&self, header: &HeaderName) -> Option<bool> {
        let _ = header;
        None
    }

    /// Whether all that it does is for the upstreams that are asked.
    fn is_for_upstreams(&self) -> bool {
        false
    }

    /// The policies that it is made of.
    fn parts(&self) -> &[Policy] {
        &[]
    }

    /// Whether one that is attached nearer to the call takes the place of one further out. Otherwise both run.
    fn gives_way(&self) -> bool {
        false
    }

    /// Whether it judges requests as they arrive from outside: what the gateway makes of them on the way to an upstream or to a
    /// tool of its own is none of its business.
    fn judges_arrivals(&self) -> bool {
        false
    }

    /// Whether it has answers of its own for whom it does not let in, so that nothing after it is tried.
    fn answers_itself(&self) -> bool {
        false
    }

    /// Whether it is the AI gateway that does what it says.
    fn is_of_ai(&self) -> bool {
        false
    }

    /// Its rules over texts of models.
    fn guards(&self) -> &[GuardRule] {
        &[]
    }

    /// Names of upstreams that it may send calls to in place of its route's own.
    fn leads_to(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Name of the plugin whose code it runs.
    fn runs(&self) -> Option<&str> {
        None
    }

    /// Why it is nothing for an upstream, whose policies run after all others.
    fn comes_too_late(&self) -> Option<&'static str> {
        None
    }

    /// Whether it refuses models whose price nobody knows.
    fn asks_prices(&self) -> bool {
        false
    }

    /// What its accounts are kept under, beside its place: two of one name at one place would be one.
    fn account(&self) -> Option<&str> {
        None
    }

    /// Whether it counts calls, or what they spend: where it is used twice for a call, that counts twice.
    fn counts(&self) -> bool {
        self.account().is_some()
    }

    /// What tells the answers apart that it gives again.
    fn cache_key(&self) -> Option<&crate::CacheKey> {
        None
    }

    /// Where on disk it keeps the answers that it gives again.
    fn cache_disk(&self) -> Option<&crate::CacheDisk> {
        None
    }

    /// Whether it reads files that the configuration does not name, so that a reload is one though nothing else has changed.
    fn reads_folders(&self) -> bool {
        false
    }

    /// Templates of values that it puts into answers, with the names of their fields.
    fn answer_values(&self) -> Vec<(&HeaderName, &str)> {
        Vec::new()
    }

    /// Templates of what is asked for, and of whom, in place of what the client asked for, with what each is of.
    fn target_values(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        Vec::new()
    }
}

/// Where a policy stands, with what the gateway must know of whoever stands there.
pub(crate) enum Place<'s> {
    /// It sees every answer, whoever gives it.
    Outermost,
    /// It answers preflights.
    Cors,
    /// It judges where a call comes from.
    IpRestriction(&'s dyn Asks),
    /// It looks for attacks.
    Waf,
    /// It finds out who calls.
    Authentication(Authentication<'s>),
    /// It judges whether they may.
    Authorization(&'s dyn Asks),
    /// It bounds calls.
    RateLimit,
    /// It judges the request, or makes it fit to be judged.
    Validation,
    /// It knows answers already.
    Cache,
    /// It changes what the upstream or the client sees.
    Transform,
    /// It stands around the handler: the last to see the request, the first to see the answer.
    Around,
}

/// What a policy that finds out who calls must tell.
pub(crate) struct Authentication<'s> {
    /// The consumer that calls without credentials count as.
    pub(crate) anonymous: Option<&'s str>,
    /// The headers in which it looks for credentials.
    pub(crate) headers: Vec<HeaderName>,
    /// The query parameter in which it looks for credentials.
    pub(crate) parameter: Option<&'s str>,
    /// What it asks of those who are not anonymous.
    pub(crate) asks: &'s dyn Asks,
}

/// Policies that later builds have: they are refused by name.
pub const NOT_IN_THIS_BUILD: &[&str] = &["soap", "extProc"];

/// When a policy runs on the way in; on the way out the order is reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Framing, path, hop-by-hop headers, request id; and what is to see every answer.
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
    /// What answers, and what stands around it.
    Handler,
}

impl Policy {
    /// The query parameter in which it looks for a key or a token.
    pub fn credential_parameter(&self) -> Option<&str> {
        self.authentication().and_then(|authentication| authentication.parameter)
    }

    /// The headers in which it looks for credentials.
    pub fn credential_headers(&self) -> Vec<HeaderName> {
        self.authentication().map(|authentication| authentication.headers).unwrap_or_default()
    }

    /// When it runs.
    pub fn phase(&self) -> Phase {
        match self.place() {
            Place::Outermost => Phase::Guard,
            Place::Cors => Phase::Cors,
            Place::IpRestriction(_) => Phase::IpRestriction,
            Place::Waf => Phase::Waf,
            Place::Authentication(_) => Phase::Authentication,
            Place::Authorization(_) => Phase::Authorization,
            Place::RateLimit => Phase::RateLimit,
            Place::Validation => Phase::Validation,
            Place::Cache => Phase::Cache,
            Place::Transform => Phase::Transform,
            Place::Around => Phase::Handler,
        }
    }

    /// Whether it is the AI gateway that does what it says, so that it has nothing to do on other routes.
    pub fn is_of_ai(&self) -> bool {
        self.settings().is_of_ai()
    }

    /// Whether one that is attached nearer to the call takes the place of one further out. Otherwise both run.
    pub fn gives_way(&self) -> bool {
        self.settings().gives_way()
    }

    /// Whether it judges requests as they arrive from outside, and nothing that the gateway makes of them.
    pub fn judges_arrivals(&self) -> bool {
        self.settings().judges_arrivals()
    }

    /// Whether it has answers of its own for whom it does not let in.
    pub(crate) fn answers_itself(&self) -> bool {
        self.settings().answers_itself()
    }

    /// Why it is nothing for an upstream.
    pub(crate) fn comes_too_late(&self) -> Option<&'static str> {
        self.settings().comes_too_late()
    }

    /// Names of upstreams that it may send calls to in place of its route's own.
    pub fn leads_to(&self) -> Vec<&str> {
        self.settings().leads_to()
    }

    /// Name of the plugin whose code it runs.
    pub fn runs(&self) -> Option<&str> {
        self.settings().runs()
    }

    /// Its rules over texts of models.
    pub(crate) fn guards(&self) -> &[GuardRule] {
        self.settings().guards()
    }

    /// Whether it refuses models whose price nobody knows.
    pub fn asks_prices(&self) -> bool {
        self.settings().asks_prices()
    }

    /// What its accounts are kept under, beside its place.
    pub(crate) fn account(&self) -> Option<&str> {
        self.settings().account()
    }

    /// Whether it counts calls, or what they spend.
    pub(crate) fn counts(&self) -> bool {
        self.settings().counts()
    }

    /// What tells the answers apart that it gives again.
    pub(crate) fn cache_key(&self) -> Option<&crate::CacheKey> {
        self.settings().cache_key()
    }

    /// Where on disk it keeps the answers that it gives again.
    pub(crate) fn cache_disk(&self) -> Option<&crate::CacheDisk> {
        self.settings().cache_disk()
    }

    /// Whether it reads files that the configuration does not name.
    pub fn reads_folders(&self) -> bool {
        self.settings().reads_folders()
    }

    /// Templates of values that it puts into answers, with the names of their fields.
    pub(crate) fn answer_values(&self) -> Vec<(&HeaderName, &str)> {
        self.settings().answer_values()
    }

    /// Templates of what is asked for, and of whom, in place of what the client asked for, with what each is of.
    pub(crate) fn target_values(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        self.settings().target_values()
    }

    pub(crate) fn place(&self) -> Place<'_> {
        self.settings().place()
    }

    /// What it tells when it finds out who calls.
    pub(crate) fn authentication(&self) -> Option<Authentication<'_>> {
        match self.place() {
            Place::Authentication(authentication) => Some(authentication),
            Place::Outermost
            | Place::Cors
            | Place::IpRestriction(_)
            | Place::Waf
            | Place::Authorization(_)
            | Place::RateLimit
            | Place::Validation
            | Place::Cache
            | Place::Transform
            | Place::Around => None,
        }
    }

    pub(crate) fn validate(&self, at: &mut Context<'_, '_>) {
        self.settings().validate(at);
    }

    pub(crate) fn validate_captures(&self, offered: &[Vec<String>], at: &mut Context<'_, '_>) {
        self.settings().validate_captures(offered, at);
    }

    pub(crate) fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        self.settings().validate_around(around, at);
    }

    /// Whether it tells more of a caller than its name.
    pub(crate) fn tells_claims(&self) -> bool {
        self.settings().tells_claims()
    }

    /// Whether it may let in somebody of whom nothing tells who that is, though nobody is `anonymous`.
    pub(crate) fn lets_in_unknown(&self) -> bool {
        self.settings().lets_in_unknown()
    }

    /// Whether it finds out who calls, of everybody who comes past it.
    pub(crate) fn knows_everybody(&self) -> bool {
        self.authentication().is_some_and(|one| one.anonymous.is_none()) && !self.lets_in_unknown()
    }

    /// Whether it lets in no more than some, whoever they are.
    pub(crate) fn narrows(&self) -> bool {
        self.settings().narrows()
    }

    /// Whether the path may be another one after it.
    pub fn moves_paths(&self) -> bool {
        self.settings().moves_paths()
    }

    /// Whether it lets in nobody of whom nothing tells who that is.
    pub(crate) fn lets_in_nobody_unknown(&self) -> bool {
        self.settings().lets_in_nobody_unknown()
    }

    /// Whether it knows callers by the credentials of consumers alone.
    pub(crate) fn reads_credentials(&self) -> bool {
        self.settings().reads_credentials()
    }

    /// Whether it looks for users' names with passwords.
    pub(crate) fn reads_passwords(&self) -> bool {
        self.settings().reads_passwords()
    }

    /// Whether it looks for keys, or tokens, that are told apart by how they begin.
    pub(crate) fn reads_keys(&self) -> bool {
        self.settings().reads_keys()
    }

    /// The sessions that it keeps in browsers.
    pub(crate) fn sessions(&self) -> Option<Sessions<'_>> {
        self.settings().sessions()
    }

    /// Whether requests that come past it have a signature that has to cover a header; nothing where it looks for none.
    pub(crate) fn covers(&self, header: &HeaderName) -> Option<bool> {
        self.settings().covers(header)
    }

    /// The policies that it is made of.
    pub(crate) fn parts(&self) -> &[Policy] {
        self.settings().parts()
    }

    /// Whether all that it does is for the upstreams that are asked.
    pub(crate) fn is_for_upstreams(&self) -> bool {
        self.settings().is_for_upstreams()
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
