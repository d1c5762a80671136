//! `signRequests`: signs what is sent to upstreams.
//!
//! What it leaves with a call signs each try of it, when the request is as it goes out ([`crate::upstream::signing`]).

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use identity::{
    key::{Algorithm, SigningKey},
    message::ContentDigest,
    sign::{Key, Signer as MessageSigner},
    sigv4::{Payload, Scope},
    webhook,
};
use model::policy::sign_requests::{
    AwsSigning, BodyDigest, RequestAlgorithm, RequestKey, RequestSignature, UnsignedPayload,
};

use super::{
    Flow, Needs, NeedsOf, Policy,
    counted::{Counted, Metric},
};
use crate::{
    body::Body,
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::ai::tokens::AwsKey,
    upstream::signing::{self, Covers, Sign},
};

static METRIC: Metric = Metric {
    name: "tidegate_sign_requests_total",
    help: "Requests to upstreams, each try by itself, by what came of their signature: `signed`, with a body that is \
           `unsigned`, or `failed`; `too-large` are calls that were refused for their body.",
    outcomes: &["signed", "unsigned", "failed", "too-large"],
    gauges: &[],
};
const SIGNED: usize = 0;
const UNSIGNED: usize = 1;
const FAILED: usize = 2;
const TOO_LARGE: usize = 3;

/// The compiled policy.
pub(crate) struct SignRequests {
    signer: Arc<dyn Sign>,
    /// None of these is the client's own.
    own: Vec<HeaderName>,
}

/// What signs.
struct Signer {
    how: How,
    covers: Covers,
    /// What the key is known by, for the record.
    name: Option<String>,
    counted: Arc<Counted>,
}

enum How {
    Message(Box<MessageSigner>),
    Aws(Box<Aws>),
    Github(hmac::Key),
    Stripe(Vec<hmac::Key>),
    Slack(hmac::Key),
}

struct Aws {
    key: AwsKey,
    scope: Scope,
    /// Beginnings or names of fields that go on.
    allowed: Vec<String>,
}

impl Aws {
    /// Whether a field is one by which somebody would ask in the gateway's name.
    fn removes(&self, name: &HeaderName) -> bool {
        let is_allowed = |allowed: &String| match allowed.strip_suffix('*') {
            Some(begin) => name.as_str().starts_with(begin),
            None => name == allowed.as_str(),
        };
        name.as_str().starts_with("x-amz-") && !self.allowed.iter().any(is_allowed)
    }
}

impl SignRequests {
    pub(crate) fn compile(settings: &model::policy::SignRequests, cx: &Building<'_>) -> Result<Self, String> {
        let secret = |(index, secret): (usize, &model::Secret)| match cx.snapshot.secret(secret) {
            "" => Err(format!("`secrets[{index}]` is empty")),
            text => Ok(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())),
        };
        let mut secrets = settings.secrets.iter().enumerate().map(secret).collect::<Result<Vec<_>, _>>()?;
        let limit = settings.max_body_size.get();
        let (how, covers, name) = match settings.style {
            RequestSignature::HttpSignatures => {
                let key = settings.key.as_ref().ok_or("expected what signs under `key`")?;
                let signer = message(settings, key, cx)?;
                let covers = if signer.covers_body() { Covers::Whole(limit) } else { Covers::Nothing };
                let name = signer.keyid.clone();
                (How::Message(Box::new(signer)), covers, Some(name))
            }
            RequestSignature::AwsSigV4 => {
                let aws = settings.aws.as_ref().ok_or("expected what signs under `aws`")?;
                let covers = match aws.unsigned_payload {
                    UnsignedPayload::Never => Covers::Whole(limit),
                    UnsignedPayload::Large => Covers::Small(limit),
                    UnsignedPayload::Always => Covers::Nothing,
                };
                (How::Aws(Box::new(self::aws(aws, cx)?)), covers, None)
            }
            RequestSignature::Github | RequestSignature::Slack => {
                let secret = secrets.pop().ok_or("expected one secret under `secrets`")?;
                let is_github = settings.style == RequestSignature::Github;
                let how = if is_github { How::Github(secret) } else { How::Slack(secret) };
                (how, Covers::Whole(limit), None)
            }
            RequestSignature::Stripe => (How::Stripe(secrets), Covers::Whole(limit), None),
        };
        let counted = Counted::of(&METRIC, cx);
        Ok(Self { signer: Arc::new(Signer { how, covers, name, counted }), own: own(settings.style) })
    }
}

fn message(
    settings: &model::policy::SignRequests,
    key: &RequestKey,
    cx: &Building<'_>,
) -> Result<MessageSigner, String> {
    let secret = cx.snapshot.secret(&key.secret);
    let algorithm = match key.algorithm {
        RequestAlgorithm::HmacSha256 => None,
        RequestAlgorithm::Ed25519 => Some(Algorithm::EdDsa),
        RequestAlgorithm::EcdsaP256Sha256 => Some(Algorithm::Es256),
        RequestAlgorithm::EcdsaP384Sha384 => Some(Algorithm::Es384),
        RequestAlgorithm::RsaPssSha512 => Some(Algorithm::Ps512),
        RequestAlgorithm::RsaV15Sha256 => Some(Algorithm::Rs256),
    };
    let (made, thumbprint) = match algorithm {
        None if secret.is_empty() => return Err("`key.secret` is empty".to_owned()),
        None => (Key::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))), String::new()),
        Some(algorithm) => {
            let key = SigningKey::from_pem(secret.as_bytes(), algorithm)
                .map_err(|error| format!("`key.secret`: {error}"))?;
            let thumbprint = key.kid().to_owned();
            (Key::Private(Box::new(key)), thumbprint)
        }
    };
    Ok(MessageSigner {
        label: settings.label.clone(),
        components: settings.components.clone(),
        key: made,
        keyid: key.id.clone().unwrap_or(thumbprint),
        tag: settings.tag.clone(),
        lasts: settings.expires.map(|expires| expires.get()),
        has_nonce: settings.nonce,
        says_algorithm: settings.state_algorithm,
        digest: match settings.digest {
            BodyDigest::Sha256 => ContentDigest::Sha256,
            BodyDigest::Sha512 => ContentDigest::Sha512,
        },
    })
}

