//! How a token is asked for: by a client of an OAuth server (Microsoft Entra ID among them), by a Google service
//! account, or by taking on a role of AWS.
//!
//! Where it is asked for comes from the configuration alone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{rand::SystemRandom, signature};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use identity::sigv4::{self, AccessKey, Payload, Scope};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::Deserialize;

use super::token_source::{Material, Token};
use crate::{oauth::Client, policy::jwt::fetch::Target};

/// How long a token holds whose server does not say (RFC 6749 §5.1 recommends that it does).
const LIFE_UNSAID: Duration = Duration::from_secs(600);
/// How long a service account's assertion holds, which Google bounds by an hour.
const ASSERTION_SECONDS: u64 = 3600;
/// Letters of a server's explanation that go to the log.
const EXPLANATION_MAX: usize = 200;

/// A way to ask for a token.
pub(crate) enum Grant {
    /// A form that is the same each time.
    Form { target: Target, form: String, client: Client },
    /// An assertion that a service account signs.
    ServiceAccount { target: Target, account: Box<ServiceAccount>, scope: String },
    /// A role, taken on by an access key, or by a token in the form.
    Role { target: Target, form: String, region: String, key: Option<AccessKey> },
    /// A cloud's metadata service.
    Metadata(Box<super::metadata::Metadata>),
    /// A token of another identity provider, exchanged.
    Federated(Box<super::federated::Federated>),
}

/// A Google service account.
pub(crate) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: signature::RsaKeyPair,
    /// Where its document says that tokens are had.
    pub(super) token_url: String,
}

#[derive(Deserialize)]
struct AccountDocument {
    client_email: String,
    private_key: String,
    #[serde(default)]
    private_key_id: Option<String>,
    #[serde(default = "google")]
    token_uri: String,
}

fn google() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

impl ServiceAccount {
    /// Reads the document that Google hands out. Errors show nothing of it.
    pub(super) fn parse(document: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("`google.serviceAccount` is no key of a service account: {what}");
        let document: AccountDocument = serde_json::from_str(document).map_err(|_| {
            wrong(
                "expected JSON with `client_email` and `private_key`; give the document's file, not its name",
            )
        })?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(document.private_key.as_bytes())
            .map_err(|_| wrong("`private_key` is no PKCS #8 key in PEM"))?;
        let key = signature::RsaKeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|_| wrong("`private_key` is no RSA key of 2048 bits or more"))?;
        Ok(Self {
            email: document.client_email,
            key_id: document.private_key_id,
            key,
            token_url: document.token_uri,
        })
    }

    /// A signed assertion (RFC 7523 §2.1).
    fn assertion(&self, scope: &str, audience: &str, now: u64) -> Result<String, String> {
        let mut head = serde_json::json!({"alg": "RS256", "typ": "JWT"});
        if let (Some(id), Some(head)) = (&self.key_id, head.as_object_mut()) {
            head.insert("kid".to_owned(), id.as_str().into());
        }
        let claims = serde_json::json!({
            "iss": self.email, "sub": self.email, "scope": scope, "aud": audience, "iat": now,
            "exp": now + ASSERTION_SECONDS,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encode(&head), encode(&claims));
        let mut signed = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signed)
            .map_err(|_| "the assertion could not be signed".to_owned())?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed)))
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Grant {
    /// Where it is asked for.
    pub(super) fn target(&self) -> &Target {
        match self {
            Self::Form { target, .. } | Self::ServiceAccount { target, .. } | Self::Role { target, .. } => {
                target
            }
            Self::Metadata(metadata) => &metadata.target,
            Self::Federated(federated) => &federated.exchange,
        }
    }

    /// Asks once.
    pub(super) async fn fetch(&self) -> Result<Token, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let asked = Instant::now();
        match self {
            Self::Metadata(metadata) => metadata.fetch(asked).await,
            Self::Federated(federated) => federated.fetch(asked).await,
            Self::Form { target, form, client } => {
                let mut form = form.clone();
                client.prove(&mut headers, &mut form)?;
                let (status, body) = target.post(headers, Bytes::from(form)).await?;
                bearer(status, &body, asked)
            }
            Self::ServiceAccount { target, account, scope } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                let assertion = account.assertion(scope, &target.url(), now)?;
                let grant = encode("urn:ietf:params:oauth:grant-type:jwt-bearer");
                let form = format!("grant_type={grant}&assertion={assertion}");
                let (status, body) = target.post(headers, Bytes::from(form)).await?;
                bearer(status, &body, asked)
            }
            Self::Role { target, form, region, key } => {
                headers.insert(header::ACCEPT, HeaderValue::from_static("text/xml"));
                if let Some(key) = key {
                    let host =
                        HeaderValue::from_str(target.authority()).map_err(|error| error.to_string())?;
                    headers.insert(header::HOST, host);
                    let scope = Scope { region: region.clone(), service: "sts".to_owned() };
                    let uri: Uri = target.url().parse().map_err(|_| "no address".to_owned())?;
                    let body = Payload::Signed(form.as_bytes());
                    sigv4::sign(key, &scope, "POST", &uri, &mut headers, body, SystemTime::now())?;
                }
                let (status, body) = target.post(headers, Bytes::from(form.clone())).await?;
                role(status, &String::from_utf8_lossy(&body), asked)
            }
        }
    }
}

