//! A provider as it tells of itself: found out in the background, again now and then, and asked for tokens.
//!
//! What it tells is believed only when it names the configured issuer. The background task holds no owner's share, so it
//! ends when the last policy that uses the provider is gone.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::policy::{jwt::Jwks, oidc::ClientAuth};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{runtime::Handle, sync::watch};
use tracing::{info, warn};

use crate::policy::jwt::{fetch::Target, keys::Algorithm, remote::Remote, token::TOKEN_BYTES_MAX};

/// Between two looks at what the provider tells.
const REFRESH: Duration = Duration::from_secs(3600);
/// The first wait after one that failed; it doubles up to [`BACKOFF_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// A provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    target: Target,
    algorithms: Vec<Algorithm>,
    pub(crate) timeout: Duration,
    known: ArcSwapOption<Known>,
    started: AtomicBool,
    background: Handle,
    /// Counts finished looks.
    finished: watch::Sender<u64>,
}

/// What a provider tells of itself.
pub(crate) struct Known {
    pub(crate) authorization: String,
    pub(crate) token: Option<Target>,
    jwks_uri: String,
    pub(crate) keys: Arc<Remote>,
    pub(crate) userinfo: Option<Target>,
    pub(crate) end_session: Option<String>,
    pub(crate) revocation: Option<Target>,
    pub(crate) introspection: Option<Target>,
    /// It says in each answer to a browser which provider it is (RFC 9207).
    pub(crate) names_itself: bool,
}

/// The document.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    #[serde(default)]
    authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
    introspection_endpoint: Option<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
    code_challenge_methods_supported: Option<Vec<String>>,
}

/// Tokens as they are given (RFC 6749 §5.1, OpenID Connect Core §3.1.3.3).
#[derive(Deserialize, Default)]
pub(super) struct Tokens {
    pub(super) access_token: Option<String>,
    pub(super) token_type: Option<String>,
    pub(super) id_token: Option<String>,
    pub(super) refresh_token: Option<String>,
    pub(super) expires_in: Option<Seconds>,
}

/// Seconds, which some providers write as text.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    pub(super) fn get(&self) -> Option<u64> {
        let seconds = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        // A time that clocks can hold.
        (0.0..=1e10).contains(&seconds).then_some(seconds as u64)
    }
}

/// Why there are no tokens; both are for the log.
#[derive(Debug, Clone)]
pub(super) enum NoTokens {
    /// The provider refuses what was shown: it will not take it another time.
    Refused(String),
    /// It cannot be asked, or does not know the gateway.
    Away(String),
}

/// Who asks: the gateway, as the provider knows it.
pub(crate) struct Client {
    pub(crate) id: String,
    secret: Option<(ClientAuth, String)>,
}

impl Client {
    pub(crate) fn new(id: &str, auth: ClientAuth, secret: Option<&str>) -> Self {
        Self { id: id.to_owned(), secret: secret.map(|secret| (auth, secret.to_owned())) }
    }

    /// Adds to a form and its head what proves who asks (RFC 6749 §2.3.1).
    pub(crate) fn prove(&self, form: &mut Vec<(&'static str, String)>, headers: &mut HeaderMap) {
        match &self.secret {
            Some((ClientAuth::Basic, secret)) => {
                let encoded =
                    |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encoded(&self.id), encoded(secret));
                if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair))) {
                    value.set_sensitive(true);
                    headers.insert(header::AUTHORIZATION, value);
                }
            }
            Some((ClientAuth::Post, secret)) => {
                form.push(("client_id", self.id.clone()));
                form.push(("client_secret", secret.clone()));
            }
            None => form.push(("client_id", self.id.clone())),
        }
    }
}

