//! Issuers of tokens: the gateway as services behind it know it, with the keys that it signs with and publishes.
//!
//! A key that has signed is published until its last token has ended, also when the configuration names it no more.

mod generated;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use identity::{key::SigningKey, ring};
use model::{Finding, resource::token_issuer::TokenIssuer as Settings};
use serde_json::{Map, Value, json};

use self::generated::Store;
use crate::{compiled::Building, oauth};

/// How far the clocks of those who check tokens may differ from this one, for which a key is published longer.
const CLOCKS: Duration = Duration::from_secs(60);
/// How long a key set may be kept by those who fetch it, at most; a quarter of the time that a key is published before
/// it signs, where that is less.
const KEPT_MAX: Duration = Duration::from_secs(300);
/// Keys that are remembered beside the configuration's, until their last tokens have ended.
const RETIRED_MAX: usize = 64;

/// All issuers, by name.
pub(crate) type Issuers = HashMap<Arc<str>, Arc<Issuer>>;

/// A key and its time.
#[derive(Clone)]
struct Held {
    key: Arc<SigningKey>,
    from: u64,
}

impl ring::Timed for Held {
    fn from(&self) -> u64 {
        self.from
    }
}

/// A compiled issuer.
pub(crate) struct Issuer {
    name: Arc<str>,
    issuer: String,
    lifetime: Duration,
    keys: ArcSwap<Vec<Held>>,
    store: Option<Store>,
    /// How long whoever fetches the keys may keep them.
    kept: Duration,
    signed: Arc<Signed>,
}

/// What was signed with, and until when the last of it counts, in seconds since 1970. Goes on over reloads.
#[derive(Default)]
struct Signed(Mutex<BTreeMap<String, (Value, u64)>>);

/// A token that was made.
pub(crate) struct Minted {
    pub(crate) token: String,
    pub(crate) kid: Box<str>,
    /// In seconds since 1970.
    pub(crate) ends: u64,
}

/// What an issuer is like now, for people.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerStatus {
    name: Arc<str>,
    issuer: String,
    /// The key that signs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    signs: Option<Box<str>>,
    /// All that are published, with what each of them is like.
    keys: Vec<KeyStatus>,
    /// What is published.
    jwks: Value,
}

/// What a key is like.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyStatus {
    kid: Box<str>,
    /// In seconds since 1970.
    signs_from: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_until: Option<u64>,
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Builds all issuers; those that cannot be built are told and are not among them.
pub(crate) fn compile(cx: &Building<'_>, errors: &mut Vec<Finding>) -> Issuers {
    let mut issuers = Issuers::new();
    for settings in &cx.snapshot.config.token_issuers {
        let owner = format!("tokenIssuers/{}", settings.name);
        match Issuer::compile(settings, &cx.of(&owner)) {
            Ok(issuer) => {
                issuers.insert(issuer.name.clone(), issuer);
            }
            Err((key, error)) => errors.push(Finding::new(owner, key, error)),
        }
    }
    issuers
}

impl Issuer {
    fn compile(settings: &Settings, cx: &Building<'_>) -> Result<Arc<Self>, (String, String)> {
        let algorithm = oauth::algorithm(settings.algorithm);
        let signed = cx.keep("signed", &(), Signed::default);
        let mut keys: Vec<Held> = Vec::with_capacity(settings.keys.len());
        for (index, one) in settings.keys.iter().enumerate() {
            let wrong = |error: String| (format!("keys[{index}].key"), error);
            let pem = cx.snapshot.secret(&one.key);
            let key = SigningKey::from_pem(pem.as_bytes(), algorithm).map_err(wrong)?;
            if keys.iter().any(|other| other.key.kid() == key.kid()) {
                return Err(wrong("this key is given twice".to_owned()));
            }
            let from = one.from.map_or(0, model::types::Date::unix_seconds);
            keys.push(Held { key: Arc::new(key), from });
        }
        let store = settings.generated.as_ref().map(|generated| {
            Store::new(&settings.name, algorithm, generated, settings.lifetime.get() + CLOCKS)
        });
        let before = settings.generated.as_ref().map(|generated| generated.publish_before.get());
        let kids: Vec<&str> = keys.iter().map(|held| held.key.kid()).collect();
        // Only what the keys are is told here, not the keys.
        let kept = cx.keep("issuer", &(settings, &kids), || Self {
            name: settings.name.as_str().into(),
            issuer: settings.issuer.clone(),
            lifetime: settings.lifetime.get(),
            keys: ArcSwap::from_pointee(keys.clone()),
            store,
            kept: before.map_or(KEPT_MAX, |before| KEPT_MAX.min(before / 4)),
            signed,
        });
        if kept.store.is_some() {
            let until = kept.refresh().map_err(|error| ("generated".to_owned(), error))?;
            Self::start(&kept, until, cx.background);
        }
        Ok(kept)
    }

