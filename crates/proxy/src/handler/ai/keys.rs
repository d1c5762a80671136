//! A provider's keys: used in turn, set aside one by one, and tried again by one call each.
//!
//! A key that is refused is set aside whole; one that is at its limit is set aside for that model alone. So is one for
//! which it is in [doubt](super::fault) whether it or the requests are at fault, once several callers met with it in a
//! row. What is known of a key outlives the configuration that names it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use resilience::{
    cooldown::{Aside, Cooldown, Leave, Standing},
    turnstile::{Lanes, Place},
};
use serde::Serialize;

use super::{fault::Fault, proof::Proof, queue::Queue};

/// Models of a key that something is known of. Callers may name any where a target has a `*`; with more, what is known
/// for the longest is forgotten.
const MODELS_MAX: usize = 256;
/// Refusals in doubt, in a row, after which a key is set aside for a model.
const DOUBTS: u32 = 3;

/// The keys of a provider.
pub(crate) struct Keys {
    list: Vec<Key>,
    next: AtomicUsize,
    aside: Aside,
    /// Whose they are.
    pub(super) provider: Arc<str>,
    /// Where calls wait for a key, where each takes but so many at a time.
    pub(super) queue: Option<Queue>,
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
    models: Mutex<HashMap<Box<str>, OfModel>>,
    /// Counts refusals, so that the oldest is known.
    age: AtomicU64,
    calls: AtomicU64,
    refused: AtomicU64,
    limited: AtomicU64,
}

/// What is known of a key with one model, since it was refused for it.
#[derive(Default)]
struct OfModel {
    cooldown: Arc<Cooldown>,
    /// When it was refused last.
    age: u64,
    /// Refusals in doubt since it last worked.
    doubts: u32,
    /// Who met with the first of them.
    first: Option<u64>,
    /// Somebody else did too.
    by_several: bool,
}

/// A key taken for one call; `None` where a provider wants none.
pub(super) struct Taken<'k>(Option<Held<'k>>, Option<Place>);

struct Held<'k> {
    keys: &'k Keys,
    index: usize,
    whole: Leave,
    /// Where something is known of it with the model.
    model: Option<Leave>,
    /// Where keys take but so many calls at a time.
    place: Option<Place>,
}

/// A provider's answer, as far as it tells of a key.
pub(super) struct Refusal<'r> {
    pub(super) model: &'r str,
    /// Whose fault it is.
    pub(super) fault: Fault,
    /// When calls are taken again, where that is told.
    pub(super) told: Option<Duration>,
    /// Stands for the caller.
    pub(super) caller: u64,
}

/// Why no key is taken.
#[derive(Debug)]
pub(super) enum NoKey {
    /// None can be.
    Away(Away),
    /// Those that could be are at as many calls as they take.
    Full(Lanes),
}

/// No key can be taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    /// Until the first comes back.
    pub(super) wait: Duration,
    /// All of them are at their limit; none is refused.
    pub(super) limited: bool,
    /// Those that wait for them are too many, or were too slow.
    pub(super) is_full: bool,
}

impl Away {
    /// Refused keys, and what else is nobody's limit.
    pub(super) fn refused(wait: Duration) -> Self {
        Self { wait, limited: false, is_full: false }
    }

    /// Neither of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            wait: self.wait.min(other.wait),
            limited: self.limited && other.limited,
            is_full: self.is_full && other.is_full,
        }
    }
}

impl KeyState {
    fn known(&self) -> MutexGuard<'_, HashMap<Box<str>, OfModel>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it with a model.
    fn model(&self, model: &str) -> Option<Arc<Cooldown>> {
        let known = self.known();
        // Most of the time nothing is known, and names are not looked at.
        if known.is_empty() { None } else { known.get(model).map(|known| known.cooldown.clone()) }
    }

    /// It works with a model: nothing need be known of it.
    fn forget(&self, model: &str, now: Instant) {
        let mut known = self.known();
        if known.get(model).is_some_and(|one| matches!(one.cooldown.standing(now), Standing::Ready)) {
            known.remove(model);
        }
    }

