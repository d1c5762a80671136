//! Tokens in exchange for callers' (RFC 8693), kept for each of these until shortly before their end.
//!
//! Whoever comes first for a caller's token asks the token server, and the others wait for what comes of it. What is
//! refused is not asked again for a moment, so that a failing server is not stormed. A caller's own token goes to the
//! token server alone, and only its digest is kept.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Client;
use crate::{
    handler::ai::tokens::{Material, Token, bearer, encode},
    policy::jwt::fetch::Target,
};

/// How long a token server that refused is not asked again for the same caller.
const REFUSED: Duration = Duration::from_secs(2);
/// How long before its end a token is exchanged anew, at most; a quarter of its life where that is less.
const MARGIN_MAX: Duration = Duration::from_secs(60);
/// The least time between a token and its successor where an upstream refuses it before its end.
const YOUTH: Duration = Duration::from_secs(1);
pub(crate) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What bounds exchanges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Callers whose tokens are kept.
    pub(crate) kept: usize,
    /// Exchanges at a time.
    pub(crate) in_flight: usize,
    /// How long one may take.
    pub(crate) timeout: Duration,
}

/// Why there is no token.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    /// The caller's token is what is wrong: another caller may get one.
    pub(crate) is_callers: bool,
    /// For the log.
    pub(crate) why: String,
}

/// A token that was given.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    /// `Bearer `, and the token.
    pub(crate) value: HeaderValue,
    /// It was kept from before.
    pub(crate) is_kept: bool,
}

/// What one caller got.
enum Held {
    Token {
        value: HeaderValue,
        since: Instant,
        /// When it is exchanged anew.
        until: Instant,
        /// When it is of no use any more.
        ends: Instant,
    },
    Refused {
        refused: Refused,
        until: Instant,
    },
}

impl Held {
    fn until(&self) -> Instant {
        match self {
            Self::Token { until, .. } | Self::Refused { until, .. } => *until,
        }
    }

    fn told(&self, is_kept: bool) -> Result<Given, Refused> {
        match self {
            Self::Token { value, .. } => Ok(Given { value: value.clone(), is_kept }),
            Self::Refused { refused, .. } => Err(refused.clone()),
        }
    }
}

/// One caller's place: whoever holds it exchanges, the others wait for what comes of it.
type Place = Arc<tokio::sync::Mutex<Option<Held>>>;

/// Exchanges tokens.
pub(crate) struct Exchange {
    target: Target,
    form: String,
    client: Client,
    bounds: Bounds,
    in_flight: AtomicUsize,
    /// By the digests of callers' tokens, with when each was last asked for.
    kept: Mutex<HashMap<[u8; 32], (Place, Instant)>>,
}

/// One of the exchanges at a time; gives its place back.
struct Flight<'e>(&'e AtomicUsize);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exchange {
    /// `form` says everything but the client and the caller's token.
    pub(crate) fn new(target: Target, form: String, client: Client, bounds: Bounds) -> Self {
        let in_flight = AtomicUsize::new(0);
        Self { target, form, client, bounds, in_flight, kept: Mutex::default() }
    }

