//! `oidc`: signs people in with their browser at an OpenID provider, and keeps that they are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Authentication, Place, Policy, Settings,
    headers::FRAMING,
    jwt::{JwtAlgorithm, is_private_enough},
};
use crate::{
    Duration, HeaderName, Secret,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
    resource::redis::WhenAway,
    rules::{Around, Sessions},
};

/// The most that a session may take, so that what is remembered of ended ones has an end.
const MAX_AGE_MAX: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);

/// Signs people in with their browser at an OpenID provider (authorization code with PKCE), and keeps that in a session.
/// Who has none is sent to the provider, or gets 401 where no page is asked for. The provider has to know
/// `<publicUrl><path>/callback` as an address to return to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Oidc {
    /// The provider, as it names itself: `https`, or `http` on loopback. Where everything else is comes from its
    /// `/.well-known/openid-configuration`.
    #[schemars(length(min = 1), extend("format" = "url"))]
    pub issuer: String,
    /// What the provider knows the gateway by.
    #[schemars(length(min = 1))]
    pub client_id: String,
    /// What the gateway proves that with; a public client has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// How it proves that.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// What sessions are encrypted with: at least 32 characters that nobody guesses, the same on all gateways.
    pub secret: Secret,
    /// What they were encrypted with before: such sessions go on, and are encrypted anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub previous_secrets: Vec<Secret>,
    /// What is asked for; `openid` is always among it. Many providers give tokens for later with `offline_access` alone.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Further parameters of the sign-in, such as `prompt`, `audience` or `acr_values`.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Below it are the addresses of the policy's own: `/callback`, `/login`, `/logout`, `/backchannel-logout` and
    /// `/frontchannel-logout`. A route with this policy has to match them.
    #[serde(default = "path")]
    pub path: String,
    /// How browsers reach the gateway, such as `https://shop.example.test`; as each request says without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "url"))]
    pub public_url: Option<String>,
    /// Where sessions are.
    #[serde(default)]
    pub store: SessionStore,
    /// The cookie of the session.
    #[serde(default)]
    pub cookie: SessionCookie,
    /// How long a session lasts, whatever happens; up to 90 days.
    #[serde(default = "max_age")]
    pub max_age: Duration,
    /// How long it lasts without a request; as long as `maxAge` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// How long a sign-in may take.
    #[serde(default = "login_timeout")]
    pub login_timeout: Duration,
    /// How long ago people may have shown the provider who they are (`max_age`); it asks them again beyond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_max_age: Option<Duration>,
    /// What those get who have no session.
    #[serde(default)]
    pub unauthenticated: Unauthenticated,
    /// Have tokens renewed shortly before they end, where the provider gave a refresh token. A session ends when the
    /// provider refuses.
    #[serde(default = "yes")]
    pub refresh: bool,
    /// How long before its end an access token is renewed.
    #[serde(default = "refresh_before")]
    pub refresh_before: Duration,
    /// Add what the provider's `userinfo` tells to the claims, when somebody signs in.
    #[serde(default)]
    pub user_info: bool,
    /// The header in which upstreams get the access token; with `Bearer ` before it in `authorization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token_header: Option<HeaderName>,
    /// The header in which upstreams get the ID token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_token_header: Option<HeaderName>,
    /// Claims that are sent on as headers, by header name. Such headers from outside are removed first.
    #[serde(default)]
    pub claims_to_headers: BTreeMap<HeaderName, String>,
    /// The claim that names the consumer, for people whom no consumer's `jwt` entry covers; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_claim: Option<String>,
    /// Name of the consumer that calls without a session count as; without it they are sent to sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymous: Option<String>,
    /// Where people are after they have signed out: a path of the gateway's.
    #[serde(default = "root")]
    pub after_logout: String,
    /// Sign people out at the provider, too, when they sign out here.
    #[serde(default = "yes")]
    pub end_session: bool,
    /// Algorithms of the provider's signatures that are accepted.
    #[serde(default = "algorithms")]
    #[schemars(length(min = 1))]
    pub algorithms: Vec<JwtAlgorithm>,
    /// How far clocks may differ.
    #[serde(default = "leeway")]
    pub leeway: Duration,
    /// Bound of each request to the provider.
    #[serde(default = "timeout")]
    pub timeout: Duration,
}

