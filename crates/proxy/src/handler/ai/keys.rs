//! A provider's keys: used in turn, set aside one by one, and tried again by one call each.
//!
//! A key that is refused (401, 402) is set aside whole; one that may not use a model (403) or is at its limit (429) is
//! set aside for that model alone. What is known of a key outlives the configuration that names it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::StatusCode;
use resilience::cooldown::{Aside, Cooldown, Leave, Standing};
use serde::Serialize;

use super::proof::Proof;

/// Models of a key that are told apart. Further ones, which callers may name where a target has a `*`, are set aside
/// with the key.
const MODELS_MAX: usize = 256;

/// The keys of a provider.
pub(crate) struct Keys {
    list: Vec<Key>,
    next: AtomicUsize,
    aside: Aside,
}

/// One of them.
pub(super) struct Key {
    /// Where it stands among the provider's settings: `keys[0]`, `aws`.
    pub(super) place: Arc<str>,
    pub(super) proof: Proof,
    pub(super) state: Arc<KeyState>,
    /// Stands for it where it is named for later, as long as it is the same.
    pub(super) mark: Box<str>,
}

/// What is known of a key. Kept over reloads.
#[derive(Default)]
pub(super) struct KeyState {
    whole: Arc<Cooldown>,
    models: Mutex<HashMap<Box<str>, Arc<Cooldown>>>,
    calls: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
}

/// A key taken for one call; `None` where a provider wants none.
pub(super) struct Taken<'k>(Option<Held<'k>>);

struct Held<'k> {
    keys: &'k Keys,
    index: usize,
    whole: Leave,
    model: Leave,
}

/// No key can be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    /// Until the first comes back.
    pub(super) wait: Duration,
    /// All of them are at their limit; none is refused.
    pub(super) limited: bool,
}

impl Away {
    /// Neither of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self { wait: self.wait.min(other.wait), limited: self.limited && other.limited }
    }
}

impl KeyState {
    /// What is known of it with a model.
    fn model(&self, model: &str) -> Arc<Cooldown> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        match models.get(model) {
            Some(known) => known.clone(),
            None if models.len() >= MODELS_MAX => self.whole.clone(),
            None => models.entry(model.into()).or_default().clone(),
        }
    }
}

impl Keys {
    pub(super) fn new(list: Vec<Key>, aside: Aside) -> Self {
        Self { list, next: AtomicUsize::new(0), aside }
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.list.len() > 1
    }

    /// The next key that takes a call for a model and was not tried yet.
    pub(super) fn take(&self, model: &str, tried: &[usize], now: Instant) -> Result<Taken<'_>, Away> {
        if self.list.is_empty() {
            let none = Away { wait: Duration::from_secs(1), limited: false };
            return if tried.is_empty() { Ok(Taken(None)) } else { Err(none) };
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut away: Option<Away> = None;
        for turn in 0..self.list.len() {
            let index = start.wrapping_add(turn) % self.list.len();
            let Some(key) = self.list.get(index).filter(|_| !tried.contains(&index)) else { continue };
            let cooldown = key.state.model(model);
            let found = match (key.state.whole.try_acquire(now), cooldown) {
                (Err(wait), _) => Err(Away { wait, limited: false }),
                // Beyond the bound both are one, and it must not be waited for twice.
                (Ok(whole), model) if Arc::ptr_eq(&model, &key.state.whole) => {
                    Ok((whole, Arc::new(Cooldown::default())))
                }
                (Ok(whole), model) => Ok((whole, model)),
            };
            let found = found.and_then(|(whole, model)| match model.try_acquire(now) {
                Ok(model) => Ok(Held { keys: self, index, whole, model }),
                Err(wait) => Err(Away { wait, limited: true }),
            });
            match found {
                Ok(held) => {
                    key.state.calls.fetch_add(1, Ordering::Relaxed);
                    return Ok(Taken(Some(held)));
                }
                Err(one) => away = Some(away.map_or(one, |other| other.and(one))),
            }
        }
        Err(away.unwrap_or(Away { wait: Duration::from_secs(1), limited: false }))
    }

    /// The places of all keys but one.
    pub(super) fn others(&self, only: usize) -> Vec<usize> {
        (0..self.list.len()).filter(|index| *index != only).collect()
    }