/// The token in an answer (RFC 6749 §5.1).
pub(crate) fn bearer(status: StatusCode, body: &[u8], asked: Instant) -> Result<Token, String> {
    if status != StatusCode::OK {
        let told = serde_json::from_slice::<Refused>(body).map_or_else(
            |_| String::new(),
            |refused| format!(": {} {}", refused.error, refused.error_description),
        );
        return Err(format!(
            "it answered {status}{}",
            told.chars().take(EXPLANATION_MAX).collect::<String>()
        ));
    }
    let granted: Granted = serde_json::from_slice(body)
        .map_err(|_| "its answer is not the JSON of a token (RFC 6749 §5.1)".to_owned())?;
    // What is no access token is of no type at all (RFC 8693 §2.2.1).
    let is_bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("n_a");
    if granted.token_type.is_some_and(|kind| !is_bearer(&kind)) {
        return Err("its token is no bearer token".to_owned());
    }
    // Some servers tell the number as a text.
    let life = granted.expires_in.as_ref().and_then(|told| {
        told.as_f64()
            .or_else(|| told.as_str()?.parse().ok())
            .and_then(|told| Duration::try_from_secs_f64(told).ok())
    });
    let mut value = HeaderValue::from_str(&format!("Bearer {}", granted.access_token))
        .map_err(|_| "its token holds bytes that no header can".to_owned())?;
    value.set_sensitive(true);
    Ok(Token::new(Material::Bearer(value), life.unwrap_or(LIFE_UNSAID), asked))
}

/// The temporary key in an answer of AWS's security token service, which speaks XML.
fn role(status: StatusCode, body: &str, asked: Instant) -> Result<Token, String> {
    let field = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(value, _)| value.trim().to_owned())
    };
    if status != StatusCode::OK {
        let code = field("Code").unwrap_or_default();
        return Err(format!(
            "it answered {status} {}",
            code.chars().take(EXPLANATION_MAX).collect::<String>()
        ));
    }
    let (Some(id), Some(secret), Some(token)) =
        (field("AccessKeyId"), field("SecretAccessKey"), field("SessionToken"))
    else {
        return Err("its answer holds no temporary key".to_owned());
    };
    let ends = field("Expiration").and_then(|text| super::resets::rfc3339(&text));
    let life = ends.map_or(LIFE_UNSAID, |ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
    Ok(Token::new(Material::AccessKey(AccessKey { id, secret, token: Some(token) }), life, asked))
}

/// A field's value in a form.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
