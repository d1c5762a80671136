//! `hmac`: lets in who has signed the request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Authentication, Place, Settings};
use crate::{
    Duration, FilePath, HeaderName, Percent, Secret, Size,
    diff::{Asked, Asks, Demand, Terms, demand},
    load::{Context, scope::Named},
    resource::redis::{Store, WhenAway},
};

/// Lets in who has signed the request, as HTTP Message Signatures say (RFC 9421) or as GitHub, Stripe and Slack sign their
/// webhooks; otherwise 401. A signature is good for `maxAge` and by default once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hmac {
    /// How requests are signed.
    pub style: SignatureStyle,
    /// Secrets of webhooks, each of which is good.
    #[schemars(length(max = 8))]
    pub secrets: Vec<Secret>,
    /// Shared secrets of HTTP Message Signatures (`hmac-sha256`), by the `keyid` that names them.
    pub keys: Vec<SigningKey>,
    /// Public keys of HTTP Message Signatures: a JWKS file, whose `kid` is the `keyid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<FilePath>,
    /// What an HTTP Message Signature covers at least, such as `@method` and names of headers.
    pub components: Vec<String>,
    /// Take requests with a body whose signature does not cover it by `content-digest`.
    pub unsigned_body: bool,
    /// The `tag` of signatures that are meant; any without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How long after it was made a signature is good.
    pub max_age: Duration,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// Take a signature more than once. Without it those of `maxAge` are remembered, up to 100,000.
    pub allow_replays: bool,
    /// Where signatures that were used are remembered. With `redis` one is good once at all gateways together.
    pub store: Store,
    /// With `store: redis`: what is done while it is away. With `local` each gateway knows what came to itself.
    pub when_away: WhenAway,
    /// The largest body whose signature is looked at; a larger one is 413. It is read whole before it goes on.
    pub max_body_size: Size,
    /// Name of the consumer that good requests count as, where no consumer's `jwt` entry has the `keyid` claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

impl Default for Hmac {
    fn default() -> Self {
        Self {
            style: SignatureStyle::default(),
            secrets: Vec::new(),
            keys: Vec::new(),
            jwks: None,
            components: ["@method", "@authority", "@path", "@query"].map(str::to_owned).to_vec(),
            unsigned_body: false,
            tag: None,
            max_age: Duration::from_secs(300),
            leeway: Duration::from_secs(10),
            allow_replays: false,
            store: Store::Memory,
            when_away: WhenAway::Closed,
            max_body_size: Size(1024 * 1024),
            consumer: None,
        }
    }
}

/// How requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SignatureStyle {
    /// HTTP Message Signatures (RFC 9421): `Signature-Input` and `Signature`.
    #[default]
    HttpSignatures,
    /// `X-Hub-Signature-256` over the body; it tells no time.
    Github,
    /// `Stripe-Signature` over the time and the body.
    Stripe,
    /// `X-Slack-Signature` over the time in `X-Slack-Request-Timestamp` and the body.
    Slack,
}

/// A shared secret by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningKey {
    /// The `keyid`.
    #[schemars(length(min = 1))]
    pub id: String,
    /// The secret.
    pub secret: Secret,
}

impl SignatureStyle {
    fn headers(self) -> &'static [&'static str] {
        match self {
            Self::HttpSignatures => &["signature-input", "signature", "content-digest"],
            Self::Github => &["x-hub-signature-256"],
            Self::Stripe => &["stripe-signature"],
            Self::Slack => &["x-slack-signature", "x-slack-request-timestamp"],
        }
    }
}

/// What of a request can be covered beside header fields.
pub const DERIVED: [&str; 7] =
    ["@method", "@target-uri", "@authority", "@scheme", "@request-target", "@path", "@query"];

impl Settings for Hmac {
    fn place(&self) -> Place<'_> {
        Place::Authentication(Authentication {
            anonymous: None,
            headers: self.style.headers().iter().map(|name| HeaderName::from_static(name)).collect(),
            parameter: None,
            asks: self,
        })
    }

    fn tells_claims(&self) -> bool {
        true
    }

    /// Signatures begin alike, and none is like another.
    fn reads_keys(&self) -> bool {
        false
    }

    fn covers(&self, header: &HeaderName) -> Option<bool> {
        // What the signature itself stands in cannot be changed either.
        let own = self.style.headers().contains(&header.as_str());
        let is_signed = || self.components.iter().any(|name| name == header.as_str());
        Some(own || (self.style == SignatureStyle::HttpSignatures && is_signed()))
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        let is_webhook = self.style != SignatureStyle::HttpSignatures;
        if is_webhook && self.secrets.is_empty() {
            at.error("expected the secret of the webhooks under `secrets`");
        }
        if !is_webhook && self.keys.is_empty() && self.jwks.is_none() {
            at.error("expected `keys` or `jwks`, found neither");
        }
        let of_the_other: &[&str] =
            if is_webhook { &["keys", "jwks", "components", "unsignedBody", "tag"] } else { &["secrets"] };
        for key in of_the_other {
            if at.is_written(key) {
                at.field(key, |at| at.error("that is for another `style`"));
            }
        }
        at.each("components", &self.components, |at, name| {
            let is_header = !name.starts_with('@') && http::HeaderName::try_from(name.as_str()).is_ok();
            if !(is_header || DERIVED.contains(&name.as_str()))
                || name.bytes().any(|byte| byte.is_ascii_uppercase())
            {
                at.error(format!(
                    "expected a header's name in small letters, or one of {}",
                    DERIVED.join(", ")
                ));
            }
        });
        if !is_webhook && self.components.is_empty() {
            at.field("components", |at| at.error("a signature that covers nothing says nothing"));
        }
        at.stored(self.store, self.when_away, Percent(100.0));
        if self.allow_replays && self.store == Store::Redis {
            at.field("store", |at| at.error("with `allowReplays` nothing is remembered"));
        }
        if self.max_age.is_zero() {
            at.field("maxAge", |at| at.error("expected more than nothing"));
        }
        if let Some(consumer) = &self.consumer {
            at.field("consumer", |at| at.refer(Named::Consumer, consumer));
        }
    }
}

impl Asks for Hmac {
    fn asks(&self, _: &Asked<'_>) -> Option<Demand> {
        Some(demand(Signed { rules: self.clone() }))
    }
}

/// A request that somebody with one of these keys has signed.
struct Signed {
    rules: Hmac,
}

impl Terms for Signed {
    fn implies(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.rules, &other.rules);
        let ids = |rules: &Hmac| rules.keys.iter().map(|key| key.id.clone()).collect::<Vec<_>>();
        mine.style == theirs.style
            && mine.jwks == theirs.jwks
            && ids(mine).iter().all(|id| ids(theirs).contains(id))
            && theirs.components.iter().all(|component| mine.components.contains(component))
            && (theirs.unsigned_body || !mine.unsigned_body)
            && (theirs.allow_replays || !mine.allow_replays)
            && (theirs.store == Store::Memory || mine.store == theirs.store)
            && mine.max_age <= theirs.max_age
    }

    fn words(&self) -> String {
        match self.rules.style {
            SignatureStyle::HttpSignatures => "hmac".to_owned(),
            SignatureStyle::Github => "hmac of GitHub".to_owned(),
            SignatureStyle::Stripe => "hmac of Stripe".to_owned(),
            SignatureStyle::Slack => "hmac of Slack".to_owned(),
        }
    }
}
