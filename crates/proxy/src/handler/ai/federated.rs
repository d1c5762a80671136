//! Google's workload identity federation: a token of another identity provider is exchanged for one of Google's
//! (RFC 8693), and that, where the document says so, for one of a service account.
//!
//! The document is the one that `gcloud iam workload-identity-pools create-cred-config` writes (`external_account`,
//! AIP-4117). Tokens that stand in a file or at an address are read anew for every exchange.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    grant::{bearer, encode},
    resets,
    token_source::{Material, Token},
};
use crate::policy::jwt::fetch::Target;

/// Bytes of a file that holds a token.
const SUBJECT_BYTES_MAX: u64 = 256 * 1024;
/// What the exchanged token must be for where a service account's is asked for with it.
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a service account's token is asked to hold where the document does not say.
const LIFE: u64 = 3600;
/// Letters of a refusal that go to the log.
const EXPLANATION_MAX: usize = 200;

/// A federated identity.
pub(crate) struct Federated {
    pub(super) exchange: Target,
    audience: String,
    subject_type: String,
    scope: String,
    client: Option<HeaderValue>,
    options: Option<String>,
    source: Source,
    /// The field of a JSON document that holds the token; else all of it is the token.
    field: Option<String>,
    account: Option<(Target, u64)>,
    fingerprint: String,
}

enum Source {
    File(PathBuf),
    Url(Box<Address>),
}

/// Where a token is had, and what is shown there.
struct Address {
    target: Target,
    path: String,
    headers: HeaderMap,
}

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "type")]
    kind: String,
    audience: String,
    subject_token_type: String,
    token_url: String,
    credential_source: CredentialSource,
    #[serde(default)]
    service_account_impersonation_url: Option<String>,
    #[serde(default)]
    service_account_impersonation: Impersonation,
    #[serde(default)]
    client_id: Option<String>,
    #[serde(default)]
    client_secret: Option<String>,
    #[serde(default)]
    workforce_pool_user_project: Option<String>,
}

