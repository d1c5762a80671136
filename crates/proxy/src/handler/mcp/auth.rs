//! Tokens for servers: the gateway's own, or one that a token server gives in exchange for the caller's (RFC 8693).
//! The caller's own token goes to that token server alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use model::resource::mcp::{McpAuth, McpClientCredentials, McpTokenExchange};

use super::answer;
use crate::{
    call::Call,
    compiled::Building,
    failure::{Failure, Problem, Stage},
    handler::ai::tokens::{Grant, Material, Token, TokenSource, bearer, encode},
    policy::jwt::fetch::Target,
};

/// Callers whose tokens are kept.
const KEPT_MAX: usize = 10_000;
/// How long one exchange may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(10);
/// How long a token server that refused is not asked again for the same caller.
const REFUSED: Duration = Duration::from_secs(2);
/// How long before its end a token is exchanged anew, at most; a quarter of its life where that is less.
const MARGIN_MAX: Duration = Duration::from_secs(60);
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// How a server is shown who asks.
pub(super) enum Auth {
    Own(Arc<TokenSource>),
    Exchanged(Arc<Exchange>),
}

/// A client of a token server.
struct Client {
    header: Option<HeaderValue>,
    /// Fields of the form, each with `&` before it.
    form: String,
}

fn client(id: &str, secret: &str, in_form: bool) -> Result<Client, String> {
    if in_form || secret.is_empty() {
        let mut form = format!("&client_id={}", encode(id));
        if !secret.is_empty() {
            form.push_str(&format!("&client_secret={}", encode(secret)));
        }
        return Ok(Client { header: None, form });
    }
    // Both are encoded as in a form first (RFC 6749 §2.3.1).
    let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(Client { header: Some(value), form: String::new() })
}