    /// Where the key with a mark is now.
    pub(super) fn place(&self, mark: &str) -> Option<usize> {
        self.list.iter().position(|key| &*key.mark == mark)
    }

    /// The mark of a key.
    pub(super) fn mark(&self, index: usize) -> &str {
        self.list.get(index).map_or("", |key| &key.mark)
    }

    /// How each key is at the moment.
    pub(super) fn status(&self, now: Instant) -> Vec<KeyStatus> {
        self.list.iter().map(|key| key.status(now)).collect()
    }
}

impl Taken<'_> {
    /// The key, unless the provider wants none.
    pub(super) fn key(&self) -> Option<&Key> {
        self.0.as_ref().and_then(|held| held.keys.list.get(held.index))
    }

    /// Its place among the keys.
    pub(super) fn index(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.index)
    }

    /// Takes note of what the provider answered; `told` is when it takes calls again. Whether the key is away now.
    pub(super) fn answered(self, status: StatusCode, told: Option<Duration>, now: Instant) -> bool {
        let Some(Held { keys, index, whole, model }) = self.0 else { return false };
        let Some(key) = keys.list.get(index) else { return false };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::PAYMENT_REQUIRED => {
                key.state.refused.fetch_add(1, Ordering::Relaxed);
                key.proof.is_refused();
                let wait = whole.refused(now, &keys.aside, None);
                tracing::warn!(key = %key.place, status = status.as_u16(), ?wait, "a provider refuses `{}`", key.place);
                true
            }
            StatusCode::FORBIDDEN => {
                key.state.refused.fetch_add(1, Ordering::Relaxed);
                whole.worked();
                model.refused(now, &keys.aside, None);
                true
            }
            StatusCode::TOO_MANY_REQUESTS => {
                key.state.limited.fetch_add(1, Ordering::Relaxed);
                whole.worked();
                model.refused(now, &keys.aside, told);
                true
            }
            // What is wrong with the provider says nothing of the key.
            status if status.is_server_error() => false,
            _ => {
                whole.worked();
                model.worked();
                false
            }
        }
    }
}

/// The state of a key of a provider.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// Where it stands among the provider's settings: `keys[0]`, `aws`.
    pub key: Arc<str>,
    /// `READY`, `ASIDE`, or `TRIAL` when one call tries it again.
    pub state: &'static str,
    /// For how many seconds it is still set aside.
    pub aside_seconds: Option<f64>,
    /// The models for which it is set aside.
    pub models: Vec<KeyModelStatus>,
    /// Calls that it was taken for.
    pub calls: u64,
    /// Calls that the provider refused it for.
    pub refused: u64,
    /// Calls that were over a limit of the provider's.
    pub limited: u64,
    /// For how many seconds its fetched token still holds, 0 without one; `null` where none is fetched.
    pub token_seconds: Option<f64>,
}

/// The state of a key for one model.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyModelStatus {
    /// The model, as the provider names it.
    pub model: String,
    /// `ASIDE` or `TRIAL`.
    pub state: &'static str,
    /// For how many seconds it is still set aside.
    pub aside_seconds: Option<f64>,
}

fn told(standing: Standing) -> (&'static str, Option<f64>) {
    match standing {
        Standing::Ready => ("READY", None),
        Standing::Aside(left) => ("ASIDE", Some(left.as_secs_f64())),
        Standing::Trial => ("TRIAL", None),
    }
}

impl Key {
    fn status(&self, now: Instant) -> KeyStatus {
        let (state, aside_seconds) = told(self.state.whole.standing(now));
        let known = self.state.models.lock().unwrap_or_else(PoisonError::into_inner);
        let mut models: Vec<KeyModelStatus> = known
            .iter()
            .filter_map(|(model, cooldown)| match cooldown.standing(now) {
                Standing::Ready => None,
                other => {
                    let (state, aside_seconds) = told(other);
                    Some(KeyModelStatus { model: model.to_string(), state, aside_seconds })
                }
            })
            .collect();
        drop(known);
        models.sort_by(|a, b| a.model.cmp(&b.model));
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KeyStatus {
            key: self.place.clone(),
            state,
            aside_seconds,
            models,
            calls: count(&self.state.calls),
            refused: count(&self.state.refused),
            limited: count(&self.state.limited),
            token_seconds: self.proof.token_seconds(now),
        }
    }
}