    /// A refusal that has to do with a model. The cool-down, when the key is to be set aside for it.
    fn refused(&self, refusal: &Refusal<'_>) -> Option<Arc<Cooldown>> {
        let mut known = self.known();
        if known.len() >= MODELS_MAX && !known.contains_key(refusal.model) {
            let oldest = known.iter().min_by_key(|(_, one)| one.age).map(|(name, _)| name.clone());
            oldest.map(|name| known.remove(&name));
        }
        let one = known.entry(refusal.model.into()).or_default();
        one.age = self.age.fetch_add(1, Ordering::Relaxed);
        if refusal.fault == Fault::Doubt {
            one.doubts = one.doubts.saturating_add(1);
            one.by_several |= *one.first.get_or_insert(refusal.caller) != refusal.caller;
            if one.doubts < DOUBTS || !one.by_several {
                return None;
            }
            // Each time it is set aside, it is so on evidence of its own.
            (one.doubts, one.first, one.by_several) = (0, None, false);
        }
        Some(one.cooldown.clone())
    }
}

impl Keys {
    pub(super) fn new(list: Vec<Key>, aside: Aside) -> Self {
        Self { list, next: AtomicUsize::new(0), aside, provider: "".into(), queue: None }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether there is more than one.
    pub(super) fn are_several(&self) -> bool {
        self.list.len() > 1
    }

    /// The next key that takes a call for a model and was not tried yet.
    pub(super) fn take(&self, model: &str, tried: &[usize], now: Instant) -> Result<Taken<'_>, NoKey> {
        if self.list.is_empty() {
            let none = Away::refused(Duration::from_secs(1));
            if !tried.is_empty() {
                return Err(NoKey::Away(none));
            }
            return match &self.queue {
                None => Ok(Taken(None, None)),
                Some(queue) => match queue.turnstile.try_enter(0) {
                    Some(place) => Ok(Taken(None, Some(place))),
                    None => Err(NoKey::Full(1)),
                },
            };
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let mut away: Option<Away> = None;
        let mut full: Lanes = 0;
        for turn in 0..self.list.len() {
            let index = start.wrapping_add(turn) % self.list.len();
            if tried.contains(&index) {
                continue;
            }
            match (self.hold(index, model, now), &self.queue) {
                (Ok(held), None) => return Ok(Taken(Some(held), None)),
                (Ok(held), Some(queue)) => match queue.turnstile.try_enter(index) {
                    Some(place) => return Ok(Taken(Some(Held { place: Some(place), ..held }), None)),
                    None => full |= 1_u64.checked_shl(index as u32).unwrap_or(0),
                },
                (Err(one), _) => away = Some(away.map_or(one, |other| other.and(one))),
            }
        }
        if full != 0 {
            return Err(NoKey::Full(full));
        }
        Err(NoKey::Away(away.unwrap_or(Away::refused(Duration::from_secs(1)))))
    }

    /// Leave to use a key for a model.
    fn hold(&self, index: usize, model: &str, now: Instant) -> Result<Held<'_>, Away> {
        let none = Away::refused(Duration::from_secs(1));
        let key = self.list.get(index).ok_or(none)?;
        let whole = key.state.whole.try_acquire(now).map_err(Away::refused)?;
        let model = key.state.model(model).map(|model| model.try_acquire(now)).transpose();
        let model = model.map_err(|wait| Away { limited: true, ..Away::refused(wait) })?;
        Ok(Held { keys: self, index, whole, model, place: None })
    }

    /// The key of a place that was waited for; nothing when it has gone away since.
    pub(super) fn take_at(&self, place: Place, model: &str, now: Instant) -> Option<Taken<'_>> {
        if self.list.is_empty() {
            return Some(Taken(None, Some(place)));
        }
        let held = self.hold(place.lane(), model, now).ok()?;
        Some(Taken(Some(Held { place: Some(place), ..held }), None))
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