impl Provider {
    pub(crate) fn new(
        issuer: &str,
        algorithms: Vec<Algorithm>,
        timeout: Duration,
        background: &Handle,
    ) -> Result<Self, String> {
        let target = Target::parse(&format!("{}{WELL_KNOWN}", issuer.trim_end_matches('/')))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            target,
            algorithms,
            timeout,
            known: ArcSwapOption::empty(),
            started: AtomicBool::new(false),
            background: background.clone(),
            finished: watch::channel(0).0,
        })
    }

    /// Starts the background task, once.
    pub(crate) fn start(this: &Arc<Self>) {
        if !this.started.swap(true, Ordering::Relaxed) {
            this.background.spawn(run(Arc::downgrade(this)));
        }
    }

    pub(crate) fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// What is known of it; before the first look has ended, that is waited for.
    pub(crate) async fn known(&self) -> Option<Arc<Known>> {
        let mut finished = self.finished.subscribe();
        if let Some(known) = self.known.load_full() {
            return Some(known);
        }
        // After one that failed nobody queues up for the next.
        if *finished.borrow_and_update() == 0 {
            let _ = tokio::time::timeout(self.timeout, finished.changed()).await;
        }
        self.known.load_full()
    }

    async fn look(&self) -> Result<(), String> {
        let document = match tokio::time::timeout(self.timeout, self.target.get()).await {
            Ok(document) => document?,
            Err(_) => return Err(format!("no answer within {} ms", self.timeout.as_millis())),
        };
        let document: Document =
            serde_json::from_slice(&document).map_err(|error| format!("not what it should be: {error}"))?;
        // Who can put in a document of another provider could sign in as anybody (OpenID Connect Discovery §4.3).
        if document.issuer != self.issuer {
            return Err(format!("it tells of another issuer, `{}`", document.issuer.escape_debug()));
        }
        if document.code_challenge_methods_supported.is_some_and(|all| !all.iter().any(|one| one == "S256")) {
            return Err("it does not support PKCE with S256".to_owned());
        }
        let target = |url: Option<String>| url.map(|url| Target::parse(&url)).transpose();
        let before = self.known.load_full();
        let same = before.filter(|known| known.jwks_uri == document.jwks_uri).map(|known| known.keys.clone());
        let keys = match same {
            Some(keys) => keys,
            None => {
                let settings = Jwks {
                    timeout: model::Duration::from_millis(self.timeout.as_millis() as u64),
                    ..Jwks::default()
                };
                let keys =
                    Remote::new(Target::parse(&document.jwks_uri)?, self.algorithms.clone(), &settings);
                let keys = Arc::new(keys);
                Remote::start(&keys, &self.background);
                keys
            }
        };
        let authorization = target(document.authorization_endpoint)?.map(|target| target.url());
        let end_session = target(document.end_session_endpoint)?.map(|target| target.url());
        let known = Known {
            authorization: authorization.unwrap_or_default(),
            token: target(document.token_endpoint)?,
            jwks_uri: document.jwks_uri,
            keys,
            userinfo: target(document.userinfo_endpoint)?,
            end_session,
            revocation: target(document.revocation_endpoint)?,
            introspection: target(document.introspection_endpoint)?,
            names_itself: document.authorization_response_iss_parameter_supported,
        };
        if self.known.swap(Some(Arc::new(known))).is_none() {
            info!(issuer = self.issuer, "found out about the provider {}", self.issuer);
        }
        Ok(())
    }

    /// Asks for tokens.
    pub(super) async fn tokens(
        &self,
        known: &Known,
        client: &Client,
        mut form: Vec<(&'static str, String)>,
    ) -> Result<Tokens, NoTokens> {
        let target = known.token.as_ref().ok_or_else(|| NoTokens::Away("it has no token endpoint".into()))?;
        let (status, body) = self.post(target, client, &mut form).await.map_err(NoTokens::Away)?;
        if status == StatusCode::OK {
            let tokens: Tokens = serde_json::from_slice(&body)
                .map_err(|_| NoTokens::Away("its tokens are not JSON".into()))?;
            let all = [&tokens.access_token, &tokens.id_token, &tokens.refresh_token];
            if all.into_iter().flatten().any(|token| token.len() > TOKEN_BYTES_MAX || !is_plain(token)) {
                return Err(NoTokens::Away("a token is too long, or has characters that none has".into()));
            }
            return Ok(tokens);
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let error: String = answer["error"].as_str().unwrap_or("no reason").chars().take(64).collect();
        match (status, error.as_str()) {
            (StatusCode::BAD_REQUEST, "invalid_grant") => Err(NoTokens::Refused(error)),
            (_, "invalid_client" | "unauthorized_client") => {
                // Nobody can sign in until an operator has mended it.
                tracing::warn!(
                    "the identity provider does not take `clientId` and `clientSecret`: it answered {status}, {error}"
                );
                Err(NoTokens::Away(format!("it answered {status}: {error}")))
            }
            _ => Err(NoTokens::Away(format!("it answered {status}: {}", error.escape_debug()))),
        }
    }

    /// Posts a form in the name of the gateway.
    pub(crate) async fn post(
        &self,
        target: &Target,
        client: &Client,
        form: &mut Vec<(&'static str, String)>,
    ) -> Result<(StatusCode, Bytes), String> {
        post_form(target, self.timeout, client, form).await
    }

    /// What it tells of whoever has this access token.
    pub(super) async fn userinfo(&self, known: &Known, access: &str) -> Result<Map<String, Value>, String> {
        let target = known.userinfo.as_ref().ok_or("it has no userinfo endpoint")?;
        let mut headers = HeaderMap::new();
        let mut value =
            HeaderValue::from_str(&format!("Bearer {access}")).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (status, body) = match tokio::time::timeout(self.timeout, target.get_with(headers)).await {
            Ok(answer) => answer?,
            Err(_) => return Err("no answer in time".to_owned()),
        };
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        serde_json::from_slice(&body).map_err(|_| "what it tells is no JSON object".to_owned())
    }
}

/// Posts a form in the name of the gateway: the answer's status and body, whatever they are.
pub(crate) async fn post_form(
    target: &Target,
    timeout: Duration,
    client: &Client,
    form: &mut Vec<(&'static str, String)>,
) -> Result<(StatusCode, Bytes), String> {
    let mut headers = HeaderMap::new();
    client.prove(form, &mut headers);
    let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form.iter()).finish();
    match tokio::time::timeout(timeout, target.post(headers, body.into())).await {
        Ok(answer) => answer.map_err(|error| format!("{target}: {error}")),
        Err(_) => Err(format!("{target}: no answer within {} ms", timeout.as_millis())),
    }
}

/// What every token consists of (RFC 6749, appendix A).
fn is_plain(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|byte| (0x21..=0x7e).contains(&byte))
}

async fn run(provider: Weak<Provider>) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let Some(strong) = provider.upgrade() else { return };
        let wait = match strong.look().await {
            Ok(()) => {
                backoff = BACKOFF_FIRST;
                REFRESH
            }
            Err(error) => {
                let was_known = strong.known.load().is_some();
                let what = if was_known { "nothing new" } else { "nothing is known yet" };
                warn!(issuer = strong.issuer, error, "{what} of the provider {}: {error}", strong.issuer);
                let wait = backoff;
                backoff = (backoff * 2).min(BACKOFF_MAX);
                wait
            }
        };
        strong.finished.send_modify(|count| *count = count.wrapping_add(1));
        drop(strong);
        // In steps short enough to notice that nobody needs it any more.
        let until = tokio::time::Instant::now() + wait;
        while tokio::time::Instant::now() < until {
            if provider.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1).min(wait)).await;
        }
    }
}