    fn place(&self, subject: &str) -> Place {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, subject.as_bytes()).as_ref());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((place, used)) = kept.get_mut(&key) {
            *used = now;
            return place.clone();
        }
        let kept_max = self.bounds.kept;
        if kept.len() >= kept_max {
            let is_live = |place: &Place| match place.try_lock() {
                Ok(held) => held.as_ref().is_some_and(|held| held.until() > now),
                Err(_) => true,
            };
            kept.retain(|_, (place, _)| is_live(place));
            // Still nearly full: the half that was asked for longest ago goes, so that this is not done for each that comes.
            if kept.len() >= kept_max - kept_max / 4 {
                let mut times: Vec<Instant> = kept.values().map(|(_, used)| *used).collect();
                let half = times.len() / 2;
                let (_, middle, _) = times.select_nth_unstable(half);
                let middle = *middle;
                kept.retain(|_, (_, used)| *used > middle);
            }
        }
        let place = Place::default();
        kept.insert(key, (place.clone(), now));
        place
    }

    /// The token for a caller's.
    pub(crate) async fn token(&self, subject: &str) -> Result<Given, Refused> {
        let place = self.place(subject);
        let mut held = place.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.until() > Instant::now()) {
            return held.told(true);
        }
        self.renew(subject, &mut held).await
    }

    /// The token after one that an upstream refuses, where there is one.
    pub(crate) async fn after(
        &self,
        subject: &str,
        is_refused: impl Fn(&HeaderValue) -> bool,
    ) -> Option<Given> {
        let place = self.place(subject);
        let mut held = place.lock().await;
        match &mut *held {
            Some(Held::Token { value, since, until, ends }) if is_refused(value) => {
                if since.elapsed() < YOUTH {
                    return None;
                }
                // It is of no use, also where no other can be had.
                (*until, *ends) = (*since, *since);
            }
            Some(held) if held.until() > Instant::now() => return held.told(true).ok(),
            _ => {}
        }
        self.renew(subject, &mut held).await.ok()
    }

    async fn renew(&self, subject: &str, held: &mut Option<Held>) -> Result<Given, Refused> {
        let now = Instant::now();
        let fresh = match self.exchanged(subject).await {
            Ok(fresh) => fresh,
            // The server is away: a token that still holds is used until it ends.
            Err(refused) if !refused.is_callers => match held.take() {
                Some(Held::Token { value, since, ends, .. }) if ends > now => {
                    tracing::warn!(url = %self.target, "no new token in exchange at {}: {}", self.target, refused.why);
                    Held::Token { value, since, until: ends.min(now + REFUSED), ends }
                }
                _ => self.none(refused),
            },
            Err(refused) => self.none(refused),
        };
        held.insert(fresh).told(false)
    }

    fn none(&self, refused: Refused) -> Held {
        tracing::warn!(url = %self.target, "no token in exchange at {}: {}", self.target, refused.why);
        Held::Refused { refused, until: Instant::now() + REFUSED }
    }

    async fn exchanged(&self, subject: &str) -> Result<Held, Refused> {
        let ours = |why: String| Refused { is_callers: false, why };
        let flight = Flight(&self.in_flight);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) >= self.bounds.in_flight {
            return Err(ours("as many exchanges as may be are under way".to_owned()));
        }
        let asked = tokio::time::timeout(self.bounds.timeout, self.ask(subject)).await;
        drop(flight);
        let token = asked.map_err(|_| ours(format!("no answer within {:?}", self.bounds.timeout)))??;
        let (life, since) = (token.life(), Instant::now());
        let until = since + life.saturating_sub(MARGIN_MAX.min(life / 4));
        match token.material {
            Material::Bearer(value) => Ok(Held::Token { value, since, until, ends: since + life }),
            Material::AccessKey(_) => Err(ours("the token is a key of another kind".to_owned())),
        }
    }

    async fn ask(&self, subject: &str) -> Result<Token, Refused> {
        let ours = |why: String| Refused { is_callers: false, why };
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut form = format!("{}&subject_token={}", self.form, encode(subject));
        self.client.prove(&mut headers, &mut form).map_err(ours)?;
        let asked = Instant::now();
        let (status, body) = self.target.post(headers, Bytes::from(form)).await.map_err(ours)?;
        bearer(status, &body, asked)
            .map_err(|why| Refused { is_callers: is_about_the_caller(status, &body), why })
    }
}

/// Whether a refusal says something of the caller's token, and not of the gateway (RFC 6749 §5.2, RFC 8693 §2.2.2).
fn is_about_the_caller(status: StatusCode, body: &[u8]) -> bool {
    if !status.is_client_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS, StatusCode::NOT_FOUND]
            .contains(&status)
    {
        return false;
    }
    let told: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let code = told.as_ref().and_then(|told| told.get("error")).and_then(serde_json::Value::as_str);
    !matches!(
        code,
        Some("invalid_client" | "unauthorized_client" | "unsupported_grant_type" | "temporarily_unavailable")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_gateway_is_none_of_the_caller() {
        for (status, body, want) in [
            (400, r#"{"error": "invalid_grant"}"#, true),
            (400, r#"{"error": "invalid_request"}"#, true),
            (400, r#"{"error": "invalid_target"}"#, true),
            (403, "no", true),
            (401, r#"{"error": "invalid_client"}"#, false),
            (400, r#"{"error": "unauthorized_client"}"#, false),
            (404, "", false),
            (429, "", false),
            (500, r#"{"error": "invalid_grant"}"#, false),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(is_about_the_caller(status, body.as_bytes()), want, "{status} {body}");
        }
    }
}