    /// Reads the keys that are kept, and makes those that are missing; when that is to be done again. Blocks.
    fn refresh(&self) -> Result<u64, String> {
        let Some(store) = &self.store else { return Ok(u64::MAX) };
        let (keys, until) = store.refresh(now())?;
        self.keys.store(Arc::new(keys));
        Ok(until)
    }

    /// Has keys rotate in the background, once.
    fn start(this: &Arc<Self>, until: u64, background: &tokio::runtime::Handle) {
        if this.store.as_ref().is_some_and(Store::begins) {
            background.spawn(rotate(Arc::downgrade(this), until));
        }
    }

    pub(crate) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Stands for the keys: tokens of other keys are not used any more.
    pub(crate) fn mark(&self) -> String {
        match self.store {
            Some(_) => format!("{} generated", self.issuer),
            None => {
                let keys = self.keys.load();
                let all = keys.iter().map(|held| held.key.kid());
                oauth::fingerprint([self.issuer.as_str()].into_iter().chain(all))
            }
        }
    }

    /// Signs a token with these claims, and those of its issuer and its time.
    pub(crate) fn mint(&self, mut claims: Map<String, Value>, now: u64) -> Result<Minted, String> {
        let keys = self.keys.load();
        let held = ring::signer(&keys, now).and_then(|at| keys.get(at)).ok_or("there is no key")?;
        let ends = now + self.lifetime.as_secs();
        claims.insert("iss".to_owned(), self.issuer.as_str().into());
        claims.insert("iat".to_owned(), now.into());
        // Whoever checks it may be a moment behind.
        claims.insert("nbf".to_owned(), now.saturating_sub(CLOCKS.as_secs()).into());
        claims.insert("exp".to_owned(), ends.into());
        let token = held.key.token(&Map::new(), &claims)?;
        self.signed.note(&held.key, ends + CLOCKS.as_secs(), now);
        Ok(Minted { token, kid: held.key.kid().into(), ends })
    }

    /// What is published now.
    pub(crate) fn jwks(&self, now: u64) -> Value {
        let keys = self.keys.load();
        let lasts = self.lifetime + CLOCKS;
        let own: Vec<&Held> =
            ring::published(&keys, now, lasts).into_iter().filter_map(|at| keys.get(at)).collect();
        let mut all: Vec<Value> = own.iter().map(|held| held.key.jwk().clone()).collect();
        let signed = self.signed.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |kid: &str| own.iter().any(|held| held.key.kid() == kid);
        all.extend(
            signed
                .iter()
                .filter(|(kid, (_, ends))| *ends > now && !is_there(kid))
                .map(|(_, (jwk, _))| jwk.clone()),
        );
        json!({"keys": all})
    }

    /// How long the keys may be kept by whoever fetches them.
    pub(crate) fn kept(&self) -> Duration {
        self.kept
    }

    pub(crate) fn status(&self) -> IssuerStatus {
        let (keys, now) = (self.keys.load(), now());
        let lasts = self.lifetime + CLOCKS;
        IssuerStatus {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            signs: ring::signer(&keys, now).and_then(|at| keys.get(at)).map(|held| held.key.kid().into()),
            keys: ring::published(&keys, now, lasts)
                .into_iter()
                .filter_map(|at| {
                    let held = keys.get(at)?;
                    Some(KeyStatus {
                        kid: held.key.kid().into(),
                        signs_from: held.from,
                        published_until: ring::ends(&keys, at, lasts),
                    })
                })
                .collect(),
            jwks: self.jwks(now),
        }
    }
}

impl Signed {
    /// Notes until when a key's last token counts.
    fn note(&self, key: &SigningKey, ends: u64, now: u64) {
        let mut signed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = signed.get_mut(key.kid()) {
            *known = ends.max(*known);
            return;
        }
        signed.retain(|_, (_, ends)| *ends > now);
        if signed.len() < RETIRED_MAX {
            signed.insert(key.kid().to_owned(), (key.jwk().clone(), ends));
        }
    }
}

/// Makes keys before they are needed, as long as somebody has the issuer.
async fn rotate(issuer: Weak<Issuer>, mut until: u64) {
    /// How long a failure is waited out.
    const AGAIN: u64 = 60;
    /// In steps short enough to notice that nobody needs it any more, and that the clock was set.
    const STEP: Duration = Duration::from_secs(1);
    loop {
        tokio::time::sleep(STEP).await;
        let Some(strong) = issuer.upgrade() else { return };
        if now() < until {
            continue;
        }
        let told = tokio::task::spawn_blocking(move || (strong.refresh(), strong.name.clone())).await;
        until = match told {
            Ok((Ok(next), _)) => next,
            Ok((Err(error), name)) => {
                tracing::warn!(issuer = %name, "the keys of the token issuer `{name}` cannot be rotated: {error}");
                now() + AGAIN
            }
            Err(_) => now() + AGAIN,
        };
    }
}