/// Stands for secrets where their state is kept, so that they themselves need not be.
pub(super) fn fingerprint<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part.as_bytes());
    }
    context.finish().as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Auth {
    pub(super) fn compile(server: &str, settings: &McpAuth, cx: &Building<'_>) -> Result<Self, String> {
        match (&settings.client_credentials, &settings.token_exchange) {
            (Some(own), None) => Self::own(server, own, cx),
            (None, Some(exchange)) => Self::exchange(server, exchange, cx),
            _ => Err(format!(
                "`servers.{server}.auth`: expected either `clientCredentials` or `tokenExchange`"
            )),
        }
    }

    fn own(server: &str, settings: &McpClientCredentials, cx: &Building<'_>) -> Result<Self, String> {
        let place = format!("servers.{server}.auth.clientCredentials");
        let url = &settings.token_endpoint;
        let target = Target::parse(url).map_err(|error| format!("`{place}.tokenEndpoint`: {error}"))?;
        let secret = cx.snapshot.secret(&settings.client_secret);
        let client = client(&settings.client_id, secret, settings.client_in_form)?;
        let mut form = format!("grant_type=client_credentials{}", client.form);
        for (name, value) in [("scope", &settings.scope), ("audience", &settings.audience)] {
            if let Some(value) = value {
                form.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let key = fingerprint([url, &form, secret]);
        let grant = Grant::Form { target, form, client: client.header };
        let source = cx.keep(&format!("mcp-token-{server}"), &key, || TokenSource::new(grant));
        TokenSource::start(&source, cx.background);
        Ok(Self::Own(source))
    }

    fn exchange(server: &str, settings: &McpTokenExchange, cx: &Building<'_>) -> Result<Self, String> {
        let place = format!("servers.{server}.auth.tokenExchange");
        let url = &settings.token_endpoint;
        let target = Target::parse(url).map_err(|error| format!("`{place}.tokenEndpoint`: {error}"))?;
        let secret = settings.client_secret.as_ref().map_or("", |secret| cx.snapshot.secret(secret));
        let client = match &settings.client_id {
            Some(id) => client(id, secret, settings.client_in_form)?,
            None => Client { header: None, form: String::new() },
        };
        let mut form = format!("grant_type={}{}", encode(GRANT), client.form);
        let kind = settings.subject_token_type.as_deref().unwrap_or(ACCESS_TOKEN);
        form.push_str(&format!("&subject_token_type={}", encode(kind)));
        form.push_str(&format!("&requested_token_type={}", encode(ACCESS_TOKEN)));
        let told =
            [("audience", &settings.audience), ("resource", &settings.resource), ("scope", &settings.scope)];
        for (name, value) in told {
            if let Some(value) = value {
                form.push_str(&format!("&{name}={}", encode(value)));
            }
        }
        let key = fingerprint([url, &form, secret]);
        let fresh = Exchange { target, form, client: client.header, kept: Mutex::default() };
        Ok(Self::Exchanged(cx.keep(&format!("mcp-exchange-{server}"), &key, || fresh)))
    }

    /// The `Authorization` of a request to the server.
    pub(super) async fn header(&self, subject: Option<&str>) -> Result<HeaderValue, Failure> {
        let failed = |why: String| Failure::upstream(Stage::Send, Problem::Unavailable, why);
        match self {
            Self::Own(source) => match &source.token().await.map_err(failed)?.material {
                Material::Bearer(value) => Ok(value.clone()),
                Material::AccessKey(_) => Err(failed("the token is a key of another kind".to_owned())),
            },
            Self::Exchanged(exchange) => {
                let Some(subject) = subject else {
                    return Err(Failure::refused(Problem::Unauthenticated)
                        .with_hint("this server is called in the name of the caller, who must show a token")
                        .with_rpc_code(answer::REFUSED));
                };
                exchange.token(subject).await
            }
        }
    }
}

/// The token of a caller, if a policy has checked it: nothing else is exchanged.
pub(super) fn subject(call: &Call) -> Option<Arc<str>> {
    call.claims.as_ref()?;
    let value = call.head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}

/// What one caller got.
enum Held {
    Token { value: HeaderValue, until: Instant },
    Refused { status: StatusCode, why: String, until: Instant },
}

impl Held {
    fn until(&self) -> Instant {
        match self {
            Self::Token { until, .. } | Self::Refused { until, .. } => *until,
        }
    }

    fn told(&self) -> Result<HeaderValue, Failure> {
        match self {
            Self::Token { value, .. } => Ok(value.clone()),
            Self::Refused { status, why, .. } if status.is_client_error() => {
                Err(Failure::refused(Problem::Forbidden)
                    .with_hint("the token server gives nothing in exchange for this caller's token")
                    .with_detail(why.clone())
                    .with_rpc_code(answer::REFUSED))
            }
            Self::Refused { why, .. } => {
                Err(Failure::upstream(Stage::Send, Problem::Unavailable, why.clone()))
            }
        }
    }
}

/// One caller's place: whoever holds it exchanges, the others wait for what comes of it.
type Place = Arc<tokio::sync::Mutex<Option<Held>>>;

/// Exchanges tokens.
pub(super) struct Exchange {
    target: Target,
    form: String,
    client: Option<HeaderValue>,
    /// By the digests of callers' tokens, with when each was last asked for.
    kept: Mutex<HashMap<[u8; 32], (Place, Instant)>>,
}

impl Exchange {
    fn place(&self, subject: &str) -> Place {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, subject.as_bytes()).as_ref());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((place, used)) = kept.get_mut(&key) {
            *used = now;
            return place.clone();
        }
        if kept.len() >= KEPT_MAX {
            let is_live = |place: &Place| match place.try_lock() {
                Ok(held) => held.as_ref().is_some_and(|held| held.until() > now),
                Err(_) => true,
            };
            kept.retain(|_, (place, _)| is_live(place));
            // Still full: the half that was asked for longest ago goes.
            if kept.len() >= KEPT_MAX {
                let mut times: Vec<Instant> = kept.values().map(|(_, used)| *used).collect();
                let (_, middle, _) = times.select_nth_unstable(KEPT_MAX / 2);
                let middle = *middle;
                kept.retain(|_, (_, used)| *used > middle);
            }
        }
        let place = Place::default();
        kept.insert(key, (place.clone(), now));
        place
    }

    async fn token(&self, subject: &str) -> Result<HeaderValue, Failure> {
        let place = self.place(subject);
        let mut held = place.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.until() > Instant::now()) {
            return held.told();
        }
        let fresh = match tokio::time::timeout(EXCHANGE_MAX, self.ask(subject)).await {
            Ok(Ok(token)) => {
                let life = token.life();
                let until = Instant::now() + life.saturating_sub(MARGIN_MAX.min(life / 4));
                match token.material {
                    Material::Bearer(value) => Held::Token { value, until },
                    Material::AccessKey(_) => {
                        refused(StatusCode::OK, "the token is a key of another kind".to_owned())
                    }
                }
            }
            Ok(Err((status, why))) => refused(status, why),
            Err(_) => refused(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {EXCHANGE_MAX:?}")),
        };
        if let Held::Refused { why, .. } = &fresh {
            tracing::warn!(url = %self.target, "no token in exchange at {}: {why}", self.target);
        }
        held.insert(fresh).told()
    }

    async fn ask(&self, subject: &str) -> Result<Token, (StatusCode, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.extend(self.client.clone().map(|client| (header::AUTHORIZATION, client)));
        let form = format!("{}&subject_token={}", self.form, encode(subject));
        let asked = Instant::now();
        let (status, body) = self
            .target
            .post(headers, Bytes::from(form))
            .await
            .map_err(|error| (StatusCode::BAD_GATEWAY, error))?;
        bearer(status, &body, asked).map_err(|why| (status, why))
    }
}

fn refused(status: StatusCode, why: String) -> Held {
    Held::Refused { status, why, until: Instant::now() + REFUSED }
}