#[derive(Deserialize, Default)]
struct Impersonation {
    #[serde(default)]
    token_lifetime_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct CredentialSource {
    #[serde(default)]
    file: Option<PathBuf>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    environment_id: Option<String>,
    #[serde(default)]
    executable: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
struct Format {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    subject_token_field_name: Option<String>,
}

fn wrong(what: impl std::fmt::Display) -> String {
    format!("`google.externalAccount` cannot be used: {what}")
}

impl Federated {
    /// Reads the document. Errors show nothing of it but names of its fields.
    pub(super) fn parse(document: &str, scope: &str, token_url: Option<&str>) -> Result<Self, String> {
        let fingerprint = STANDARD.encode(digest::digest(&digest::SHA256, document.as_bytes()));
        let document: Document = serde_json::from_str(document).map_err(|_| {
            wrong("expected the JSON that `gcloud iam workload-identity-pools create-cred-config` writes")
        })?;
        if document.kind != "external_account" {
            return Err(wrong("its `type` is not `external_account`"));
        }
        let source = document.credential_source;
        if source.environment_id.is_some() || source.executable.is_some() {
            return Err(wrong(
                "`credential_source` must be a `file` or a `url`: programs are not run, and AWS has `metadata`",
            ));
        }
        let field = match source.format.kind.as_deref() {
            None | Some("text") => None,
            Some("json") => Some(
                source
                    .format
                    .subject_token_field_name
                    .ok_or_else(|| wrong("`format` is `json`, and `subject_token_field_name` is missing"))?,
            ),
            Some(_) => return Err(wrong("`format` is neither `text` nor `json`")),
        };
        let from = match (source.file, source.url) {
            (Some(file), None) if file.is_absolute() => Source::File(file),
            (Some(_), None) => return Err(wrong("`credential_source.file` must be an absolute path")),
            (None, Some(url)) => {
                let target = Target::parse(&url).or_else(|_| Target::metadata(&url));
                let target = target.map_err(|error| wrong(format!("`credential_source.url`: {error}")))?;
                let (path, headers) = (path_of(&target), fields(&source.headers)?);
                Source::Url(Box::new(Address { target, path, headers }))
            }
            _ => return Err(wrong("`credential_source` must have a `file` or a `url`")),
        };
        let account = match document.service_account_impersonation_url {
            None => None,
            Some(url) => {
                let target = Target::parse(&url);
                let target =
                    target.map_err(|error| wrong(format!("`service_account_impersonation_url`: {error}")))?;
                let life = document.service_account_impersonation.token_lifetime_seconds.unwrap_or(LIFE);
                Some((target, life.clamp(600, 43_200)))
            }
        };
        let url = token_url.unwrap_or(&document.token_url);
        let exchange = Target::parse(url).map_err(|error| wrong(format!("`token_url`: {error}")))?;
        let client = match (document.client_id, document.client_secret) {
            (Some(id), Some(secret)) => {
                let pair = STANDARD.encode(format!("{id}:{secret}"));
                let value = HeaderValue::from_str(&format!("Basic {pair}"));
                let mut value = value.map_err(|_| wrong("`client_id` holds bytes that no header can"))?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        let project = document.workforce_pool_user_project;
        let options = project.filter(|_| client.is_none()).map(|one| json!({"userProject": one}).to_string());
        Ok(Self {
            exchange,
            audience: document.audience,
            subject_type: document.subject_token_type,
            scope: scope.to_owned(),
            client,
            options,
            source: from,
            field,
            account,
            fingerprint,
        })
    }

    /// Tells it from others.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Asks once.
    pub(super) async fn fetch(&self, asked: Instant) -> Result<Token, String> {
        let subject = self.subject().await.map_err(|error| format!("the token to exchange: {error}"))?;
        let exchanged = self.exchanged(&subject, asked).await?;
        let Some((target, life)) = &self.account else { return Ok(exchanged) };
        let Material::Bearer(shown) = &exchanged.material else {
            return Err("the exchange gave no bearer token".to_owned());
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::AUTHORIZATION, shown.clone());
        let body = json!({"scope": [self.scope], "lifetime": format!("{life}s")}).to_string();
        let (status, body) = target.post(headers, Bytes::from(body)).await?;
        impersonated(status, &body, asked).map_err(|error| format!("the service account's token: {error}"))
    }

    /// What the other identity provider says that this machine is.
    async fn subject(&self) -> Result<String, String> {
        let bytes = match &self.source {
            Source::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                read.map_err(|error| error.to_string())??
            }
            Source::Url(at) => {
                let (status, body) = at.target.ask(Method::GET, &at.path, at.headers.clone()).await?;
                if status != StatusCode::OK {
                    return Err(format!("its address answered {status}"));
                }
                body.to_vec()
            }
        };
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
        let token = match &self.field {
            None => text.trim().to_owned(),
            Some(field) => {
                let value: serde_json::Value = serde_json::from_str(&text)
                    .map_err(|_| "it is not the JSON that `format` says".to_owned())?;
                value[field.as_str()].as_str().ok_or_else(|| format!("it has no text `{field}`"))?.to_owned()
            }
        };
        if token.is_empty() { Err("it is empty".to_owned()) } else { Ok(token) }
    }

    /// The token that Google gives for it (RFC 8693 §2.1).
    async fn exchanged(&self, subject: &str, asked: Instant) -> Result<Token, String> {
        let scope = if self.account.is_some() { CLOUD_PLATFORM } else { &self.scope };
        let mut form = String::new();
        let options = self.options.as_deref().map(|options| ("options", options));
        for (name, value) in [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", &self.audience),
            ("scope", scope),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", &self.subject_type),
            ("subject_token", subject),
        ]
        .into_iter()
        .chain(options)
        {
            form.push_str(if form.is_empty() { "" } else { "&" });
            form.push_str(&format!("{name}={}", encode(value)));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(self.client.clone().map(|client| (header::AUTHORIZATION, client)));
        let (status, body) = self.exchange.post(headers, Bytes::from(form)).await?;
        bearer(status, &body, asked).map_err(|error| format!("the exchange: {error}"))
    }
}

fn path_of(target: &Target) -> String {
    let uri: Option<http::Uri> = target.url().parse().ok();
    uri.as_ref().and_then(|uri| uri.path_and_query()).map_or("/", |path| path.as_str()).to_owned()
}

fn fields(told: &std::collections::BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in told {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value);
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err(wrong("`credential_source.headers` has what no header can be"));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(told)?;
    let mut bytes = Vec::new();
    file.take(SUBJECT_BYTES_MAX).read_to_end(&mut bytes).map_err(told)?;
    Ok(bytes)
}

/// The answer of `generateAccessToken`.
fn impersonated(status: StatusCode, body: &[u8], asked: Instant) -> Result<Token, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Given {
        access_token: String,
        expire_time: String,
    }
    if status != StatusCode::OK {
        let told = serde_json::from_slice::<serde_json::Value>(body).ok();
        let told =
            told.as_ref().and_then(|told| told.pointer("/error/message")?.as_str()).unwrap_or_default();
        return Err(format!(
            "it answered {status} {}",
            told.chars().take(EXPLANATION_MAX).collect::<String>()
        ));
    }
    let given: Given =
        serde_json::from_slice(body).map_err(|_| "its answer holds no `accessToken`".to_owned())?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", given.access_token))
        .map_err(|_| "its token holds bytes that no header can".to_owned())?;
    value.set_sensitive(true);
    let ends = resets::rfc3339(&given.expire_time);
    let life = ends.and_then(|ends| ends.duration_since(SystemTime::now()).ok());
    Ok(Token::new(Material::Bearer(value), life.unwrap_or(Duration::from_secs(LIFE)), asked))
}
