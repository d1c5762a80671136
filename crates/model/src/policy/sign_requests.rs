//! `signRequests`: signs what is sent to upstreams.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Place, Settings, headers::FRAMING, hmac::DERIVED};
use crate::{Duration, Secret, Size, load::Context, resource::ai::AwsCredentials};

/// Services of AWS's whose bodies may go unsigned.
const UNSIGNED: [&str; 3] = ["s3", "s3-object-lambda", "s3-outposts"];

/// Signs what is sent to upstreams: by HTTP Message Signatures (RFC 9421), as AWS wants it (Signature Version 4), or as GitHub,
/// Stripe and Slack sign their webhooks. It is done when everything else has been, for each try anew. What clients send in
/// the same headers is removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SignRequests {
    /// How requests are signed.
    pub style: RequestSignature,
    /// What signs HTTP Message Signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<RequestKey>,
    /// What an HTTP Message Signature covers, in this order: `@method`, `@target-uri`, `@authority`, `@scheme`,
    /// `@request-target`, `@path`, `@query`, and names of headers. A header that is not there is left out;
    /// `content-digest` is made of the body.
    #[schemars(length(min = 1, max = 32))]
    pub components: Vec<String>,
    /// How `content-digest` tells of the body (RFC 9530).
    pub digest: BodyDigest,
    /// What an HTTP Message Signature is called among others.
    pub label: String,
    /// What it is for, where the upstream wants to be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// For how long it is good; it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Duration>,
    /// Make each one different from all others by a `nonce`.
    pub nonce: bool,
    /// Have it say its algorithm (`alg`).
    pub state_algorithm: bool,
    /// What signs as AWS wants it, and for what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsSigning>,
    /// Secrets of webhooks. Stripe's have a signature of each, while one is being changed; of the others there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub secrets: Vec<Secret>,
    /// The largest body that is signed; it is read whole for that. A larger one is 413.
    pub max_body_size: Size,
}

impl Default for SignRequests {
    fn default() -> Self {
        Self {
            style: RequestSignature::default(),
            key: None,
            components: ["@method", "@authority", "@path", "@query", "content-digest"]
                .map(str::to_owned)
                .to_vec(),
            digest: BodyDigest::default(),
            label: "sig1".to_owned(),
            tag: None,
            expires: None,
            nonce: false,
            state_algorithm: true,
            aws: None,
            secrets: Vec::new(),
            max_body_size: Size(1024 * 1024),
        }
    }
}

/// How requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum RequestSignature {
    /// HTTP Message Signatures (RFC 9421): `Signature-Input` and `Signature`.
    #[default]
    #[serde(rename = "httpSignatures")]
    HttpSignatures,
    /// Signature Version 4 of AWS, in `Authorization`.
    #[serde(rename = "awsSigV4")]
    AwsSigV4,
    /// `X-Hub-Signature-256` over the body.
    #[serde(rename = "github")]
    Github,
    /// `Stripe-Signature` over the time and the body.
    #[serde(rename = "stripe")]
    Stripe,
    /// `X-Slack-Signature` over the time in `X-Slack-Request-Timestamp` and the body.
    #[serde(rename = "slack")]
    Slack,
}

/// What signs HTTP Message Signatures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestKey {
    /// The `keyid`, by which the upstream knows it. The thumbprint (RFC 7638) of a private key without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How it signs.
    pub algorithm: RequestAlgorithm,
    /// For `hmac-sha256` the shared secret, otherwise the private key in PEM.
    pub secret: Secret,
}

/// How a key signs, as RFC 9421 §3.3 calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the standard")]
pub enum RequestAlgorithm {
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    #[serde(rename = "ed25519")]
    Ed25519,
    #[serde(rename = "ecdsa-p256-sha256")]
    EcdsaP256Sha256,
    #[serde(rename = "ecdsa-p384-sha384")]
    EcdsaP384Sha384,
    #[serde(rename = "rsa-pss-sha512")]
    RsaPssSha512,
    #[serde(rename = "rsa-v1_5-sha256")]
    RsaV15Sha256,
}

/// How a body is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of RFC 9530")]
pub enum BodyDigest {
    #[default]
    #[serde(rename = "sha-256")]
    Sha256,
    #[serde(rename = "sha-512")]
    Sha512,
}

/// What signs as AWS wants it, and for what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwsSigning {
    /// The region, such as `eu-central-1`.
    #[schemars(length(min = 1))]
    pub region: String,
    /// The service as signatures call it, such as `s3`, `execute-api`, `lambda` or `es`.
    #[schemars(length(min = 1))]
    pub service: String,
    /// The access key, or the role that is taken on.
    pub credentials: AwsCredentials,
    /// Headers that begin with `x-amz-` and go on, signed; others of that kind are removed, for they would ask in the
    /// gateway's name. A `*` at the end stands for anything: `x-amz-meta-*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Which bodies are not signed (`UNSIGNED-PAYLOAD`), for S3 alone: they flow on as they come.
    #[serde(default)]
    pub unsigned_payload: UnsignedPayload,
}