    /// The mark of the key at this place in the settings; of the first, where there is but one.
    pub(super) fn mark_of(&self, place: Option<&str>) -> &str {
        let at = place.and_then(|place| self.list.iter().position(|key| &*key.place == place));
        self.mark(at.unwrap_or_default())
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

    /// Takes note that a call is sent with it. Its place is for as long as the answer comes.
    pub(super) fn sends(&mut self) -> Option<Place> {
        match &mut self.0 {
            None => self.1.take(),
            Some(held) => {
                if let Some(key) = held.keys.list.get(held.index) {
                    key.state.calls.fetch_add(1, Ordering::Relaxed);
                }
                held.place.take()
            }
        }
    }

    /// Takes note that the provider refused the call.
    pub(super) fn refused(self, refusal: &Refusal<'_>, now: Instant) {
        let Some(Held { keys, index, whole, model, .. }) = self.0 else { return };
        let Some(key) = keys.list.get(index) else { return };
        let count = match refusal.fault {
            Fault::Limit => &key.state.limited,
            Fault::Doubt if refusal.told.is_some() => &key.state.limited,
            _ => &key.state.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
        match refusal.fault {
            Fault::Key => {
                key.proof.is_refused();
                let wait = whole.refused(now, &keys.aside, None);
                let provider = &*keys.provider;
                tracing::warn!(provider, key = %key.place, ?wait, "`{provider}` refuses `{}`", key.place);
            }
            Fault::Limit | Fault::Doubt => {
                whole.worked();
                let Some(cooldown) = key.state.refused(refusal) else { return };
                if let Some(leave) = model.or_else(|| cooldown.try_acquire(now).ok()) {
                    leave.refused(now, &keys.aside, refusal.told);
                }
            }
            // The key was taken, and the request looked at.
            Fault::Request | Fault::Filtered => {
                whole.worked();
                if let Some(model) = model {
                    model.worked();
                }
            }
        }
    }

    /// Takes note that the provider took the call.
    pub(super) fn worked(self, model_name: &str, now: Instant) {
        let Some(Held { keys, index, whole, model, .. }) = self.0 else { return };
        whole.worked();
        if let (Some(model), Some(key)) = (model, keys.list.get(index)) {
            model.worked();
            key.state.forget(model_name, now);
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
        let known = self.state.known();
        let mut models: Vec<KeyModelStatus> = known
            .iter()
            .filter_map(|(model, one)| match one.cooldown.standing(now) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(model: &str, fault: Fault, caller: u64) -> Refusal<'_> {
        Refusal { model, fault, told: None, caller }
    }

    fn keys() -> Keys {
        let value = http::HeaderValue::from_static("k");
        let proof = Proof::Header(http::header::AUTHORIZATION, value);
        let key = Key { place: "keys[0]".into(), proof, state: Arc::default(), mark: "".into() };
        Keys::new(vec![key], Aside { first: Duration::from_secs(10), max: Duration::from_secs(60) })
    }

    fn refuse(keys: &Keys, refusal: &Refusal<'_>, now: Instant) {
        keys.take(refusal.model, &[], now).expect("a key").refused(refusal, now);
    }

    #[test]
    fn however_many_models_are_named_the_next_one_cools_down_too() {
        let (keys, now) = (keys(), Instant::now());
        for number in 0..3 * MODELS_MAX {
            let name = format!("model-{number}");
            refuse(&keys, &refusal(&name, Fault::Limit, 1), now);
            assert!(keys.take(&name, &[], now).is_err(), "{name}");
        }
        assert_eq!(keys.status(now)[0].models.len(), MODELS_MAX);
        assert_eq!(keys.status(now)[0].state, "READY", "the key itself is not at fault");
        assert!(keys.take("model-0", &[], now).is_ok(), "what is known for the longest is forgotten");
    }

    #[test]
    fn doubt_counts_only_when_several_callers_met_with_it_and_nothing_worked_between() {
        let now = Instant::now();
        let one = keys();
        for _ in 0..50 {
            refuse(&one, &refusal("m", Fault::Doubt, 7), now);
        }
        assert!(one.take("m", &[], now).is_ok(), "one caller shuts nobody out");
        refuse(&one, &refusal("m", Fault::Doubt, 8), now);
        assert!(one.take("m", &[], now).is_err());
        assert!(one.take("other", &[], now).is_ok());
        let works = keys();
        for _ in 0..10 {
            refuse(&works, &refusal("m", Fault::Doubt, 7), now);
            refuse(&works, &refusal("m", Fault::Doubt, 8), now);
            works.take("m", &[], now).expect("a key").worked("m", now);
        }
        assert!(works.take("m", &[], now).is_ok(), "it works for others");
    }

    #[test]
    fn a_requests_own_fault_is_none_of_the_keys() {
        let (keys, now) = (keys(), Instant::now());
        for caller in 0..20 {
            refuse(&keys, &refusal("m", Fault::Request, caller), now);
            refuse(&keys, &refusal("m", Fault::Filtered, caller), now);
        }
        assert!(keys.take("m", &[], now).is_ok());
    }
}