/// How a client proves who it is (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuth {
    /// By `Authorization: Basic`.
    #[default]
    Basic,
    /// By fields of the form.
    Post,
}

/// Where sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionStore {
    /// Encrypted in the browser's cookie, in several where one does not hold it.
    #[default]
    Cookie,
    /// Encrypted in the `redis` of the configuration, together with all gateways that share it; the cookie has an id.
    Redis,
}

/// What those get who have no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unauthenticated {
    /// A browser that navigates is sent to sign in, by `Sec-Fetch-Mode` or else `Accept`; others get 401.
    #[default]
    Auto,
    /// Whoever asks with GET or HEAD is sent to sign in.
    Redirect,
    /// Everybody gets 401; `/login` begins a sign-in.
    Deny,
}

/// The cookie of a session. It is `HttpOnly` and `SameSite=Lax`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SessionCookie {
    /// Its name, before which `__Host-` is put, or `__Secure-` with a `domain`.
    pub name: String,
    /// The domain whose hosts all get it; the host that was asked alone without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Send it over TLS alone. Browsers take `localhost` for that.
    pub secure: bool,
}

impl Default for SessionCookie {
    fn default() -> Self {
        Self { name: "tidegate-session".to_owned(), domain: None, secure: true }
    }
}

fn path() -> String {
    "/oidc".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

fn yes() -> bool {
    true
}

fn max_age() -> Duration {
    Duration::from_secs(12 * 3600)
}

fn login_timeout() -> Duration {
    Duration::from_secs(600)
}

fn refresh_before() -> Duration {
    Duration::from_secs(30)
}

fn leeway() -> Duration {
    Duration::from_secs(60)
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

fn algorithms() -> Vec<JwtAlgorithm> {
    vec![JwtAlgorithm::RS256, JwtAlgorithm::ES256]
}

/// Parameters of a sign-in that are the gateway's own to set.
const OWN_PARAMETERS: [&str; 11] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "max_age",
    "request",
];

impl Settings for Oidc {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: self.anonymous.as_deref(),
            headers: vec![HeaderName::from_static("cookie")],
            parameter: None,
            asks: self,
        })
    }

    fn answers_itself(&self) -> bool {
        true
    }

    fn tells_claims(&self) -> bool {
        true
    }

    fn sessions(&self) -> Option<Sessions<'_>> {
        let SessionCookie { name, domain, secure } = &self.cookie;
        let prefix = match (secure, domain) {
            (true, None) => "__Host-",
            (true, Some(_)) => "__Secure-",
            (false, _) => "",
        };
        Some(Sessions {
            cookie: format!("{prefix}{name}"),
            client: (self.issuer.as_str(), self.client_id.as_str()),
            is_elsewhere: self.store == SessionStore::Redis,
            callback: format!("{}/callback", self.path),
            public_url: self.public_url.as_deref(),
        })
    }

    /// Whoever has signed in returns to an address below `path`: some route of this client's has to match it.
    fn validate_around(&self, around: &Around<'_>, at: &mut Context<'_, '_>) {
        let callback = format!("{}/callback", self.path);
        let matches = |route: &crate::Route| {
            let paths = || route.matches.iter().map(|one| one.path.as_ref());
            route.matches.is_empty() || paths().any(|path| path.is_none_or(|path| path.may_match(&callback)))
        };
        let is_on_another = || around.routes_with(|policy| self.is_same_client(policy)).any(matches);
        if !matches(around.route) && !is_on_another() {
            at.field("path", |at| {
                at.error_with(
                    format!("no route with this policy matches `{callback}`, where a sign-in ends: none would ever end"),
                    format!("add `- path: {{prefix: {}}}` to the route's `match`, or set `path` below what it matches", self.path),
                );
            });
        }
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        if !is_private_enough(&self.issuer) || self.issuer.contains(['?', '#']) {
            at.field("issuer", |at| {
                at.error(
                    "a provider is asked over https, or over http at a loopback address, without a query",
                );
            });
        }
        if let Some(url) = &self.public_url {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if rest.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@', '\\', ' '])) {
                at.field("publicUrl", |at| {
                    at.error("expected a scheme and a host alone, such as `https://shop.example.test`");
                });
            }
        }
        for (key, path) in [("path", &self.path), ("afterLogout", &self.after_logout)] {
            let is_path = path.starts_with('/')
                && !path.starts_with("//")
                && path.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && !b"\\?#\"<>".contains(&byte));
            if !is_path || (key == "path" && path.ends_with('/')) || path.contains("..") {
                at.field(key, |at| at.error("expected a path such as `/oidc`, without a slash at its end"));
            }
        }
        if self.store == SessionStore::Redis {
            at.stored(crate::resource::redis::Store::Redis, WhenAway::Closed, crate::Percent(100.0));
        }
        self.validate_times(at);
        self.validate_cookie(at);
        if self.client_secret.is_none() && at.is_written("clientAuth") {
            at.field("clientAuth", |at| at.error("without `clientSecret` there is nothing to prove"));
        }
        at.each("scopes", &self.scopes, |at, scope| {
            let is_scope = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\';
            if scope.is_empty() || !scope.bytes().all(is_scope) {
                at.error("a scope has no spaces, quotes and backslashes");
            }
        });
        at.field("parameters", |at| {
            for name in self.parameters.keys().filter(|name| OWN_PARAMETERS.contains(&name.as_str())) {
                at.field(name, |at| at.error(format!("`{name}` is the gateway's own to set")));
            }
        });
        at.field("claimsToHeaders", |at| {
            for name in self.claims_to_headers.keys().filter(|name| is_taken(name)) {
                at.field(name, |at| at.error(format!("`{name}` is the gateway's own to set")));
            }
        });
        let headers =
            [("accessTokenHeader", &self.access_token_header), ("idTokenHeader", &self.id_token_header)];
        for (key, name) in headers {
            if name.as_ref().is_some_and(is_taken) {
                at.field(key, |at| at.error("that header is the gateway's own to set"));
            }
        }
        if let Some(consumer) = &self.anonymous {
            at.field("anonymous", |at| at.refer(Named::Consumer, consumer));
        }
    }
}