fn aws(settings: &AwsSigning, cx: &Building<'_>) -> Result<Aws, String> {
    let (key, parts) = AwsKey::of(&settings.credentials, &settings.region, cx)?;
    let is_given = settings.credentials.access_key_id.is_some();
    if is_given && parts.iter().take(2).any(String::is_empty) {
        return Err("`aws.credentials`: the access key or its secret is empty".to_owned());
    }
    let scope = Scope { region: settings.region.clone(), service: settings.service.clone() };
    Ok(Aws { key, scope, allowed: settings.headers.clone() })
}

fn own(style: RequestSignature) -> Vec<HeaderName> {
    style.headers().iter().map(|name| HeaderName::from_static(name)).collect()
}

/// Sets a header that only the gateway makes.
fn set(headers: &mut HeaderMap, name: &'static str, text: &str) -> Result<(), String> {
    let value = HeaderValue::from_str(text).map_err(|_| "a signature that no header can hold".to_owned())?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

impl Signer {
    async fn signed(&self, head: &mut Parts, is_https: bool, body: Option<&Bytes>) -> Result<usize, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let bytes: &[u8] = body.map_or(&[], |body| body);
        let Parts { method, uri, headers, .. } = head;
        match &self.how {
            How::Message(signer) => signer.sign(method, is_https, uri, headers, bytes, now)?,
            How::Aws(aws) => {
                let removed: Vec<HeaderName> =
                    headers.keys().filter(|name| aws.removes(name)).cloned().collect();
                for name in &removed {
                    headers.remove(name);
                }
                let payload = body.map_or(Payload::Unsigned, |body| Payload::Signed(body));
                aws.key.sign(&aws.scope, method.as_str(), uri, headers, payload).await?;
                return Ok(if body.is_some() { SIGNED } else { UNSIGNED });
            }
            How::Github(secret) => set(headers, "x-hub-signature-256", &webhook::github(secret, bytes))?,
            How::Stripe(secrets) => set(headers, "stripe-signature", &webhook::stripe(secrets, now, bytes))?,
            How::Slack(secret) => {
                set(headers, "x-slack-request-timestamp", &now.to_string())?;
                set(headers, "x-slack-signature", &webhook::slack(secret, now, bytes))?;
            }
        }
        Ok(SIGNED)
    }
}

impl Sign for Signer {
    fn covers(&self) -> Covers {
        self.covers
    }

    fn sign<'a>(
        &'a self,
        head: &'a mut Parts,
        is_https: bool,
        body: Option<&'a Bytes>,
    ) -> LocalBoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match self.signed(head, is_https, body).await {
                Ok(outcome) => {
                    self.counted.note(outcome);
                    Ok(())
                }
                Err(why) => {
                    self.counted.note(FAILED);
                    let failure = match &self.how {
                        // Its key is one that is fetched, and not at hand.
                        How::Aws(_) => Failure::gateway(Stage::Send, Problem::NoToken)
                            .with_retry_after(Duration::from_secs(1)),
                        _ => Failure::gateway(Stage::Send, Problem::Internal),
                    };
                    Err(failure.never_sent().with_detail(format!("the request cannot be signed: {why}")))
                }
            }
        })
    }

    fn told(&self) -> model::Onward {
        model::Onward {
            policy: "signRequests",
            outcome: METRIC.outcomes.first().copied().unwrap_or_default(),
            key: self.name.as_deref().map(Into::into),
        }
    }

    fn refuses(&self) {
        self.counted.note(TOO_LARGE);
    }
}

impl NeedsOf for model::policy::SignRequests {
    fn needs(&self) -> Needs {
        let own = own(self.style);
        let covered = self.components.iter().filter(|name| !name.starts_with('@'));
        let covered = covered.filter_map(|name| HeaderName::try_from(name.as_str()).ok());
        let is_message = self.style == RequestSignature::HttpSignatures;
        let headers = covered.filter(|_| is_message).chain(own.iter().cloned()).collect();
        Needs { headers, identity: own.clone(), of_gateway: true, set: own, ..Needs::default() }
    }
}

impl Policy for SignRequests {
    fn request<'a>(&'a self, call: &'a mut Call, _: &'a mut Body) -> Flow<'a> {
        for name in &self.own {
            call.head.headers.remove(name);
        }
        signing::put(call, &self.signer);
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::building;

    #[test]
    fn only_fields_of_aws_that_are_named_go_on() {
        let settings = serde_json::json!({"style": "awsSigV4", "aws": {
            "region": "r", "service": "s3", "credentials": {"accessKeyId": "id", "secretAccessKey": "s"},
            "headers": ["x-amz-meta-*", "x-amz-target"]}});
        let settings: model::policy::SignRequests = serde_json::from_value(settings).expect("settings");
        building("", |cx| {
            let aws = super::aws(settings.aws.as_ref().expect("aws"), cx).expect("compiles");
            for (name, want) in [
                ("x-amz-acl", true),
                ("x-amz-copy-source", true),
                ("x-amz-security-token", true),
                ("x-amz-meta-a", false),
                ("x-amz-target", false),
                ("x-amz-targets", true),
                ("content-type", false),
            ] {
                assert_eq!(aws.removes(&HeaderName::from_static(name)), want, "{name}");
            }
        });
    }
}
