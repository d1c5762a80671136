//! Renewal of tokens: once at a time for each session, whoever asks and however many at once. It goes on when its calls
//! have left, and those that come soon after with what the browser had before get what came of it: many providers take a
//! refresh token once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

use super::{
    Found, Inner,
    ended::Of,
    judge,
    provider::{NoTokens, Seconds},
    session::{Session, millis, now},
    store::Store,
};

/// How long what came of a renewal is kept for those who come later with the session of before.
const KEPT_MILLIS: u64 = 60_000;
/// How long nobody asks again a provider that was away.
const REST_MILLIS: u64 = 5_000;
/// Renewals that are known at a time.
const FLIGHTS_MAX: usize = 100_000;
/// Between two looks at what another gateway has made of a session.
const LOOK: Duration = Duration::from_millis(50);

/// What came of a renewal.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Renewed(Arc<Session>),
    /// The provider gives no more tokens for it.
    Ended,
    /// Nobody could tell; why, for the log.
    Away(String),
}

/// Renewals that are under way, and those of a while ago.
#[derive(Default)]
pub(super) struct Flights(Mutex<All>);

#[derive(Default)]
struct All {
    of: HashMap<String, Flight>,
    swept: u64,
}

struct Flight {
    /// How often the session had been renewed before.
    from: u32,
    begun: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Flight {
    /// Whether somebody with this session waits for this instead of beginning another.
    fn is_for(&self, session: &Session, now: u64) -> bool {
        let age = now.saturating_sub(self.begun);
        let is_away = matches!(&*self.outcome.borrow(), Some(Outcome::Away(_)));
        self.from >= session.renewals && age <= KEPT_MILLIS && !(is_away && age > REST_MILLIS)
    }
}

/// A session with new tokens.
pub(super) async fn renewed(inner: &Arc<Inner>, found: &Found, at: u64) -> Outcome {
    let away = |why: &str| Outcome::Away(why.to_owned());
    let mut outcome = {
        let mut all = inner.state.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if at.saturating_sub(all.swept) > KEPT_MILLIS / 4 || all.of.len() >= FLIGHTS_MAX {
            all.swept = at;
            all.of.retain(|_, flight| at.saturating_sub(flight.begun) <= KEPT_MILLIS);
        }
        match all.of.get(&found.session.id).filter(|flight| flight.is_for(&found.session, at)) {
            Some(flight) => flight.outcome.clone(),
            None if all.of.len() >= FLIGHTS_MAX => return away("too many tokens are being renewed"),
            None => {
                let (tell, outcome) = watch::channel(None);
                let flight = Flight { from: found.session.renewals, begun: at, outcome: outcome.clone() };
                all.of.insert(found.session.id.clone(), flight);
                let (inner, session, name) = (inner.clone(), found.session.clone(), found.name.clone());
                inner.background.clone().spawn(async move {
                    let outcome = inner.renew(session, name).await;
                    tell.send_replace(Some(outcome));
                });
                outcome
            }
        }
    };
    // The lock of the shared store, the tokens, and the keys if those are new.
    let patience = inner.provider.timeout * 4;
    match tokio::time::timeout(patience, outcome.wait_for(Option::is_some)).await {
        Ok(Ok(told)) => told.clone().unwrap_or_else(|| away("nothing came of it")),
        Ok(Err(_)) => away("the renewal broke off"),
        Err(_) => away("the renewal takes too long"),
    }
}

impl Inner {
    /// Renews a session's tokens, and keeps it where it is shared.
    async fn renew(&self, session: Session, name: Option<String>) -> Outcome {
        let (Store::Redis(shared), Some(name)) = (&self.store, name) else {
            let id = session.id.clone();
            let outcome = self.asked(session).await;
            if matches!(outcome, Outcome::Ended) {
                let at = now();
                self.state.ended.note(Of::Id, &id, at, at.saturating_add(millis(self.max_age)));
            }
            return outcome;
        };
        let away = || Outcome::Away("the store of sessions cannot be asked".to_owned());
        let until = tokio::time::Instant::now() + self.provider.timeout * 2;
        let lock = loop {
            match shared.lock(&name, millis(self.provider.timeout * 3)).await {
                Ok(Some(lock)) => break lock,
                Ok(None) if tokio::time::Instant::now() < until => tokio::time::sleep(LOOK).await,
                _ => return away(),
            }
        };
        // Another gateway may have been first.
        let outcome = match shared.get(&self.seal, &name).await {
            Err(_) => away(),
            Ok(None) => Outcome::Ended,
            Ok(Some((kept, _))) if kept.renewals > session.renewals => Outcome::Renewed(Arc::new(kept)),
            Ok(Some((kept, _))) => match self.asked(kept).await {
                Outcome::Renewed(session) => {
                    let left = session.ends(self.max_age, self.idle).saturating_sub(now());
                    match shared.put(&self.seal, &name, &session, left, false).await {
                        Ok(true) => Outcome::Renewed(session),
                        Ok(false) => Outcome::Ended,
                        Err(_) => away(),
                    }
                }
                Outcome::Ended => {
                    let _ = shared.end(&name).await;
                    Outcome::Ended
                }
                outcome => outcome,
            },
        };
        shared.unlock(&name, lock).await;
        outcome
    }

    /// Asks the provider for new tokens.
    async fn asked(&self, mut session: Session) -> Outcome {
        let Some(refresh) = session.refresh.clone() else { return Outcome::Ended };
        let Some(known) = self.provider.known().await else {
            return Outcome::Away("nothing is known yet about the provider".to_owned());
        };
        let form = vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh)];
        let tokens = match self.provider.tokens(&known, &self.client, form).await {
            Ok(tokens) => tokens,
            Err(NoTokens::Refused(_)) => return Outcome::Ended,
            Err(NoTokens::Away(detail)) => return Outcome::Away(detail),
        };
        if let Some(id_token) = tokens.id_token {
            let claims = match judge::verified(&self.provider, &known, &id_token).await {
                Ok(claims) => claims,
                Err(error) => return Outcome::Away(format!("the new ID token: {error}")),
            };
            let before = session.claims().unwrap_or_default();
            // It is about the same person (OpenID Connect Core §12.2).
            let is_same = ["sub", "sid"].iter().all(|name| {
                claims.get(*name) == before.get(*name) || (*name == "sid" && !claims.contains_key(*name))
            });
            match self.wanted(None).judge(&claims, SystemTime::now()) {
                Ok(()) if is_same => {}
                Ok(()) => return Outcome::Away("the new ID token is about somebody else".to_owned()),
                Err(error) => return Outcome::Away(format!("the new ID token: {error}")),
            }
            // A session without the provider's id of it could not be ended by that.
            if claims.contains_key("sid") || !before.contains_key("sid") {
                session.id_token = id_token;
            }
        }
        session.access = tokens.access_token.filter(|_| self.access_header.is_some());
        let lasts = tokens.expires_in.as_ref().and_then(Seconds::get);
        session.access_ends = lasts.map(|seconds| now().saturating_add(seconds.saturating_mul(1000)));
        session.refresh = tokens.refresh_token.or(session.refresh);
        session.renewals = session.renewals.saturating_add(1);
        Outcome::Renewed(Arc::new(session))
    }
}