/// Headers that no token and no claim may stand in.
fn is_taken(name: &HeaderName) -> bool {
    FRAMING.contains(&name.as_str()) || name.as_str() == "cookie"
}

impl Oidc {
    /// Whether a policy ends sign-ins that this one has begun.
    fn is_same_client(&self, policy: &Policy) -> bool {
        match policy {
            Policy::Oidc(other) => {
                (&other.issuer, &other.client_id, &other.path) == (&self.issuer, &self.client_id, &self.path)
            }
            other => other.parts().iter().any(|one| self.is_same_client(one)),
        }
    }

    fn validate_times(&self, at: &mut Context<'_, '_>) {
        for (key, time) in [
            ("maxAge", Some(self.max_age)),
            ("idleTimeout", self.idle_timeout),
            ("loginTimeout", Some(self.login_timeout)),
            ("timeout", Some(self.timeout)),
        ] {
            if time.is_some_and(|time| time.is_zero()) {
                at.field(key, |at| at.error("expected more than nothing"));
            }
        }
        if self.max_age.get() > MAX_AGE_MAX {
            at.field("maxAge", |at| at.error("expected at most 90 days"));
        }
        if self.login_timeout.get() > std::time::Duration::from_secs(3600) {
            at.field("loginTimeout", |at| at.error("expected at most an hour"));
        }
    }

    fn validate_cookie(&self, at: &mut Context<'_, '_>) {
        let SessionCookie { name, domain, .. } = &self.cookie;
        at.field("cookie", |at| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) || name.starts_with("__") {
                at.field("name", |at| {
                    at.error("expected letters, digits, `-` and `_`; `__Host-` is put before it");
                });
            }
            let is_domain = |domain: &String| {
                domain.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
            };
            if domain.as_ref().is_some_and(|domain| domain.is_empty() || !is_domain(domain)) {
                at.field("domain", |at| at.error("expected a name such as `example.test`"));
            }
        });
    }
}

impl Asks for Oidc {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        Some(demand(SignedIn {
            issuer: self.issuer.clone(),
            client: self.client_id.clone(),
            names_consumer: self.consumer_claim.clone(),
        }))
    }
}

/// Somebody whom this provider knows.
struct SignedIn {
    issuer: String,
    client: String,
    names_consumer: Option<String>,
}

impl Terms for SignedIn {
    fn implies(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.client == other.client
            && (other.names_consumer.is_none() || self.names_consumer == other.names_consumer)
    }

    fn words(&self) -> String {
        format!("oidc at {} as {}", self.issuer, self.client)
    }
}