/// Which bodies are not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UnsignedPayload {
    /// None.
    #[default]
    Never,
    /// Those over `maxBodySize`.
    Large,
    /// All.
    Always,
}

impl RequestSignature {
    /// Its headers, none of which is the client's own.
    pub fn headers(self) -> &'static [&'static str] {
        match self {
            Self::HttpSignatures => &["signature-input", "signature"],
            Self::AwsSigV4 => {
                &["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"]
            }
            Self::Github => &["x-hub-signature-256"],
            Self::Stripe => &["stripe-signature"],
            Self::Slack => &["x-slack-signature", "x-slack-request-timestamp"],
        }
    }

    /// The settings that are for it alone.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::HttpSignatures => {
                &["key", "components", "digest", "label", "tag", "expires", "nonce", "stateAlgorithm"]
            }
            Self::AwsSigV4 => &["aws"],
            Self::Github | Self::Stripe | Self::Slack => &["secrets"],
        }
    }
}

impl Settings for SignRequests {
    fn place(&self) -> Place<'_> {
        Place::Transform
    }

    fn is_for_upstreams(&self) -> bool {
        true
    }

    fn validate(&self, at: &mut Context<'_, '_>) {
        let all = [RequestSignature::HttpSignatures, RequestSignature::AwsSigV4, RequestSignature::Github];
        let own = self.style.keys();
        for key in all.into_iter().flat_map(RequestSignature::keys).filter(|key| !own.contains(key)) {
            if at.is_written(key) {
                at.field(key, |at| at.error("that is for another `style`"));
            }
        }
        match self.style {
            RequestSignature::HttpSignatures => self.validate_message(at),
            RequestSignature::AwsSigV4 => match &self.aws {
                Some(aws) => at.field("aws", |at| aws.validate(at)),
                None => at.error("expected what signs under `aws`"),
            },
            RequestSignature::Github | RequestSignature::Slack => {
                if self.secrets.len() != 1 {
                    at.error("expected one secret under `secrets`");
                }
            }
            RequestSignature::Stripe => {
                if self.secrets.is_empty() {
                    at.error("expected a secret under `secrets`");
                }
            }
        }
    }
}

impl SignRequests {
    fn validate_message(&self, at: &mut Context<'_, '_>) {
        match &self.key {
            None => at.error("expected what signs under `key`"),
            Some(key) if key.algorithm == RequestAlgorithm::HmacSha256 && key.id.is_none() => {
                at.field("key", |at| at.error("a shared secret needs an `id`"));
            }
            Some(_) => {}
        }
        let is_text = |text: &str| !text.is_empty() && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        let id = self.key.as_ref().and_then(|key| key.id.as_deref());
        if id.is_some_and(|id| !is_text(id)) {
            at.field("key", |at| at.field("id", |at| at.error("expected visible characters of ASCII")));
        }
        if self.tag.as_deref().is_some_and(|tag| !is_text(tag)) {
            at.field("tag", |at| at.error("expected visible characters of ASCII"));
        }
        let mut label = self.label.bytes();
        let begins = label.next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !begins
            || !label.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
        {
            at.field("label", |at| at.error("expected small letters, digits, `_` and `-`, a letter first"));
        }
        if self.expires.is_some_and(|expires| expires < Duration::from_secs(1)) {
            at.field("expires", |at| at.error("expected a second or more"));
        }
        at.each("components", &self.components, |at, name| {
            // What each hop has of its own, and the signature itself.
            let is_of_hop = FRAMING.contains(&name.as_str())
                || ["expect", "host", "signature", "signature-input"].contains(&name.as_str());
            let is_header = !name.starts_with('@') && http::HeaderName::try_from(name.as_str()).is_ok();
            if !(is_header || DERIVED.contains(&name.as_str()))
                || name.bytes().any(|byte| byte.is_ascii_uppercase())
            {
                let all = DERIVED.join(", ");
                at.error(format!("expected a header's name in small letters, or one of {all}"));
            } else if is_of_hop {
                at.error(format!("`{name}` is not the same at the other end, or cannot sign itself"));
            } else if self.components.iter().filter(|other| *other == name).count() > 1 {
                at.error("this is covered twice");
            }
        });
    }
}

impl AwsSigning {
    fn validate(&self, at: &mut Context<'_, '_>) {
        at.field("credentials", |at| crate::rules::aws(&self.credentials, at));
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        for (key, text) in [("region", &self.region), ("service", &self.service)] {
            if !is_word(text) {
                at.field(key, |at| at.error("expected letters, digits and `-`"));
            }
        }
        at.each("headers", &self.headers, |at, name| {
            let begin = name.strip_suffix('*').unwrap_or(name);
            let is_name =
                begin.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !begin.starts_with("x-amz-") || !is_name {
                at.error("expected a name that begins with `x-amz-`, in small letters");
            } else if RequestSignature::AwsSigV4.headers().contains(&name.as_str()) {
                at.error("the gateway sets it itself");
            }
        });
        if self.unsigned_payload != UnsignedPayload::Never && !UNSIGNED.contains(&self.service.as_str()) {
            at.field("unsignedPayload", |at| at.error("S3 alone takes bodies that are not signed"));
        }
    }
}
