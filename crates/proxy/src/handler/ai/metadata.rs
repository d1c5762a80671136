//! Tokens that a machine has from its cloud, asked of the cloud's metadata service: where the operator says so, and at
//! link-local addresses alone.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use identity::sigv4::AccessKey;
use model::resource::ai::{Cloud, MetadataCredentials};
use serde::Deserialize;

use super::{
    grant::{bearer, encode},
    resets,
    token_source::{Material, Token},
};
use crate::policy::jwt::fetch::Target;

/// How long a key holds whose service does not say.
const LIFE_UNSAID: Duration = Duration::from_secs(600);
/// Where AWS tells the roles of a machine.
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// A metadata service, and what it is asked for.
pub(crate) struct Metadata {
    pub(super) target: Target,
    cloud: Cloud,
    /// What is asked for: the path, and for AWS the role, where one is named.
    path: String,
    authorization: Option<HeaderValue>,
    url: String,
}

/// A temporary key, as AWS tells it here and to containers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TemporaryKey {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    #[serde(default)]
    expiration: Option<String>,
}

impl Metadata {
    /// `wanted` is what the provider's tokens are for.
    pub(super) fn new(
        settings: &MetadataCredentials,
        wanted: &str,
        authorization: Option<&str>,
    ) -> Result<Self, String> {
        let identity = settings.identity.as_deref();
        let (home, path) = match settings.cloud {
            Cloud::Google => {
                let account = encode(identity.unwrap_or("default"));
                let path = format!("/computeMetadata/v1/instance/service-accounts/{account}/token");
                ("http://metadata.google.internal", format!("{path}?scopes={}", encode(wanted)))
            }
            Cloud::Azure => {
                let resource = encode(wanted.trim_end_matches("/.default"));
                let path =
                    format!("/metadata/identity/oauth2/token?api-version=2018-02-01&resource={resource}");
                let client = identity.map(|client| format!("&client_id={}", encode(client)));
                ("http://169.254.169.254", path + &client.unwrap_or_default())
            }
            Cloud::Aws => ("http://169.254.169.254", encode(identity.unwrap_or_default())),
            Cloud::AwsContainer => ("http://169.254.170.23/v1/credentials", String::new()),
        };
        let url = settings.endpoint.as_deref().unwrap_or(home).to_owned();
        let target = Target::metadata(&url).map_err(|error| format!("`metadata.endpoint`: {error}"))?;
        let authorization = authorization.map(|text| {
            let value = HeaderValue::from_str(text.trim());
            value.map_err(|_| "`metadata.authorization` holds bytes that no header can".to_owned())
        });
        let mut authorization = authorization.transpose()?;
        authorization.iter_mut().for_each(|value| value.set_sensitive(true));
        let url = format!("{url} {path}");
        Ok(Self { target, cloud: settings.cloud, path, authorization, url })
    }

    /// Tells it from others.
    pub(super) fn asks(&self) -> &str {
        &self.url
    }

    /// Asks once.
    pub(super) async fn fetch(&self, asked: Instant) -> Result<Token, String> {
        let mut headers = HeaderMap::new();
        match self.cloud {
            Cloud::Google => {
                headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
                let (status, body) = self.target.ask(Method::GET, &self.path, headers).await?;
                bearer(status, &body, asked)
            }
            Cloud::Azure => {
                headers.insert("metadata", HeaderValue::from_static("true"));
                let (status, body) = self.target.ask(Method::GET, &self.path, headers).await?;
                bearer(status, &body, asked)
            }
            Cloud::Aws => self.role_of_machine(asked).await,
            Cloud::AwsContainer => {
                headers.extend(self.authorization.clone().map(|value| (header::AUTHORIZATION, value)));
                let url = self.target.url();
                let path = url.parse::<http::Uri>().ok();
                let path =
                    path.as_ref().and_then(|uri| uri.path_and_query()).map_or("/", |path| path.as_str());
                let (status, body) = self.target.ask(Method::GET, path, headers).await?;
                key(status, &body, asked)
            }
        }
    }

    /// The temporary key of a machine's role, by the second version of AWS's service.
    async fn role_of_machine(&self, asked: Instant) -> Result<Token, String> {
        let life = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
        let headers = HeaderMap::from_iter([(life, HeaderValue::from_static("300"))]);
        let session = self.target.ask(Method::PUT, "/latest/api/token", headers).await?;
        let session = good(session)?;
        let shown = HeaderValue::from_bytes(session.trim_ascii());
        let shown = shown.map_err(|_| "its session's token is none".to_owned())?;
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-aws-ec2-metadata-token"), shown)]);
        let role = match self.path.is_empty() {
            false => self.path.clone(),
            true => {
                let roles = good(self.target.ask(Method::GET, ROLES, headers.clone()).await?)?;
                let roles = String::from_utf8_lossy(&roles).into_owned();
                let first = roles.lines().next().unwrap_or_default().trim().to_owned();
                if first.is_empty() {
                    return Err("the machine has no role".to_owned());
                }
                encode(&first)
            }
        };
        let (status, body) = self.target.ask(Method::GET, &format!("{ROLES}{role}"), headers).await?;
        key(status, &body, asked)
    }
}

fn good((status, body): (StatusCode, bytes::Bytes)) -> Result<bytes::Bytes, String> {
    if status == StatusCode::OK { Ok(body) } else { Err(format!("it answered {status}")) }
}

fn key(status: StatusCode, body: &[u8], asked: Instant) -> Result<Token, String> {
    if status != StatusCode::OK {
        return Err(format!("it answered {status}"));
    }
    let key: TemporaryKey =
        serde_json::from_slice(body).map_err(|_| "its answer holds no temporary key".to_owned())?;
    let ends = key.expiration.as_deref().and_then(resets::rfc3339);
    let life = ends.map_or(LIFE_UNSAID, |ends| ends.duration_since(SystemTime::now()).unwrap_or_default());
    let (id, secret, token) = (key.access_key_id, key.secret_access_key, Some(key.token));
    Ok(Token::new(Material::AccessKey(AccessKey { id, secret, token }), life, asked))
}
